"""What waits to be written to one stream, bounded in bytes, joined into frames."""


class Outbound:
    """Two lanes of pieces: outcomes, which are never dropped and go first, and events, which keep their order.

    Events are bounded by whoever puts them (R12). Outcomes are bounded by the commands in flight, and by reading no more
    commands while `outcomes_full`.
    """

    __slots__ = ("_events", "_outcomes", "event_bytes", "outcome_bytes")

    def __init__(self) -> None:
        self._outcomes: list[bytes] = []
        self._events: list[bytes] = []
        self.outcome_bytes = 0
        self.event_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._outcomes or self._events)

    def put_outcome(self, piece: bytes) -> None:
        """Add to the first lane."""
        self._outcomes.append(piece)
        self.outcome_bytes += len(piece)

    def put_event(self, piece: bytes) -> None:
        """Add to the second lane."""
        self._events.append(piece)
        self.event_bytes += len(piece)

    def holds_event(self, piece: bytes) -> bool:
        """Whether this very piece still waits in the second lane."""
        return any(each is piece for each in self._events)

    def take_frame(self, max_bytes: int) -> bytes:
        """The next frame: at most `max_bytes` unless its first piece alone is larger; empty if nothing waits."""
        if self.outcome_bytes + self.event_bytes <= max_bytes:
            frame = b"".join((*self._outcomes, *self._events))
            self.clear()
            return frame
        taken = _take(self._outcomes, max_bytes)
        self.outcome_bytes -= sum(map(len, taken))
        if not self._outcomes:
            events = _take(self._events, max_bytes - sum(map(len, taken)), at_least=0 if taken else 1)
            self.event_bytes -= sum(map(len, events))
            taken += events
        return b"".join(taken)

    def clear(self) -> None:
        """Forget everything."""
        self._outcomes.clear()
        self._events.clear()
        self.outcome_bytes = self.event_bytes = 0


def _take(pieces: list[bytes], max_bytes: int, at_least: int = 1) -> list[bytes]:
    """Take from the front as many as fit, or `at_least`."""
    size = count = 0
    for piece in pieces:
        size += len(piece)
        if size > max_bytes and count >= at_least:
            break
        count += 1
    taken = pieces[:count]
    del pieces[:count]
    return taken
