"""Makes the protocol's changes durable: all that have come up share one commit, in the store's own thread."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from messaging_client.errors import StoreFailed
from messaging_client.kept import Kept, Store
from messaging_client.protocol import Protocol

_log = logging.getLogger("messaging_client")
Answer = TypeVar("Answer")


class Keeper:
    """Stands between a protocol and its store. A store that fails ends the client, and is not written again."""

    def __init__(self, store: Store) -> None:
        self.is_durable = store.is_durable
        self._store = store
        self._thread: ThreadPoolExecutor | None = None
        self._taken = 0
        """Changes taken from the journal so far."""
        self._kept = 0
        """Of those, how many are durable."""
        self._keeping: asyncio.Future[None] | None = None

    async def load(self) -> Kept:
        """Open the store. Raises StoreFailed, StoreInUse."""
        if self.is_durable:
            self._thread = ThreadPoolExecutor(1, "messaging_client-store")
        try:
            return await self._in_thread(self._store.load)
        except BaseException:
            self._stop_thread()
            raise

    def keeps(self, protocol: Protocol, on_change: Callable[[], None]) -> None:
        """What to keep from now on, and what to call after each commit."""
        self._protocol = protocol
        self._on_change = on_change

    async def keep(self) -> None:
        """Return once every change so far is durable. Raises StoreFailed."""
        target = self._taken + len(self._protocol.journal)
        while self._kept < target:
            if isinstance(self._protocol.failure, StoreFailed):
                self._protocol.check()
            self.keep_soon()
            if self._keeping is not None:
                await asyncio.shield(self._keeping)

    def keep_soon(self) -> None:
        """Begin to make the changes durable."""
        if not self.is_durable:
            self._taken += len(self._protocol.journal)
            self._kept = self._taken
            self._protocol.journal.clear()
        elif isinstance(self._protocol.failure, StoreFailed):
            return  # what was lost must not be followed: the file stays as it was before
        elif self._keeping is None and self._protocol.journal:
            self._keeping = asyncio.ensure_future(self._commit())

    async def close(self) -> None:
        """Keep what is left, and release the store."""
        if not isinstance(self._protocol.failure, StoreFailed):
            await self.keep()
        await self._in_thread(self._store.close)
        self._stop_thread()

    async def _commit(self) -> None:
        self._taken += len(self._protocol.journal)
        changes = self._protocol.take_journal()
        try:
            await self._in_thread(lambda: self._store.commit(changes))
            self._kept = self._taken
        except (
            Exception
        ) as error:  # of a store of one's own, too: what it was given is lost, and must not be followed
            _log.error("the store fails: %s", error)
            failed = error if isinstance(error, StoreFailed) else StoreFailed(f"the store fails: {error!r}")
            self._protocol.fail(failed)
        finally:
            self._keeping = None
        self._on_change()

    async def _in_thread(self, function: Callable[[], Answer]) -> Answer:
        if self._thread is None:
            return function()
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    def _stop_thread(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=False)
            self._thread = None
