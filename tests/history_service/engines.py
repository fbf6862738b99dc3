"""The engines of the history store, as the behaviour suite opens them."""

import asyncio
import zlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from engines.cassandra import CassandraNode
from history_service.cassandra import CassandraSettings, CassandraStore, migrate
from history_service.cassandra_schema import TABLES
from history_service.cassandra_session import CassandraSession
from history_service.embedded import EmbeddedStore
from history_service.port import HistoryStore
from tests.support.engines import unique_name

NAMES = ("embedded", "cassandra")
_TAKES_ONE_OF = 24


class Engine(ABC):
    """Makes stores."""

    @abstractmethod
    async def open(self, name: Path) -> HistoryStore:
        """The store of this folder, or of its name, as it was left."""

    @abstractmethod
    def fresh(self) -> AbstractAsyncContextManager[HistoryStore]:
        """An empty store."""

    def takes(self, example: object) -> bool:
        """Whether to try this example of a property: real servers take a second for each, and are shown fewer."""
        return True


class EmbeddedEngine(Engine):
    """SQLite in a folder."""

    async def open(self, name: Path) -> HistoryStore:
        return await EmbeddedStore.open(name)

    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[HistoryStore]:
        with TemporaryDirectory() as folder:
            store = await self.open(Path(folder))
            try:
                yield store
            finally:
                await store.close()


class CassandraEngine(Engine):
    """Keyspaces of a node that tests share; those of fresh stores are emptied and used again."""

    def __init__(self, node: CassandraNode) -> None:
        host, port = node.address.split(":")
        self._contact_point = (host, int(port))
        self._keyspaces: dict[Path, str] = {}
        self._empty: list[str] = []

    def takes(self, example: object) -> bool:
        return zlib.crc32(repr(example).encode()) % _TAKES_ONE_OF == 0

    def settings(self, keyspace: str) -> CassandraSettings:
        return CassandraSettings(contact_points=(self._contact_point,), keyspace=keyspace, development=True)

    async def open(self, name: Path) -> HistoryStore:
        if name not in self._keyspaces:
            self._keyspaces[name] = await self._new()
        return await CassandraStore.open(self.settings(self._keyspaces[name]))

    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[HistoryStore]:
        keyspace = self._empty.pop() if self._empty else await self._new()
        store = await CassandraStore.open(self.settings(keyspace))
        try:
            yield store
        finally:
            await store.close()
            await self._make_empty(keyspace)
            self._empty.append(keyspace)

    async def _new(self) -> str:
        keyspace = unique_name("history")
        await migrate(self.settings(keyspace), copies=1)
        return keyspace

    async def _make_empty(self, keyspace: str) -> None:
        session = await CassandraSession.connect(self.settings(keyspace))
        for table in TABLES.keys() - {"schema_version"}:
            await asyncio.to_thread(session.run, f"truncate {keyspace}.{table}")
        await session.close()
