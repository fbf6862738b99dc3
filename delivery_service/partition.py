"""One owned partition: from records to what links are told and what other partitions are sent."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from google.protobuf.message import DecodeError

from cell.delivery.v1 import session_link_pb2 as link
from cell.log.v1 import record_pb2 as log
from delivery_service.anchors import Anchors
from delivery_service.attaches import Asked, WaitingAttaches
from delivery_service.figures import DeliveryFigures
from delivery_service.forwarding import Forwarder
from delivery_service.interest import Interest
from delivery_service.outbox import Outbox
from delivery_service.settings import DeliverySettings
from delivery_service.window import Missing, Told, Window
from event_log.port import Assignment, Commit, LogRecord
from event_log.reader import PartitionReader, Reading, Verdict, event_time_us
from messaging_core.clock import wall_us
from messaging_core.cursor import Cursor, incarnation_bytes
from messaging_core.events import PositionedEvent, gap_piece, positioned
from telemetry.tracing import Span, SpanKind, Tracer, of_record

ATTACHED = link.ATTACH_OUTCOME_ATTACHED
PARTIAL = link.ATTACH_OUTCOME_PARTIAL
BEHIND = link.ATTACH_OUTCOME_BEHIND
PAST_END = link.ATTACH_OUTCOME_PAST_END


_FEW = 16
"""Where so many users are is remembered."""


class _Again(NamedTuple):
    """A record that was read before."""

    offset: int
    record: log.Record | None
    """None if it does not decode."""
    time_us: int
    """Newest event time of the partition through this record."""


class OwnedPartition:
    """Decides; never awaits. Records and attaches go in; outboxes fill and copies queue up in the order of what went in.

    It replays the tail to rebuild the reader's state and the window, and acts from the committed offset on: what is below
    was forwarded, and is delivered by replies to attaches. So attaches are answered, and the partition is to be claimed,
    only once it is `active`.
    """

    def __init__(
        self,
        assignment: Assignment,
        *,
        incarnation: str,
        partition_count: int,
        partition_of: Callable[[str], int],
        settings: DeliverySettings,
        tracer: Tracer | None = None,
        figures: DeliveryFigures | None = None,
    ) -> None:
        """Start to own a partition. Raises event_log.port.LogError where PartitionReader does."""
        self.number = assignment.partition
        self.generation = assignment.generation
        self._reader = PartitionReader(self.number, incarnation, partition_count, assignment)
        self.seek_to = self._reader.tail_start
        """Where reading starts."""
        self.position = self._reader.tail_start
        """One above the last record read."""
        self._figures = figures or DeliveryFigures()
        self.forwarder = Forwarder(self.number, settings.forwarding, tracer, self._figures)
        self._tracer = tracer
        self.rereads: list[Asked] = []
        """Attaches that need records from the log again; see `reread`."""
        self._window = Window(self._reader.exact_from, settings.window_bytes)
        self._interest: Interest[Outbox] = Interest()
        self._anchors = Anchors()
        self._reread_newest_us = 0
        self._waiting = WaitingAttaches()
        self._next_due: int | None = None
        self._acts_from = self._reader.acts_from
        self._known_end = assignment.end_offset
        self._through_sent = -1
        self._committed: tuple[int, int] | None = None
        self._incarnation = incarnation_bytes(incarnation)
        self._partition_of = partition_of
        self._reply_bytes = settings.reply_bytes

    @property
    def active(self) -> bool:
        """Whether the tail has been replayed: claim the partition now."""
        return self.position >= self._acts_from

    # --- records ---

    def take(self, records: Sequence[LogRecord]) -> int:
        """Read the next records: tell links, queue copies, answer attaches that waited for this.

        Returns how many were read: all, or those up to where the forwarder is full (R6).
        """
        exact_from = self._reader.exact_from
        reader, anchors = self._reader, self._anchors
        now_us = wall_us()
        for count, record in enumerate(records, 1):
            if record.offset >= exact_from:
                anchors.pass_by(record.offset, len(record.value), reader.newest_us)
            reading = reader.read(record)
            if reading.verdict is Verdict.EFFECTIVE:
                self._take_event(reading, now_us)
            elif reading.offset >= exact_from:
                self._take_other(reading)
            self.position = reading.offset + 1
            if self._next_due is not None and self.position >= self._next_due:
                self._answer_due()
            if self.forwarder.full:
                return count
        return len(records)

    def tell_through(self) -> None:
        """Say on every link how far it has been told, if the partition has moved since (I8)."""
        through = self.position - 1
        if through > self._through_sent and self.active:
            self._through_sent = through
            for outbox in self._interest.links:
                outbox.through(self.number, through, self._reader.newest_us)

    def _take_event(self, reading: Reading, now_us: int) -> None:
        offset, logged = reading.offset, reading.logged
        if offset < self._reader.exact_from:  # replayed for the reader's sake alone
            return
        span = self._span(reading) if self._tracer is not None else None
        traceparent = span.traceparent if span is not None else ""
        here = reading.recipients
        if reading.origin is not None:
            spread = _spread_few if len(here) <= _FEW else _spread
            here, elsewhere = spread(here, self.number, self._partition_of)
            if elsewhere and offset >= self._acts_from:
                self.forwarder.forward(offset, logged, elsewhere, traceparent)
        event = positioned(logged, self._incarnation, self.number, offset, reading.time_us, reading.event)
        self._tell(event, here, traceparent)
        if offset >= self._acts_from:
            self._figures.routing.add(max(0, now_us - logged.event_time_us) / 1e6)
        if span is not None:
            span.end()

    def _span(self, reading: Reading) -> Span | None:
        """What is done with a record here, if it is traced and this acts on it."""
        assert self._tracer is not None
        if not reading.traceparent or reading.offset < self._acts_from:
            return None
        attributes = of_record(
            "process",
            "process",
            self.number,
            {"messaging.consumer.group.name": "delivery", "cell.log.offset": reading.offset},
        )
        return self._tracer.start("process log", SpanKind.CONSUMER, reading.traceparent, attributes)

    def _tell(self, event: PositionedEvent, users: Sequence[str] | None, traceparent: str = "") -> None:
        offset = event.offset
        self._window.add(event, users)
        if offset < self._acts_from:
            return
        if users is None:
            for outbox in self._interest.links:
                outbox.routed(self.number, event, None)
        else:
            for outbox, numbers in self._interest.numbers(users).items():
                outbox.routed(self.number, event, numbers, traceparent)

    def _take_other(self, reading: Reading) -> None:
        if reading.offset >= self._acts_from:
            self._figures.dropped[reading.verdict] += 1
        if reading.verdict is Verdict.UNREADABLE:
            self._tell(self._gap(reading.offset, reading.time_us), None)
            return
        self._window.skip(reading.offset)
        if reading.verdict is Verdict.CONFLICT and reading.origin and reading.offset >= self._acts_from:
            sender = reading.origin.logged.sender_id
            for outbox, numbers in self._interest.numbers((sender,)).items():
                outbox.conflict(self.number, numbers[0], reading.origin.command_id)

    def _gap(self, offset: int, time_us: int) -> PositionedEvent:
        """What stands for a record nobody can read (R5)."""
        after, until = (Cursor(self._incarnation, self.number, o, time_us) for o in (offset - 1, offset))
        return PositionedEvent(offset, gap_piece(after, until), time_us, b"", "")

    @property
    def window_bytes(self) -> int:
        """Memory of the window, about."""
        return self._window.size_bytes

    @property
    def log_time_us(self) -> int:
        """The log's time, see PartitionReader."""
        return self._reader.running_time_us

    # --- attaches (R8) ---

    def attach(self, outbox: Outbox, attach: link.Attach) -> None:
        """Answer an attach, now or when its place in the partition's order has come.

        An owner may lag behind what a session has seen, through an earlier owner or through history. Such a session has
        missed nothing yet: it waits until the owner has come past its cursor, and is live from there.
        """
        asked = Asked(outbox, attach)
        due = max(attach.after_offset + 1, self._acts_from)
        if self.position >= due:
            self._answer(asked)
        else:
            self._waiting.add(due, asked)
            self._next_due = self._waiting.next_due()

    def detach(self, outbox: Outbox, number: int) -> None:
        """The link's user with this number takes no more events; attaches of it that wait are void."""

        def is_void(asked: Asked) -> bool:
            return asked.outbox is outbox and asked.attach.user_number == number

        self._interest.remove(outbox, number)
        self._forget(is_void)

    def unlink(self, outbox: Outbox) -> None:
        """The link has ended, and nothing outlives it (R7)."""
        self._interest.drop(outbox)
        self._forget(lambda asked: asked.outbox is outbox)

    def give_up(self) -> Sequence[Asked]:
        """Take out all attaches that are not answered yet: this instance will not."""
        waiting, self.rereads = [*self.rereads, *self._waiting.remove(lambda _: True)], []
        self._next_due = None
        return waiting

    def past_known_end(self) -> Sequence[Asked]:
        """Attaches whose offset may be past the log's end: read the end now, then `judge`."""
        return (
            self._waiting.unjudged(max(self._known_end, self.position)) if self._next_due is not None else ()
        )

    def judge(self, asked: Sequence[Asked], end_offset: int) -> None:
        """Refuse those of these attaches that are past an end of the log that was read after they came."""
        self._known_end = max(self._known_end, end_offset)
        for one in asked:
            one.judged = True
        judged = frozenset(asked)
        refused = self._waiting.remove(lambda one: one in judged and one.attach.after_offset >= end_offset)
        self._next_due = self._waiting.next_due()
        for one in refused:
            one.outbox.reply(one.attach, PAST_END)

    def _answer_due(self) -> None:
        for asked in self._waiting.due(self.position):
            self._answer(asked)
        self._next_due = self._waiting.next_due()

    def _answer(self, asked: Asked) -> None:
        outbox, attach = asked.outbox, asked.attach
        missed = self._window.since(attach.user_id, attach.after_offset)
        if missed is Missing.BEHIND:
            outbox.reply(attach, BEHIND)
        elif missed is Missing.REREAD:
            self.rereads.append(asked)
        elif (fit := self._fitting(missed, attach.credit_bytes)) < len(missed):
            self._reply_partial(asked, missed[:fit], missed[fit].offset - 1)
        else:
            self._interest.add(outbox, attach.user_number, attach.user_id)
            outbox.reply(attach, ATTACHED, missed, self.position - 1, self._reader.newest_us)

    def _fitting(self, events: Sequence[PositionedEvent], credit_bytes: int) -> int:
        """How many of these the credit takes: at least one, or a session might never get on."""
        credit_bytes = min(credit_bytes, self._reply_bytes)
        for count, event in enumerate(events):
            credit_bytes -= len(event.piece)
            if credit_bytes < 0 and count:
                return count
        return len(events)

    def _reply_partial(self, asked: Asked, events: Sequence[PositionedEvent], through_offset: int) -> None:
        time_us = max((event.time_us for event in events), default=0)
        asked.outbox.reply(asked.attach, PARTIAL, events, through_offset, time_us)

    def _forget(self, is_void: Callable[[Asked], bool]) -> None:
        if self._next_due is not None:
            self._waiting.remove(is_void)
            self._next_due = self._waiting.next_due()
        if self.rereads:
            self.rereads = [asked for asked in self.rereads if not is_void(asked)]

    # --- reading again what memory did not keep (R8) ---

    def reread_needs(self) -> int:
        """The first offset that the oldest of `rereads` needs."""
        return min(asked.attach.after_offset for asked in self.rereads) + 1

    def reread_from(self) -> int:
        """Where to read for the oldest of `rereads`: a little before what it needs, where the newest time is known."""
        needed = self.reread_needs()
        start, self._reread_newest_us = self._anchors.at_or_below(needed)
        return min(start, needed)

    def reread(self, start: int, records: Sequence[LogRecord]) -> None:
        """Answer those of `rereads` that these records, read from `reread_from` on, can serve: in part, so they come again.

        Others stay: the records are to go as far as `reread_needs` said, or the same is asked for again. If there are no
        records the log does not have them any more: history is to say so (R11).
        """
        asked, self.rereads = self.rereads, []
        again = _parsed(records, self._reread_newest_us)
        below = min(records[-1].offset + 1, self._window.start) if records else self._window.start
        for one in asked:
            after = one.attach.after_offset
            if self._window.since(one.attach.user_id, after) is not Missing.REREAD:
                self._answer(one)  # history has caught up meanwhile
            elif not start <= after + 1 < below:
                self.rereads.append(one)
            elif records:
                self._answer_from(again, one, below)
            else:
                one.outbox.reply(one.attach, BEHIND)

    def _answer_from(self, again: Sequence[_Again], asked: Asked, below: int) -> None:
        attach = asked.attach
        events = [
            event
            for record in again
            if attach.after_offset < record.offset < below
            and (event := self._event_again(record, attach.user_id)) is not None
        ]
        fit = self._fitting(events, attach.credit_bytes)
        through = below - 1 if fit == len(events) else events[fit].offset - 1
        self._reply_partial(asked, events[:fit], through)

    def _event_again(self, again: _Again, user: str) -> PositionedEvent | None:
        """The event of a record that was read before, if it is for this user."""
        offset, record, time_us = again
        told = self._window.told(offset)
        if told is Told.UNREADABLE:
            return self._gap(offset, time_us)
        if told is Told.INEFFECTIVE or record is None:
            return None
        if record.HasField("origin"):
            logged, users = record.origin.logged, record.origin.participant_ids
        else:
            logged, users = record.copy.logged, record.copy.recipient_ids
        if user not in users:
            return None
        return positioned(logged, self._incarnation, self.number, offset, time_us)

    # --- commits (R2) ---

    def history_has(self, persisted: int) -> None:
        """History has stored everything below this offset."""
        self._window.history_has(persisted)
        self._anchors.forget_below(self._window.persisted)

    def commit(self) -> Commit | None:
        """What is to be committed, if it has changed: the first record not forwarded in full (I3)."""
        if not self.active:
            return None
        offset = max(self.forwarder.first_unforwarded(self.position), self._acts_from)
        if (offset, self._window.persisted) == self._committed:
            return None
        self._committed = offset, self._window.persisted
        return self._reader.commit_at(offset, keep_from=self._window.persisted)

    def commit_failed(self) -> None:
        """The last commit did not get through: make it anew."""
        self._committed = None


def _spread(
    users: tuple[str, ...], home: int, partition_of: Callable[[str], int]
) -> tuple[tuple[str, ...], Mapping[int, tuple[str, ...]]]:
    """The users of partition `home`, and the others by their partition."""
    by_partition: defaultdict[int, list[str]] = defaultdict(list)
    for user, partition in zip(users, map(partition_of, users), strict=True):
        by_partition[partition].append(user)
    here = by_partition.pop(home, ())
    return tuple(here), {partition: tuple(there) for partition, there in by_partition.items()}


_spread_few = lru_cache(maxsize=8_192)(_spread)


def _parsed(records: Sequence[LogRecord], newest_us: int) -> Sequence[_Again]:
    """These records, decoded, the newest event time before them being known."""
    again = []
    for offset, _, value in records:
        try:
            record = log.Record.FromString(value)
        except DecodeError:
            again.append(_Again(offset, None, newest_us))
            continue
        newest_us = max(newest_us, event_time_us(record))
        again.append(_Again(offset, record, newest_us))
    return again
