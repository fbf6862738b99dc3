"""Kafka and Cassandra go away under load: nothing that was accepted is lost or doubled, and all goes on by itself.

CASSANDRA_AWAY_S and KAFKA_AWAY_S set for how long, in seconds; with OUTAGES=all servers stand still, too.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from cell.messaging.v1 import messaging_pb2 as messaging
from check.plain_client import PlainClient
from check.plain_outbox import text_message
from engines.cassandra import CassandraNode
from engines.kafka import KafkaCluster
from engines.run_folder import RunFolder
from engines.server import Server
from tests.support.engines import LONG, needed, unique_name
from tests.system.cell_process import token
from tests.system.processes import Cell, running
from tests.system.room import Room

CASSANDRA_AWAY_S = float(os.environ.get("CASSANDRA_AWAY_S", "8"))
KAFKA_AWAY_S = float(os.environ.get("KAFKA_AWAY_S", "5"))

pytestmark = [pytest.mark.timeout(600), LONG]


@pytest.fixture(scope="module")
def own_run() -> Iterator[RunFolder]:
    """For servers that these tests stop."""
    run = RunFolder.create()
    yield run
    run.close()


@pytest.fixture(scope="module")
def own_kafka(own_run: RunFolder) -> KafkaCluster:
    return needed(lambda: KafkaCluster(own_run))


@pytest.fixture(scope="module")
def own_cassandra(own_run: RunFolder) -> CassandraNode:
    return needed(lambda: CassandraNode(own_run))


@pytest.fixture(scope="module")
def cell(
    tmp_path_factory: pytest.TempPathFactory, own_kafka: KafkaCluster, own_cassandra: CassandraNode
) -> Iterator[Cell]:
    own_kafka.start()
    own_cassandra.start()
    with running(tmp_path_factory.mktemp("cell"), own_kafka, own_cassandra, ["server"]) as made:
        yield made


@pytest.fixture
async def room(cell: Cell) -> AsyncIterator[Room]:
    async with Room(cell, 2) as opened:
        await opened.goes_on()
        yield opened
    cell.check_running()


def stopped(server: Server) -> None:
    """Kill -9: its connections break."""
    server.kill()


def frozen(server: Server) -> None:
    """It keeps its connections and answers nothing."""
    server.pause()


# A server that stands still takes as long again; the suite has minutes, not hours.
AWAY = pytest.mark.parametrize("take", [stopped, frozen] if os.environ.get("OUTAGES") == "all" else [stopped])


async def bring_back(server: Server) -> None:
    """Start it again or let it go on, and wait until it serves."""
    if server.pid is not None:
        server.resume()
    await asyncio.to_thread(server.start)


async def until(due_s: float, work: Callable[[], Awaitable[None]]) -> int:
    """Do it again and again until a time of the monotonic clock; how often."""
    times = 0
    while time.monotonic() < due_s:
        await work()
        times += 1
    return times


@AWAY
async def test_without_cassandra_messages_are_accepted_and_delivered(
    cell: Cell, own_cassandra: CassandraNode, room: Room, take: Callable[[Server], None]
) -> None:
    """All the time that it is away; then history has everything, without anyone's help."""
    server = own_cassandra.server
    await asyncio.to_thread(take, server)
    try:
        before = len(room.sent)
        await until(time.monotonic() + CASSANDRA_AWAY_S, room.goes_on)
        print(f"{len(room.sent) - before} accepted while Cassandra was away")
    finally:
        await bring_back(server)
    back_s = time.monotonic()
    await room.goes_on()
    await room.check()
    print(f"history was whole {time.monotonic() - back_s:.1f} s after Cassandra was back")


@AWAY
async def test_without_kafka_sends_are_answered_and_settled_later(
    cell: Cell, own_kafka: KafkaCluster, room: Room, take: Callable[[Server], None]
) -> None:
    """Unknown or not done while it is away; tried again by the client each exists once, in order, for all (R4)."""
    (server,) = own_kafka.brokers
    eve = unique_name("eve")
    async with PlainClient(cell.addresses[0], eve, token, credentials=cell.credentials) as plain:
        await plain.send("before", [eve])
        await asyncio.to_thread(take, server)
        away_s = time.monotonic()
        try:
            sends = [plain.submit(text_message(str(n), [eve])) for n in range(5)]
            await asyncio.sleep(KAFKA_AWAY_S)
            await plain.until(lambda: all(send.rejections for send in sends), "answers without Kafka")
            print(f"answered after at most {time.monotonic() - away_s:.1f} s")
        finally:
            await bring_back(server)
        for rejected in (rejected for send in sends for rejected in send.rejections):
            assert rejected.reason == messaging.REJECTED_REASON_UNAVAILABLE
            assert rejected.outcome in (
                messaging.REJECTED_OUTCOME_NOT_DONE,
                messaging.REJECTED_OUTCOME_UNKNOWN,
            )
        await plain.settle(*sends)
        assert all(send.accepted for send in sends)
        last = await plain.send("after", [eve])
        await plain.message(eve, last.ref.message_id)
        told = [event.message.content.text for event in plain.ledger.events]
        assert sorted(told) == sorted(["before", *map(str, range(5)), "after"])
    cell.check_running()
    await room.goes_on()
    await room.check()
