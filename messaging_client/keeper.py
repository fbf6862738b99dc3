"""Makes the protocol's changes durable: all that have come up share one commit, in the store's own thread."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from messaging_client.errors import ClientFailed, StoreFailed
from messaging_client.kept import Change, Kept, Store
from messaging_client.protocol import Protocol

_log = logging.getLogger("messaging_client")


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
        """Done when the commit under way is over, well or not. No task: whoever ends all tasks does not end it."""
        self._over: ClientFailed | None = None
        """Why nothing is kept any more, whatever else has ended the client before."""

    async def load(self) -> Kept:
        """Open the store. Raises StoreFailed, StoreInUse."""
        if not self.is_durable:
            return self._store.load()
        self._thread = ThreadPoolExecutor(1, "messaging_client-store")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._store.load)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise

    def keeps(self, protocol: Protocol, on_change: Callable[[], None]) -> None:
        """What to keep from now on, and what to call after each commit."""
        self._protocol = protocol
        self._on_change = on_change

    async def keep(self) -> None:
        """Return once every change so far is durable. Raises StoreFailed, or ClientFailed after `close`."""
        target = self._taken + len(self._protocol.journal)
        while self._kept < target:
            if self._over is not None:
                raise self._over.with_traceback(None)
            self.keep_soon()
            if self._keeping is not None:
                await asyncio.shield(self._keeping)

    def keep_soon(self) -> None:
        """Begin to make the changes durable."""
        if not self.is_durable:
            self._taken += len(self._protocol.journal)
            self._kept = self._taken
            self._protocol.journal.clear()
        elif self._over is not None:
            return  # what was lost must not be followed: the file stays as it was before
        elif self._keeping is None and self._protocol.journal:
            loop = asyncio.get_running_loop()
            self._keeping = loop.create_future()
            loop.call_soon(self._commit)  # what else comes up in this turn of the loop shares it

    async def close(self) -> None:
        """Keep what is left, and release the store, also where that cannot be kept. Raises StoreFailed then.

        Not where that has ended the client: it was told then.
        """
        try:
            if self._over is None or self._over is not self._protocol.failure:
                await self.keep()
        finally:
            self._over = self._over or ClientFailed("the client is closed")
            if self._thread is None:
                self._store.close()
            else:
                releasing = asyncio.get_running_loop().run_in_executor(self._thread, self._store.close)
                self._thread.shutdown(wait=False)  # it does what it was given before, and then this
                await asyncio.shield(releasing)

    def _commit(self) -> None:
        self._taken += len(self._protocol.journal)
        changes = self._protocol.take_journal()
        try:
            committing = asyncio.get_running_loop().run_in_executor(self._thread, self._try, changes)
        except RuntimeError as error:  # it was closed in this turn of the loop, or the interpreter ends
            self._committed(error)
        else:
            committing.add_done_callback(lambda _: self._committed(committing.result()))

    def _try(self, changes: Sequence[Change]) -> BaseException | None:
        try:
            self._store.commit(changes)
        except BaseException as error:
            # Of a store of one's own, too, whatever it is: what it was given is lost, and must not be followed.
            return error
        return None

    def _committed(self, error: BaseException | None) -> None:
        if error is None:
            self._kept = self._taken
        elif self._over is None:
            _log.error("the store fails: %s", error)
            failed = error if isinstance(error, StoreFailed) else StoreFailed(f"the store fails: {error!r}")
            self._over = failed
            self._protocol.fail(failed)
        keeping, self._keeping = self._keeping, None
        assert keeping is not None  # it was made before the commit, and only this ends it
        keeping.set_result(None)
        self._on_change()
