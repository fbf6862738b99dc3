"""What history answers to the rest of the cell."""

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cell.messaging.v1 import messaging_pb2 as messaging
from event_log.reader import Verdict
from history_service.port import HistoryStore, Persisted, StoreUnavailable
from history_service.readers import StoredEvents, StoredRegistry
from messaging_core.cursor import decode_cursor, incarnation_bytes
from messaging_core.events import EventsPage, HistoryUnavailable, PositionedEvent, positioned
from tests.history_service.commands import (
    USERS,
    Command,
    chances,
    commands,
    events_of,
    gaps_of,
    is_mark,
    written,
)
from tests.history_service.engines import Engine
from tests.history_service.written import INCARNATION, WrittenLog


def updates(page: EventsPage) -> list[messaging.Update]:
    """The frame that the pieces of a page make."""
    return list(messaging.ConnectResponse.FromString(b"".join(event.piece for event in page.events)).updates)


class TestEventsAfter:
    @settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
    @given(script=commands, max_bytes=st.integers(1, 2_000), chance=chances)
    async def test_pages_join_without_loss(
        self, engine: Engine, script: list[Command], max_bytes: int, chance: random.Random
    ) -> None:
        """From any offset, in pages of any size, while the store goes on: each record above it once, in order (R9)."""
        if not engine.takes(script):
            return
        made = written(script)
        user = chance.choice(USERS)
        partition = made.partition_of(user)
        end = len(made.records[partition])
        found: list[PositionedEvent] = []
        async with engine.fresh() as store:
            events, rows, stored = StoredEvents(store, INCARNATION), made.rows(), 0
            start = after = chance.randint(-1, end - 1)
            while after < end - 1:
                page = await events.events_after(user, partition, after, max_bytes)
                found += page.events
                assert sum(len(event.piece) for event in page.events) <= max_bytes or len(page.events) == 1
                assert after <= page.through_offset <= page.persisted_offset
                after = page.through_offset
                if after == page.persisted_offset and stored < end:
                    further = chance.randint(stored + 1, end)
                    await store.write(made.batch(partition, stored, further, rows))
                    stored = further
        live = {
            reading.offset: positioned(
                reading.logged, incarnation_bytes(INCARNATION), partition, reading.offset, reading.time_us
            )
            for reading in made.readings(partition)
            if reading.verdict is Verdict.EFFECTIVE
        }
        for event in found:
            assert event == live.get(event.offset, event), "the same bytes as when it was live"
        offsets = [event.offset for event in found]
        assert offsets == sorted(set(offsets))
        wanted = {seen.offset for seen in events_of(made, user) if not is_mark(seen)} | set(
            gaps_of(made, user)
        )
        assert {offset for offset in wanted if offset > start} <= set(offsets)

    async def test_a_gap_is_shown_with_its_range(self, store: HistoryStore) -> None:
        """An unreadable record is a gap from before it through it, for a user it may not even have concerned."""
        made = WrittenLog(1)
        made.message("ann", ["bob"], "m1", 7)
        made.poison(0)
        await made.store_all(store)
        page = await StoredEvents(store, INCARNATION).events_after("eve", 0, -1, 10_000)
        (update,) = updates(page)
        cursors = decode_cursor(update.gap.after), decode_cursor(update.gap.until)
        assert [(cursor.offset, cursor.time_us) for cursor in cursors] == [(0, 7), (1, 7)]
        assert (page.through_offset, page.through_time_us, page.persisted_offset) == (1, 7, 1)

    async def test_a_caller_ahead_of_history_stays_where_it_is(self, store: HistoryStore) -> None:
        """History that lags behind gives an empty last page, and never moves a cursor back."""
        made = WrittenLog(1)
        made.message("ann", ["bob"], "m1", 7)
        await made.store_all(store)
        page = await StoredEvents(store, INCARNATION).events_after("ann", 0, 5, 10_000)
        assert page == EventsPage([], 5, 7, 5)

    async def test_positions_are_read_before_rows(
        self, store: HistoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is stored between the two reads is not in the page, since its position was not yet known (R9)."""
        made = WrittenLog(1)
        made.message("ann", ["bob"], "m1", 7)
        made.message("ann", ["bob"], "m2", 8)
        rows, persisted = made.rows(), store.persisted
        await store.write(made.batch(0, 0, 1, rows))

        async def slow(incarnation: str, partition: int) -> Persisted:
            read = await persisted(incarnation, partition)
            await store.write(made.batch(0, 1, 2, rows))
            return read

        monkeypatch.setattr(store, "persisted", slow)
        page = await StoredEvents(store, INCARNATION).events_after("ann", 0, -1, 10_000)
        assert [event.offset for event in page.events] == [0]
        assert page.through_offset == page.persisted_offset == 0


class TestRegistry:
    async def test_what_is_registered_is_known(self, store: HistoryStore) -> None:
        """None before, everyone in byte order after."""
        registry = StoredRegistry(store)
        assert await registry.participants("c" * 22) is None
        await registry.register("c" * 22, ("ann", "bob"))
        assert await registry.participants("c" * 22) == ("ann", "bob")


async def test_a_store_that_is_away_is_unavailable(
    store: HistoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call says so in the terms of the cell."""

    async def away(*_: Any) -> Any:
        raise StoreUnavailable("away")

    for name in ("persisted", "participants", "register"):
        monkeypatch.setattr(store, name, away)
    for call in (
        StoredEvents(store, INCARNATION).events_after("ann", 0, -1, 100),
        StoredRegistry(store).participants("c" * 22),
        StoredRegistry(store).register("c" * 22, ("ann",)),
    ):
        with pytest.raises(HistoryUnavailable):
            await call
