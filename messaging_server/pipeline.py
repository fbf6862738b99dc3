"""Commands on their way to the log: in the order of their stream, stamped as they are handed over, each with one outcome.

A `Pipeline` belongs to one stream or one call and never awaits; the `CommandDesk` is what all of them share. A command whose
conversation is not known to be registered waits, and holds those behind it, until the registry has answered.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Protocol

from cell.messaging.v1 import messaging_pb2 as messaging
from event_log.port import EventLog, Fate, LogError, NewRecord, Settled
from messaging_core.clock import HybridClock
from messaging_core.limits import ACCEPT_DEADLINE_S
from messaging_core.refusals import Refused
from messaging_server.commands import Prepared, check_traceparent, prepare
from messaging_server.content import invalid
from messaging_server.conversations import Conversations, Found, admitted, unavailable
from messaging_server.figures import KINDS, ServerFigures
from messaging_server.recent import Rates, RecentCommands, RecentMarks
from messaging_server.records import encode_origin, told_to
from messaging_server.settings import ServerSettings
from messaging_server.spans import CommandSpan
from telemetry import catalogue
from telemetry.metrics import Figure
from telemetry.tracing import Tracer

_SIZE_OF_PENDING = 512
"""Counted for each command in flight beside its content."""


class Owner(Protocol):
    """Learns the fate of what it handed over; each pending exactly once."""

    def accepted(self, pending: "Pending") -> None:
        """It is durable."""

    def refused(self, pending: "Pending", refused: Refused) -> None:
        """It is not, or that is not known."""


class Pending:
    """A command without an outcome yet."""

    __slots__ = (
        "command_id",
        "is_open",
        "name",
        "owner",
        "prepared",
        "received_s",
        "size",
        "span",
        "stamp_us",
    )

    def __init__(self, owner: Owner, command_id: int, name: str, received_s: float) -> None:
        self.owner = owner
        self.command_id = command_id
        self.name = name
        """Its message_id or reaction_id; empty for marks."""
        self.received_s = received_s
        self.prepared: Prepared | None = None
        self.size = 0
        self.stamp_us = 0
        self.is_open = True
        self.span: CommandSpan | None = None
        """Where the command is traced."""

    def accept(self) -> None:
        """Give its outcome, once."""
        if self.is_open:
            self.is_open = False
            if self.span is not None:
                self.span.accepted()
            self.owner.accepted(self)

    def refuse(self, refused: Refused) -> None:
        """Give its outcome, once."""
        if self.is_open:
            self.is_open = False
            if self.span is not None:
                self.span.refused(refused)
            self.owner.refused(self, refused)


def _refusal(reason: "messaging.RejectedReason", detail: str, *, unknown: bool = False) -> Refused:
    outcome = messaging.REJECTED_OUTCOME_UNKNOWN if unknown else messaging.REJECTED_OUTCOME_NOT_DONE
    return Refused(reason, detail, outcome=outcome)


@dataclass(slots=True)
class CommandDesk:
    """What the pipelines of a server share: limits, memories, the clock, and the way into the log."""

    log: EventLog
    clock: HybridClock
    settings: ServerSettings
    conversations: Conversations
    recent: RecentCommands
    rates: Rates
    now_s: Callable[[], float]
    """Seconds that pass."""
    on_change: Callable[[], None]
    """Called after outcomes were given that no frame, timer or link led to."""
    tracer: Tracer | None = None
    figures: ServerFigures = field(default_factory=ServerFigures)
    other_rates: Rates = field(init=False)
    """Of commands that append nothing: as many again."""
    held_bytes: int = 0
    marks: RecentMarks = field(default_factory=RecentMarks)
    _batch: list[NewRecord[Pending]] = field(default_factory=list)
    _unsettled: dict[Pending, None] = field(default_factory=dict)
    """Handed to the log and without an outcome yet, in order. What leaves takes its content with it, wherever it stands."""

    def __post_init__(self) -> None:
        self.other_rates = Rates(self.settings.limits.max_sends_per_second, self.settings.rated_users)

    def hand_over(self, pending: Pending, found: Found) -> None:
        """Stamp a command and put it into the batch that `submit` gives to the log, or refuse it."""
        try:
            self._hand_over(pending, found)
        except Refused as refused:
            pending.refuse(refused)

    def _hand_over(self, pending: Pending, found: Found) -> None:
        prepared = pending.prepared
        assert prepared is not None
        participants = admitted(prepared, found)
        audience = told_to(prepared, participants, self.settings.limits.max_mark_participants)
        if not prepared.command_id and self.marks.has(*_mark_of(prepared)):
            self.figures.accepts[prepared.kind].add(self.now_s() - pending.received_s)
            return pending.accept()
        self.clock.observe(prepared.above_us)
        pending.stamp_us = self.clock.stamp()
        sender_id, name = prepared.sender_id, prepared.command_id
        partition = self.log.partition_of(sender_id)
        hop = pending.span.sends(partition) if pending.span is not None else ""
        value = encode_origin(prepared, participants, audience, pending.stamp_us, hop)
        if name and self.recent.conflicts(sender_id, name, prepared.digest, self.now_s()):
            detail = "this id was used for another payload"
            raise _refusal(messaging.REJECTED_REASON_MESSAGE_ID_CONFLICT, detail)
        return self._batch.append(NewRecord(partition, value, pending))

    def submit(self) -> None:
        """Give the batch to the log."""
        if not self._batch:
            return
        batch, self._batch = self._batch, []
        try:
            self.log.append(batch, self._on_settled)
        except LogError:
            for record in batch:
                self._settle(record.tag, Fate.NOT_APPENDED)
            return
        for record in batch:
            self._unsettled[record.tag] = None

    def expire(self) -> None:
        """Reject what the log has not settled in time (R3): it may land yet, so its outcome is unknown."""
        latest_s = self.now_s() - ACCEPT_DEADLINE_S
        for pending in list(takewhile(lambda each: each.received_s < latest_s, self._unsettled)):
            del self._unsettled[pending]
            pending.refuse(_too_late())

    def figures_now(self) -> Iterator[Figure]:
        """What is under way here."""
        yield Figure(catalogue.IN_FLIGHT, len(self._unsettled))
        yield Figure(catalogue.HELD, self.held_bytes)

    @property
    def in_flight(self) -> bool:
        """Whether the log still owes the fate of a command that has no outcome."""
        return bool(self._unsettled)

    def _on_settled(self, settled: Sequence[Settled[Pending]]) -> None:
        for pending, fate, offset in settled:
            self._unsettled.pop(pending, None)
            if pending.span is not None:
                pending.span.settled(fate, offset)
            self._settle(pending, fate)
        self.on_change()

    def _settle(self, pending: Pending, fate: Fate) -> None:
        if fate is Fate.APPENDED:
            if pending.prepared is not None and not pending.prepared.command_id:
                self.marks.durable(*_mark_of(pending.prepared))
            took_s = self.now_s() - pending.received_s
            if took_s <= ACCEPT_DEADLINE_S:
                if pending.is_open and pending.prepared is not None:
                    self.figures.accepts[pending.prepared.kind].add(took_s)
                pending.accept()
            else:
                pending.refuse(_too_late())
        elif fate is Fate.NOT_APPENDED:
            if pending.prepared is not None:
                self.recent.forget(pending.prepared.sender_id, pending.prepared.command_id)
            pending.refuse(_refusal(messaging.REJECTED_REASON_UNAVAILABLE, "the log could not take this now"))
        else:
            detail = "the log did not say whether it took this"
            pending.refuse(_refusal(messaging.REJECTED_REASON_UNAVAILABLE, detail, unknown=True))


def _mark_of(prepared: Prepared) -> tuple[str, str, int, int, bytes]:
    """A mark as RecentMarks knows it: `above_us` is sent_at of the message that it is through."""
    return (
        prepared.sender_id,
        prepared.conversation_id,
        prepared.kind,
        prepared.above_us,
        prepared.body,
    )


def _too_late() -> Refused:
    detail = "the log took too long: this may have happened, or may yet"
    return _refusal(messaging.REJECTED_REASON_DEADLINE, detail, unknown=True)


class Outcomes(Protocol):
    """Where a pipeline's outcomes go: a stream, or the answer of a call."""

    def accepted(self, pending: Pending) -> None:
        """A command is durable."""

    def refused(self, pending: Pending, refused: Refused) -> None:
        """A command was refused, or its outcome is unknown."""


class Pipeline:
    """The commands of one stream or call that append, in order."""

    __slots__ = ("_bytes", "_desk", "_held", "_last_id", "_outcomes", "_user_id", "count")

    def __init__(self, desk: CommandDesk, user_id: str, outcomes: Outcomes) -> None:
        self._desk = desk
        self._user_id = user_id
        self._outcomes: Outcomes | None = outcomes
        self._held: deque[Pending] | None = None
        self._bytes = 0
        self._last_id = 0
        self.count = 0
        """Commands without an outcome yet."""

    def check(self, command: messaging.Command) -> None:
        """What holds for every command: ids are above 0 and rise, a trace context is one. Raises Refused."""
        command_id = command.command_id
        if command_id <= self._last_id:
            raise invalid("command_id", "command ids are greater than 0 and rise")
        self._last_id = command_id
        if traceparent := command.traceparent:
            check_traceparent(traceparent)

    def count_other(self) -> None:
        """Count a command that appends nothing: these have a rate of their own. Raises Refused."""
        desk = self._desk
        if wait_s := desk.other_rates.take(self._user_id, desk.now_s()):
            raise _rate_limited(desk.settings.limits.max_sends_per_second, wait_s)

    def take(self, command: messaging.Command) -> None:
        """Take a command that appends. Raises Refused, or its outcome comes later. `CommandDesk.submit` follows."""
        tracer = self._desk.tracer
        if tracer is None or not tracer.samples(command.traceparent):
            return self._take(command, None)
        span = CommandSpan(tracer, command)
        try:
            return self._take(command, span)
        except Refused as refused:
            span.refused(refused)
            raise

    def _take(self, command: messaging.Command, span: CommandSpan | None) -> None:
        desk = self._desk
        now_s = desk.now_s()
        size = command.ByteSize() + _SIZE_OF_PENDING
        self._check_in_flight(size)
        wait_s = desk.rates.take(self._user_id, now_s)
        if wait_s:
            raise _rate_limited(desk.settings.limits.max_sends_per_second, wait_s)
        prepared = prepare(command, self._user_id, desk.settings.limits, desk.clock.is_honoured)
        pending = Pending(self, command.command_id, prepared.command_id, now_s)
        pending.prepared = prepared
        pending.size = size
        if span is not None:
            pending.span = span
            pending.prepared = prepared = span.prepared(prepared)
        self.count += 1
        self._bytes += size
        if self._held:
            self._hold(pending)
        elif (participants := desk.conversations.known(prepared)) is not None:
            desk.hand_over(pending, participants)
        elif self._hold(pending):
            desk.conversations.find(prepared, self._resume)

    def close(self) -> None:
        """The stream is gone: nobody waits for outcomes, and what is still held is dropped."""
        self._outcomes = None
        held, self._held = self._held, None
        for pending in held or ():
            pending.is_open = False
            if pending.span is not None:
                pending.span.dropped()
            self._desk.held_bytes -= pending.size

    def accepted(self, pending: Pending) -> None:
        """Owner: the log has it."""
        self._done(pending)
        if self._outcomes is not None:
            self._outcomes.accepted(pending)

    def refused(self, pending: Pending, refused: Refused) -> None:
        """Owner: it was refused."""
        self._done(pending)
        assert pending.prepared is not None
        self._desk.figures.refused(KINDS[pending.prepared.kind], refused)
        if self._outcomes is not None:
            self._outcomes.refused(pending, refused)

    def _done(self, pending: Pending) -> None:
        self.count -= 1
        self._bytes -= pending.size

    def _check_in_flight(self, size: int) -> None:
        settings = self._desk.settings
        if self.count >= settings.limits.max_in_flight:
            limit, what = settings.limits.max_in_flight, "commands"
        elif self._bytes + size > settings.in_flight_bytes and self.count:
            limit, what = settings.in_flight_bytes, "bytes of commands"
        else:
            return
        detail = f"{what} without an outcome yet: at most {limit}"
        raise Refused(messaging.REJECTED_REASON_TOO_MANY_IN_FLIGHT, detail, limit=limit)

    def _hold(self, pending: Pending) -> bool:
        desk = self._desk
        if desk.held_bytes + pending.size > desk.settings.held_bytes:
            pending.refuse(unavailable())
            return False
        desk.held_bytes += pending.size
        if self._held is None:
            self._held = deque()
        self._held.append(pending)
        return True

    def _resume(self, found: Found) -> None:
        """The registry has answered for the first of those held."""
        held, desk = self._held, self._desk
        if held is None:  # closed
            return
        self._release(held, found)
        while held:
            prepared = held[0].prepared
            assert prepared is not None
            known: Found | None = desk.conversations.known(prepared)
            if known is None and desk.now_s() - held[0].received_s <= desk.settings.hold_s:
                desk.conversations.find(prepared, self._resume)
                break
            self._release(held, known or unavailable())
        if not held:
            self._held = None
        desk.submit()
        desk.on_change()

    def _release(self, held: deque[Pending], found: Found) -> None:
        pending = held.popleft()
        self._desk.held_bytes -= pending.size
        late = self._desk.now_s() - pending.received_s > self._desk.settings.hold_s
        self._desk.hand_over(pending, unavailable() if late else found)


def _rate_limited(limit: int, wait_s: float) -> Refused:
    detail = f"commands a second: at most {limit}, and a burst of as much again"
    reason = messaging.REJECTED_REASON_RATE_LIMITED
    return Refused(reason, detail, limit=limit, retry_after_s=wait_s)
