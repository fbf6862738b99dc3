"""All clients of another server come at once."""

import asyncio
from typing import Any

import grpc
import pytest

from cell.messaging.v1 import messaging_pb2 as messaging
from tests.system.cell_process import CellProcess, token

STREAMS = 2_500
"""More than the 1,000 pending calls beyond which grpc by default cancels some."""
HELLO = messaging.ConnectRequest(
    commands=[{"command_id": 1, "hello": {"live_only": True}}]
).SerializeToString()

pytestmark = pytest.mark.timeout(180)


async def test_all_that_come_at_once_are_let_in(cell: CellProcess) -> None:
    """2,500 streams, each on a connection of its own, are opened in one moment: each gets its Welcome."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(cell.address, options=options) for _ in range(STREAMS)]
    try:
        method = "/cell.messaging.v1.MessagingService/Connect"
        calls: list[Any] = [
            channel.stream_stream(method)(metadata=(("authorization", f"Bearer {token(f'user-{i}')}"),))
            for i, channel in enumerate(channels)
        ]

        async def welcome(call: Any) -> str:
            await call.write(HELLO)
            frame = await call.read()
            assert isinstance(frame, bytes)
            return messaging.ConnectResponse.FromString(frame).updates[0].welcome.user_id

        users = await asyncio.gather(*(welcome(call) for call in calls))
        assert users == [f"user-{i}" for i in range(STREAMS)]
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))
