"""How a consumer's one task waits for news, of whatever kind."""

import asyncio


class Waiter:
    """Belongs to one event loop; at most one task waits at a time."""

    __slots__ = ("_future",)

    def __init__(self) -> None:
        self._future: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Let whoever waits look again; nothing where nobody waits."""
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def wait(self, timeout_s: float) -> None:
        """Until `wake`, or for so long: the caller looks at the clock itself."""
        loop = asyncio.get_running_loop()
        self._future = loop.create_future()
        timer = loop.call_later(timeout_s, self.wake)
        try:
            await self._future
        finally:
            timer.cancel()
            self._future = None
