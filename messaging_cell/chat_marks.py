"""Marks of a chat: those that others set, worth showing once, and one's own read marks, told now and then."""

import asyncio

from rich.text import Text

from messaging_client import Client, MessageRef, MessagingError

_PAUSE_S = 0.3
"""One's own marks are told at most this often; the last one counts."""
_TIMEOUT_S = 5.0


class ShownMarks:
    """Which marks of others are news: each once for one's own last message, and received no more after read."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], tuple[MessageRef, bool]] = {}

    def news(self, user: str, through: MessageRef, last: MessageRef, *, read: bool) -> Text | None:
        """What to show of a mark of `user`, where `last` is one's own message at the end; None for nothing."""
        of, was_read = self._told.get((through.conversation_id, user), (None, False))
        if through.sort_key < last.sort_key or (of == last and was_read >= read):
            return None
        self._told[through.conversation_id, user] = (last, read)
        return Text(f"{'✓✓ read' if read else '✓ received'} by {user}", "dim")


class OwnMarks:
    """Tells the others what was read; that it was received the client itself tells."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._due: dict[str, tuple[MessageRef, tuple[str, ...]]] = {}
        self._wanted = asyncio.Event()

    def read(self, ref: MessageRef, participants: tuple[str, ...]) -> None:
        """A message of others was shown in the conversation that is open."""
        self._due[ref.conversation_id] = (ref, participants)
        self._wanted.set()

    async def tell(self) -> None:
        """Tell it, until cancelled: once there is a connection."""
        while True:
            await self._wanted.wait()
            await asyncio.sleep(_PAUSE_S)
            await self._client.online()
            await self.tell_now()

    async def tell_now(self) -> None:
        """Tell it at once. What could not be told is kept: a mark is a courtesy, and a later one says as much."""
        self._wanted.clear()
        due, self._due = self._due, {}
        for conversation_id, (ref, participants) in due.items():
            try:
                await self._client.mark_read(ref, participants=participants, timeout_s=_TIMEOUT_S)
            except MessagingError:
                self._due.setdefault(conversation_id, (ref, participants))
