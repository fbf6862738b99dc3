"""How a partition is read, by delivery and history alike (R1, R2, R3, R5).

What becomes of a record is decided by the log up to it and nothing else (I1): no clock, no memory that a restart would lose.

- A **copy** is taken if it is above the highest origin taken from its source and the origin forwarded before it is not (R1).
- An **origin** with a command id is dropped if any earlier record, dropped or not, has the same sender and id within W of it
  by the running maximum of append times (R3). It is a conflict if its payload is not that of the oldest such record.
- **Unreadable** records are those of which no one could make an event (R5). If the source of a copy can be read, it still
  counts for R1, and an id for R3, so that readers of two versions that differ in what they can show agree on the rest. If
  nothing can be read, it may have been any source's copy: the chain of every source is *open* until its next copy, which is
  taken though its predecessor is missing. Otherwise one such record would make a hole of all that follows it.
"""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from google.protobuf.message import DecodeError

from cell.log.v1 import record_pb2 as log
from cell.messaging.v1 import messaging_pb2 as messaging
from event_log import commit_metadata
from event_log.commit_metadata import MAX_OFFSET, CommitState, TailState
from event_log.port import Assignment, Commit, LogRecord
from event_log.recent_ids import RecentIds
from event_log.tail import start_of
from messaging_core.limits import DEDUP_WINDOW_S

WINDOW_US = int(DEDUP_WINDOW_S * 1_000_000)
"""W of R3."""
SNAPSHOT_EVERY_US = WINDOW_US // 16
SNAPSHOT_EVERY_RECORDS = 4_096
MAX_SNAPSHOTS = 32
"""Of the reader's state, for tail starts to come; 8 bytes for each partition of the log in each."""

_EVENT_FIELDS = {
    log.EVENT_KIND_MESSAGE: "message",
    log.EVENT_KIND_REACTION_CHANGED: "reaction_changed",
    log.EVENT_KIND_RECEIVED_MARK: "received_mark",
    log.EVENT_KIND_READ_MARK: "read_mark",
}
_parse_record = log.Record.FromString
_parse_event = messaging.Event.FromString


class Verdict(Enum):
    """What becomes of a record."""

    EFFECTIVE = "effective"
    """It counts: tell it, store it, and forward it if it is an origin."""
    DUPLICATE = "duplicate"
    """An origin whose id is in force, with the same payload (R3)."""
    CONFLICT = "conflict"
    """An origin whose id is in force, with another payload (R3)."""
    STALE = "stale"
    """A copy of an origin that was taken already (R1)."""
    HOLE = "hole"
    """A copy whose predecessor has not been taken; both will come again (R1)."""
    UNREADABLE = "unreadable"
    """No one can make an event of it: keep it as a dead letter and show a gap (R5)."""


class Reading:
    """A record and what becomes of it."""

    __slots__ = (
        "append_time_us",
        "copy",
        "event",
        "logged",
        "offset",
        "origin",
        "reason",
        "recipients",
        "time_us",
        "verdict",
    )

    logged: log.LoggedEvent
    """What both kinds carry. Set only if effective, like the two that follow."""
    recipients: tuple[str, ...]
    """The users of this partition that it is for, and in an origin those of all others."""
    event: messaging.Event
    """The event without its cursor, decoded."""

    def __init__(self, offset: int, append_time_us: int, time_us: int) -> None:
        self.offset = offset
        self.append_time_us = append_time_us
        self.time_us = time_us
        """Newest event time of the partition through this record, dropped ones included: what its cursor carries (I12)."""
        self.verdict = Verdict.UNREADABLE
        self.reason = ""
        """Why it is unreadable; else empty."""
        self.origin: log.Origin | None = None
        """Unless the record does not decode as either, this or `copy` is set."""
        self.copy: log.Copy | None = None

    @property
    def traceparent(self) -> str:
        """Trace context of what appended it; empty unless the cell traces it."""
        record = self.origin if self.origin is not None else self.copy
        return record.traceparent if record is not None else ""

    @property
    def counted(self) -> bool:
        """Whether it counts for R1 and R3, be its event readable or not: what comes after it is decided with it."""
        return self.origin is not None or self.copy is not None


class _Snapshot(NamedTuple):
    """The reader's state before the record at `offset`, but for ids."""

    offset: int
    reached_us: int
    """No record from `offset` on has a lower running time."""
    running_time_us: int
    newest_us: int
    chains: Sequence[int]


class PartitionReader:
    """Reads one partition from its tail start on, in order, and says of each record what becomes of it.

    Seek to `tail_start` and give every record to `read`. Act on those from `acts_from` on. Verdicts are those of a reader
    that never stopped (I1) from `exact_from` on; below it an origin that was dropped may look effective, so a window must
    not start there. Where the log has dropped the tail it starts with less, see `event_log/tail.py`. Raises Truncated if the
    log has dropped what is to be acted on, IncarnationChanged or CommitUnreadable if the commit does not fit it.
    """

    def __init__(
        self, partition: int, incarnation: str, partition_count: int, assignment: Assignment
    ) -> None:
        start = start_of(partition, incarnation, partition_count, assignment)
        self._partition = partition
        self._incarnation = incarnation
        self.tail_start = start.tail_start
        self.acts_from = assignment.committed.offset if assignment.committed else start.tail_start
        self.exact_from = start.exact_from
        self._kept_from = start.exact_from
        self.next_offset = start.tail_start
        """One above the last record read."""
        self._running_time_us = start.running_time_us
        self.newest_us = start.newest_us
        """Highest event time read so far; like a verdict a function of the log's prefix."""
        self._chains = list(start.chains)
        self._ids = RecentIds(WINDOW_US)
        self._snapshots: list[_Snapshot] = []
        self._take_snapshot(start.tail_start, start.running_time_us)

    @property
    def running_time_us(self) -> int:
        """Highest append time read so far: the log's time by R3, which never falls."""
        return self._running_time_us

    def read(self, record: LogRecord) -> Reading:
        """Judge the next record. Raises ValueError if it is not above the last one."""
        offset, append_time_us, value = record
        if offset < self.next_offset:
            raise ValueError(f"record {offset} where {self.next_offset} or more was due")
        running_time_us = self._running_time_us
        if append_time_us > running_time_us:
            running_time_us = append_time_us
        if running_time_us >= self._snapshot_due_us or offset >= self._snapshot_due_offset:
            self._take_snapshot(offset, running_time_us)
        self.next_offset = offset + 1
        self._running_time_us = running_time_us
        reading = Reading(offset, append_time_us, self.newest_us)
        try:
            parsed = _parse_record(value)
        except DecodeError:
            self._open_chains(reading, "not a record")
            return reading
        kind = parsed.WhichOneof("record")
        if kind == "origin":
            self._read_origin(reading, parsed.origin)
        elif kind == "copy":
            self._read_copy(reading, parsed.copy)
        else:
            self._open_chains(reading, "neither an origin nor a copy")
        return reading

    def commit_at(self, offset: int, keep_from: int | None = None) -> Commit:
        """A commit of `offset`, from which a new owner reads exactly what this one did, from min(offset, keep_from) on.

        Its tail start is at or below both, and at or below the first record within W before them (I4). `keep_from` is what
        else is still needed: history's position, or the start of a window; it must not fall from call to call (where it
        does, the highest counts). A commit of all that was read tells the state there too, so that it lasts when the log has
        dropped all that was read. Raises ValueError for an offset that was not reached yet, or is before the tail.
        """
        if not self.tail_start <= offset <= self.next_offset:
            raise ValueError(f"offset {offset} is not within {self.tail_start} to {self.next_offset}")
        self._kept_from = max(self._kept_from, offset if keep_from is None else min(offset, keep_from))
        tail = self._tail_for(self._kept_from)
        at_commit = None
        if offset == self.next_offset:
            at_commit = CommitState(self._running_time_us, self.newest_us, self._chains)
        state = TailState(
            self._incarnation,
            tail.offset,
            self._kept_from,
            tail.running_time_us,
            tail.newest_us,
            tail.chains,
            at_commit,
        )
        return Commit(offset, commit_metadata.encode(state))

    def _pass_time(self, reading: Reading, logged: log.LoggedEvent) -> None:
        if (time_us := logged.event_time_us) > self.newest_us:
            self.newest_us = reading.time_us = time_us

    def _read_origin(self, reading: Reading, origin: log.Origin) -> None:
        logged = origin.logged
        self._pass_time(reading, logged)
        verdict = Verdict.EFFECTIVE
        if command_id := origin.command_id:
            digest = origin.payload_digest
            first = self._ids.use(f"{logged.sender_id}\0{command_id}", digest, self._running_time_us)
            if first is not None:
                verdict = Verdict.DUPLICATE if first == digest else Verdict.CONFLICT
        reading.origin = origin
        if verdict is not Verdict.EFFECTIVE or _decode(reading, logged, origin.participant_ids):
            reading.verdict = verdict

    def _read_copy(self, reading: Reading, copy: log.Copy) -> None:
        logged = copy.logged
        self._pass_time(reading, logged)
        source, origin = copy.source_partition, copy.source_offset
        previous = copy.previous_offset if copy.HasField("previous_offset") else -1
        if not (0 <= source < len(self._chains) and source != self._partition):
            self._open_chains(reading, f"a copy from partition {source}")
            return
        if not -1 <= previous < origin < MAX_OFFSET:
            self._open_chains(reading, f"a copy of origin {origin} after {previous}")
            return
        chain = self._chains[source]
        taken, is_open = (chain >> 1) - 1, chain & 1
        if origin <= taken:
            verdict = Verdict.STALE
        elif previous > taken and not is_open:
            verdict = Verdict.HOLE
        else:
            verdict = Verdict.EFFECTIVE
            self._chains[source] = (origin + 1) << 1
        reading.copy = copy
        if verdict is not Verdict.EFFECTIVE or _decode(reading, logged, copy.recipient_ids):
            reading.verdict = verdict

    def _open_chains(self, reading: Reading, reason: str) -> None:
        reading.reason = reason
        self._chains = [chain | 1 for chain in self._chains]

    def _take_snapshot(self, offset: int, reached_us: int) -> None:
        """Before the record at `offset`, which brings the running time to `reached_us`."""
        self._snapshots.append(
            _Snapshot(offset, reached_us, self._running_time_us, self.newest_us, tuple(self._chains))
        )
        self._snapshot_due_us = reached_us + SNAPSHOT_EVERY_US
        self._snapshot_due_offset = offset + SNAPSHOT_EVERY_RECORDS
        if len(self._snapshots) > MAX_SNAPSHOTS:  # a coarser choice of tail starts, all of them good ones
            del self._snapshots[1:-1:2]

    def _tail_for(self, exact_from: int) -> _Snapshot:
        """The newest snapshot with everything within W before `exact_from` above it; older ones are not needed any more.

        It may be the one at `exact_from` itself, where that record came more than W after all others. The oldest always is
        such a one: it was for a lower `exact_from`, or is where this reader began.
        """
        snapshots = self._snapshots
        at = max(i for i, s in enumerate(snapshots) if s.offset <= exact_from or i == 0)
        oldest_needed_us = snapshots[at].reached_us - WINDOW_US
        at = max(i for i in range(at + 1) if i == 0 or snapshots[i].running_time_us < oldest_needed_us)
        del snapshots[:at]
        return snapshots[0]


def read_counted(partition: int, partition_count: int, record: LogRecord, time_us: int) -> Reading:
    """What this reader makes of a record that counted when it was read in its place, but could not be shown (R5).

    Effective, or unreadable still. `time_us` is its Reading.time_us then.
    """
    reader = PartitionReader(partition, "", partition_count, Assignment(partition, 0, None, 0, 0))
    reader.newest_us = time_us
    reader._chains = [1] * partition_count
    return reader.read(record)


def event_time_us(record: log.Record) -> int:
    """Time of a record's event, microseconds since 1970, whatever becomes of the record; 0 if it has none."""
    return (record.origin if record.HasField("origin") else record.copy).logged.event_time_us


def _decode(reading: Reading, logged: log.LoggedEvent, recipient_ids: Sequence[str]) -> bool:
    """Whether clients could make something of the event; says why not."""
    try:
        event = _parse_event(logged.event)
    except DecodeError:
        reading.reason = "its event does not decode"
        return False
    field = event.WhichOneof("event")
    recipients = tuple(recipient_ids[:])  # a slice of a protobuf list costs a third of going through it
    if field is None or field != _EVENT_FIELDS.get(logged.kind):
        reading.reason = f"kind {logged.kind} with an event of {field or 'unknown'}"
    elif not logged.sender_id or not recipients:
        reading.reason = "it names no sender or no recipients"
    else:
        reading.logged, reading.recipients, reading.event = logged, recipients, event
        return True
    return False
