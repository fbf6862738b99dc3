"""All clients of another server come at once, or all come back."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from cell.messaging.v1 import messaging_pb2 as messaging
from check.plain_client import PlainClient
from check.throughput import returns
from tests.system.cell_process import CellProcess, free_port, token

STREAMS = 2_500
"""More than the 1,000 pending calls beyond which grpc by default cancels some."""
RETURNING = 40
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


async def test_those_that_come_back_after_a_kill_are_served_from_the_window(tmp_path: Path) -> None:
    """A cell is killed -9 and started again: its clients go on where they were, and none from history (R8, R10)."""
    metrics = f"127.0.0.1:{free_port()}"
    with CellProcess(tmp_path, {"metrics_listen": metrics}) as cell:
        async with AsyncExitStack() as clients_of_it:
            made = [PlainClient(cell.address, f"user-{number}", token) for number in range(RETURNING)]
            clients = [await clients_of_it.enter_async_context(client) for client in made]
            for text in ("first", "second", "third"):
                await asyncio.gather(
                    *(clients[n].send(text, [clients[n - 1].user_id]) for n in range(RETURNING))
                )
            await asyncio.gather(*(client.until_events(6) for client in clients))
            cell.kill()
            await asyncio.gather(*(client.until_ended() for client in clients))
            await asyncio.to_thread(cell.start)
            await asyncio.gather(*(client.until_resumed() for client in clients))
            assert all(len(client.ledger.events) == 6 for client in clients)
            served = (await returns.fetch([metrics]))[metrics]
            assert served.window >= RETURNING
            assert served.behind == served.pages == 0
