"""What history answers to the rest of the cell, in its terms: offsets, cursors, positioned events."""

from collections.abc import Iterator
from contextlib import contextmanager

from cell.log.v1 import record_pb2 as log
from history_service.paging import fitting
from history_service.port import (
    EventsAsked,
    HistoryStore,
    Persisted,
    StoredEvent,
    StoreError,
    StoreUnavailable,
)
from messaging_core.cursor import Cursor, incarnation_bytes
from messaging_core.events import EventsPage, HistoryUnavailable, PositionedEvent, gap_piece, positioned

_MAX_EVENTS = 1_000
"""Of one page, whatever their size."""


class StoredEvents:
    """Reads a user's stored events (R9)."""

    def __init__(self, store: HistoryStore, incarnation: str) -> None:
        """Read events of the log `incarnation`."""
        self._store = store
        self._incarnation = incarnation
        self._cursor_incarnation = incarnation_bytes(incarnation)
        self.gaps = 0
        """How many were told."""

    async def events_after(
        self, user_id: str, partition: int, after_offset: int, max_bytes: int
    ) -> EventsPage:
        """Events of the user after an offset, in order: at least one if there is one, else at most `max_bytes` of pieces.

        Of marks, which are state, only those in force; gaps for unreadable records. Raises HistoryUnavailable.
        """
        persisted = await self.persisted(partition)
        return await self.page(user_id, partition, after_offset, persisted, _MAX_EVENTS, max_bytes)

    async def persisted(self, partition: int) -> Persisted:
        """How far history has come; to be read before a page (R9). Raises HistoryUnavailable."""
        with _unavailable():
            return await self._store.persisted(self._incarnation, partition)

    async def page(
        self,
        user_id: str,
        partition: int,
        after_offset: int,
        persisted: Persisted,
        max_events: int,
        max_bytes: int,
    ) -> EventsPage:
        """As `events_after`, up to what was persisted before, and at most `max_events`."""
        through = persisted.offset
        if after_offset >= through:  # the log is ahead of history; so is the caller
            return EventsPage([], after_offset, persisted.time_us, after_offset)
        asked = EventsAsked(
            self._incarnation, user_id, partition, after_offset, through, max_events, max_bytes
        )
        with _unavailable():
            stored = await self._store.events(asked)
        found = [self._positioned(partition, event) for event in stored.events]
        if stored.kept_from > after_offset + 1:
            # The time at its end is not known any more. A later one does no harm, an earlier one might (I12).
            found.insert(0, self._gap(partition, after_offset, stored.kept_from - 1, persisted.time_us))
        events = fitting(((event, len(event.piece)) for event in found), max_bytes)
        if stored.complete and len(events) == len(found):
            return EventsPage(events, through, persisted.time_us, through)
        time_us = max(event.time_us for event in events)
        return EventsPage(events, events[-1].offset, time_us, through)

    def _positioned(self, partition: int, stored: StoredEvent) -> PositionedEvent:
        offset, logged, gap_time_us = stored
        if logged:
            event = log.LoggedEvent.FromString(logged)
            return positioned(event, self._cursor_incarnation, partition, offset, event.event_time_us)
        return self._gap(partition, offset - 1, offset, gap_time_us)

    def _gap(self, partition: int, after: int, until: int, time_us: int) -> PositionedEvent:
        """Tells that the events above `after` up to `until` are not to be had."""
        self.gaps += 1
        before = Cursor(self._cursor_incarnation, partition, after, time_us)
        piece = gap_piece(before, before._replace(offset=until))
        return PositionedEvent(until, piece, time_us, b"", "")


class StoredRegistry:
    """Knows who takes part in which conversation."""

    def __init__(self, store: HistoryStore) -> None:
        """Keep it in `store`."""
        self._store = store

    async def participants(self, conversation_id: str) -> tuple[str, ...] | None:
        """Everyone in it, in byte order; None if it was never registered. Raises HistoryUnavailable."""
        with _unavailable():
            return (await self._store.participants((conversation_id,))).get(conversation_id)

    async def register(self, conversation_id: str, participants: tuple[str, ...]) -> None:
        """Make it known, durably, before the first append to it. Idempotent. Raises HistoryUnavailable."""
        with _unavailable():
            await self._store.register(conversation_id, participants)


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except (StoreUnavailable, StoreError) as error:
        raise HistoryUnavailable(str(error)) from error
