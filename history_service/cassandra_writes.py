"""What the Cassandra store writes. Each statement can be run again, whatever was written since, and changes nothing.

Rows of one partition of Cassandra go in one batch, which is one mutation there; the others in batches by the node that has
their first copy, those of one user or conversation beside one another, so that they share mutations. Batches are
unlogged: each row stands for itself, and what failed is written again.
"""

import struct
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

from cassandra.query import UNSET_VALUE, BatchStatement, BatchType, PreparedStatement

from history_service.cassandra_schema import (
    EPOCH,
    POSITIONS_PER_BUCKET,
    READER_CONVERSATION,
    READER_EVERYONE,
    READER_USER,
    bucket_of,
)
from history_service.cassandra_session import CassandraSession, Writer
from history_service.port import Batch, MarkRow, MessageKey
from history_service.rows import Lately

_COLUMNS: Final = {
    "messages": "(conversation_id, bucket, sent_at_us, sender_id, message_id, event) values (?, ?, ?, ?, ?, ?)",
    "reactions": """(conversation_id, bucket, sent_at_us, sender_id, message_id, key, user_id, removed)
        values (?, ?, ?, ?, ?, ?, ?, ?) using timestamp ?""",
    "conversations": "(conversation_id, participants) values (?, ?)",
    "conversation_buckets": "(conversation_id, bucket) values (?, ?)",
    "activity": "(user_id, conversation_id, last_at_us) values (?, ?, ?) using timestamp ?",
    "memberships": "(user_id, conversation_id) values (?, ?)",
    "marks": """(user_id, conversation_id, marker_id, kind, sent_at_us, value) values (?, ?, ?, ?, ?, ?)
        using timestamp ?""",
    "events": "(partition, bucket, reader, position, logged, time_us) values (?, ?, ?, ?, ?, ?)",
    "event_marks": """(partition, bucket, user_id, conversation_id, marker_id, kind, sent_at_us, value)
        values (?, ?, ?, ?, ?, ?, ?, ?) using timestamp ?""",
    "event_starts": "(partition, position) values (?, ?)",
    "positions": "(incarnation, partition, through, time_us) values (?, ?, ?, ?) using timestamp ?",
}
_BATCH_STATEMENTS = 10
"""Of several partitions: with more Cassandra warns, by default, and managed services refuse more than 30."""
_BATCH_BYTES = 4 * 1024
"""Of several partitions, together, unless one row is larger: with 5 KiB Cassandra warns, by default, for each batch."""
_MUTATION_BYTES = 128 * 1024
"""Of one partition, together, unless one row is larger: what flows well; a mutation may be 16 MiB by default."""
_ROW_BYTES = 100
"""What a row takes beside its blob, roughly."""
_REMEMBERED = 65_536
_START_EVERY_S = 6 * 3_600.0
"""Between two positions from which on a partition is said to be there in full: so much too early events count as gone."""


class _Row(NamedTuple):
    table: str
    values: tuple[object, ...]
    size: int = _ROW_BYTES


class _Start(NamedTuple):
    """A position from which on all that a partition of the log tells is there, and when that was said (monotonic)."""

    position: int
    at_s: float


class Writes:
    """Writes batches; everything but making it runs in the writer's thread."""

    def __init__(self, session: CassandraSession, keyspace: str) -> None:
        """Prepare the statements, which blocks."""
        self._prepared: dict[str, PreparedStatement] = {
            table: session.prepare(f"insert into {keyspace}.{table} {columns}")
            for table, columns in _COLUMNS.items()
        }
        self._buckets: Lately[tuple[object, ...]] = Lately(_REMEMBERED)
        self._said: dict[int, _Start] = {}
        """From where on each partition of the log was last said to be there in full."""

    def registration(
        self, conversation_id: str, participants: Sequence[str]
    ) -> tuple[PreparedStatement, tuple[object, ...]]:
        """What HistoryStore.register runs: a statement and its values."""
        return self._prepared["conversations"], (conversation_id, "\n".join(participants))

    def write(self, writer: Writer, batch: Batch, epoch: int) -> None:
        """HistoryStore.write; `epoch` is the number of the batch's incarnation."""
        buckets: set[tuple[object, ...]] = set()
        told, firsts = self._told(batch, epoch * EPOCH)
        starts = self._starts(batch, firsts, time.monotonic())
        rows = [*_of_conversations(batch, epoch * EPOCH, buckets), *_of_users(batch, epoch * EPOCH)]
        new = [bucket for bucket in buckets if bucket not in self._buckets]
        rows += [_Row(str(table), tuple(key)) for table, *key in new]
        rows += [_Row("event_starts", (partition, start.position)) for partition, start in starts.items()]
        rows.sort(key=_owner)
        writer.run([*self._by_partition(told.values()), *self._by_node(writer, rows)])
        for bucket in new:  # now they are there, and need not be written again
            self._buckets.add(bucket)
        self._said.update(starts)
        positions = [
            _Row("positions", (batch.incarnation, partition, through, time_us, through))
            for partition, (through, time_us) in batch.positions.items()
        ]
        writer.run(self._by_node(writer, positions))

    def _told(self, batch: Batch, base: int) -> tuple[dict[tuple[int, int], list[_Row]], dict[int, int]]:
        """Rows of what readers are told, by partition of the log and bucket; the first position of each partition."""
        rows: defaultdict[tuple[int, int], list[_Row]] = defaultdict(list)
        firsts: dict[int, int] = {}

        def place_of(partition: int, position: int) -> tuple[int, int]:
            if position < firsts.setdefault(partition, position):
                firsts[partition] = position
            return partition, position // POSITIONS_PER_BUCKET

        def add(partition: int, reader: str, position: int, logged: bytes, time_us: object) -> None:
            place = place_of(partition, position)
            values = (*place, reader, position, logged, time_us)
            rows[place].append(_Row("events", values, _ROW_BYTES + len(logged)))

        for partition, inbox in batch.inbox.items():
            for user_id, offset, logged in inbox:
                add(partition, READER_USER + user_id, base + offset, logged, UNSET_VALUE)
        for conversation_id, partition, offset, logged in batch.shared_inbox:
            add(partition, READER_CONVERSATION + conversation_id, base + offset, logged, UNSET_VALUE)
        for partition, offset, time_us in batch.gaps:
            add(partition, READER_EVERYONE, base + offset, b"", time_us)
        for partition, marks in batch.marks.items():
            for mark in marks:
                place = place_of(partition, base + mark.offset)
                rows[place].append(_mark_row("event_marks", place, mark, base))
        return rows, firsts

    def _starts(self, batch: Batch, firsts: Mapping[int, int], now_s: float) -> dict[int, _Start]:
        """What is to be said now: what follows these positions is written from now on.

        Only of partitions whose positions come with the batch, as those of a consumer do, which goes on from there. What
        follows a record that is put back was written long before, and goes long before it.
        """
        due = (p for p, first in firsts.items() if p in batch.positions and self._is_due(p, first, now_s))
        return {p: _Start(firsts[p], now_s) for p in due}

    def _is_due(self, partition: int, position: int, now_s: float) -> bool:
        """Whether nothing was said lately, or only of later positions, as before a consumer went back to earlier records."""
        said = self._said.get(partition)
        return said is None or position < said.position or now_s - said.at_s >= _START_EVERY_S

    def _by_partition(self, groups: Iterable[Sequence[_Row]]) -> Iterator[Any]:
        for rows in groups:
            yield from self._batches(rows, len(rows), _MUTATION_BYTES)

    def _by_node(self, writer: Writer, rows: Iterable[_Row]) -> Iterator[Any]:
        groups: defaultdict[object, list[_Row]] = defaultdict(list)
        for row in rows:
            groups[writer.node_of(self._prepared[row.table], row.values)].append(row)
        for group in groups.values():
            yield from self._batches(group, _BATCH_STATEMENTS, _BATCH_BYTES)

    def _batches(self, rows: Sequence[_Row], most: int, max_bytes: int) -> Iterator[Any]:
        prepared = self._prepared
        batch, count, size = BatchStatement(BatchType.UNLOGGED), 0, 0
        for row in rows:
            if count == most or (count and size + row.size > max_bytes):
                yield batch
                batch, count, size = BatchStatement(BatchType.UNLOGGED), 0, 0
            batch.add(prepared[row.table], row.values)
            count += 1
            size += row.size
        if count:
            yield batch


def mark_value(through: MessageKey, position: int, logged: bytes) -> bytes:
    """The value of a mark: of two with the same sent_at the greater bytes are the higher mark."""
    names = f"{through.sender_id}\0{through.message_id}\0".encode()
    return names + struct.pack(">Q", position) + logged


def read_mark(names: tuple[str, str, str, int], sent_at_us: int, value: bytes) -> tuple[int, MarkRow]:
    """A mark's position, and the mark, of (user, conversation, marker, kind)."""
    sender_id, message_id, rest = value.split(b"\0", 2)
    (position,) = struct.unpack_from(">Q", rest)
    mark = MarkRow(*names, sent_at_us, sender_id.decode(), message_id.decode(), position % EPOCH, rest[8:])
    return position, mark


def _owner(row: _Row) -> str:
    """The user or conversation that it is of: what its place in Cassandra begins with."""
    return str(row.values[0])


def _of_conversations(batch: Batch, base: int, buckets: set[tuple[object, ...]]) -> Iterator[_Row]:
    counts = batch.participant_counts
    for message in batch.messages:
        place = (message.conversation_id, bucket_of(message.sent_at_us, counts[message.conversation_id]))
        yield _Row("messages", (*place, *message[1:]), _ROW_BYTES + len(message.event))
        buckets.add(("conversation_buckets", *place))
    for reaction in batch.reactions:
        place = (reaction.conversation_id, bucket_of(reaction.sent_at_us, counts[reaction.conversation_id]))
        position = base + reaction.origin_offset
        yield _Row("reactions", (*place, *reaction[1:6], reaction.removed, position))
    for conversation_id, users in batch.conversations.items():
        joined = "\n".join(users)
        yield _Row("conversations", (conversation_id, joined), _ROW_BYTES + len(joined))


def _of_users(batch: Batch, base: int) -> Iterator[_Row]:
    for (user_id, conversation_id), last_at_us in batch.activity.items():
        yield _Row("activity", (user_id, conversation_id, last_at_us, last_at_us))
    for name in batch.memberships:
        yield _Row("memberships", name)
    for mark in chain.from_iterable(batch.marks.values()):
        yield _mark_row("marks", (), mark, base)


def _mark_row(table: str, place: tuple[object, ...], mark: MarkRow, base: int) -> _Row:
    value = mark_value(mark.through, base + mark.offset, mark.logged)
    return _Row(table, (*place, *mark[:4], mark.sent_at_us, value, mark.sent_at_us), _ROW_BYTES + len(value))
