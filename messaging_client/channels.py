"""The gRPC channel of a client, and when another one takes its place."""

import asyncio
from collections.abc import Iterable
from typing import Any

import grpc
import grpc.aio

_GRACE_S = 10.0
"""For calls under way on a channel that is given up."""
_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # its own connection, which ends with it
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),  # the pause between attempts is the protocol's
    ("grpc.max_receive_message_length", 67_108_864),
)


class Channels:
    """One channel at a time, for the stream and for calls.

    Each stream but the first gets a new one: behind the old one may be a connection that is dead without knowing it, or a
    server that is leaving.
    """

    def __init__(
        self, address: str, credentials: grpc.ChannelCredentials | None, options: Iterable[tuple[str, Any]]
    ) -> None:
        self._address = address
        self._credentials = credentials
        self._options = (*_OPTIONS, *options)
        self._channel: grpc.aio.Channel | None = None
        self._had_stream = False
        self._closing: set[asyncio.Future[None]] = set()

    def for_call(self) -> grpc.aio.Channel:
        """The present channel."""
        if self._channel is None:
            if self._credentials is None:
                self._channel = grpc.aio.insecure_channel(self._address, self._options)
            else:
                self._channel = grpc.aio.secure_channel(self._address, self._credentials, self._options)
        return self._channel

    def for_stream(self) -> grpc.aio.Channel:
        """A channel that had no stream yet."""
        if self._had_stream:
            self._give_up()
        self._had_stream = True
        return self.for_call()

    async def close(self) -> None:
        """End all calls."""
        for closing in self._closing:
            closing.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    def _give_up(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            closing: asyncio.Future[None] = asyncio.ensure_future(channel.close(_GRACE_S))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
