"""The log on Kafka beside what every log does: what it refuses at start, another topic of its name, groups over time."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from kafka.protocol.admin import DeleteRecordsRequest, DeleteTopicsRequest

from engines.kafka import KafkaCluster
from engines.server import HOST, free_ports
from event_log import kafka_fetcher
from event_log.kafka import KafkaLog, KafkaLogSettings, LogUnfit, OtherIncarnation, TopicMissing, make_topics
from event_log.kafka_brokers import Brokers
from event_log.port import (
    Commit,
    CommitFenced,
    DeadLetter,
    Fate,
    LogUnavailable,
    NewRecord,
    Settled,
    Truncated,
)
from tests.event_log.driving import PATIENCE_S, Member, append, poll_until
from tests.event_log.engines import PARTITIONS, KafkaEngine
from tests.support.engines import STARTING, unique_name

pytestmark = STARTING


@pytest.fixture
def engine(kafka: KafkaCluster) -> KafkaEngine:
    return KafkaEngine(kafka.addresses())


async def admin(settings: KafkaLogSettings, request: object) -> None:
    """Ask a broker for something that the log itself never does."""
    brokers = Brokers(settings)
    try:
        await brokers.refresh()
        await brokers.ask_controller(request)
    finally:
        await brokers.close()


async def delete_topic(settings: KafkaLogSettings) -> None:
    await admin(settings, DeleteTopicsRequest(topic_names=[settings.topic], timeout_ms=10_000, max_version=4))


async def delete_records(settings: KafkaLogSettings, partition: int, below: int) -> None:
    topic = DeleteRecordsRequest.DeleteRecordsTopic
    part = topic.DeleteRecordsPartition(partition_index=partition, offset=below)
    request = DeleteRecordsRequest(
        topics=[topic(name=settings.topic, partitions=[part])], timeout_ms=10_000, max_version=2
    )
    await admin(settings, request)


async def open_anew(settings: KafkaLogSettings, former: str) -> KafkaLog:
    """Make a topic whose former one was deleted; it goes a moment later."""
    while True:
        try:
            await make_topics(settings, 1, 2 * settings.least_retention_s)
            log = await KafkaLog.open(settings)
        except (TopicMissing, LogUnfit, LogUnavailable):
            await asyncio.sleep(0.1)
            continue
        if log.incarnation != former:
            return log
        await log.close()


async def test_another_topic_of_the_same_name_is_another_log(engine: KafkaEngine) -> None:
    """The incarnation is the topic's: it stays when the log is opened again, and goes with the topic."""
    log = await engine.open()
    first = log.incarnation
    await append(log, (0, b"of the first"))
    member = Member(log)
    await poll_until(lambda: member.count == 1, member)
    await member.consumer.commit({0: Commit(1, "x")})
    await delete_topic(engine.settings)
    told: list[Settled[int]] = []
    log.append([NewRecord(0, b"not for the second", 0)], told.extend)
    async with asyncio.timeout(PATIENCE_S):
        again = await open_anew(engine.settings, first)
    assert len(again.incarnation) == len(first) == 22
    with pytest.raises(OtherIncarnation, match="made anew"):
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    await member.consumer.poll(0.1)
                except LogUnavailable as error:
                    if "made anew" in str(error):
                        raise
    async with asyncio.timeout(PATIENCE_S):
        while not told:
            await asyncio.sleep(0.05)
    assert told[0].fate is not Fate.APPENDED
    with pytest.raises(OtherIncarnation, match="made anew"):
        log.append([NewRecord(0, b"nor this", 0)], told.extend)
    assert await again.end_offsets(range(PARTITIONS)) == dict.fromkeys(range(PARTITIONS), 0)
    await member.consumer.close()
    await log.close()
    await again.close()


async def test_what_retention_took_is_told(engine: KafkaEngine) -> None:
    """Reading below the log's start is Truncated, by `read` and to a member; from the start on there are no holes."""
    log = await engine.open()
    await append(log, *[(0, b"%d" % n) for n in range(10)])
    await delete_records(engine.settings, 0, 6)
    with pytest.raises(Truncated, match="record 5 is gone"):
        await log.read(0, 5, 1)
    assert [r.offset for r in await log.read(0, 6, 1 << 20)] == [6, 7, 8, 9]
    member = Member(log)
    await poll_until(lambda: member.count == 4, member)
    assert member.owned[0].start_offset == 6
    member.consumer.seek(0, 3)
    with pytest.raises(Truncated, match="record 3 is gone"):
        async with asyncio.timeout(PATIENCE_S):
            while True:
                await member.consumer.poll(0.1)
    member.consumer.seek(0, 8)
    await poll_until(lambda: member.count == 6, member)
    assert [r.offset for r in member.records[0]][-2:] == [8, 9]
    await member.consumer.close()
    await log.close()


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"partitions": 5}, "has 4 partitions, but partitions is set to 5"),
        ({"development": False}, "replication factor is 1, must be at least 3, unless few_copies is set"),
        ({"development": False}, "min.insync.replicas is 1, must be at least 2, unless few_copies is set"),
        ({"development": False}, "offsets.topic.replication.factor is 1, must be at least 3"),
        ({"least_retention_s": 400_000.0}, "retention.ms is 172800000, must be at least 400000000 or -1"),
        ({"least_retention_s": 8 * 86_400.0}, "offsets.retention.minutes is 10080, must be above"),
        (
            {"session_timeout_s": 5.0},
            "group.min.session.timeout.ms is 6000, must be at most session_timeout_s",
        ),
    ],
)
async def test_refuses_what_does_not_fit(
    engine: KafkaEngine, settings: dict[str, object], fault: str
) -> None:
    """A topic or a broker that is not set as the log needs it is refused at start, by the setting's name."""
    await (await engine.open()).close()
    with pytest.raises(LogUnfit) as refused:
        await KafkaLog.open(replace(engine.settings, **settings))  # type: ignore[arg-type]
    assert any(fault in line for line in refused.value.faults)
    with pytest.raises(LogUnfit) as refused:
        await make_topics(replace(engine.settings, **settings), 1, 172_800.0)  # type: ignore[arg-type]
    assert any(fault in line for line in refused.value.faults)


async def test_refuses_a_topic_that_is_not_there(kafka: KafkaCluster) -> None:
    """Topics are not made by opening a log; the message names the one that is missing."""
    settings = KafkaLogSettings(servers=tuple(kafka.addresses()), topic=unique_name("none"), development=True)
    with pytest.raises(TopicMissing, match=settings.topic):
        await KafkaLog.open(settings)


async def test_tells_that_no_broker_answers() -> None:
    """Nobody listens: within the time for opening the message names the servers and what is wrong with them."""
    (port,) = free_ports(1)
    settings = KafkaLogSettings(servers=(f"{HOST}:{port}",), topic="any", open_timeout_s=1.5)
    with pytest.raises(LogUnavailable, match=rf"servers {HOST}:{port} cannot be opened: .*cannot be reached"):
        await KafkaLog.open(settings)


async def test_finds_the_brokers_when_some_servers_are_gone(kafka: KafkaCluster) -> None:
    """One of the servers that are named answers: that is enough, whatever the others do."""
    (port,) = free_ports(1)
    engine = KafkaEngine([f"{HOST}:{port}", *kafka.addresses()])
    log = await engine.open()
    (settled,) = await append(log, (0, b"a"))
    assert settled.fate is Fate.APPENDED
    await log.close()


async def test_groups_of_two_logs_are_apart(kafka: KafkaCluster) -> None:
    """Groups of one name on two topics of the same brokers have nothing to do with each other."""
    logs = [await KafkaEngine(kafka.addresses()).open() for _ in range(2)]
    members = [Member(log) for log in logs]
    await poll_until(lambda: all(len(m.owned) == PARTITIONS for m in members), *members)
    for member in members:
        await member.consumer.close()
    for log in logs:
        await log.close()


async def test_dead_letters_have_their_reason(engine: KafkaEngine) -> None:
    """A letter of the greatest size is kept, as its reason and place are."""
    log = await engine.open()
    await log.dead_letter([DeadLetter(0, 7, "why" * 10_000, bytes(1_000_000))])
    letters = replace(engine.settings, topic=engine.settings.dead_letter_topic, partitions=1)
    brokers = Brokers(letters)
    await brokers.refresh()
    (record,) = await kafka_fetcher.read(brokers, 0, 0, 1)
    assert record.value == bytes(1_000_000)
    await brokers.close()
    await log.close()


class Zombie:
    """A member in a thread of its own, whose event loop stands still for a while."""

    def __init__(self, engine: KafkaEngine) -> None:
        self.engine = engine
        self.owned: set[int] = set()
        self.stands = threading.Event()
        self.go_on = threading.Event()
        self.fenced = False
        self.revoked: set[int] = set()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        try:
            asyncio.run(self.live())
        finally:
            self.stands.set()

    async def live(self) -> None:
        log = await self.engine.open()
        member = Member(log)
        await poll_until(lambda: len(member.owned) == PARTITIONS, member)
        await member.consumer.commit({0: Commit(0, "mine")})
        self.owned = set(member.owned)
        self.stands.set()
        self.go_on.wait()  # as if the process had been stopped
        try:
            await member.consumer.commit({0: Commit(0, "the zombie's")})
        except CommitFenced:
            self.fenced = True
        async with asyncio.timeout(PATIENCE_S):
            while not self.revoked:
                self.revoked |= set((await member.consumer.poll(0.1)).revoked)
        await member.consumer.close()
        await log.close()


@pytest.fixture
def zombie(engine: KafkaEngine) -> Iterator[Zombie]:
    zombie = Zombie(engine)
    yield zombie
    zombie.go_on.set()
    zombie.thread.join()


async def test_a_member_that_stands_still_is_replaced_and_learns_of_it(
    engine: KafkaEngine, zombie: Zombie
) -> None:
    """Others have its partitions after its session; when it goes on, its commit is fenced and its poll says why."""
    await asyncio.to_thread(zombie.stands.wait)
    stood_at = time.monotonic()
    log = await KafkaLog.open(engine.settings)
    heir = Member(log)
    await poll_until(lambda: len(heir.owned) == PARTITIONS, heir)
    assert time.monotonic() - stood_at >= engine.settings.session_timeout_s - 1
    await heir.consumer.commit({0: Commit(0, "the heir's")})
    zombie.go_on.set()
    await asyncio.to_thread(zombie.thread.join)
    assert zombie.fenced
    assert zombie.revoked == zombie.owned == set(range(PARTITIONS))
    assert await log.committed("group", [0]) == {0: Commit(0, "the heir's")}
    await heir.consumer.close()
    await log.close()


async def test_owners_change_under_load(engine: KafkaEngine) -> None:
    """While records are appended a second member joins, a third comes and the first leaves.

    Each member commits what it has done with when it is told to let go, so every record is read once. Generations of a
    partition rise from owner to owner.
    """
    log = await engine.open()
    members = [Member(log)]
    appended = 0
    read: Counter[tuple[int, int]] = Counter()
    generations: dict[int, int] = {}

    async def step(member: Member) -> None:
        known = len(member.history)
        polled = await member.consumer.poll(0.01)
        done = {p: Commit(member.records[p][-1].offset + 1, "") for p in polled.revoked if member.records[p]}
        if done:
            await member.consumer.commit(done)
        for partition in polled.revoked:
            del member.owned[partition]
            member.records[partition].clear()
        for assignment in polled.assigned:
            member.owned[assignment.partition] = assignment
            member.history.append(assignment)
        for partition, records in polled.records:
            member.records[partition] += records
            read.update((partition, record.offset) for record in records)
        for assignment in member.history[known:]:
            assert assignment.generation > generations.get(assignment.partition, -1)
            generations[assignment.partition] = assignment.generation

    stop = asyncio.Event()

    async def load() -> None:
        nonlocal appended
        while not stop.is_set():
            await append(log, *[(partition, b"%d" % appended) for partition in range(PARTITIONS)])
            appended += PARTITIONS
            await asyncio.sleep(0.002)

    async def drive(member: Member) -> None:
        while True:
            await step(member)

    async def shares(*expected: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while sorted(len(member.owned) for member in members) != sorted(expected):
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)

    loading = asyncio.create_task(load())
    driving = [asyncio.create_task(drive(members[0]))]
    await shares(4)
    for expected in ((2, 2), (2, 1, 1)):
        members.append(Member(log))
        driving.append(asyncio.create_task(drive(members[-1])))
        await shares(*expected)
    driving[0].cancel()
    await asyncio.gather(driving[0], return_exceptions=True)
    leaver = members.pop(0)
    await leaver.consumer.commit({p: Commit(r[-1].offset + 1, "") for p, r in leaver.records.items() if r})
    await leaver.consumer.close()
    await shares(2, 2)
    stop.set()
    await loading
    ends = await log.end_offsets(range(PARTITIONS))
    async with asyncio.timeout(PATIENCE_S):
        while len(read) < sum(ends.values()):
            await asyncio.sleep(0.02)
    for task in driving:
        task.cancel()
    results = await asyncio.gather(*driving, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results), results
    assert set(read.values()) == {1}
    assert read.keys() == {(p, offset) for p, end in ends.items() for offset in range(end)}
    for member in members:
        await member.consumer.close()
    await log.close()
