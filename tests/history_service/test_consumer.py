"""From a real log to a real store, through failures of each."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from event_log.embedded import EmbeddedLog, EmbeddedLogSettings
from event_log.port import DeadLetter
from history_service.consumer import GROUP, HistoryConsumer
from history_service.embedded import EmbeddedStore
from history_service.port import Batch, StoreError, StoreUnavailable
from history_service.readers import StoredEvents
from messaging_core.clock import wall_us
from telemetry import catalogue
from telemetry.metrics import Metric
from tests.history_service.commands import CONVERSATIONS
from tests.history_service.contents import contents
from tests.history_service.engines import EmbeddedEngine
from tests.history_service.log_driving import SETTINGS, Appender, committed, consuming, stored
from tests.history_service.written import WrittenLog

LOG_SETTINGS = EmbeddedLogSettings(reserve_bytes=4096)


class Flaky(EmbeddedStore):
    """Fails writes while it is told to."""

    failing = False
    failed = 0

    async def write(self, batch: Batch) -> None:
        if self.failing:
            self.failed += 1
            raise StoreUnavailable("away")
        await super().write(batch)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EmbeddedLog]:
    opened = await EmbeddedLog.open(tmp_path / "log", 4, LOG_SETTINGS)
    yield opened
    await opened.close()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Flaky]:
    opened = await Flaky.open(tmp_path / "history")
    yield opened
    await opened.close()


@pytest.fixture
def made(log: EmbeddedLog) -> WrittenLog:
    return WrittenLog(4, log.incarnation)


def chatter(made: WrittenLog, count: int, start: int = 0) -> None:
    """Messages, reactions and marks in conversations of all sizes."""
    for number in range(start, start + count):
        users = CONVERSATIONS[number % len(CONVERSATIONS)]
        ref = made.message(users[number % len(users)], users, f"m{number}", 1_000 + number // 3)
        if number % 3 == 0:
            made.reaction(users[0], users, ref, "+", number % 2 == 0, f"r{number}")
        if number % 4 == 0:
            made.read_mark(users[-1], users, ref)


async def fresh(made: WrittenLog) -> list[object]:
    """What a store holds that got each record once."""
    async with EmbeddedEngine().fresh() as store:
        await made.store_all(store)
        return await contents(store, made)


async def test_what_the_log_says_is_stored_and_committed(
    log: EmbeddedLog, store: Flaky, made: WrittenLog
) -> None:
    """All records are stored, and committed within the interval, at the log's end."""
    chatter(made, 200)
    async with consuming(log, store):
        await Appender(log, made).append()
        await stored(log, store)
        await committed(log)
    assert await contents(store, made) == await fresh(made)


async def test_rounds_follow_at_once_while_there_is_much(tmp_path: Path, store: Flaky) -> None:
    """What a poll brings is bounded, and the pause between rounds is not what bounds history."""
    settings = EmbeddedLogSettings(reserve_bytes=4096, max_poll_bytes=2_000)
    log = await EmbeddedLog.open(tmp_path / "small polls", 4, settings)
    made = WrittenLog(4, log.incarnation)
    chatter(made, 200)
    await Appender(log, made).append()
    rounds = replace(SETTINGS, store_interval_s=3_600.0, full_round_bytes=1_000)
    consumer = HistoryConsumer(log, store, rounds)
    await consumer.start()
    await stored(log, store)
    await consumer.close()
    await log.close()


async def test_a_batch_is_as_large_as_suits_the_store(
    log: EmbeddedLog, store: Flaky, made: WrittenLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a poll brings is cut into batches of so many records, or makes one however long it takes to read."""
    chatter(made, 600)
    await Appender(log, made).append()
    records = sum(map(len, made.records.values()))
    assert records > 2 * 512
    sizes: list[int] = []
    write = store.write

    async def counted(batch: Batch) -> None:
        sizes.append(sum(map(len, batch.inbox.values())))
        await write(batch)

    monkeypatch.setattr(store, "write", counted)
    monkeypatch.setattr(store, "batch_records", 1_000_000)
    async with consuming(log, store):
        await stored(log, store)
    assert len(sizes) == 1
    assert await contents(store, made) == await fresh(made)


async def test_others_get_their_turn_while_much_is_read(
    log: EmbeddedLog, store: Flaky, made: WrittenLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every 512 records, also of those that are read again and need no store, as after a start."""
    chatter(made, 900)
    await Appender(log, made).append()
    since_turn = most = total = 0
    read = HistoryConsumer._read

    def counted(self: HistoryConsumer, *arguments: Any) -> None:
        nonlocal since_turn, most, total
        since_turn, total = since_turn + 1, total + 1
        most = max(most, since_turn)
        read(self, *arguments)

    async def stored_before(self: HistoryConsumer, *arguments: Any) -> bool:
        return True

    async def take_turns() -> None:
        nonlocal since_turn
        while total < sum(map(len, made.records.values())):
            since_turn = 0
            await asyncio.sleep(0)

    monkeypatch.setattr(HistoryConsumer, "_read", counted)
    monkeypatch.setattr(HistoryConsumer, "_store", stored_before)
    async with consuming(log, store):
        await take_turns()
    assert total > 1_024
    assert most <= 512


async def test_closing_commits_and_starting_goes_on(log: EmbeddedLog, store: Flaky, made: WrittenLog) -> None:
    """A consumer that is closed commits what it stored; the next one stores what came after, and all is there once."""
    appender = Appender(log, made)
    for round_ in range(4):
        chatter(made, 40, 40 * round_)
        async with consuming(log, store):
            await appender.append()
            await stored(log, store)
        ends = await log.end_offsets(range(4))
        commits = await log.committed(GROUP, range(4))
        assert {p: commit.offset for p, commit in commits.items()} == {
            p: end for p, end in ends.items() if end
        }
    assert await contents(store, made) == await fresh(made)


async def test_nothing_is_skipped_while_the_store_is_away(
    log: EmbeddedLog, store: Flaky, made: WrittenLog
) -> None:
    """A failing store is tried again; meanwhile nothing is committed past what is stored, and then everything is stored."""
    appender = Appender(log, made)
    async with consuming(log, store):
        chatter(made, 50)
        await appender.append()
        await stored(log, store)
        store.failing = True
        chatter(made, 50, 50)
        await appender.append()
        while store.failed < 4:
            await asyncio.sleep(0.005)
        commits = await log.committed(GROUP, range(4))
        for partition, commit in commits.items():
            assert commit.offset <= (await store.persisted(log.incarnation, partition)).offset + 1
        chatter(made, 50, 100)
        await appender.append()
        store.failing = False
        await stored(log, store)
    assert await contents(store, made) == await fresh(made)


async def test_closing_while_the_store_is_away(log: EmbeddedLog, store: Flaky, made: WrittenLog) -> None:
    """Closing does not wait for a store that is away; what was not stored is not committed, and stored by the next one."""
    chatter(made, 50)
    store.failing = True
    async with consuming(log, store):
        await Appender(log, made).append()
        while not store.failed:
            await asyncio.sleep(0.005)
    assert await log.committed(GROUP, range(4)) == {}
    store.failing = False
    async with consuming(log, store):
        await stored(log, store)
    assert await contents(store, made) == await fresh(made)


async def test_partitions_move_between_consumers(log: EmbeddedLog, store: Flaky, made: WrittenLog) -> None:
    """Consumers come and go under load, the store failing now and then: the store holds each record once (I3, I11)."""
    chance = random.Random(11)
    appender = Appender(log, made)
    consumers: list[HistoryConsumer] = []
    for round_ in range(30):
        if len(consumers) < 3 and chance.random() < 0.5:
            consumers.append(HistoryConsumer(log, store, SETTINGS))
            await consumers[-1].start()
        if len(consumers) > 1 and chance.random() < 0.3:
            await consumers.pop(chance.randrange(len(consumers))).close()
        store.failing = chance.random() < 0.3
        chatter(made, 20, 20 * round_)
        await appender.append()
        await asyncio.sleep(chance.choice((0, 0.005, 0.03)))
    store.failing = False
    consumers.append(HistoryConsumer(log, store, SETTINGS))
    await consumers[-1].start()
    await stored(log, store)
    for consumer in consumers:
        await consumer.close()
        await consumer.wait_closed()
    assert await contents(store, made) == await fresh(made)


async def test_age_is_told_until_history_has_caught_up(
    tmp_path: Path, store: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A consumer that is behind says for how long also while it moves on, between its batches; then it says 0."""
    monkeypatch.setattr("history_service.consumer.wall_us", lambda: wall_us() + 3_600_000_000)
    log = await EmbeddedLog.open(
        tmp_path / "small polls", 4, EmbeddedLogSettings(reserve_bytes=4096, max_poll_bytes=2_000)
    )
    made = WrittenLog(4, log.incarnation)
    chatter(made, 200)
    await Appender(log, made).append()
    consumer = HistoryConsumer(log, store, SETTINGS)
    ages: list[float] = []
    poll, write = consumer._poll, store.write

    async def told(*arguments: Any) -> Any:
        if told_figure(consumer, catalogue.STORED) and told_figure(consumer, catalogue.LAG):
            ages.append(told_figure(consumer, catalogue.HISTORY_AGE))
        return await poll(*arguments)

    async def written(batch: Batch) -> None:
        ages.append(told_figure(consumer, catalogue.HISTORY_AGE))
        await write(batch)

    monkeypatch.setattr(consumer, "_poll", told)
    monkeypatch.setattr(store, "write", written)
    await consumer.start()
    await stored(log, store)
    assert len(ages) > 20
    assert min(ages) >= 3_600
    async with asyncio.timeout(30):
        while told_figure(consumer, catalogue.HISTORY_AGE):
            await asyncio.sleep(0.005)
    await consumer.close()
    await log.close()


async def test_age_outlasts_a_store_that_is_away(
    log: EmbeddedLog, store: Flaky, made: WrittenLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While writes fail, and after the next consumer has begun, the age is that of what waits."""
    monkeypatch.setattr("history_service.consumer.wall_us", lambda: wall_us() + 3_600_000_000)
    chatter(made, 50)
    store.failing = True
    await Appender(log, made).append()
    for failures in (3, 6):
        async with consuming(log, store) as consumer:
            while store.failed < failures:
                await asyncio.sleep(0.005)
            assert told_figure(consumer, catalogue.HISTORY_AGE) >= 3_600


def told_figure(consumer: HistoryConsumer, metric: Metric) -> float:
    """The sum of what it tells of this metric now."""
    return sum(cast(float, figure.value) for figure in consumer.figures() if figure.metric is metric)


async def test_unreadable_records(
    log: EmbeddedLog,
    store: Flaky,
    made: WrittenLog,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They are kept as dead letters before their position is committed, logged, shown as gaps, and stop nothing (R5)."""
    letters: list[int] = []
    keep = log.dead_letter

    async def recording(new: Sequence[DeadLetter]) -> None:
        assert await log.committed(GROUP, range(4)) == {}
        letters.extend(letter.offset for letter in new)
        await keep(new)

    monkeypatch.setattr(log, "dead_letter", recording)
    partition = made.partition_of("ann")
    made.message("ann", ["bob"], "m1", 7)
    made.poison(partition)
    made.message("ann", ["bob"], "m2", 8)
    await Appender(log, made).append()
    async with consuming(log, store):
        await stored(log, store)
    assert letters == [1]
    assert f"a dead letter: record 1 of partition {partition}" in caplog.text
    page = await StoredEvents(store, log.incarnation).events_after("ann", partition, -1, 10_000)
    assert [(event.offset, bool(event.sender_id)) for event in page.events] == [
        (0, True),
        (1, False),
        (2, True),
    ]


async def test_what_cannot_go_on_is_told(log: EmbeddedLog, store: Flaky, made: WrittenLog) -> None:
    """A store that will never work again ends the consumer, and its host is told why."""

    async def broken(batch: Batch) -> None:
        raise StoreError("damaged")

    store.write = broken  # type: ignore[method-assign]
    chatter(made, 1)
    await Appender(log, made).append()
    consumer = HistoryConsumer(log, store, SETTINGS)
    await consumer.start()
    with pytest.raises(StoreError, match="damaged"):
        await consumer.wait_closed()
    await consumer.close()
    assert await log.committed(GROUP, range(4)) == {}


@pytest.mark.timeout(120)
async def test_kill_at_any_time(tmp_path: Path) -> None:
    """A process that appends and stores is killed again and again: in the end the store holds what the log says, once."""
    chance = random.Random(2)
    for start in range(0, 6_000, 1_000):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.history_service.storing_process",
            str(tmp_path),
            str(start),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert process.stdout is not None
        await process.stdout.readline()
        await asyncio.sleep(chance.random() * 0.5)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    log = await EmbeddedLog.open(tmp_path / "log", 4, LOG_SETTINGS)
    store = await EmbeddedStore.open(tmp_path / "history")
    made = WrittenLog(4, log.incarnation)
    for partition, end in (await log.end_offsets(range(4))).items():
        while len(made.records[partition]) < end:
            records = await log.read(partition, len(made.records[partition]), 1 << 20)
            made.records[partition] += [record.value for record in records]
        persisted = await store.persisted(log.incarnation, partition)
        assert persisted.offset < end, "stored is what was durable"
    async with consuming(log, store):
        await stored(log, store)
    assert await contents(store, made) == await fresh(made)
    assert sum(map(len, made.records.values())) > 100
    await store.close()
    await log.close()
