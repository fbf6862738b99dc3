"""What every engine of the history store owes; a new one is added to `engines.py` and passes unchanged."""

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from cell.log.v1 import record_pb2 as log
from history_service.port import (
    BEGINNING,
    END,
    REACTING_USERS_SHOWN,
    REACTION_KEYS_SHOWN,
    Batch,
    Cut,
    EventsAsked,
    HistoryStore,
    MessageKey,
    Persisted,
)
from messaging_core.ids import conversation_id
from tests.history_service.commands import (
    CONVERSATIONS,
    USERS,
    Command,
    chances,
    commands,
    events_of,
    gaps_of,
    is_mark,
    marks_of,
    reactions_of,
    written,
)
from tests.history_service.contents import ALL, contents
from tests.history_service.engines import Engine
from tests.history_service.written import INCARNATION, WrittenLog, key_of

PAIR = conversation_id(["ann", "bob"])
SIZE = 2**30


def asked(
    user: str, partition: int, after: int = -1, through: int = ALL, events: int = ALL, size: int = 2**30
) -> EventsAsked:
    return EventsAsked(INCARNATION, user, partition, after, through, events, size)


class TestWrite:
    @settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
    @given(script=commands, chance=chances)
    async def test_replays_change_nothing(
        self, engine: Engine, script: list[Command], chance: random.Random
    ) -> None:
        """Any suffix of any partition, any number of times, gives the store that each once gives (I11)."""
        if not engine.takes(script):
            return
        made = written(script)
        async with engine.fresh() as once, engine.fresh() as often:
            await made.store_all(once)
            stored = dict.fromkeys(made.records, 0)
            rows = made.rows()
            while any(stored[partition] < len(records) for partition, records in made.records.items()):
                partition = chance.choice([p for p, records in made.records.items() if records])
                start = chance.randint(0, stored[partition])
                end = chance.randint(start, len(made.records[partition]))
                if chance.random() < 0.5:
                    rows = made.rows()  # another consumer, which remembers nothing
                await often.write(made.batch(partition, start, end, rows))
                stored[partition] = max(stored[partition], end)
            assert await contents(often, made) == await contents(once, made)

    @settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
    @given(script=commands, chance=chances)
    async def test_the_order_of_batches_changes_nothing(
        self, engine: Engine, script: list[Command], chance: random.Random
    ) -> None:
        """Records stored one by one in any order, some twice, give the same store: each row wins by its own order."""
        if not engine.takes(script):
            return
        made = written(script)
        batches = [
            made.batch(partition, offset, offset + 1)
            for partition, records in made.records.items()
            for offset in range(len(records))
        ]
        batches += chance.sample(batches, len(batches) // 2)
        chance.shuffle(batches)
        async with engine.fresh() as ordered, engine.fresh() as shuffled:
            await made.store_all(ordered)
            for batch in batches:
                await shuffled.write(batch)
            assert await contents(shuffled, made) == await contents(ordered, made)

    @settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
    @given(script=commands)
    async def test_state_is_the_fold_of_the_log(self, engine: Engine, script: list[Command]) -> None:
        """Reactions and marks are what the log says in the end; events are the effective records (I11)."""
        if not engine.takes(script):
            return
        made = written(script)
        async with engine.fresh() as store:
            await made.store_all(store)
            reactions = reactions_of(made)
            for users in CONVERSATIONS:
                for message in (
                    await store.messages(conversation_id(users), BEGINNING, True, ALL, SIZE, "ann")
                ).items:
                    shown = {r.key: (set(r.user_ids), r.total, r.mine) for r in message.reactions}
                    in_force = {key: who for key, who in reactions[message.key].items() if who}
                    assert shown == {key: (who, len(who), "ann" in who) for key, who in in_force.items()}
            for user in USERS:
                overviews = (await store.overviews(user, None, ALL, SIZE)).items
                marks = {
                    (m.conversation_id, m.marker_id, m.kind): m.through for o in overviews for m in o.marks
                }
                assert marks == marks_of(made, user)
                found = (await store.events(asked(user, made.partition_of(user)))).events
                gaps = [event.offset for event in found if not event.logged]
                assert gaps == gaps_of(made, user)
                kinds = {e.offset: log.LoggedEvent.FromString(e.logged).kind for e in found if e.logged}
                seen = events_of(made, user)
                assert {s.offset for s in seen if not is_mark(s)} <= kinds.keys()
                assert all(kinds[s.offset] == s.kind for s in seen if s.offset in kinds)
                assert kinds.keys() <= {s.offset for s in seen}

    async def test_late_records_change_nothing(self, store: HistoryStore) -> None:
        """Records stored in the opposite order: reactions and marks are still those of the log (I11)."""
        made = WrittenLog()
        users = ["ann", "bob", "cid"]
        first, second = (made.message("ann", users, f"m{n}", n) for n in (1, 2))
        for key, last in (("+", True), ("-", False)):
            for number, removed in enumerate((not last, last)):
                made.reaction("cid", users, first, key, removed, f"{key}{number}")
        for through in (first, second, first):
            made.read_mark("cid", users, through)
        for partition, records in made.records.items():
            for offset in reversed(range(len(records))):
                await store.write(made.batch(partition, offset, offset + 1))
        for user in users:
            (overview,) = (await store.overviews(user, None, ALL, SIZE)).items
            assert [mark.through for mark in overview.marks] == [key_of(second)]
            (message, _) = (
                await store.messages(overview.conversation_id, BEGINNING, True, ALL, SIZE, user)
            ).items
            assert [reactions.key for reactions in message.reactions] == ["-"]

    async def test_a_batch_outlives_the_process_that_wrote_it(self, engine: Engine, tmp_path: Path) -> None:
        """What was written is there when the store is opened again."""
        made = WrittenLog()
        ref = made.message("ann", ["bob"], "m1", 7)
        store = await engine.open(tmp_path)
        await made.store_all(store)
        await store.close()
        store = await engine.open(tmp_path)
        messages = (await store.messages(PAIR, END, False, 1, SIZE, "ann")).items
        assert [message.key for message in messages] == [key_of(ref)]
        await store.close()

    async def test_positions_never_fall(self, store: HistoryStore) -> None:
        """A late write of an earlier position, as of an owner that lost its partition, leaves the later one."""
        await store.write(Batch(INCARNATION, positions={2: Persisted(9, 50)}))
        await store.write(Batch(INCARNATION, positions={2: Persisted(4, 60)}))
        assert (await store.persisted(INCARNATION, 2)).offset == 9
        assert await store.persisted(INCARNATION, 3) == Persisted(-1, 0)

    async def test_a_later_incarnation_is_above(self, store: HistoryStore) -> None:
        """With a log made anew, offsets start over: its reactions win, its events are its own, older ones are kept apart."""
        old, new = WrittenLog(incarnation="old"), WrittenLog(incarnation="new")
        for made, removed in ((old, False), (new, True)):
            ref = made.message("ann", ["bob"], "m1", 7)
            for number in range(3 if made is old else 0):
                made.reaction("bob", ["ann", "bob"], ref, "-", False, f"r{number}")
            made.message("ann", ["bob"], f"only-{made.incarnation}", 8)
            made.reaction("bob", ["ann", "bob"], ref, "+", removed, "last")
        await old.store_all(store)
        await new.store_all(store)
        messages = (await store.messages(PAIR, BEGINNING, True, ALL, SIZE, "ann")).items
        assert [m.key.message_id for m in messages] == ["m1", "only-new", "only-old"]
        assert [reactions.key for reactions in messages[0].reactions] == ["-"]
        partition = new.partition_of("ann")
        found = await store.events(asked("ann", partition)._replace(incarnation="new"))
        assert len(found.events) == 3
        assert (await store.persisted("new", partition)).offset == 2

    async def test_a_large_conversation_stays_merged_when_the_bound_changes(
        self, store: HistoryStore
    ) -> None:
        """Events stored under one bound of small conversations and again under another are shown once."""
        made = WrittenLog()
        for number in range(4):
            made.message("ann", ["bob", "cid", "dan"], f"m{number}", 10 + number)
        for shared_above in (3, 16, 3):
            for partition, records in made.records.items():
                await store.write(made.batch(partition, 0, len(records), made.rows(shared_above)))
        found = await store.events(asked("bob", made.partition_of("bob")))
        offsets = [event.offset for event in found.events]
        assert offsets == sorted(set(offsets))
        assert len(offsets) == 4


class TestRegister:
    async def test_participants_are_known_at_once(self, store: HistoryStore) -> None:
        """A registered conversation is found, however often it was registered; one never registered is not."""
        for _ in range(2):
            await store.register(PAIR, ("ann", "bob"))
        assert await store.participants([PAIR, "x" * 22]) == {PAIR: ("ann", "bob")}

    async def test_an_empty_conversation_has_an_overview(self, store: HistoryStore) -> None:
        """A conversation without messages is shown by name, and not in the list."""
        await store.register(PAIR, ("ann", "bob"))
        overview = await store.overview("ann", PAIR)
        assert overview is not None
        assert (overview.participants, overview.last_message, overview.unread) == (("ann", "bob"), None, 0)
        assert (await store.overviews("ann", None, ALL, SIZE)).items == []
        assert await store.overview("ann", "x" * 22) is None

    async def test_messages_make_their_conversation_known(self, store: HistoryStore) -> None:
        """A store made anew from the log needs no registry: an origin names everyone."""
        made = WrittenLog()
        made.message("ann", ["bob"], "m1", 7)
        await made.store_all(store)
        assert await store.participants([PAIR]) == {PAIR: ("ann", "bob")}


class TestMessages:
    @pytest.fixture
    async def keys(self, store: HistoryStore) -> list[MessageKey]:
        made = WrittenLog()
        refs = [
            made.message(s, ["ann", "bob"], f"m{n}-{t}", t)
            for t in (5, 6)
            for s in ("bob", "ann")
            for n in (2, 1)
        ]
        await made.store_all(store)
        return sorted(map(key_of, refs))

    async def test_cuts_take_each_side(self, store: HistoryStore, keys: list[MessageKey]) -> None:
        """Each message is on exactly one side of a cut before it, and of one after it, nearest first."""
        for number, key in enumerate(keys):
            for after in (False, True):
                older = (await store.messages(PAIR, Cut(key, after), False, ALL, SIZE, "ann")).items
                newer = (await store.messages(PAIR, Cut(key, after), True, ALL, SIZE, "ann")).items
                assert [m.key for m in reversed(older)] == keys[: number + after]
                assert [m.key for m in newer] == keys[number + after :]

    async def test_the_ends_and_the_limit(self, store: HistoryStore, keys: list[MessageKey]) -> None:
        """From the ends one gets the first and the last; never more than the limit."""
        assert [m.key for m in (await store.messages(PAIR, END, False, 3, SIZE, "ann")).items] == keys[:-4:-1]
        assert [m.key for m in (await store.messages(PAIR, BEGINNING, True, 3, SIZE, "ann")).items] == keys[
            :3
        ]

    async def test_a_page_is_bounded_in_bytes(self, store: HistoryStore) -> None:
        """A page ends before it is too large, has at least one message, and says whether others follow."""
        made = WrittenLog()
        for number in range(4):
            made.message("ann", ["bob"], f"m{number}", 10 + number)
        await made.store_all(store)
        everything = await store.messages(PAIR, END, False, 4, SIZE, "ann")
        assert (len(everything.items), everything.more) == (4, False)
        size = len(everything.items[0].event)
        for limit, max_bytes, count in ((3, SIZE, 3), (4, 2 * size, 2), (4, 1, 1), (0, SIZE, 0)):
            page = await store.messages(PAIR, END, False, limit, max_bytes, "ann")
            assert (len(page.items), page.more) == (count, True)

    async def test_named_messages(self, store: HistoryStore, keys: list[MessageKey]) -> None:
        """Messages by name come in the order asked for, those that are not there or not the reader's as None."""
        missing = keys[0]._replace(message_id="other")
        names = [(PAIR, keys[3]), (PAIR, missing), ("x" * 22, keys[0]), (PAIR, keys[0])]
        found = await store.named_messages(names, "ann")
        assert [each and each.key for each in found] == [keys[3], None, None, keys[0]]
        assert await store.named_messages(names, "cid") == [None] * 4

    async def test_reactions_are_bounded_in_what_they_show(self, store: HistoryStore) -> None:
        """The count is of all users and whether the reader is one holds beyond those named; keys are bounded too."""
        made = WrittenLog()
        users = sorted(f"user-{n:02}" for n in range(30))
        ref = made.message(users[0], users, "m1", 7)
        for user in users:
            made.reaction(user, users, ref, "+", False, f"r-{user}")
        for n in range(REACTION_KEYS_SHOWN + 5):
            made.reaction(users[3], users, ref, f"~{n:03}", False, f"k{n}")
        await made.store_all(store)
        (message,) = (await store.messages(conversation_id(users), END, False, 1, SIZE, users[29])).items
        assert len(message.reactions) == REACTION_KEYS_SHOWN
        plus = message.reactions[0]
        assert (plus.key, plus.total, plus.mine) == ("+", 30, True)
        assert list(plus.user_ids) == users[:REACTING_USERS_SHOWN]
        assert not message.reactions[1].mine


class TestEvents:
    async def test_bounds(self, store: HistoryStore) -> None:
        """A page ends at its bounds of events and bytes, has at least one event, and says whether it is all."""
        made = WrittenLog()
        for number in range(5):
            made.message("ann", ["ann"], f"m{number}", 7)
        await made.store_all(store)
        partition = made.partition_of("ann")
        full = await store.events(asked("ann", partition))
        assert full.complete
        assert [event.offset for event in full.events] == [0, 1, 2, 3, 4]
        size = len(full.events[0].logged)
        for bounded, count in (
            (asked("ann", partition, events=2), 2),
            (asked("ann", partition, size=3 * size), 3),
            (asked("ann", partition, size=1), 1),
        ):
            found = await store.events(bounded)
            assert (len(found.events), found.complete) == (count, False)
        within = await store.events(asked("ann", partition, after=1, through=3))
        assert [event.offset for event in within.events] == [2, 3]
        assert within.complete

    async def test_others_see_nothing(self, store: HistoryStore) -> None:
        """A user's events are not told to another user of the same partition."""
        made = WrittenLog(partition_count=1)
        made.message("ann", ["bob"], "m1", 7)
        made.message("ann", ["bob", "cid", "dan"], "m2", 8)
        await made.store_all(store)
        assert (await store.events(asked("eve", 0))).events == []
        assert len((await store.events(asked("dan", 0))).events) == 1


class TestOverviews:
    async def test_latest_first_in_pages(self, store: HistoryStore) -> None:
        """Small and large conversations come together, the latest active first, and pages join without loss."""
        made = WrittenLog()
        for number in range(9):
            others = ["bob", "cid", "dan"] if number % 3 == 0 else []
            made.message("ann", [*others, f"peer-{number}"], f"m{number}", 100 + number % 4)
        await made.store_all(store)
        everything = (await store.overviews("ann", None, ALL, SIZE)).items
        order = [(overview.last_at_us, overview.conversation_id) for overview in everything]
        assert order == sorted(order, reverse=True)
        assert len(order) == 9
        paged: list[tuple[int, str]] = []
        while page := (await store.overviews("ann", paged[-1] if paged else None, 2, SIZE)).items:
            paged += [(overview.last_at_us, overview.conversation_id) for overview in page]
        assert paged == order

    async def test_a_page_is_bounded_in_bytes(self, store: HistoryStore) -> None:
        """A page ends before its last messages are too large, has at least one, and says whether others follow."""
        made = WrittenLog()
        for number in range(4):
            made.message("ann", [f"peer-{number}"], f"m{number}", 10 + number)
        await made.store_all(store)
        everything = await store.overviews("ann", None, 4, SIZE)
        assert (len(everything.items), everything.more) == (4, False)
        size = everything.items[0].last_message_bytes
        for limit, max_bytes, count in ((3, SIZE, 3), (4, 2 * size, 2), (4, 1, 1)):
            page = await store.overviews("ann", None, limit, max_bytes)
            assert (len(page.items), page.more) == (count, True)

    @pytest.mark.parametrize("count", [0, 1, 998, 999, 1000, 1001, 1500])
    async def test_unread_is_exact_to_999(self, store: HistoryStore, count: int) -> None:
        """Messages of others after the own read mark are counted, above 999 as 1,000; own messages never."""
        made = WrittenLog(partition_count=1)
        read = made.message("bob", ["ann"], "before", 10)
        made.message("bob", ["ann"], "earlier", 9)
        for number in range(count):
            made.message("bob", ["ann"], f"b{number}", 10 + number // 7)
            if number % 5 == 0:
                made.message("ann", ["bob"], f"a{number}", 10 + number // 7)
        skipped = sum(
            key < key_of(read) for key in (MessageKey(10, "bob", f"b{n}") for n in range(min(count, 7)))
        )
        made.read_mark("ann", ["ann", "bob"], read)
        await made.store_all(store)
        overview = await store.overview("ann", PAIR)
        assert overview is not None
        assert overview.unread == min(count - skipped, 1000)

    async def test_marks_of_a_large_conversation_are_the_users_own(self, store: HistoryStore) -> None:
        """Above the bound of told marks a user sees its own, and counts from it."""
        made = WrittenLog()
        users = ["ann", "bob", "cid", "dan"]
        refs = [made.message("ann", users, f"m{n}", 10 + n) for n in range(4)]
        made.read_mark("bob", users, refs[1])
        await made.store_all(store)
        (seen_by_bob,) = (await store.overviews("bob", None, ALL, SIZE)).items
        (seen_by_cid,) = (await store.overviews("cid", None, ALL, SIZE)).items
        assert ([m.marker_id for m in seen_by_bob.marks], seen_by_bob.unread) == (["bob"], 2)
        assert (seen_by_cid.marks, seen_by_cid.unread) == ((), 4)
