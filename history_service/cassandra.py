"""History in Cassandra: the store of a cell of many processes. `cassandra_schema.py` says what its tables hold.

Everything is read and written at LOCAL_QUORUM, so a read sees every write that ended before it began. Statements are
idempotent by construction: rows that never change, or values that win by the log's order as their timestamp. So a batch
that failed is written again, and nothing is read before it is written.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Self

from cassandra.query import PreparedStatement

from history_service import cassandra_schema as schema
from history_service.cassandra_events import EventReads
from history_service.cassandra_reads import Reads
from history_service.cassandra_session import CassandraSession, CassandraSettings, Writer
from history_service.cassandra_writes import Writes
from history_service.port import (
    Batch,
    Cut,
    EventsAsked,
    EventsFound,
    HistoryStore,
    MessageKey,
    Overview,
    Page,
    Persisted,
    StoredMessage,
    StoreError,
)

__all__ = ["CassandraSettings", "CassandraStore", "migrate"]

_LEAST_COPIES = 3
"""With fewer, a quorum is all of them, or none is left when one node is lost."""


async def migrate(
    settings: CassandraSettings, copies: int, inbox_days: int = schema.DEFAULT_INBOX_DAYS
) -> None:
    """Make the keyspace and its tables where they are missing. Run by one at a time.

    Raises StoreError where what is there does not fit, StoreUnavailable.
    """
    session = await CassandraSession.connect(settings)
    try:
        await asyncio.to_thread(_migrate, session, settings, copies, inbox_days)
    finally:
        await session.close()


class CassandraStore(HistoryStore):
    """History in one keyspace. See the module's text."""

    # What costs here is a mutation, and rows of one user or conversation that stand together share one; a registration
    # does not wait for them. What a poll brings bounds a batch before this does.
    batch_records = 8_192
    write_interval_s = 1.0

    def __init__(self, session: CassandraSession, keyspace: str) -> None:
        """Use `open`."""
        self._session = session
        self._incarnations = _Incarnations(session, keyspace)
        self._writes = Writes(session, keyspace)
        self._reads = Reads(session, keyspace)
        self._events = EventReads(session, keyspace, self._reads)
        self._persisted = session.prepare(
            f"select through, time_us from {keyspace}.positions where incarnation = ? and partition = ?"
        )

    @classmethod
    async def open(cls, settings: CassandraSettings) -> Self:
        """Open the store.

        Raises StoreError where the keyspace is not one of `migrate`, or keeps too few copies; StoreUnavailable.
        """
        session = await CassandraSession.connect(settings)
        try:
            await asyncio.to_thread(_check, session, settings)
            return await asyncio.to_thread(cls, session, settings.keyspace)
        except BaseException:
            await session.close()
            raise

    async def write(self, batch: Batch) -> None:
        """See HistoryStore."""

        def write(writer: Writer) -> None:
            self._writes.write(writer, batch, self._incarnations.number(writer, batch.incarnation))

        await self._session.in_writer(write)

    async def register(self, conversation_id: str, participants: tuple[str, ...]) -> None:
        """See HistoryStore. Does not wait for the writer's thread: a first message's sender does."""
        await self._session.rows(*self._writes.registration(conversation_id, participants))

    async def participants(self, conversation_ids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """See HistoryStore."""
        return await self._reads.participants(conversation_ids)

    async def persisted(self, incarnation: str, partition: int) -> Persisted:
        """See HistoryStore."""
        row = await self._session.row(self._persisted, (incarnation, partition))
        return Persisted(-1, 0) if row is None else Persisted(*row)

    async def events(self, asked: EventsAsked) -> EventsFound:
        """See HistoryStore."""
        epoch = await self._incarnations.known(asked.incarnation)
        return EventsFound([], True) if epoch is None else await self._events.events(asked, epoch)

    async def messages(
        self, conversation_id: str, cut: Cut, newer: bool, limit: int, max_bytes: int, reader_id: str
    ) -> Page[StoredMessage]:
        """See HistoryStore."""
        return await self._reads.messages(conversation_id, cut, newer, limit, max_bytes, reader_id)

    async def named_messages(
        self, names: Sequence[tuple[str, MessageKey]], reader_id: str
    ) -> Sequence[StoredMessage | None]:
        """See HistoryStore."""
        return await self._reads.named_messages(names, reader_id)

    async def overviews(
        self, user_id: str, before: tuple[int, str] | None, limit: int, max_bytes: int
    ) -> Page[Overview]:
        """See HistoryStore."""
        return await self._reads.overviews(user_id, before, limit, max_bytes)

    async def overview(self, user_id: str, conversation_id: str) -> Overview | None:
        """See HistoryStore."""
        return await self._reads.overview(user_id, conversation_id)

    async def close(self) -> None:
        """See HistoryStore."""
        await self._session.close()


class _Incarnations:
    """Numbers the incarnations of the log as they come, from 1, by lightweight transactions; remembers them."""

    _SCOPE = "log"

    def __init__(self, session: CassandraSession, keyspace: str) -> None:
        table = f"{keyspace}.incarnations"
        self._session = session
        self._all: PreparedStatement = session.prepare(
            f"select number, incarnation from {table} where scope = '{self._SCOPE}'"
        )
        self._claim: PreparedStatement = session.prepare(
            f"insert into {table} (scope, number, incarnation) values ('{self._SCOPE}', ?, ?) if not exists"
        )
        self._numbers: dict[str, int] = {}

    async def known(self, incarnation: str) -> int | None:
        """Its number; None while nothing of it was written."""
        if incarnation not in self._numbers:
            for number, name in await self._session.rows(self._all, ()):
                self._numbers.setdefault(name, number)
        return self._numbers.get(incarnation)

    def number(self, writer: Writer, incarnation: str) -> int:
        """Its number, which it has from now on; in the writer's thread."""
        while incarnation not in self._numbers:
            known = writer.rows(self._all, ())
            for number, name in known:
                self._numbers.setdefault(name, number)
            if incarnation not in self._numbers:  # whoever else numbers at this moment: one of us gets it
                writer.rows(self._claim, (len(known) + 1, incarnation))
        return self._numbers[incarnation]


def _migrate(session: CassandraSession, settings: CassandraSettings, copies: int, inbox_days: int) -> None:
    if (version := _version(session, settings.keyspace)) > schema.VERSION:
        raise _other_version(settings.keyspace, version)
    replication = schema.Replication(settings.datacenter or session.datacenter, copies)
    for statement in schema.statements(settings.keyspace, replication, inbox_days):
        session.define(statement)
    _check(session, settings)


def _check(session: CassandraSession, settings: CassandraSettings) -> None:
    """Whether the keyspace is what this program knows. Raises StoreError."""
    name = settings.keyspace
    replication = session.replication(name)
    if replication is None:
        raise StoreError(f"keyspace {name}: there is none of this name; `cell migrate` makes it")
    copies = replication.get(settings.datacenter or session.datacenter, 0)
    if copies < _LEAST_COPIES and not settings.development:
        raise StoreError(
            f"keyspace {name}: keeps {copies} copies of a row in the datacenter, at least {_LEAST_COPIES} are needed; "
            "fewer only where few_copies is set"
        )
    if not session.has_table(name, "schema_version"):
        raise StoreError(
            f"keyspace {name}: is not a history of the messaging cell, or `cell migrate` has not run"
        )
    if (version := _version(session, name)) != schema.VERSION:
        raise _other_version(name, version)


def _version(session: CassandraSession, keyspace: str) -> int:
    """Of the tables that are there; 0 where there are none."""
    if not session.has_table(keyspace, "schema_version"):
        return 0
    rows = session.run(f"select version from {keyspace}.schema_version where scope = 'history'")
    return int(rows[0][0]) if rows else 0


def _other_version(keyspace: str, version: int) -> StoreError:
    return StoreError(
        f"keyspace {keyspace}: its tables are of version {version}, this program knows {schema.VERSION}"
        + ("; run `cell migrate`" if version < schema.VERSION else "")
    )
