"""Partitions that are quiet for longer than Kafka keeps records: it drops all of them, and their owners go on."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engines.kafka import KafkaCluster
from engines.run_folder import RunFolder
from event_log.kafka import KafkaLog
from event_log.kafka_brokers import START, Brokers
from event_log.port import EventLog
from history_service.embedded import EmbeddedStore
from tests.event_log.engines import KafkaEngine
from tests.history_service.log_driving import consuming, stored
from tests.support.delivery_harness import QUICK, Cell
from tests.support.engines import STARTING, needed
from tests.support.link_server import State

USERS = ("ann", "dot")
RETENTION_S = 2.0
PATIENCE_S = 60.0

pytestmark = STARTING


@pytest.fixture(scope="module")
def impatient_kafka() -> Iterator[KafkaCluster]:
    """It looks every moment whether there is something to be dropped."""
    run = RunFolder.create()
    try:
        quick = {"log.retention.check.interval.ms": "300", "log.initial.task.delay.ms": "300"}
        kafka = needed(lambda: KafkaCluster(run, settings=quick))
        kafka.start()
        yield kafka
    finally:
        run.close()


@asynccontextmanager
async def services(log: EventLog, store: EmbeddedStore) -> AsyncIterator[Cell]:
    """A delivery and a history service, which stop as planned."""
    async with consuming(log, store):
        cell = Cell(log, QUICK)
        cell.sent = sum((await log.end_offsets(range(log.partition_count))).values())  # ids of their own
        await cell.start_service()
        try:
            yield cell
        finally:
            await cell.close()


async def send_and_see(cell: Cell, log: EventLog, store: EmbeddedStore) -> None:
    """A message between two partitions: each user is told of it, history has it, and all is committed."""
    ends = await log.end_offsets(range(log.partition_count))
    sessions = [cell.server.connect(user, ends[log.partition_of(user)] - 1) for user in USERS]
    await cell.send(*USERS)
    async with asyncio.timeout(PATIENCE_S):
        while not all(session.state is State.LIVE and session.received for session in sessions):
            assert not cell.services[0]._failed.done()
            await asyncio.sleep(0.02)
    assert [session.received for session in sessions] == [[ends[session.partition]] for session in sessions]
    await stored(log, store)
    ends = {p: end for p, end in (await log.end_offsets(range(log.partition_count))).items() if end}
    async with asyncio.timeout(PATIENCE_S):
        for group in ("delivery", "history"):
            while {p: c.offset for p, c in (await log.committed(group, ends)).items()} != ends:
                await asyncio.sleep(0.02)


async def all_is_dropped(log: KafkaLog, engine: KafkaEngine) -> None:
    """Wait until the log starts where it ends."""
    ends = await log.end_offsets(range(log.partition_count))
    brokers = Brokers(engine.settings)
    try:
        await brokers.refresh()
        async with asyncio.timeout(PATIENCE_S):
            while await brokers.offsets(ends, START) != ends:
                await asyncio.sleep(0.1)
    finally:
        await brokers.close()


async def test_owners_go_on_after_all_records_were_dropped(
    impatient_kafka: KafkaCluster, tmp_path: Path
) -> None:
    """While they live, when they are replaced, and when no one was there meanwhile: each message once, none refused."""
    engine = KafkaEngine(impatient_kafka.addresses(), least_retention_s=RETENTION_S / 2)
    log = await engine.open()
    assert len(set(map(log.partition_of, USERS))) == 2
    store = await EmbeddedStore.open(tmp_path / "history")
    async with services(log, store) as cell:
        await send_and_see(cell, log, store)
        await all_is_dropped(log, engine)
        await send_and_see(cell, log, store)
        await all_is_dropped(log, engine)
    async with services(log, store) as cell:
        await send_and_see(cell, log, store)
    await all_is_dropped(log, engine)
    for _ in range(2):
        async with services(log, store) as cell:
            await send_and_see(cell, log, store)
    await store.close()
    await log.close()
