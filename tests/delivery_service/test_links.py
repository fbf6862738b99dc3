"""Links that are lost, whatever was still to be sent on them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

import grpc
import pytest

from cell.delivery.v1 import session_link_pb2 as link
from delivery_service.links import Links, LinkTarget
from delivery_service.outbox import Outbox
from messaging_core.events import PositionedEvent
from session_link.grpc_link import SERVER_OPTIONS, add_session_link_service, dial
from session_link.in_process import in_process_link
from session_link.port import OwnerEnd, ServerEnd
from tests.support.delivery_harness import QUICK

Serve = Callable[[ServerEnd], Awaitable[None]]
Dial = Callable[[], Awaitable[OwnerEnd]]


@asynccontextmanager
async def in_process(serve: Serve) -> AsyncIterator[Dial]:
    serving: set[asyncio.Future[None]] = set()

    async def dial_here() -> OwnerEnd:
        owner, server = in_process_link()
        serving.add(asyncio.ensure_future(serve(server)))
        return owner

    yield dial_here
    await asyncio.gather(*serving)


@asynccontextmanager
async def over_grpc(serve: Serve) -> AsyncIterator[Dial]:
    server = grpc.aio.server(options=SERVER_OPTIONS)
    add_session_link_service(server, serve)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield lambda: dial(f"127.0.0.1:{port}")
    await server.stop(0)


@pytest.mark.parametrize("kind", [in_process, over_grpc], ids=["in process", "gRPC"])
async def test_a_link_that_is_lost_with_much_to_send_is_dialed_again(
    kind: Callable[[Serve], AbstractAsyncContextManager[Dial]],
) -> None:
    """Waiting for room in its queue ends with the link: it is unlinked and dialed anew, so that sessions attach (I10)."""
    served = 0
    heard, again = asyncio.Event(), asyncio.Event()
    unlinked: list[Outbox] = []

    async def serve(end: ServerEnd) -> None:
        """Attach a session, take nothing, and once its owner has heard that, break the link; the next one stays."""
        nonlocal served
        served += 1
        if served > 1:
            again.set()
            return
        end.send([link.ServerMessage(attach=link.Attach())])
        await heard.wait()
        await end.close()

    def hear(outbox: Outbox, message: link.ServerMessage) -> None:
        for offset in range(100):
            outbox.routed(0, PositionedEvent(offset, bytes(200_000), 1, b"", ""), (1,))
        heard.set()

    settings = replace(QUICK, link_pause_bytes=1_000)
    links = Links(settings, lambda outbox: None, hear, unlinked.append)
    async with kind(serve) as dial_it:
        keeping = asyncio.create_task(links.keep(LinkTarget("server", dial_it)))
        async with asyncio.timeout(30):
            await again.wait()
        assert unlinked
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await links.close()
