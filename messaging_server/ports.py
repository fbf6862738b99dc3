"""What the messaging server needs of history, which it never imports."""

from typing import Protocol

from messaging_core.events import EventsPage


class EventHistory(Protocol):
    """Reads a user's stored events, for sessions further behind than the window (R8, R9)."""

    async def events_after(
        self, user_id: str, partition: int, after_offset: int, max_bytes: int
    ) -> EventsPage:
        """Events of the user after an offset, in order: at least one if there is one, else at most `max_bytes` of pieces.

        Includes gaps for unreadable records, and for events that history no longer keeps. Raises
        messaging_core.events.HistoryUnavailable.
        """
        ...


class ConversationRegistry(Protocol):
    """Knows who takes part in which conversation."""

    async def participants(self, conversation_id: str) -> tuple[str, ...] | None:
        """Everyone in it, in byte order; None if it was never registered.

        Raises messaging_core.events.HistoryUnavailable.
        """
        ...

    async def register(self, conversation_id: str, participants: tuple[str, ...]) -> None:
        """Make it known, durably, before the first append to it. Idempotent.

        Raises messaging_core.events.HistoryUnavailable.
        """
        ...
