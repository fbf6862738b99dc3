"""Who writes to whom: the shapes of conversations that are measured, known to senders, recipients and whoever counts."""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence

ALL, RANDOM, SELF = "all", "random", "self"
SHAPES = ("1", "2", "5", RANDOM, ALL, SELF)
MOST = 1_000
"""Recipients of one message, which is what a cell can be set to take."""


class Shape:
    """Recipients of each message. Clients are numbered from 0; a sender is among its recipients with SELF only.

    With a number N clients are in groups of N + 1, in which each writes to all others; the last group takes from the first
    what it lacks. RANDOM is as many others, up to MOST, from where chance says, for each message anew; the same seed gives
    the same. ALL is everyone else.
    """

    def __init__(self, name: str, clients: int, seed: int = 0) -> None:
        """Raises ValueError for a shape that so many clients cannot have."""
        if name not in SHAPES:
            raise ValueError(f"recipients is one of {', '.join(SHAPES)}, not {name}")
        if clients < 2 and name != SELF:
            raise ValueError("it takes two clients to write to each other")
        if name == ALL and clients > MOST + 1:
            raise ValueError(
                f"a message has at most {MOST} recipients, so `all` are at most {MOST + 1} clients"
            )
        self.name = name
        self._clients = clients
        self._seed = seed
        self._group = clients if name in (ALL, RANDOM, SELF) else min(int(name) + 1, clients)

    def of(self, sender: int, number: int) -> Sequence[int]:
        """The recipients of a sender's message of this number."""
        if self.name == SELF:
            return (sender,)
        if self.name == RANDOM:
            return self._random(sender, number)
        first = sender - sender % self._group
        members = ((first + at) % self._clients for at in range(self._group))
        return [member for member in members if member != sender]

    def expected(self, sender: int, numbers: int) -> Mapping[int, int]:
        """Who gets which of these messages, the sender's own streams included: bits of message numbers, by client."""
        found: dict[int, int] = defaultdict(int)
        found[sender] = numbers
        if self.name == RANDOM:
            for number in range(numbers.bit_length()):
                if numbers >> number & 1:
                    for recipient in self.of(sender, number):
                        found[recipient] |= 1 << number
        else:
            found.update(dict.fromkeys(self.of(sender, 0), numbers))
        return found

    def deliveries_each(self) -> int:
        """Of one message of each client: one for each recipient, and one to the sender's own stream. Not known of RANDOM."""
        return self._clients * (1 if self.name == SELF else self._group)

    def _random(self, sender: int, number: int) -> Sequence[int]:
        chance = random.Random(f"{self._seed} {sender} {number}")
        others = self._clients - 1
        first, count = chance.randrange(others), chance.randint(1, min(others, MOST))
        return [(sender + 1 + (first + at) % others) % self._clients for at in range(count)]
