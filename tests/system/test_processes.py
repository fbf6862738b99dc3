"""The cell as many processes on Kafka and Cassandra: clients of one user spread over all of them, TLS on."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator

import pytest

from engines.cassandra import CassandraNode
from engines.kafka import KafkaCluster
from tests.system.processes import Cell, running
from tests.system.room import Room

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def cell(
    tmp_path_factory: pytest.TempPathFactory, kafka: KafkaCluster, cassandra: CassandraNode
) -> Iterator[Cell]:
    with running(tmp_path_factory.mktemp("cell"), kafka, cassandra, ["server-1", "server-2"]) as made:
        yield made


@pytest.fixture
async def room(cell: Cell) -> AsyncIterator[Room]:
    async with Room(cell, 4) as opened:
        yield opened


async def test_clients_everywhere_see_the_same(room: Room) -> None:
    """Eight clients of two users on four workers: each message once, in one order for each user, and in history."""
    await room.goes_on(40)
    await room.check()


async def test_a_delivery_service_is_killed_and_another_joins(cell: Cell, room: Room) -> None:
    """Its partitions move to the other, and back to one that joins: each event once, in order (R1, R7)."""
    await room.goes_on()
    cell.processes["delivery-1"].kill()
    await room.goes_on()
    cell.processes["delivery-1"].start()
    await asyncio.to_thread(cell.wait_serving, "delivery-1")
    await room.goes_on()
    await room.check()


async def test_a_delivery_service_leaves(cell: Cell, room: Room) -> None:
    """A planned stop hands over; one that comes back takes its share."""
    await room.goes_on()
    assert await asyncio.to_thread(cell.processes["delivery-2"].stop) == 0
    await room.goes_on()
    cell.processes["delivery-2"].start()
    await asyncio.to_thread(cell.wait_serving, "delivery-2")
    await room.goes_on()
    await room.check()


async def test_a_worker_is_killed(cell: Cell, room: Room) -> None:
    """Its clients come back elsewhere with nothing missing, and a new worker takes its place."""
    await room.goes_on()
    server = cell.processes["server-1"]
    before = server.workers()
    os.kill(before[0], signal.SIGKILL)
    await room.goes_on()
    async with asyncio.timeout(60):
        while len(server.workers()) < 2 or before[0] in server.workers():
            await asyncio.sleep(0.1)
    await room.check()


async def test_each_process_restarts_in_turn(cell: Cell, room: Room) -> None:
    """A rolling restart: no send fails, each event comes once, history is whole."""
    for name, process in cell.processes.items():
        await room.goes_on(10)
        assert await asyncio.to_thread(process.stop) == 0, process.tail()
        process.start()
        await asyncio.to_thread(cell.wait_serving, name)
    await room.goes_on(10)
    await room.check()
