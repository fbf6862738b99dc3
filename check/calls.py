"""What every call to a cell from outside needs: a channel, the token in its metadata, patience."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import grpc

DEADLINE_S = 90.0
"""How long a test waits for what must come. Generous: it is reached only when something is broken."""

STATUS_LOST = "Internal error from Core"
"""What grpcio makes of a stream that the server ended while it wrote: the status that the server gave is lost to it."""

_CHANNEL_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # each client its own connection
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 10_000),  # how long one attempt may take, on a machine that is busy
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_receive_message_length", 64 << 20),
)


def open_channel(address: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.aio.Channel:
    """A connection of its own; with credentials over TLS."""
    if credentials is not None:
        return grpc.aio.secure_channel(address, credentials, options=_CHANNEL_OPTIONS)
    return grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata of every call."""
    return (("authorization", f"Bearer {token}"),)


async def eventually(
    condition: Callable[[], Awaitable[bool]], what: str, deadline_s: float = DEADLINE_S
) -> None:
    """Ask again and again until the answer is yes."""
    end = time.monotonic() + deadline_s
    while not await condition():
        if time.monotonic() > end:
            raise TimeoutError(f"never: {what}")
        await asyncio.sleep(0.05)
