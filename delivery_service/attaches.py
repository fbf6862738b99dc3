"""Attaches that cannot be answered yet (R8)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from cell.delivery.v1 import session_link_pb2 as link
from delivery_service.outbox import Outbox


@dataclass(slots=True, eq=False)
class Asked:
    """An attach and the link it came on."""

    outbox: Outbox
    attach: link.Attach
    judged: bool = False
    """Whether its offset is known to be inside the log."""


class WaitingAttaches:
    """Attaches that wait for their owner to come as far as they are, or as far as it acts from."""

    __slots__ = ("_heap", "_seen")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Asked]] = []
        self._seen = 0

    def add(self, position: int, asked: Asked) -> None:
        """Wait until the owner stands at `position`."""
        self._seen += 1
        heappush(self._heap, (position, self._seen, asked))

    def due(self, position: int) -> Iterable[Asked]:
        """Take out those that the owner has come up to."""
        while self._heap and self._heap[0][0] <= position:
            yield heappop(self._heap)[2]

    def next_due(self) -> int | None:
        """The position at which the next one is due."""
        return self._heap[0][0] if self._heap else None

    def unjudged(self, end_offset: int) -> Sequence[Asked]:
        """Those whose offset is not known to be inside a log that had come to `end_offset`."""
        return [
            asked
            for _, _, asked in self._heap
            if not asked.judged and asked.attach.after_offset >= end_offset
        ]

    def remove(self, unwanted: Callable[[Asked], bool]) -> Sequence[Asked]:
        """Take out the ones for which this holds."""
        removed = [asked for _, _, asked in self._heap if unwanted(asked)]
        if removed:
            self._heap = [entry for entry in self._heap if not unwanted(entry[2])]
            heapify(self._heap)
        return removed
