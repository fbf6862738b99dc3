"""The engines of the history store, as the behaviour suite opens them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from history_service.embedded import EmbeddedStore
from history_service.port import HistoryStore


class EmbeddedEngine:
    """SQLite in a folder."""

    async def open(self, folder: Path) -> HistoryStore:
        """The store of this folder, as it was left."""
        return await EmbeddedStore.open(folder)

    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[HistoryStore]:
        """An empty store."""
        with TemporaryDirectory() as folder:
            store = await self.open(Path(folder))
            try:
                yield store
            finally:
                await store.close()


ENGINES = {"embedded": EmbeddedEngine()}
