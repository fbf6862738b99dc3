"""One connection to a broker, without any."""

import asyncio
from contextlib import suppress

import pytest
from kafka.protocol.metadata import ApiVersionsRequest

from event_log.kafka_connection import Connection, ConnectionLost
from tests.event_log.driving import PATIENCE_S


async def connected(port: int) -> Connection:
    connection = Connection("broker")
    await asyncio.get_running_loop().create_connection(lambda: connection, "127.0.0.1", port)
    return connection


@pytest.mark.parametrize("is_waited_for", [True, False])
async def test_one_that_does_not_answer_is_closed(is_waited_for: bool) -> None:
    """Also when whoever asked does not wait any more, or it would be asked again and again for as long as TCP hopes."""
    gone = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        gone.set()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    connection = await connected(server.sockets[0].getsockname()[1])
    request = ApiVersionsRequest(client_software_name="test", client_software_version="1", version=3)
    asking = asyncio.create_task(connection.ask(request, 0.2))
    await asyncio.sleep(0)
    if not is_waited_for:
        asking.cancel()
    with pytest.raises(ConnectionLost if is_waited_for else asyncio.CancelledError):
        await asking
    async with asyncio.timeout(PATIENCE_S):
        await gone.wait()
    assert not connection.is_open
    server.close()
