"""The log on Kafka while brokers stop, stand still and come back: what is told of an append is true, nothing is lost."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from engines.kafka import KafkaCluster
from engines.run_folder import RunFolder
from event_log.kafka import KafkaLog
from event_log.port import EventLog, Fate, LogRecord, LogUnavailable, NewRecord, Settled
from tests.event_log.driving import PATIENCE_S, Member, append, poll_until
from tests.event_log.engines import PARTITIONS, KafkaEngine
from tests.support.engines import STARTING, needed

pytestmark = STARTING

QUICK: dict[str, Any] = {"request_timeout_s": 1.0, "delivery_timeout_s": 2.0}


@pytest.fixture(scope="module")
def run() -> Iterator[RunFolder]:
    folder = RunFolder.create()
    yield folder
    folder.close()


@pytest.fixture(scope="module")
def one_broker(run: RunFolder) -> KafkaCluster:
    cluster = needed(lambda: KafkaCluster(run))
    cluster.start()
    return cluster


@pytest.fixture(scope="module")
def cluster(run: RunFolder) -> Iterator[KafkaCluster]:
    cluster = needed(lambda: KafkaCluster(run, 3))
    cluster.start()
    yield cluster
    for broker in cluster.brokers:
        broker.kill()


@pytest.fixture
def three_brokers(cluster: KafkaCluster) -> KafkaCluster:
    """All of them run, whatever the last test did to them."""
    for broker in cluster.brokers:
        broker.start()
    return cluster


@asynccontextmanager
async def opened(cluster: KafkaCluster, copies: int = 1, **settings: Any) -> AsyncIterator[KafkaLog]:
    """A log of its own on these brokers, which have answered once when the test goes on."""
    log = await KafkaEngine(cluster.addresses(), copies, **settings).open()
    try:
        await append(log, *[(partition, b"first") for partition in range(PARTITIONS)])
        yield log
    finally:
        await log.close()


class Appended:
    """Appends, and what was told of them."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.count = 0
        self.told: dict[int, Settled[int]] = {}

    def append(self, partition: int = 0) -> int:
        """Append the next record; its tag, which is its value too."""
        tag = self.count
        self.count += 1
        self.log.append([NewRecord(partition, b"%d" % tag, tag)], self._on_settled)
        return tag

    def _on_settled(self, settled: Sequence[Settled[int]]) -> None:
        for one in settled:
            assert one.tag not in self.told, "settled twice"
            self.told[one.tag] = one

    async def fate(self, tag: int) -> Fate:
        await until(lambda: tag in self.told)
        return self.told[tag].fate

    async def settle(self) -> None:
        await until(lambda: len(self.told) == self.count)

    async def check(self, partitions: Sequence[int] = (0,)) -> None:
        """What was told is what is there: each at most once, appended ones at their offset, others that were not nowhere."""
        records = {p: await read_all(self.log, p) for p in partitions}
        values = Counter(record.value for found in records.values() for record in found)
        at = {(p, record.offset): record.value for p, found in records.items() for record in found}
        for tag, settled in self.told.items():
            value = b"%d" % tag
            assert values[value] <= 1, f"{tag} is there {values[value]} times"
            if settled.fate is Fate.APPENDED:
                assert any(at.get((p, settled.offset)) == value for p in partitions)
            elif settled.fate is Fate.NOT_APPENDED:
                assert not values[value]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


async def read_all(log: EventLog, partition: int) -> list[LogRecord]:
    records: list[LogRecord] = []
    while page := await log.read(partition, records[-1].offset + 1 if records else 0, 1 << 20):
        records += page
    return records


async def test_an_append_that_times_out_lands_later(one_broker: KafkaCluster) -> None:
    """A broker that stands still has got the record, and writes it when it goes on: it was told unknown, not "not done"."""
    async with opened(one_broker, **QUICK) as log:
        appended = Appended(log)
        one_broker.brokers[0].pause()
        try:
            tag = appended.append()
            assert await appended.fate(tag) is Fate.UNKNOWN
        finally:
            one_broker.brokers[0].resume()
        async with asyncio.timeout(PATIENCE_S):
            while [r.value for r in await log.read(0, 1, 1 << 20)] != [b"0"]:
                await asyncio.sleep(0.05)
        later = appended.append()
        assert await appended.fate(later) is Fate.APPENDED
        await appended.check()


async def test_a_batch_expires_while_a_later_one_succeeds(one_broker: KafkaCluster) -> None:
    """The first append's time is over before the broker goes on, that of a later one to the same partition is not."""
    async with opened(one_broker, **QUICK) as log:
        appended = Appended(log)
        one_broker.brokers[0].pause()
        try:
            first = appended.append()
            await asyncio.sleep(1.0)
            later = [appended.append() for _ in range(3)]
            assert await appended.fate(first) is Fate.UNKNOWN
            assert not set(later) & appended.told.keys()
        finally:
            one_broker.brokers[0].resume()
        assert [await appended.fate(tag) for tag in later] == [Fate.APPENDED] * 3
        await appended.check()
        values = [record.value for record in await read_all(log, 0)]
        assert [value for value in values if value != b"0"] == [b"first", b"1", b"2", b"3"]


async def test_what_no_broker_got_is_not_appended(one_broker: KafkaCluster) -> None:
    """No broker runs when the appends are made: they are told not done, and are not there afterwards."""
    async with opened(one_broker, **QUICK) as log:
        appended = Appended(log)
        one_broker.brokers[0].kill()
        try:
            await asyncio.sleep(0.2)  # so that the connection is known to be gone
            for partition in range(PARTITIONS):
                appended.append(partition)
            await appended.settle()
            assert {settled.fate for settled in appended.told.values()} == {Fate.NOT_APPENDED}
        finally:
            await asyncio.to_thread(one_broker.brokers[0].start)
        later = appended.append()
        assert await appended.fate(later) is Fate.APPENDED
        await appended.check(range(PARTITIONS))


async def test_a_killed_broker_comes_back_under_appends(one_broker: KafkaCluster) -> None:
    """Appends and a member go on over a kill -9 and a restart: no record twice, none lost, and all read in order."""
    async with opened(one_broker) as log:
        member = Member(log)
        await poll_until(lambda: member.count == PARTITIONS, member)
        appended = Appended(log)
        stop = asyncio.Event()

        async def send() -> None:
            while not stop.is_set():
                for partition in range(PARTITIONS):
                    appended.append(partition)
                await asyncio.sleep(0.005)

        sending = asyncio.create_task(send())
        await until(lambda: len(appended.told) > 200)
        one_broker.brokers[0].kill()
        await asyncio.to_thread(one_broker.brokers[0].start)
        known = appended.count
        await until(
            lambda: any(tag >= known and one.fate is Fate.APPENDED for tag, one in appended.told.items())
        )
        stop.set()
        await sending
        await appended.settle()
        await appended.check(range(PARTITIONS))
        expected = {p: [r.value for r in await read_all(log, p)] for p in range(PARTITIONS)}
        total = sum(map(len, expected.values()))
        await poll_until(lambda: member.count == total, member)
        assert {p: member.values(p) for p in range(PARTITIONS)} == expected
        await member.consumer.close()


async def test_a_leader_dies_and_another_goes_on(three_brokers: KafkaCluster) -> None:
    """Of three brokers one is killed -9: within the time of an append another leads, and what was told stands."""
    async with opened(three_brokers, 3) as log:
        member = Member(log)
        await poll_until(lambda: member.count == PARTITIONS, member)
        appended = Appended(log)
        killed_at = 0.0
        for round_ in range(400):
            for partition in range(PARTITIONS):
                appended.append(partition)
            if round_ == 100:
                three_brokers.brokers[0].kill()
                killed_at = time.monotonic()
            await member.poll(0.01)
        assert killed_at
        await appended.settle()
        await appended.check(range(PARTITIONS))
        expected = {p: [r.value for r in await read_all(log, p)] for p in range(PARTITIONS)}
        await poll_until(lambda: member.count == sum(map(len, expected.values())), member)
        assert {p: member.values(p) for p in range(PARTITIONS)} == expected
        assert appended.told[appended.count - 1].fate is Fate.APPENDED
        await member.consumer.close()


async def test_a_partition_without_a_leader_holds_up_no_other(three_brokers: KafkaCluster) -> None:
    """I14: the only copy of some is at a broker that is dead. Others are assigned, read, told of; those when it is back."""
    async with opened(three_brokers) as log:
        brokers = log._brokers
        group = brokers.settings.group_id("group")
        coordinator = await brokers.insist("no group yet", lambda: brokers.coordinator(group), PATIENCE_S)
        leaders = {p: brokers.leader(p) for p in range(PARTITIONS)}
        killed = next(node for node in leaders.values() if node is not None and node != coordinator)
        others = {p for p, node in leaders.items() if node != killed}
        three_brokers.brokers[killed - 1].kill()
        try:
            member = Member(log)
            await poll_until(lambda: member.count == len(others), member)
            assert member.records.keys() == others
            assert await log.end_offsets(range(PARTITIONS)) == dict.fromkeys(others, 1)
            with pytest.raises(LogUnavailable):
                await log.end_offsets(leaders.keys() - others)
        finally:
            await asyncio.to_thread(three_brokers.brokers[killed - 1].start)
        await poll_until(lambda: member.count == PARTITIONS, member)
        await member.consumer.close()
