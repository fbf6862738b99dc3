"""What is asked of the Cassandra store about a user's events: inbox, large conversations, gaps and marks, in one order."""

from asyncio import gather
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final, NamedTuple

from history_service.cassandra_reads import Reads
from history_service.cassandra_schema import (
    EPOCH,
    POSITIONS_PER_BUCKET,
    READER_CONVERSATION,
    READER_EVERYONE,
    READER_USER,
)
from history_service.cassandra_session import CassandraSession, TooLarge
from history_service.cassandra_writes import read_mark
from history_service.port import EventsAsked, EventsFound, StoredEvent

_QUERIES: Final = {
    "start": "select position from {keyspace}.event_starts where partition = ? limit 1",
    "events": """select position, logged, time_us from {keyspace}.events
        where partition = ? and bucket = ? and reader in ? and position >= ? and position <= ?""",
    "marks": """select conversation_id, marker_id, kind, sent_at_us, value from {keyspace}.event_marks
        where partition = ? and bucket = ? and user_id = ?""",
    "marks in force": """select conversation_id, marker_id, kind, sent_at_us, value from {keyspace}.marks
        where user_id = ? and conversation_id in ?""",
}
_FIRST_SPAN = 1_024
"""Positions looked through at first: fewer where they hold much for the user, more where little."""
_LAST_SPAN = 16 * POSITIONS_PER_BUCKET
_LITTLE_BYTES = 64 * 1024
_MUCH_BYTES = 4 * 1024 * 1024
_IN_FORCE_AT_ONCE = 100
_NOWHERE = 2**63 - 1

_Found = tuple[int, bytes, int]
"""Position, logged, gap time."""


class _Piece(NamedTuple):
    """Positions of one bucket."""

    bucket: int
    first: int
    last: int


class EventReads:
    """Reads of events."""

    def __init__(self, session: CassandraSession, keyspace: str, reads: Reads) -> None:
        """Prepare the queries, which blocks."""
        self._session = session
        self._reads = reads
        self._queries = {
            name: session.prepare(cql.format(keyspace=keyspace)) for name, cql in _QUERIES.items()
        }

    async def events(self, asked: EventsAsked, epoch: int) -> EventsFound:
        """HistoryStore.events, of the incarnation with this number."""
        base = epoch * EPOCH
        first, last = base + asked.after + 1, base + asked.through
        kept_from = min(last + 1, await self._kept_from(asked.partition))
        if kept_from > first:
            page = await self._page(asked, base, kept_from, last)
            return page._replace(kept_from=kept_from - base)
        return await self._page(asked, base, first, last)

    async def _kept_from(self, partition: int) -> int:
        """From which position on all events are still there."""
        row = await self._session.row(self._queries["start"], (partition,))
        return _NOWHERE if row is None else int(row[0])

    async def _page(self, asked: EventsAsked, base: int, first: int, last: int) -> EventsFound:
        if first > last:
            return EventsFound([], True)
        large = await self._reads.large_conversations(asked.user_id)
        readers = [
            READER_EVERYONE,
            READER_USER + asked.user_id,
            *(READER_CONVERSATION + conversation_id for conversation_id in large),
        ]
        marks = _Marks(self._session, self._queries["marks"], self._queries["marks in force"], asked)
        events: list[StoredEvent] = []
        size, span = 0, _FIRST_SPAN
        while first <= last:
            end = min(last, first + span - 1)
            try:
                found = await self._between(asked.partition, readers, marks, first, end)
            except TooLarge:
                span = max(1, span // 8)
                continue
            for position, logged, time_us in found:
                size += len(logged)
                if len(events) == asked.max_events or (events and size > asked.max_bytes):
                    return EventsFound(events, False)
                events.append(StoredEvent(position - base, logged, time_us))
            if sum(len(logged) for _, logged, _ in found) < _LITTLE_BYTES:
                span = min(4 * span, _LAST_SPAN)
            first = end + 1
        return EventsFound(events, True)

    async def _between(
        self, partition: int, readers: Sequence[str], marks: "_Marks", first: int, last: int
    ) -> list[_Found]:
        """What these readers are told at these positions, in order, each position once. Raises TooLarge.

        An event counts, not the gap that was in its place before it was put back.
        """
        pieces = list(_pieces(first, last))
        max_bytes = _MUCH_BYTES if last > first else None
        query = self._queries["events"]
        answers = await gather(
            *(
                self._session.rows(query, (partition, each.bucket, readers, each.first, each.last), max_bytes)
                for each in pieces
            ),
        )
        told: dict[int, _Found] = {}
        for position, logged, time_us in chain.from_iterable(answers):
            if logged or position not in told:
                told[position] = (position, logged, time_us or 0)
        for position, logged in await marks.between(pieces):
            if position not in told or not told[position][1]:
                told[position] = (position, logged, 0)
        return [told[position] for position in sorted(told)]


class _Marks:
    """The marks that a user is told, of which only those in force count. Remembers them by bucket for one page."""

    def __init__(
        self, session: CassandraSession, by_bucket: object, in_force: object, asked: EventsAsked
    ) -> None:
        self._session = session
        self._by_bucket = by_bucket
        self._in_force = in_force
        self._asked = asked
        self._known: dict[int, list[tuple[int, bytes]]] = {}

    async def between(self, pieces: Sequence[_Piece]) -> list[tuple[int, bytes]]:
        """(position, logged) of marks at these positions."""
        unknown = [each.bucket for each in pieces if each.bucket not in self._known]
        for bucket, marks in zip(unknown, await gather(*map(self._of, unknown)), strict=True):
            self._known[bucket] = marks
        return [
            (position, logged)
            for each in pieces
            for position, logged in self._known[each.bucket]
            if each.first <= position <= each.last
        ]

    async def _of(self, bucket: int) -> list[tuple[int, bytes]]:
        user_id = self._asked.user_id
        rows = await self._session.rows(self._by_bucket, (self._asked.partition, bucket, user_id))
        if not rows:
            return []
        names = sorted({row[0] for row in rows})
        in_force = await gather(
            *(
                self._session.rows(self._in_force, (user_id, names[start : start + _IN_FORCE_AT_ONCE]))
                for start in range(0, len(names), _IN_FORCE_AT_ONCE)
            )
        )
        highest = {row for answer in in_force for row in answer}
        marks = (read_mark((user_id, *row[:3]), row[3], row[4]) for row in rows if row in highest)
        return [(position, mark.logged) for position, mark in marks]


def _pieces(first: int, last: int) -> Iterator[_Piece]:
    """Positions from `first` through `last` by bucket."""
    while first <= last:
        bucket = first // POSITIONS_PER_BUCKET
        end = min(last, (bucket + 1) * POSITIONS_PER_BUCKET - 1)
        yield _Piece(bucket, first, end)
        first = end + 1
