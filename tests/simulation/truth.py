"""What must be, from the log's content alone: the effective set stated again, independently of the reader.

- An origin with an id counts iff no record of the partition with the same sender and id came within W before it, by the
  running maximum of append times.
- Of the copies in a target, those count that continue the list of the source's effective origins that name users there:
  the first copy of the next origin due, each time. Nothing here looks at `previous_offset`.
- A record that cannot be shown is a gap for everyone of its partition.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from cell.log.v1 import record_pb2 as log
from cell.messaging.v1 import messaging_pb2 as messaging
from event_log.port import LogRecord

W_US = 60_000_000
RUDE = "rude-"
"""What the ids of clients that do not keep to R3 start with."""
SHOWN_KINDS = {1: "message", 2: "reaction_changed", 3: "received_mark", 4: "read_mark"}

RefKey = tuple[int, str, str]
ReactionKey = tuple[RefKey, str, str]
MarkKey = tuple[str, str, int]


class Violation(AssertionError):
    """An invariant does not hold."""


def ref_key(ref: messaging.MessageRef) -> RefKey:
    """Sorts as conversations are shown."""
    return ref.sent_at.ToMicroseconds(), ref.sender_id, ref.message_id


@dataclass(slots=True)
class Entry:
    """An effective record, or an unreadable one (`event` is None)."""

    offset: int
    users: frozenset[str] | None
    event: messaging.Event | None
    sender: str = ""
    conversation_id: str = ""
    origin_offset: int = -1
    time_us: int = 0

    def mark(self) -> tuple[MarkKey, RefKey] | None:
        """Whose mark of what kind where, and through which message."""
        kind = self.event.WhichOneof("event") if self.event else None
        if kind not in ("received_mark", "read_mark"):
            return None
        assert self.event
        through = (self.event.read_mark if kind == "read_mark" else self.event.received_mark).through
        return (self.conversation_id, self.sender, 4 if kind == "read_mark" else 3), ref_key(through)

    def reaction(self) -> tuple[ReactionKey, bool] | None:
        """Which reaction, and whether it was taken back."""
        if self.event is None or not self.event.HasField("reaction_changed"):
            return None
        changed = self.event.reaction_changed
        return (ref_key(changed.message), changed.user_id, changed.key), changed.removed


class Due(NamedTuple):
    """A copy that a target is to get."""

    source_offset: int
    users: frozenset[str]
    logged: bytes


class Partition:
    """One partition's records."""

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        self.of_user: defaultdict[str, list[int]] = defaultdict(list)
        self.gaps: list[int] = []
        self.running_us = 0
        self.times: list[int] = []
        """The running time at each record."""
        self.newest: list[int] = []
        """The newest event time through each record: what a cursor there carries (I12)."""
        self.uses: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        self.marks: defaultdict[tuple[str, MarkKey], list[tuple[RefKey, int]]] = defaultdict(list)


class Truth:
    """Of all partitions."""

    def __init__(self, partitions: int, partition_of: Callable[[str], int]) -> None:
        self.partition_of = partition_of
        self.partitions = [Partition() for _ in range(partitions)]
        self.due: defaultdict[tuple[int, int], list[Due]] = defaultdict(list)
        self.taken: defaultdict[tuple[int, int], int] = defaultdict(int)
        self.effective_ids: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.landed_attempts: set[str] = set()
        self.conflicts: set[tuple[str, str]] = set()
        self.mark_records = 0

    # The log grows.

    def landed(self, number: int, record: LogRecord) -> None:
        partition = self.partitions[number]
        partition.running_us = max(partition.running_us, record.append_time_us)
        partition.times.append(partition.running_us)
        parsed = log.Record.FromString(record.value)
        carrier = parsed.origin if parsed.HasField("origin") else parsed.copy
        partition.newest.append(max(carrier.logged.event_time_us, *partition.newest[-1:], 0))
        if parsed.WhichOneof("record") == "origin":
            self._origin(number, record.offset, parsed.origin)
        else:
            self._copy(number, record.offset, parsed.copy)

    def _origin(self, number: int, offset: int, origin: log.Origin) -> None:
        partition, logged = self.partitions[number], origin.logged
        event = messaging.Event.FromString(logged.event)
        self.landed_attempts.add(event.traceparent)
        if origin.command_id:
            name = (logged.sender_id, origin.command_id)
            uses = partition.uses[name]
            within = [digest for time_us, digest in uses if partition.running_us - time_us <= W_US]
            uses.append((partition.running_us, origin.payload_digest))
            if within:
                if within[0] != origin.payload_digest:
                    self.conflicts.add(name)
                return
            self.effective_ids[name] += 1
            if self.effective_ids[name] > 1 and not origin.command_id.startswith(RUDE):
                raise Violation(f"I5: {name} is effective twice")
        if logged.kind not in SHOWN_KINDS:
            partition.entries[offset] = Entry(offset, None, None)
            partition.gaps.append(offset)
            return
        users = frozenset(origin.participant_ids)
        here = frozenset(user for user in users if self.partition_of(user) == number)
        self._add(number, Entry(offset, here, event), logged, offset)
        encoded = logged.SerializeToString()
        for target in {self.partition_of(user) for user in users} - {number}:
            there = frozenset(user for user in users if self.partition_of(user) == target)
            self.due[number, target].append(Due(offset, there, encoded))

    def _copy(self, number: int, offset: int, copy: log.Copy) -> None:
        lane = (copy.source_partition, number)
        dues = self.due[lane]
        at = bisect_right(dues, copy.source_offset, key=lambda due: due.source_offset) - 1
        due = dues[at] if at >= 0 else None
        if due is None or due.source_offset != copy.source_offset:
            raise Violation(
                f"I2: a copy in {number} of {copy.source_offset} of {lane[0]}, which is not due there"
            )
        if due.users != frozenset(copy.recipient_ids) or due.logged != copy.logged.SerializeToString():
            raise Violation(
                f"I2: a copy in {number} of {copy.source_offset} of {lane[0]} says something else"
            )
        if at == self.taken[lane]:
            self.taken[lane] += 1
            event = messaging.Event.FromString(copy.logged.event)
            self._add(number, Entry(offset, due.users, event), copy.logged, copy.source_offset)

    def _add(self, number: int, entry: Entry, logged: log.LoggedEvent, origin_offset: int) -> None:
        partition = self.partitions[number]
        entry.sender, entry.conversation_id = logged.sender_id, logged.conversation_id
        entry.origin_offset, entry.time_us = origin_offset, logged.event_time_us
        partition.entries[entry.offset] = entry
        marked = entry.mark()
        for user in entry.users or ():
            partition.of_user[user].append(entry.offset)
            if marked is not None:
                partition.marks[user, marked[0]].append((marked[1], entry.offset))

    # What is asked of it.

    def concerning(self, user: str, after: int, below: int) -> list[int]:
        """Offsets between these, both not included, of what concerns a user."""
        partition = self.partitions[self.partition_of(user)]
        mine, gaps = partition.of_user[user], partition.gaps
        found = mine[bisect_right(mine, after) :] + gaps[bisect_right(gaps, after) :]
        return sorted(offset for offset in found if offset < below)

    def may_skip(self, user: str, offset: int) -> bool:
        """Whether this is a mark with another one as high: history tells only the highest."""
        partition = self.partitions[self.partition_of(user)]
        marked = partition.entries[offset].mark()
        return marked is not None and any(
            value >= marked[1] and at != offset for value, at in partition.marks[user, marked[0]]
        )

    def check_passed(self, rule: str, user: str, after: int, below: int) -> None:
        """Raises Violation if something between was to be told."""
        missed = [offset for offset in self.concerning(user, after, below) if not self.may_skip(user, offset)]
        if missed:
            raise Violation(f"{rule}: {user} passed from {after} to {below} without {missed}")

    def entry_of(self, user: str, offset: int) -> Entry | None:
        """What concerns the user at an offset."""
        entry = self.partitions[self.partition_of(user)].entries.get(offset)
        return entry if entry and (entry.users is None or user in entry.users) else None

    def check_commit(self, source: int, offset: int) -> None:
        """I3: everything below is durable, and effective, in all its targets."""
        for (lane_source, target), dues in self.due.items():
            if lane_source == source:
                below = bisect_right(dues, offset - 1, key=lambda due: due.source_offset)
                if below > self.taken[lane_source, target]:
                    raise Violation(f"I3: {source} committed {offset}, {target} lacks {dues[below - 1]}")

    def check_tail(self, partition: int, tail_start: int, *needed: int) -> None:
        """I4: the tail reaches back to W before the first record that verdicts must be exact for."""
        from_offset = min(needed)
        times = self.partitions[partition].times
        if tail_start > from_offset:
            raise Violation(f"I4: tail of {partition} from {tail_start}, needed from {from_offset}")
        if from_offset < len(times) and any(
            time_us >= times[from_offset] - W_US for time_us in times[:tail_start]
        ):
            raise Violation(
                f"I4: tail of {partition} from {tail_start} is shorter than W before {from_offset}"
            )

    def missing_copies(self) -> list[tuple[int, int]]:
        """Lanes (source, target) with origins that have no effective copy yet."""
        return [lane for lane, dues in self.due.items() if self.taken[lane] < len(dues)]

    def entries(self, user: str) -> Iterable[Entry]:
        """All that was told to a user."""
        partition = self.partitions[self.partition_of(user)]
        return (partition.entries[offset] for offset in partition.of_user[user])


class Fold:
    """Reactions and marks as a client makes them of what it is told (I11)."""

    def __init__(self) -> None:
        self.reactions: dict[ReactionKey, bool] = {}
        self.marks: dict[MarkKey, RefKey] = {}

    def add(self, entry: Entry) -> None:
        """The next that is told: the last reaction counts, and the highest mark."""
        if (reaction := entry.reaction()) is not None:
            self.reactions[reaction[0]] = reaction[1]
        elif (mark := entry.mark()) is not None:
            self.marks[mark[0]] = max(self.marks.get(mark[0], (0, "", "")), mark[1])


def fold_of(truth: Truth, user: str) -> Fold:
    """By origin, not by the order of telling: the highest origin counts."""
    fold = Fold()
    origins: dict[ReactionKey, int] = {}
    for entry in truth.entries(user):
        reaction = entry.reaction()
        if reaction is None:
            fold.add(entry)
        elif entry.origin_offset > origins.get(reaction[0], -1):
            origins[reaction[0]] = entry.origin_offset
            fold.add(entry)
    return fold
