"""What a client was told, in order, and whether that keeps the promises I5, I6 and I7.

Cursors are opaque, so a client alone cannot tell their order. The order is that of a reference: the user's events as
another client, or history, has them.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cell.messaging.v1 import messaging_pb2 as messaging

SortKey = tuple[int, bytes, bytes]


class Opened(NamedTuple):
    """A stream was opened."""

    resume_after: str | None
    """The cursor given; None for live_only."""


class Told(NamedTuple):
    """An event arrived."""

    event: messaging.Event


class Moved(NamedTuple):
    """`resumed` or `checkpoint` arrived."""

    cursor: str


class Skipped(NamedTuple):
    """A gap arrived."""

    after: str
    until: str


Step = Opened | Told | Moved | Skipped


@dataclass(slots=True)
class Ledger:
    """Everything that moved one client's cursor, over all its streams. Nothing is dropped, so doubles show."""

    user_id: str
    steps: list[Step] = field(default_factory=list)
    events: list[messaging.Event] = field(default_factory=list)
    """The events among the steps."""
    gaps: list[Skipped] = field(default_factory=list)
    """The gaps among the steps."""
    names: set[tuple[str, str]] = field(default_factory=set)
    """(sender_id, message_id) of the messages among the events."""

    def add(self, step: Step) -> None:
        """Write down what came next."""
        self.steps.append(step)
        if isinstance(step, Told):
            self.events.append(step.event)
            if is_message(step.event):
                ref = step.event.message.ref
                self.names.add((ref.sender_id, ref.message_id))
        elif isinstance(step, Skipped):
            self.gaps.append(step)


def is_message(event: messaging.Event) -> bool:
    """Whether the event is a message."""
    return event.HasField("message")


def is_mark(event: messaging.Event) -> bool:
    """Whether the event is a mark: state, which a later mark may make superfluous."""
    return event.WhichOneof("event") in ("received_mark", "read_mark")


def without_marks(events: Iterable[messaging.Event]) -> list[messaging.Event]:
    """The events that nobody may leave out."""
    return [event for event in events if not is_mark(event)]


def microseconds(ref: messaging.MessageRef) -> int:
    """`sent_at`, whole."""
    return ref.sent_at.seconds * 1_000_000 + ref.sent_at.nanos // 1_000


def sort_key(ref: messaging.MessageRef) -> SortKey:
    """The order of a conversation: (sent_at, sender_id, message_id), compared as bytes."""
    return microseconds(ref), ref.sender_id.encode(), ref.message_id.encode()


def conversation(events: Iterable[messaging.Event], conversation_id: str) -> list[messaging.Message]:
    """A conversation's messages as they are shown."""
    messages = [
        e.message for e in events if is_message(e) and e.message.ref.conversation_id == conversation_id
    ]
    return sorted(messages, key=lambda message: sort_key(message.ref))


def message_ids(events: Iterable[messaging.Event], sender_id: str | None = None) -> list[str]:
    """Ids of the messages, in the order told; of one sender if it is named."""
    refs = (event.message.ref for event in events if is_message(event))
    return [ref.message_id for ref in refs if sender_id in (None, ref.sender_id)]


def reactions(events: Iterable[messaging.Event]) -> dict[tuple[SortKey, str, str], bool]:
    """The last word on each (message, user, key): True if the reaction is there (I11)."""
    changes = (event.reaction_changed for event in events if event.WhichOneof("event") == "reaction_changed")
    return {(sort_key(c.message), c.user_id, c.key): not c.removed for c in changes}


def marks(events: Iterable[messaging.Event]) -> dict[tuple[str, str, str], SortKey]:
    """The highest mark of each (kind, conversation, user) (I11)."""
    highest: dict[tuple[str, str, str], SortKey] = {}
    for event in events:
        if is_mark(event):
            kind = str(event.WhichOneof("event"))
            mark = event.received_mark if kind == "received_mark" else event.read_mark
            at = (kind, mark.through.conversation_id, mark.user_id)
            highest[at] = max(highest.get(at, (0, b"", b"")), sort_key(mark.through))
    return highest


def once_violations(
    events: Sequence[messaging.Event],
    accepted: Iterable[tuple[str, str]] = (),
    refused: Iterable[tuple[str, str]] = (),
) -> list[str]:
    """I5: no cursor twice, no message twice, each accepted (sender, id) there, none that was certainly not done."""
    found = [f"cursor {c} {n} times" for c, n in Counter(e.cursor for e in events).items() if n > 1]
    told = Counter((e.message.ref.sender_id, e.message.ref.message_id) for e in events if is_message(e))
    found += [f"message {name} {n} times" for name, n in told.items() if n > 1]
    found += [f"message {name} accepted but missing" for name in accepted if name not in told]
    return found + [f"message {name} refused but there" for name in refused if name in told]


def session_violations(
    reference: Sequence[messaging.Event], ledger: Ledger, *, start: int | None = None, complete: bool = True
) -> list[str]:
    """I6 and I7: from index `start` of the reference on, the ledger has exactly its events, in its order.

    A break within a stream is I6; one where a stream begins is I7, for then the cursor it resumed from was wrong. Marks may
    be left out. A gap excuses a jump forward. `start` None: where the first Opened says, or at the first event if it says
    nothing that the reference knows. `complete`: nothing of the reference is still to come.
    """
    walk = _Walk(reference, start)
    for step in ledger.steps:
        walk.take(step)
    if complete:
        walk.end()
    return walk.found


class _Walk:
    """Goes along the reference with a ledger's steps."""

    def __init__(self, reference: Sequence[messaging.Event], start: int | None) -> None:
        self.found: list[str] = []
        self._reference = reference
        self._index = {event.cursor: index for index, event in enumerate(reference)}
        self._next = start
        self._rule = "I7"
        self._jump_allowed = False
        if len(self._index) != len(reference):
            self.found.append("the reference has a cursor twice")

    def take(self, step: Step) -> None:
        if isinstance(step, Opened):
            self._rule = "I7"
            if self._next is None and step.resume_after is not None:
                self._next = self._after(step.resume_after)
        elif isinstance(step, Skipped):
            self._jump_allowed = True
        elif isinstance(step, Told):
            self._event(step.event)

    def end(self) -> None:
        if self._next is not None:
            self._missing(self._next, len(self._reference))

    def _after(self, cursor: str) -> int | None:
        if cursor == "":
            return 0
        return self._index[cursor] + 1 if cursor in self._index else None

    def _event(self, event: messaging.Event) -> None:
        at = self._index.get(event.cursor)
        if at is None:
            if not is_mark(event):
                self.found.append(f"{self._rule}: {_name(event)} is not in the reference")
            return
        if self._reference[at] != event:
            self.found.append(f"{self._rule}: {_name(event)} differs from the reference")
        if self._next is not None and at < self._next:
            self.found.append(f"{self._rule}: {_name(event)} came again or late")
            return
        if self._next is not None:
            self._missing(self._next, at)
        self._next, self._rule, self._jump_allowed = at + 1, "I6", False

    def _missing(self, begin: int, end: int) -> None:
        if not self._jump_allowed:
            left_out = without_marks(self._reference[begin:end])
            self.found += [f"{self._rule}: {_name(event)} is missing" for event in left_out]


def _name(event: messaging.Event) -> str:
    kind = event.WhichOneof("event")
    ref = event.message.ref
    return f"message {ref.sender_id}/{ref.message_id}" if kind == "message" else f"{kind} at {event.cursor}"
