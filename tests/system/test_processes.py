"""The cell as many processes on Kafka and Cassandra: clients of one user spread over all of them, TLS on."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator

import pytest

from engines.cassandra import CassandraNode
from engines.kafka import KafkaCluster
from tests.system.processes import Cell, Reader

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def cell(
    tmp_path_factory: pytest.TempPathFactory, kafka: KafkaCluster, cassandra: CassandraNode
) -> Iterator[Cell]:
    made = Cell(tmp_path_factory.mktemp("cell"), kafka, cassandra)
    try:
        made.migrate()
        for name in ("server-1", "server-2"):
            made.add_server(name, workers=2)
        for name in ("delivery-1", "delivery-2"):
            made.add_delivery(name)
        for name in ("history-1", "history-2"):
            made.add_history(name)
        made.wait_serving()
        yield made
    finally:
        made.kill()


class Room:
    """Two users with clients everywhere, who write to each other all the time."""

    def __init__(self, cell: Cell, prefix: str, clients: int) -> None:
        self.users = (f"{prefix}-ann", f"{prefix}-bob")
        self._cell = cell
        self._clients = clients
        self.readers: dict[str, list[Reader]] = {}
        self.sent: list[str] = []
        self._writing: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        for user in self.users:
            self.readers[user] = []
            for number in range(self._clients):
                client = self._cell.client(user, number)
                await client.start()
                await client.online()
                self.readers[user].append(Reader(client))
        for user, other in (self.users, self.users[::-1]):
            for number, reader in enumerate(self.readers[user][:2]):
                self._writing.append(asyncio.create_task(self._write(reader, f"{user}-{number}", other)))

    async def _write(self, reader: Reader, name: str, other: str) -> None:
        number = 0
        while True:
            text = f"{name}-{number}"
            await reader.client.send(text, to=other, timeout_s=120)
            self.sent.append(text)
            number += 1
            await asyncio.sleep(0.02)

    async def goes_on(self, messages: int = 20) -> None:
        """Until so many more were accepted and told to everyone."""
        async with asyncio.timeout(120):
            for _ in range(2):  # what was told before does not count
                accepted = len(self.sent) + messages
                while len(self.sent) < accepted:
                    await asyncio.sleep(0.02)
                for reader in self.all:
                    while len(reader.texts) < accepted - messages:
                        await asyncio.sleep(0.02)

    @property
    def all(self) -> list[Reader]:
        return [reader for readers in self.readers.values() for reader in readers]

    async def check(self) -> None:
        """Stop writing. Everyone was told of everything once; all clients of a user in the same order; history has it."""
        for task in self._writing:
            task.cancel()
        ended = await asyncio.gather(*self._writing, return_exceptions=True)
        assert all(isinstance(error, asyncio.CancelledError) for error in ended), ended
        # A send that was cancelled may have landed: it counts for all or for none.
        for reader in self.all:
            await reader.until(len(self.sent))
        await asyncio.sleep(1)
        for readers in self.readers.values():
            orders = [reader.texts for reader in readers]
            assert all(order == orders[0] for order in orders)
            assert len(set(orders[0])) == len(orders[0])
            assert set(self.sent) <= set(orders[0])
            assert len(orders[0]) <= len(self.sent) + len(self._writing)
            for writer in {text.rpartition("-")[0] for text in self.sent}:
                numbers = [int(t.rpartition("-")[2]) for t in orders[0] if t.startswith(f"{writer}-")]
                assert numbers == sorted(numbers)
        told = set(self.all[0].texts)
        assert all(set(reader.texts) == told for reader in self.all)
        reader = self.readers[self.users[0]][0]
        async with asyncio.timeout(120):
            while {m.message.text async for m in reader.client.history(to=self.users[1])} != told:
                await asyncio.sleep(0.2)

    async def close(self) -> None:
        for task in self._writing:
            task.cancel()
        for reader in self.all:
            await reader.close()


@pytest.fixture
async def room(cell: Cell, request: pytest.FixtureRequest) -> AsyncIterator[Room]:
    opened = Room(cell, str(abs(hash(request.node.name)) % 10_000), 4)
    try:
        await opened.open()
        yield opened
    finally:
        await opened.close()


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
