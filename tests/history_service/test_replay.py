"""Dead letters go back into history, on every engine, and a store is then as if they had always been readable."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from cell.log.v1 import record_pb2 as log_pb2
from event_log import reader
from event_log.port import DeadLetter, EventLog
from history_service.port import Batch, EventsAsked, HistoryStore, StoreUnavailable
from history_service.replay import NOT_COUNTED, Replay, judged_letters
from tests.event_log.engines import EmbeddedEngine, KafkaEngine
from tests.history_service.contents import contents
from tests.history_service.log_driving import SETTINGS, Appender, consuming, stored
from tests.history_service.written import WrittenLog
from tests.support.engines import STARTING

USERS = ["ann", "bob", "cleo"]
CROWD = [*USERS, "dan", "eve"]


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=STARTING)])
async def event_log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventLog]:
    engine: EmbeddedEngine | KafkaEngine = EmbeddedEngine(tmp_path / "log")
    if request.param == "kafka":
        engine = KafkaEngine(request.getfixturevalue("kafka").addresses())
    opened = await engine.open()
    yield opened
    await opened.close()


Blind = Callable[[], None]


@pytest.fixture
def old_version(monkeypatch: pytest.MonkeyPatch) -> Blind:
    """Until the test lifts it, readers know nothing but read marks, as versions before the other kinds would."""
    kinds = {log_pb2.EVENT_KIND_READ_MARK: "read_mark"}
    with_all = dict(reader._EVENT_FIELDS)
    monkeypatch.setattr(reader, "_EVENT_FIELDS", kinds)
    return lambda: monkeypatch.setattr(reader, "_EVENT_FIELDS", with_all)


def talk(made: WrittenLog) -> None:
    """Messages, a reaction and marks, in a small conversation and a large one."""
    for number, users in enumerate((USERS, CROWD)):
        ref = made.message("ann", users, f"m{number}", 1_000 + number)
        made.reaction("bob", users, ref, "+", False, f"r{number}")
        made.read_mark("bob", users, ref)
        made.message("bob", users, f"n{number}", 2_000 + number)


async def put_back(event_log: EventLog, store: HistoryStore) -> list[str]:
    """Replay everything that can be; why the others stay."""
    replay = Replay(event_log, store, SETTINGS.limits)
    stay = []
    async for judged in judged_letters(event_log):
        if judged.reading is None:
            stay.append(judged.why)
        else:
            await replay.put_back(judged)
    return stay


async def events_of(event_log: EventLog, store: HistoryStore, user: str) -> list[tuple[int, bool]]:
    """Offsets, and whether there is an event or a gap."""
    partition = event_log.partition_of(user)
    asked = EventsAsked(event_log.incarnation, user, partition, -1, 10_000, 1_000, 1 << 20)
    return [(event.offset, bool(event.logged)) for event in (await store.events(asked)).events]


async def test_history_is_as_if_it_had_always_been_readable(
    event_log: EventLog, store: HistoryStore, old_version: Blind
) -> None:
    """What an old version could not read is a gap; put back by a newer one, the store holds what the log says, once.

    Twice is once, and a letter that is kept again, as by an owner that takes over, changes nothing either.
    """
    made = WrittenLog(event_log.partition_count, event_log.incarnation)
    talk(made)
    await Appender(event_log, made).append()
    async with consuming(event_log, store):
        await stored(event_log, store)
    letters = [letter async for letter in event_log.dead_letters()]
    assert len(letters) > 6
    assert all(letter.counted and letter.append_time_us > 1_600_000_000_000_000 for letter in letters)
    assert len(await put_back(event_log, store)) == len(letters)
    assert sorted([letter async for letter in event_log.dead_letters()]) == sorted(letters)

    old_version()
    assert await put_back(event_log, store) == []
    assert [letter async for letter in event_log.dead_letters()] == []
    for partition in made.records:
        for reading in made.readings(partition):
            for user in reading.recipients:
                if (
                    event_log.partition_of(user) == partition
                    and reading.logged.kind != log_pb2.EVENT_KIND_READ_MARK
                ):
                    assert (reading.offset, True) in await events_of(event_log, store, user)
    once = await contents(store, made)
    await event_log.dead_letter(letters)
    assert await put_back(event_log, store) == []
    assert await contents(store, made) == once
    ends = await event_log.end_offsets(made.records)
    assert ends == {partition: len(records) for partition, records in made.records.items()}


async def test_what_cannot_be_read_stays(event_log: EventLog, store: HistoryStore) -> None:
    """Bytes that are no record stay letters and gaps, since what came after was decided without them."""
    made = WrittenLog(event_log.partition_count, event_log.incarnation)
    partition = made.partition_of("ann")
    made.poison(partition)
    made.message("ann", ["bob"], "m", 5)
    await Appender(event_log, made).append()
    async with consuming(event_log, store):
        await stored(event_log, store)
    for _ in range(2):
        assert await put_back(event_log, store) == [NOT_COUNTED]
    (letter,) = [letter async for letter in event_log.dead_letters()]
    assert (letter.place, letter.value, letter.counted) == ((partition, 0), b"\xff\xff", False)
    assert await events_of(event_log, store, "ann") == [(0, False), (1, True)]


async def test_others_find_the_message_in_its_conversation(
    event_log: EventLog, store: HistoryStore, old_version: Blind
) -> None:
    """An origin that was never forwarded has no copies: those in other partitions have no event, but the conversation."""
    made = WrittenLog(event_log.partition_count, event_log.incarnation)
    users = [
        "ann",
        next(f"u{n}" for n in range(99) if made.partition_of(f"u{n}") != made.partition_of("ann")),
    ]
    ref = made.message("ann", users, "m", 5)
    made.records[made.partition_of(users[1])].clear()
    await Appender(event_log, made).append()
    async with consuming(event_log, store):
        await stored(event_log, store)
    old_version()
    assert await put_back(event_log, store) == []
    assert await events_of(event_log, store, users[1]) == []
    for user in users:
        page = await store.overviews(user, None, 10, 1 << 20)
        assert [(each.conversation_id, each.last_at_us) for each in page.items] == [(ref.conversation_id, 5)]


async def test_a_letter_is_kept_until_it_is_stored(
    event_log: EventLog, store: HistoryStore, old_version: Blind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the store is away nothing is lost: the letter is there for the next time."""
    made = WrittenLog(event_log.partition_count, event_log.incarnation)
    made.message("ann", ["ann"], "m", 5)
    await Appender(event_log, made).append()
    async with consuming(event_log, store):
        await stored(event_log, store)
    old_version()
    write = store.write

    async def away(_: Batch) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(store, "write", away)
    with pytest.raises(StoreUnavailable):
        await put_back(event_log, store)
    assert [letter.place async for letter in event_log.dead_letters()] == [(made.partition_of("ann"), 0)]
    monkeypatch.setattr(store, "write", write)
    assert await put_back(event_log, store) == []
    assert await events_of(event_log, store, "ann") == [(0, True)]


@STARTING
async def test_letters_of_another_log_are_not_taken(kafka_letter_of_another_log: EventLog) -> None:
    """A topic made anew has the letters of the former one beside it, whose offsets mean nothing here."""
    assert [letter async for letter in kafka_letter_of_another_log.dead_letters()] == []


@pytest.fixture
async def kafka_letter_of_another_log(request: pytest.FixtureRequest) -> AsyncIterator[EventLog]:
    engine = KafkaEngine(request.getfixturevalue("kafka").addresses())
    log = await engine.open()
    incarnation, log._letters._incarnation = log._letters._incarnation, "former"
    await log.dead_letter([DeadLetter(0, 0, "why", b"x", counted=True)])
    log._letters._incarnation = incarnation
    yield log
    await log.close()
