"""History in a SQLite file: the store of the embedded engine.

Files
    A folder of its own, locked by one process, holds `history.db` in WAL mode with synchronous FULL. One thread writes: it
    takes everything that waits, runs it in one transaction, and answers when that is durable. A few threads read, each with
    its own connection, so a read sees one snapshot and waits for no write.

Tables (WITHOUT ROWID, clustered by the key that is asked for)
    incarnations    of the log, numbered as they come. `position` below is number * 2**48 + offset, so positions of a later
                    incarnation are above those of earlier ones
    positions       how far each partition is stored, by (incarnation, partition)
    conversations   who takes part, ids joined by line feeds, by conversation
    messages        by (conversation, sent_at, sender, message)
    reactions       by (message, key, user); removed ones stay
    inbox           events of a user by (user, position)
    shared_inbox    events of large conversations by (conversation, partition, position)
    marks           by (user who was told, conversation, marker, kind), and indexed by (user, position)
    overviews       conversations of a user by (user, conversation); `last_at_us` is kept up where `shared` is 0, and read
                    from messages where it is 1, which also says that the shared inbox is merged into the user's events
    gaps            records that cannot be read, by (partition, position)
"""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Self, TypeVar

from history_service import embedded_reads as reads
from history_service.embedded_file import FILE, opening, prepare
from history_service.embedded_threads import Workers, WriteRunner, run_reads
from history_service.embedded_writes import ADD_CONVERSATION, write
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
)
from messaging_core.sqlite import Lock, connect

R = TypeVar("R")

_READERS = 2
_WRITES_AT_ONCE = 1_024
_WRITER_CACHE_KIB = 16_384
_READER_CACHE_KIB = 8_192


class EmbeddedStore(HistoryStore):
    """History in one folder. See the module's text."""

    def __init__(self, lock: Lock, writer: Workers, readers: Workers) -> None:
        """Use `open`."""
        self._lock = lock
        self._writer = writer
        self._readers = readers

    @classmethod
    async def open(cls, folder: Path) -> Self:
        """Open the store in `folder`, made if need be.

        Raises StoreError where the file is not a history, is of another version or damaged, or is in use by another process.
        """
        path = folder / FILE
        lock = await asyncio.to_thread(prepare, folder)
        with opening(path, lock), ExitStack() as opened:
            write_connection = opened.enter_context(closing(_cached(connect(path), _WRITER_CACHE_KIB)))
            connections = [
                opened.enter_context(closing(_cached(connect(path, read_only=True), _READER_CACHE_KIB)))
                for _ in range(_READERS)
            ]
            opened.pop_all()
        writer = Workers("history-writer", [write_connection], WriteRunner(), _WRITES_AT_ONCE)
        readers = Workers("history-reader", connections, run_reads, 1)
        return cls(lock, writer, readers)

    async def write(self, batch: Batch) -> None:
        """See HistoryStore."""
        await self._writer.run(lambda connection: write(connection, batch))

    async def register(self, conversation_id: str, participants: tuple[str, ...]) -> None:
        """See HistoryStore."""
        rows = [(conversation_id, "\n".join(participants))]
        await self._writer.run(lambda connection: connection.executemany(ADD_CONVERSATION, rows))

    async def participants(self, conversation_ids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """See HistoryStore."""
        return await self._read(lambda connection: reads.participants(connection, conversation_ids))

    async def persisted(self, incarnation: str, partition: int) -> Persisted:
        """See HistoryStore."""
        return await self._read(lambda connection: reads.persisted(connection, incarnation, partition))

    async def events(self, asked: EventsAsked) -> EventsFound:
        """See HistoryStore."""
        return await self._read(lambda connection: reads.events(connection, asked))

    async def messages(
        self, conversation_id: str, cut: Cut, newer: bool, limit: int, max_bytes: int, reader_id: str
    ) -> Page[StoredMessage]:
        """See HistoryStore."""
        return await self._read(
            lambda connection: reads.messages(
                connection, conversation_id, cut, newer, limit, max_bytes, reader_id
            )
        )

    async def named_messages(
        self, names: Sequence[tuple[str, MessageKey]], reader_id: str
    ) -> Sequence[StoredMessage | None]:
        """See HistoryStore."""
        return await self._read(lambda connection: reads.named_messages(connection, names, reader_id))

    async def overviews(
        self, user_id: str, before: tuple[int, str] | None, limit: int, max_bytes: int
    ) -> Page[Overview]:
        """See HistoryStore."""
        return await self._read(
            lambda connection: reads.overviews(connection, user_id, before, limit, max_bytes)
        )

    async def overview(self, user_id: str, conversation_id: str) -> Overview | None:
        """See HistoryStore."""
        return await self._read(lambda connection: reads.overview(connection, user_id, conversation_id))

    async def close(self) -> None:
        """See HistoryStore."""
        await self._writer.close()
        await self._readers.close()
        self._lock.release()

    async def _read(self, query: Callable[[sqlite3.Connection], R]) -> R:
        return await self._readers.run(query)


def _cached(connection: sqlite3.Connection, cache_kib: int) -> sqlite3.Connection:
    connection.execute(f"pragma cache_size = {-cache_kib}")
    return connection
