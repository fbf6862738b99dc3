"""What the store in Cassandra owes beyond the port: its keyspace, its buckets, and a node that goes and comes back."""

import asyncio
import threading
from collections.abc import AsyncIterator, Container
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cell.messaging.v1 import messaging_pb2 as messaging
from engines.cassandra import SUPERUSER, CassandraNode
from engines.run_folder import RunFolder
from event_log.embedded import EmbeddedLog
from event_log.port import DeadLetter
from history_service import cassandra_messages
from history_service.cassandra import CassandraSettings, CassandraStore, migrate
from history_service.cassandra_messages import _UNREAD_WALK
from history_service.cassandra_schema import EPOCH, POSITIONS_PER_BUCKET, TABLES, VERSION, bucket_of
from history_service.cassandra_session import _READS_AT_ONCE, CassandraSession, Row
from history_service.port import (
    BEGINNING,
    END,
    Batch,
    Cut,
    EventsAsked,
    GapRow,
    InboxRow,
    MessageRow,
    Persisted,
    ReactionRow,
    StoredMessage,
    StoreError,
    StoreUnavailable,
)
from history_service.readers import StoredEvents
from history_service.replay import Replay, judged_letters
from messaging_core.ids import conversation_id
from messaging_core.limits import Limits
from tests.history_service.engines import CassandraEngine
from tests.history_service.written import INCARNATION, WrittenLog, key_of
from tests.support.engines import STARTING, needed, unique_name

pytestmark = STARTING

PAIR = conversation_id(["ann", "bob"])
HOUR_US = 3_600 * 1_000_000
EVERYTHING = 2**30


@pytest.fixture(scope="module")
def engine(cassandra: CassandraNode) -> CassandraEngine:
    return CassandraEngine(cassandra)


@pytest.fixture
async def store(engine: CassandraEngine) -> AsyncIterator[CassandraStore]:
    async with engine.fresh() as opened:
        assert isinstance(opened, CassandraStore)
        yield opened


@pytest.fixture
async def session(engine: CassandraEngine) -> AsyncIterator[CassandraSession]:
    opened = await CassandraSession.connect(engine.settings(""))
    yield opened
    await opened.close()


async def run(session: CassandraSession, cql: str, values: tuple[object, ...] = ()) -> list[Row]:
    return await asyncio.to_thread(session.run, cql, values)


class TestOpen:
    async def test_a_keyspace_that_is_not_there_is_named(self, engine: CassandraEngine) -> None:
        """The message says which keyspace, and what makes it."""
        with pytest.raises(StoreError, match=r"keyspace nowhere: .*`cell migrate`"):
            await CassandraStore.open(engine.settings("nowhere"))

    async def test_a_keyspace_of_others_is_refused(
        self, engine: CassandraEngine, session: CassandraSession
    ) -> None:
        """Tables are not looked for where something else is kept."""
        name = unique_name("other")
        replication = "{'class': 'NetworkTopologyStrategy', 'datacenter1': 1}"
        await run(session, f"create keyspace {name} with replication = {replication}")
        with pytest.raises(StoreError, match=f"keyspace {name}: is not a history"):
            await CassandraStore.open(engine.settings(name))

    async def test_too_few_copies_are_refused(self, engine: CassandraEngine) -> None:
        """One copy of a row is taken in development only."""
        settings = engine.settings(unique_name("copies"))
        await migrate(settings, copies=1)
        with pytest.raises(StoreError, match="keeps 1 copies of a row in the datacenter, at least 3"):
            await CassandraStore.open(replace(settings, development=False))
        await (await CassandraStore.open(settings)).close()

    async def test_tables_of_another_version_are_refused(
        self, engine: CassandraEngine, session: CassandraSession
    ) -> None:
        """A program does not write what a later one laid out, and says what to do about an earlier one's."""
        settings = engine.settings(unique_name("version"))
        await migrate(settings, copies=1)
        table = f"{settings.keyspace}.schema_version"
        await run(session, f"insert into {table} (scope, version) values ('history', {VERSION + 1})")
        with pytest.raises(StoreError, match=f"version {VERSION + 1}, this program knows {VERSION}$"):
            await CassandraStore.open(settings)
        with pytest.raises(StoreError, match=f"version {VERSION + 1}, this program knows {VERSION}$"):
            await migrate(settings, copies=1)
        await run(session, f"insert into {table} (scope, version) values ('history', {VERSION - 1})")
        with pytest.raises(StoreError, match="run `cell migrate`"):
            await CassandraStore.open(settings)

    async def test_migrating_again_keeps_what_is_there(self, engine: CassandraEngine) -> None:
        """It makes what is missing and no more."""
        settings = engine.settings(unique_name("again"))
        await migrate(settings, copies=1)
        store = await CassandraStore.open(settings)
        await store.register(PAIR, ("ann", "bob"))
        await migrate(settings, copies=1)
        assert await store.participants([PAIR]) == {PAIR: ("ann", "bob")}
        await store.close()

    async def test_registrations_wait_neither_for_writes_nor_for_one_another(
        self, store: CassandraStore
    ) -> None:
        """While the writer is busy with a batch, hundreds of conversations are registered: first messages wait for them."""
        batch_ends = threading.Event()
        writing = asyncio.create_task(store._session.in_writer(lambda _: batch_ends.wait(60)))
        names = [f"{number:022}" for number in range(300)]
        try:
            async with asyncio.timeout(30):
                await asyncio.gather(*(store.register(name, ("ann", "bob")) for name in names))
        finally:
            batch_ends.set()
            await writing
        assert len(await store.participants(names)) == len(names)

    async def test_nobody_there(self) -> None:
        """A node that does not answer is told as unavailable, with its address, not after minutes."""
        settings = CassandraSettings(contact_points=(("127.0.0.1", 1),), keyspace="cell")
        async with asyncio.timeout(30):
            with pytest.raises(StoreUnavailable, match=r"no node of Cassandra answers .*127\.0\.0\.1"):
                await CassandraStore.open(settings)


class TestNode:
    async def test_it_asks_for_a_password_and_may_be_killed(self, own_run_folder: RunFolder) -> None:
        """Wrong credentials are refused by name; while the node is away a write is unavailable, later it succeeds."""
        node = needed(lambda: CassandraNode(own_run_folder, passwords=True))
        await asyncio.to_thread(node.start)
        host, port = node.address.split(":")
        settings = CassandraSettings(
            contact_points=((host, int(port)),),
            keyspace="cell",
            username=SUPERUSER[0],
            password=SUPERUSER[1],
            request_timeout_s=2.0,
            development=True,
        )
        await migrate(settings, copies=1)
        with pytest.raises(StoreError, match="username cassandra and/or password are incorrect"):
            await CassandraStore.open(replace(settings, password="wrong"))
        made = WrittenLog()
        ref = made.message("ann", ["bob"], "m1", 7)
        store = await CassandraStore.open(settings)
        await store.register(PAIR, ("ann", "bob"))
        await asyncio.to_thread(node.server.kill)
        with pytest.raises(StoreUnavailable):
            await made.store_all(store)
        with pytest.raises(StoreUnavailable):
            await store.persisted(INCARNATION, 0)
        await asyncio.to_thread(node.start)
        async with asyncio.timeout(60):
            while True:  # as the consumer does
                with suppress(StoreUnavailable):
                    await made.store_all(store)
                    break
                await asyncio.sleep(0.2)
        page = await store.messages(PAIR, END, False, 1, EVERYTHING, "ann")
        assert [message.key for message in page.items] == [key_of(ref)]
        await store.close()


class TestReads:
    async def test_a_read_that_nobody_waits_for_keeps_its_place(
        self, store: CassandraStore, session: CassandraSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Clients that ask and go away again and again put no more queries under way than others do."""
        statement = session.prepare("select key from system.local")
        begun: list[asyncio.Future[list[Row]]] = []
        query = session._query

        def noted(*of: Any) -> "asyncio.Future[list[Row]]":
            begun.append(query(*of))
            return begun[-1]

        monkeypatch.setattr(session, "_query", noted)
        asking = [asyncio.ensure_future(session.rows(statement, ())) for _ in range(3 * _READS_AT_ONCE)]
        await asyncio.sleep(0)
        assert len(begun) == _READS_AT_ONCE
        for task in asking:
            task.cancel()
        while not all(task.done() for task in asking):  # a fast node may have answered some of them by now
            await asyncio.sleep(0)
            assert _READS_AT_ONCE - session._reads._value >= sum(not one.done() for one in begun)
        assert len(begun) == _READS_AT_ONCE
        async with asyncio.timeout(30):
            while session._reads._value < _READS_AT_ONCE:
                await asyncio.sleep(0.01)
        assert await session.rows(statement, ()) == [("local",)]


class TestBuckets:
    def test_a_conversation_is_cut_by_its_size(self) -> None:
        """Two users have a bucket for eight days, a thousand one for an hour: neither grows without bound."""
        days = 24 * HOUR_US
        assert bucket_of(8 * days - 1, 2) == 0
        assert bucket_of(8 * days, 2) == 1
        assert bucket_of(HOUR_US, 1_000) == 1
        assert bucket_of(-1, 2) == -1

    async def test_messages_are_read_across_buckets(self, store: CassandraStore) -> None:
        """A conversation of years with a message now and then, and a burst in one bucket, is one listing both ways."""
        times = [*(number * 2_000 * HOUR_US for number in range(30)), *(9 * HOUR_US + n for n in range(700))]
        rows = [MessageRow(PAIR, at, "ann", f"m{n:04}", b"event") for n, at in enumerate(times)]
        batch = Batch(INCARNATION, rows, participant_counts={PAIR: 2}, conversations={PAIR: ("ann", "bob")})
        await store.write(batch)
        order = sorted((row.sent_at_us, row.message_id) for row in rows)
        newest = await store.messages(PAIR, END, False, 1_000, EVERYTHING, "bob")
        assert [(m.key.sent_at_us, m.key.message_id) for m in reversed(newest.items)] == order
        assert not newest.more
        cut = END
        paged: list[StoredMessage] = []
        while True:
            page = await store.messages(PAIR, cut, False, 45, EVERYTHING, "bob")
            paged += page.items
            if not page.more:
                break
            cut = cut._replace(key=page.items[-1].key)
        assert paged == newest.items

    async def test_events_are_read_across_buckets(self, store: CassandraStore) -> None:
        """Events far apart in the log come in order, whether much or little lies between."""
        places = (0, 5, POSITIONS_PER_BUCKET - 1, POSITIONS_PER_BUCKET, 40 * POSITIONS_PER_BUCKET + 7)
        batch = Batch(INCARNATION, positions={3: Persisted(41 * POSITIONS_PER_BUCKET, 1)})
        batch.gaps = [GapRow(3, number * POSITIONS_PER_BUCKET + 9, 1) for number in range(41)]
        batch.inbox[3] = [InboxRow("ann", offset, b"logged") for offset in places]
        await store.write(batch)
        asked = EventsAsked(INCARNATION, "ann", 3, -1, 41 * POSITIONS_PER_BUCKET, EVERYTHING, EVERYTHING)
        found = await store.events(asked)
        assert found.complete
        assert [event.offset for event in found.events if event.logged] == list(places)
        assert len(found.events) == 41 + len(places)
        later = await store.events(asked._replace(after=5, max_events=1))
        assert ([event.offset for event in later.events], later.complete) == ([9], False)

    async def test_many_large_events_are_read_in_small_steps(self, store: CassandraStore) -> None:
        """A page of a user with megabytes of events in a row is cut where it is full."""
        batch = Batch(INCARNATION, positions={0: Persisted(99, 1)})
        batch.inbox[0] = [InboxRow("ann", offset, bytes([offset]) * 100_000) for offset in range(100)]
        await store.write(batch)
        asked = EventsAsked(INCARNATION, "ann", 0, -1, 99, EVERYTHING, 1_000_000)
        found = await store.events(asked)
        assert [event.offset for event in found.events] == list(range(10))
        assert not found.complete


async def expire(
    session: CassandraSession, keyspace: str, below: int, written_later: Container[int] = ()
) -> None:
    """What the time to live of starts, and a day later that of events, does at once."""
    for table in ("event_starts", "events"):
        key = "partition" if table == "event_starts" else "partition, bucket, reader"
        rows = await run(session, f"select {key}, position from {keyspace}.{table}")
        for *place, position in rows:
            if position < EPOCH + below and position - EPOCH not in written_later:
                named = " and ".join(f"{name} = %s" for name in (*key.split(", "), "position"))
                await run(session, f"delete from {keyspace}.{table} where {named}", (*place, position))


class TestExpiry:
    async def test_events_that_are_no_longer_kept_are_a_gap(
        self, engine: CassandraEngine, session: CassandraSession
    ) -> None:
        """A client away for longer than the inbox keeps events is told the range, then what is still there.

        However few events there are, and however often the service that writes them starts anew meanwhile.
        """
        settings = engine.settings(unique_name("expiry"))
        await migrate(settings, copies=1)
        made = WrittenLog(1)
        made.message("ann", [], "m1", 7)
        (logged,) = made.batch(0, 0, 1).inbox[0]
        for first in (0, 10, 20):
            store = await CassandraStore.open(settings)
            for offset in (first, first + 5):
                batch = Batch(INCARNATION, positions={0: Persisted(offset, 5)})
                batch.inbox[0] = [logged._replace(offset=offset)]
                await store.write(batch)
            await store.close()
        store = await CassandraStore.open(settings)
        events = StoredEvents(store, INCARNATION)
        whole = await events.events_after("ann", 0, -1, EVERYTHING)
        assert [event.offset for event in whole.events] == [0, 5, 10, 15, 20, 25]
        await expire(session, settings.keyspace, 12)
        page = await events.events_after("ann", 0, 4, EVERYTHING)
        updates = messaging.ConnectResponse.FromString(b"".join(event.piece for event in page.events)).updates
        assert [update.WhichOneof("update") for update in updates] == ["gap", "event", "event"]
        assert [event.offset for event in page.events] == [19, 20, 25]
        assert page.events[0].time_us == 5, "not below what was told before (I12)"
        here = await events.events_after("ann", 0, 19, EVERYTHING)
        assert [event.offset for event in here.events] == [20, 25]
        await expire(session, settings.keyspace, 30)
        page = await events.events_after("ann", 0, 4, EVERYTHING)
        assert [event.offset for event in page.events] == [25]
        assert page.through_offset == 25
        await store.close()

    async def test_where_events_start_is_said_again_and_again(
        self, engine: CassandraEngine, session: CassandraSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A service that runs for longer than the inbox keeps events still says what is there; not with each batch.

        One that goes back to earlier records says so at once.
        """
        settings = engine.settings(unique_name("starts"))
        await migrate(settings, copies=1)
        store = await CassandraStore.open(settings)

        async def starts() -> list[int]:
            rows = await run(session, f"select position from {settings.keyspace}.event_starts")
            return [position - EPOCH for (position,) in rows]

        async def write(*offsets: int) -> None:
            gaps = [GapRow(3, offset, 1) for offset in offsets]
            await store.write(Batch(INCARNATION, gaps=gaps, positions={3: Persisted(max(offsets), 1)}))

        for offset in (7, 8, 5, 6):
            await write(offset)
        assert await starts() == [5, 7]
        monkeypatch.setattr("history_service.cassandra_writes._START_EVERY_S", 0.0)
        await write(12, 11)
        assert await starts() == [5, 7, 11]
        await store.close()

    async def test_a_record_that_is_put_back_keeps_nothing_else(
        self, engine: CassandraEngine, session: CassandraSession, tmp_path: Path
    ) -> None:
        """It lives from when it was put back, what follows it no longer than before: after that there is a gap (R11)."""
        settings = engine.settings(unique_name("replayed"))
        await migrate(settings, copies=1)
        log = await EmbeddedLog.open(tmp_path / "log", 1)
        made = WrittenLog(1, log.incarnation)
        for number in range(6):
            made.message("ann", [], f"m{number}", number + 1)
        await log.dead_letter([DeadLetter(0, 3, "new", made.records[0][3], 1, 4, counted=True)])
        store = await CassandraStore.open(settings)
        for offset in (0, 1, 2, 4, 5):
            await store.write(made.batch(0, offset, offset + 1))
        await store.close()
        store = await CassandraStore.open(settings)
        replay = Replay(log, store, Limits())
        async for judged in judged_letters(log):
            await replay.put_back(judged)
        events = StoredEvents(store, log.incarnation)
        whole = await events.events_after("ann", 0, -1, EVERYTHING)
        assert [event.offset for event in whole.events] == [0, 1, 2, 3, 4, 5]
        await expire(session, settings.keyspace, 6, written_later=(3,))
        for after in (-1, 3):
            page = await events.events_after("ann", 0, after, EVERYTHING)
            updates = messaging.ConnectResponse.FromString(page.events[0].piece).updates
            assert [update.WhichOneof("update") for update in updates] == ["gap"]
            assert [event.offset for event in page.events] == [5]
        await store.close()
        await log.close()

    async def test_rows_that_expire_say_so(self, engine: CassandraEngine, session: CassandraSession) -> None:
        """What tells that events are there expires a day before they do; messages never expire."""
        settings = engine.settings(unique_name("ttl"))
        await migrate(settings, copies=1, inbox_days=10)
        query = "select table_name, default_time_to_live from system_schema.tables where keyspace_name = %s"
        rows = await asyncio.to_thread(session.run, query, (settings.keyspace,))
        lifetimes = {name: seconds for name, seconds in rows if seconds}
        day_s = 86_400
        assert lifetimes == {"events": 12 * day_s, "event_marks": 12 * day_s, "event_starts": 11 * day_s}
        assert {name for name, _ in rows} == set(TABLES)


class Answers:
    """What the store's queries give, counted."""

    def __init__(self, store: CassandraStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.queries = self.rows = self.bytes = 0
        ask = store._session.rows

        async def counted(*asked: Any) -> list[Row]:
            rows = await ask(*asked)
            self.queries += 1
            self.rows += len(rows)
            self.bytes += sum(len(value) for row in rows for value in row if isinstance(value, bytes))
            return rows

        monkeypatch.setattr(store._session, "rows", counted)


def spread(count: int, step_us: int, first: int = 0, event: bytes = b"event") -> list[MessageRow]:
    """So many messages of the pair, so far apart."""
    return [MessageRow(PAIR, (first + n) * step_us, "ann", f"m{first + n:05}", event) for n in range(count)]


async def write_messages(store: CassandraStore, rows: list[MessageRow], *reactions: ReactionRow) -> None:
    batch = Batch(INCARNATION, rows, participant_counts={PAIR: 2}, conversations={PAIR: ("ann", "bob")})
    batch.reactions.extend(reactions)
    await store.write(batch)


class TestBounds:
    async def test_messages_that_turn_out_large_are_read_a_few_at_a_time(
        self, store: CassandraStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where the nearest messages are few and small, those before them many and large, a page reads some megabytes."""
        day = 24 * HOUR_US
        small = spread(40, 8 * day, first=20)
        large = [row for n in range(20) for row in spread(64, 1_000, n * 8 * day // 1_000, bytes(30_000))]
        for start in range(0, len(large), 256):
            await write_messages(store, large[start : start + 256])
        await write_messages(store, small)
        order = [(row.sent_at_us, row.message_id) for row in sorted(large + small, reverse=True)]
        answers = Answers(store, monkeypatch)
        page = await store.messages(PAIR, END, False, 500, 2_000_000, "bob")
        assert [m.key[::2] for m in page.items] == order[: len(page.items)]
        assert (len(page.items), page.more) == (40 + 66, True)
        assert answers.bytes < 8_000_000

    async def test_the_newest_message_is_found_at_once_in_a_long_conversation(
        self, store: CassandraStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Years of messages before it are not looked at, neither are the buckets that they are in."""
        await write_messages(store, spread(500, 200 * HOUR_US))
        answers = Answers(store, monkeypatch)
        page = await store.messages(PAIR, END, False, 1, EVERYTHING, "bob")
        assert ([m.key.message_id for m in page.items], page.more) == (["m00499"], True)
        assert answers.rows < 50
        newest = await store.messages(PAIR, END, False, 500, EVERYTHING, "bob")
        assert [m.key.message_id for m in newest.items] == [f"m{n:05}" for n in reversed(range(500))]
        assert not newest.more

    async def test_of_more_reactions_than_can_be_read_the_first_are_shown(
        self, store: CassandraStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A message that has them costs no more; those beside it are shown with all of theirs."""
        monkeypatch.setattr(cassandra_messages, "REACTIONS_LOOKED_AT", 60)
        rows = spread(40, 1_000)
        reactions = [
            ReactionRow(PAIR, *row[1:4], f"key {key:03}", "ann", key, key % 2 == 1)
            for n, row in enumerate(rows)
            for key in range(300 if n in (7, 20) else 2)
        ]
        await write_messages(store, rows, *reactions)
        answers = Answers(store, monkeypatch)
        page = await store.messages(PAIR, END, False, 100, EVERYTHING, "bob")
        assert [m.key.message_id for m in page.items] == [row.message_id for row in reversed(rows)]
        assert answers.rows < 1_000
        shown = {m.key.message_id: [reactions.key for reactions in m.reactions] for m in page.items}
        for n, row in enumerate(rows):
            many = [f"key {key:03}" for key in range(0, 60, 2)]
            assert shown[row.message_id] == (many if n in (7, 20) else ["key 000"])
        (named,) = await store.named_messages([(PAIR, page.items[-8].key)], "bob")
        assert named == page.items[-8]

    @pytest.mark.parametrize("newer", [False, True])
    async def test_a_page_full_of_reactions_ends(
        self, store: CassandraStore, monkeypatch: pytest.MonkeyPatch, newer: bool
    ) -> None:
        """It says that others follow, and page after page every message comes with all of its reactions."""
        monkeypatch.setattr(cassandra_messages, "REACTIONS_LOOKED_AT", 25)
        monkeypatch.setattr(cassandra_messages, "_REACTIONS_A_PAGE", 100)
        rows = [row for n in range(4) for row in spread(30, 1_000, n * 200 * HOUR_US // 1_000)]
        reactions = [
            ReactionRow(PAIR, *row[1:4], "+", f"user {user:02}", user, False)
            for row in rows
            for user in range(9)
        ]
        await write_messages(store, rows, *reactions)
        cut, found, pages = BEGINNING if newer else END, list[StoredMessage](), 0
        while True:
            page = await store.messages(PAIR, cut, newer, 500, EVERYTHING, "bob")
            found += page.items
            pages += 1
            if not page.more:
                break
            assert 100 <= 9 * len(page.items) < 300
            cut = Cut(page.items[-1].key, after=newer)
        assert pages > 4
        assert [m.key.message_id for m in found] == [r.message_id for r in sorted(rows, reverse=not newer)]
        assert {[(r.key, r.total) for r in m.reactions] == [("+", 9)] for m in found} == {True}


class TestUnread:
    async def test_own_messages_are_walked_over_within_bounds(self, store: CassandraStore) -> None:
        """Someone who sends thousands and reads nothing is counted for in bounded time."""
        count = _UNREAD_WALK + 2_000
        rows = [MessageRow(PAIR, number, "ann", f"m{number:06}", b"e") for number in range(count)]
        rows[5:7] = [row._replace(sender_id="bob") for row in rows[5:7]]
        rows[-1] = rows[-1]._replace(sender_id="bob")
        for start in range(0, count, 2_000):
            part = rows[start : start + 2_000]
            batch = Batch(
                INCARNATION, part, participant_counts={PAIR: 2}, conversations={PAIR: ("ann", "bob")}
            )
            await store.write(batch)
        overview = await store.overview("ann", PAIR)
        assert overview is not None
        assert overview.unread == 2
