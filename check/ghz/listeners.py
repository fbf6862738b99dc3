"""A stream for each user that counts what comes, so that a message counts when it has come and not when a call was OK."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from cell.messaging.v1 import messaging_pb2 as messaging
from check.grpc_stream import GrpcStream
from check.load import CONNECT, EVENT, RESUMED, updates

_LIVE_TIMEOUT_S = 60.0
_SILENCE_S = 15.0
"""After which what has not come is lost."""


class Listeners:
    """All users' streams."""

    def __init__(self) -> None:
        self.came = 0
        """Events."""
        self.ended: list[str] = []
        """Why streams ended that should not have."""
        self._live = 0

    async def wait(self, expected: int) -> int:
        """Until so many events have come since the last time, or none come any more; how many there were."""
        came, changed_s = -1, time.monotonic()
        while self.came < expected and time.monotonic() - changed_s < _SILENCE_S:
            if self.came != came:
                came, changed_s = self.came, time.monotonic()
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)  # what comes twice
        found, self.came = self.came, 0
        return found

    def take(self, frame: bytes) -> None:
        """A frame has come to one of them."""
        for kind, _, _ in updates(frame):
            self.came += kind == EVENT
            self._live += kind == RESUMED

    async def live(self, count: int) -> None:
        """Until so many are. Raises TimeoutError, RuntimeError."""
        async with asyncio.timeout(_LIVE_TIMEOUT_S):
            while self._live < count:
                if self.ended:
                    raise RuntimeError(self.ended[0])
                await asyncio.sleep(0.01)


@asynccontextmanager
async def listening(address: str, tokens: Sequence[str]) -> AsyncIterator[Listeners]:
    """Streams of the users of these tokens, live until the block ends. Raises TimeoutError, RuntimeError."""
    found = Listeners()
    host, _, port = address.rpartition(":")
    hello = messaging.Command(command_id=1, hello=messaging.Hello(live_only=True))
    frame = messaging.ConnectRequest(commands=[hello]).SerializeToString()
    loop, streams = asyncio.get_running_loop(), list[GrpcStream]()
    try:
        for token in tokens:
            metadata = {"authorization": f"Bearer {token}"}
            streams.append(GrpcStream(CONNECT, metadata, found.take, found.ended.append))
            await loop.create_connection(lambda: streams[-1], host, int(port))
            streams[-1].send(frame)
        await found.live(len(streams))
        yield found
    finally:
        for stream in streams:
            stream.close()
        await asyncio.sleep(0)
