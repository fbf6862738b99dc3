"""Tells in a terminal what comes in: what is unread at the start, then each new message with a bell.

CELL_TOKEN="$(cell token ann)" python examples/notifier.py
"""

import asyncio
import os

from messaging_client import Client, Conversation, NewMessage, NotifyLevel, ReactionChanged, Snapshot

ADDRESS = os.environ.get("CELL_ADDRESS", "127.0.0.1:50051")


def name_of(conversation: Conversation, user_id: str) -> str:
    """Who else is there."""
    others = [each for each in conversation.participant_ids if each != user_id]
    return ", ".join(others) or "notes to self"


async def tell_unread(client: Client) -> None:
    """One line for each conversation with unread messages."""
    async for conversation in client.conversations():
        if conversation.unread_count:
            shown = min(conversation.unread_count, 999)
            print(f"{shown} unread from {name_of(conversation, client.user_id)}", flush=True)


async def main() -> None:
    """Tell until Ctrl-C."""
    async with Client(ADDRESS, os.environ["CELL_TOKEN"]) as client:
        await client.online()
        async for event in client.events():
            match event:
                case Snapshot():  # the start, or a new start after events were lost
                    await tell_unread(client)
                case NewMessage(message=message, mine=False):
                    bell = "" if message.notify == NotifyLevel.SILENT else "\a"
                    time = message.sent_at.astimezone().strftime("%H:%M")
                    print(f"{bell}{time} {message.sender_id}: {message.text or '(a file)'}", flush=True)
                case ReactionChanged(removed=False) if event.user_id != client.user_id:
                    print(f"{event.user_id} reacted with {event.key}", flush=True)


asyncio.run(main())
