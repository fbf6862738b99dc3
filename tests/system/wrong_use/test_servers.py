"""Streams and calls that meet a server which is full, leaves, or stood still, and a client that takes nothing.

Servers are those of `cell run`, in this process; clients are plain ones, over gRPC.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from cell.messaging.v1 import messaging_pb2 as messaging
from check.calls import bearer, eventually
from check.plain_client import PlainClient
from check.plain_outbox import text_message
from tests.system.cell_process import token
from tests.system.raw_stream import CONNECT, frame, hello, say
from tests.system.wrong_use import situations
from tests.system.wrong_use.servers import Servers, running_servers

pytestmark = pytest.mark.timeout(180)

WAYS = ["Connect", "Subscribe", "Execute", "SendMessage"]


async def refused(client: PlainClient, address: str, way: str, situation: situations.Situation) -> None:
    """A stream that opens now, or a call, gets this answer."""
    if way == "Connect":
        heard = await say(address, client.metadata, frame(hello()), done=False)
        situation.answer.check_end(heard.code, heard.details, heard.trailing)
        return
    send = text_message("not done", ["bob"], "not-done").send_message
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "Subscribe": lambda: client.messaging.Subscribe(
            messaging.SubscribeRequest(hello=messaging.Hello()), metadata=client.metadata
        ).read(),
        "Execute": lambda: client.messaging.Execute(
            messaging.ExecuteRequest(commands=[messaging.Command(command_id=1, send_message=send)]),
            metadata=client.metadata,
        ),
        "SendMessage": lambda: client.messaging.SendMessage(
            messaging.SendMessageRequest(send_message=send), metadata=client.metadata
        ),
    }
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await calls[way]()
    error = caught.value
    if way == "Subscribe":
        situation.answer.check_end(error.code(), error.details() or "", error.trailing_metadata() or ())
    else:
        situation.answer.check_error(error)


@pytest.mark.parametrize("way", ["Connect", "Subscribe"])
async def test_a_full_server_takes_no_stream_and_serves_the_others(tmp_path: Path, way: str) -> None:
    """The stream is refused; calls and the streams that are there go on; with room another one is taken."""
    async with running_servers(tmp_path, max_streams=1) as cell:
        async with cell.client("ann") as ann:
            await refused(ann, cell.addresses[0], way, situations.FULL)
            sent = await ann.send("goes on", ["bob"])
        async with cell.client("bob") as bob:
            assert await bob.message("ann", sent.ref.message_id) == sent


@pytest.mark.parametrize("way", WAYS)
async def test_a_server_that_leaves_refuses_and_loses_nothing(tmp_path: Path, way: str) -> None:
    """A stream is told to leave and ends; new ones and calls are refused; what was sent before is at the other server."""
    async with (
        running_servers(tmp_path, 2, drain_s=0.2, drain_grace_s=0.5) as cell,
        cell.client("ann", reconnects=False) as ann,
        cell.client("bob", 1) as bob,
    ):
        sent = await ann.send("before", ["bob"])
        draining = asyncio.create_task(cell.servers[0].drain())
        assert await ann.until_ended() == situations.LEAVING.answer.code
        assert [away.reason for away in ann.go_aways] == [messaging.GO_AWAY_REASON_DRAIN]
        await refused(ann, cell.addresses[0], way, situations.LEAVING)
        await draining
        after = await bob.send("after", ["ann"])
        async with cell.client("ann", 1) as again:
            await again.message("bob", after.ref.message_id)
            for client in (again, bob):
                assert [event.message for event in client.ledger.events] == [sent, after]


@pytest.mark.parametrize("way", WAYS)
async def test_a_server_that_stood_still_takes_nothing_old(tmp_path: Path, way: str) -> None:
    """Its streams end before what waited in their sockets is done, calls are refused for a moment, and all goes on (R3)."""
    async with running_servers(tmp_path) as cell, cell.client("ann", reconnects=False) as ann:
        before = await ann.send("before", ["bob"])
        now_s = cell.servers[0].now_s
        cell.servers[0].now_s = lambda: now_s() + 20
        await refused(ann, cell.addresses[0], way, situations.PAUSED)
        assert await ann.until_ended() == situations.PAUSED.answer.code
        async with cell.client("ann") as again:
            after = await again.send("after", ["bob"])
            assert [event.message for event in again.ledger.events] == [before, after]


async def test_a_client_that_takes_nothing_is_left(tmp_path: Path) -> None:
    """Its stream ends, and says why once it is read; others are not held up, and nothing is lost to who comes back."""
    async with (
        running_servers(tmp_path, slow_consumer_s=1.0, event_buffer_bytes=100_000) as cell,
        cell.client("ann") as ann,
        grpc.aio.insecure_channel(cell.addresses[0]) as channel,
    ):
        stuck: Any = channel.stream_stream(CONNECT)(metadata=bearer(token("bob")))
        await stuck.write(frame(hello()))
        sends = [text_message("x" * 60_000, ["bob"]) for _ in range(300)]
        await ann.settle(*[ann.submit(send) for send in sends])

        async def has_ended() -> bool:
            return not cell.servers[0].streams_of("bob") or _ended(cell)

        await eventually(has_ended, "the end of the stream")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            while await stuck.read() is not grpc.aio.EOF:
                pass
        error = caught.value
        situations.TAKES_NOTHING.answer.check_end(
            error.code(), error.details() or "", error.trailing_metadata() or ()
        )
        async with cell.client("bob") as bob:
            await bob.until_events(len(sends))
            names = [event.message.ref.message_id for event in bob.ledger.events]
            assert sorted(names) == sorted(send.send_message.message_id for send in sends)


def _ended(cell: Servers) -> bool:
    return all(stream.ending is not None for stream in cell.servers[0].streams_of("bob"))
