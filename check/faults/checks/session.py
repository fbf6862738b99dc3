"""I6 and I7: a client is told exactly the events of its user, rising, from its cursor on; gaps are told as such."""

from collections.abc import Iterator, Sequence

from check.faults.ledger import Event, Line
from check.faults.run import Run, Told, Violation


def check(run: Run) -> Iterator[Violation]:
    """All violations."""
    for client, lines in run.clients.items():
        yield from _Walk(client, run.reference[run.user_of(client)]).along(lines)


class _Walk:
    """Goes along what history has with what a client was told.

    Every client has started from the beginning, so its next event is the first of the reference, and from then on the one
    after the last. A break where a stream begins is of I7, as the cursor that it resumed from was wrong; within it, of I6.
    """

    def __init__(self, client: str, reference: Sequence[Told]) -> None:
        self._client = client
        self._reference = reference
        self._index = {each.event.cursor: index for index, each in enumerate(reference)}
        self._next = 0
        self._invariant = "I7"
        self._may_jump = False
        self._before: Line | None = None

    def along(self, lines: Sequence[Line]) -> Iterator[Violation]:
        """Until the end, when nothing may be missing."""
        for line in lines:
            if line.kind == "opened":
                self._invariant = "I7"
            elif line.kind == "gap":
                self._may_jump = True
            elif line.kind == "event":
                yield from self._event(Event.from_json(line.data), line)
                self._invariant, self._before = "I6", line
        yield from self._missing(len(self._reference), self._before)

    def _event(self, event: Event, line: Line) -> Iterator[Violation]:
        at = self._index.get(event.cursor)
        if at is None:
            return  # history does not have it: that is I9
        there = self._reference[at]
        if there.event != event:
            what = f"{self._client} was told another {event.name} than history has"
            yield Violation("I6", what, [line, there.line])
        if at < self._next:
            what = f"{self._client} was told {event.name} again, or too late"
            yield Violation(self._invariant, what, self._with_before(line))
            return
        yield from self._missing(at, line)
        self._next, self._may_jump = at + 1, False

    def _missing(self, end: int, line: Line | None) -> Iterator[Violation]:
        if self._may_jump:
            return
        for each in self._reference[self._next : end]:
            if not each.event.is_mark:  # a later mark made it superfluous
                what = f"{self._client} was not told {each.event.name}"
                yield Violation(self._invariant, what, [*self._with_before(line), each.line])

    def _with_before(self, line: Line | None) -> list[Line]:
        return [each for each in (self._before, line) if each is not None]
