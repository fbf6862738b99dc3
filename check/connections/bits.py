"""Sets of whole numbers as bits, in pieces, so that adding one costs the same however many there are."""

_PIECE_BITS = 10
_MASK = (1 << _PIECE_BITS) - 1


class Bits(dict[int, int]):
    """A set of numbers from 0, by pieces of 1,024."""

    __slots__ = ()

    def add(self, number: int) -> None:
        """Add one."""
        piece = number >> _PIECE_BITS
        self[piece] = self.get(piece, 0) | 1 << (number & _MASK)

    def whole(self) -> int:
        """All of it: bit n is set where n is in it."""
        return sum(bits << (piece << _PIECE_BITS) for piece, bits in self.items())


class Received(dict[int, int]):
    """Sets of message numbers, one for each sender."""

    __slots__ = ()

    def add(self, sender: int, number: int) -> tuple[bool, bool]:
        """Add one; whether it was there, and whether a higher one of its piece or of the next was."""
        piece = sender << 32 | number >> _PIECE_BITS
        bits, bit = self.get(piece, 0), number & _MASK
        above = bits >> bit
        if not above:
            self[piece] = bits | 1 << bit
            return False, piece + 1 in self
        if above & 1:
            return True, False
        self[piece] = bits | 1 << bit
        return False, True

    def by_sender(self) -> dict[int, int]:
        """All of it: bit n of a sender is set where its message n is in it."""
        found: dict[int, int] = {}
        for key, bits in self.items():
            sender, piece = key >> 32, key & 0xFFFFFFFF
            found[sender] = found.get(sender, 0) | bits << (piece << _PIECE_BITS)
        return found
