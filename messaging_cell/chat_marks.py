"""Received and read marks of a chat: those that others set, worth showing once, and one's own, told now and then."""

import asyncio
from collections.abc import Callable

from rich.text import Text

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_cell.terminal_client import ClientError, TerminalClient

_PAUSE_S = 0.3
"""One's own marks are told at most this often; the last one counts."""


def place(ref: messaging.MessageRef) -> tuple[int, int, str, str]:
    """Where a message stands in its conversation."""
    return (ref.sent_at.seconds, ref.sent_at.nanos, ref.sender_id, ref.message_id)


class ShownMarks:
    """Which marks of others are news: each once for one's own last message, and received no more after read."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], tuple[str, bool]] = {}

    def news(
        self, user: str, through: messaging.MessageRef, last: messaging.MessageRef, *, read: bool
    ) -> Text | None:
        """What to show of a mark of `user`, where `last` is one's own message at the end; None for nothing."""
        message_id, was_read = self._told.get((through.conversation_id, user), ("", False))
        if place(through) < place(last) or (message_id == last.message_id and was_read >= read):
            return None
        self._told[through.conversation_id, user] = (last.message_id, read)
        return Text(f"      {'✓✓ read' if read else '✓ received'} by {user}", "dim")


class OwnMarks:
    """Tells the others what was received and read."""

    def __init__(self, client: TerminalClient, show: Callable[[Text | str], None]) -> None:
        self._client = client
        self._show = show
        self._due: dict[str, tuple[messaging.MessageRef, tuple[str, ...], bool]] = {}
        self._wanted = asyncio.Event()

    def mark(self, ref: messaging.MessageRef, participants: tuple[str, ...], *, read: bool) -> None:
        """A message was shown, in the conversation that is open (`read`) or beside it."""
        *_, was_read = self._due.get(ref.conversation_id, (False,))
        self._due[ref.conversation_id] = (ref, participants, read or bool(was_read))
        self._wanted.set()

    async def tell(self) -> None:
        """Tell it, until cancelled."""
        while True:
            await self._wanted.wait()
            await asyncio.sleep(_PAUSE_S)
            await self.tell_now()

    async def tell_now(self) -> None:
        """Tell it at once."""
        self._wanted.clear()
        due, self._due = self._due, {}
        for ref, participants, read in due.values():
            if (command := _command(ref, participants, read)) is None:
                continue
            try:
                await self._client.execute(command)
            except ClientError as error:
                self._show(
                    Text(f"Could not tell that it was {'read' if read else 'received'}: {error}", "dim")
                )


def _command(
    ref: messaging.MessageRef, participants: tuple[str, ...], read: bool
) -> messaging.Command | None:
    """The command of a mark; None where there is none, because received marks are for direct conversations."""
    everyone = messaging.Recipients(user_ids=participants) if participants else None
    if read:
        return messaging.Command(mark_read=messaging.MarkRead(through=ref, participants=everyone))
    if len(participants) == 2:
        return messaging.Command(mark_received=messaging.MarkReceived(through=ref, participants=everyone))
    return None
