"""A cell of many processes on real engines, over TLS, and clients of it."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from check import cells
from check.cells import START_DEADLINE_S, Engines
from engines.cassandra import CassandraNode
from engines.kafka import KafkaCluster
from messaging_client import Client, NewMessage
from tests.support.engines import unique_name
from tests.system.cell_process import SECRET, token

PARTITIONS = 8


class Cell(cells.Cell):
    """Messaging servers with workers, delivery and history services, on one Kafka and one Cassandra."""

    def __init__(self, folder: Path, kafka: KafkaCluster, cassandra: CassandraNode) -> None:
        engines = Engines(",".join(kafka.addresses()), cassandra.address, unique_name("cell"))
        super().__init__(folder, engines, settings={"jwt_secret": SECRET, "partitions": PARTITIONS})

    def client(self, user: str, number: int) -> Client:
        """A client of a user, connected to one of the servers."""
        address = self.addresses[number % len(self.addresses)]
        return Client(address, token(user), credentials=self.credentials)


@contextmanager
def running(
    folder: Path, kafka: KafkaCluster, cassandra: CassandraNode, servers: Sequence[str]
) -> Iterator[Cell]:
    """A cell with these messaging servers, of two workers each, two delivery and two history services; all serve."""
    cell = Cell(folder, kafka, cassandra)
    try:
        cell.migrate()
        for name in servers:
            cell.add_server(name, workers=2)
        for number in (1, 2):
            cell.add_delivery(f"delivery-{number}")
            cell.add_history(f"history-{number}")
        cell.wait_serving()
        yield cell
    finally:
        cell.kill()


class Reader:
    """A client that writes down what it is told."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.texts: list[str] = []
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for event in self.client.events():
            if isinstance(event, NewMessage):
                self.texts.append(event.message.text)

    async def until(self, count: int) -> None:
        """Until it was told of so many messages."""
        async with asyncio.timeout(START_DEADLINE_S):
            while len(self.texts) < count:
                await asyncio.sleep(0.05)

    async def close(self) -> None:
        """Stop reading."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.client.close()
