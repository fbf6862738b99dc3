"""A bot in ten lines: it answers whatever it is told. Run it with CELL_TOKEN="$(cell token bot)"."""

import asyncio
import os

from messaging_client import Client, NewMessage


async def main() -> None:
    """Answer until Ctrl-C."""
    async with Client(os.environ.get("CELL_ADDRESS", "127.0.0.1:50051"), os.environ["CELL_TOKEN"]) as client:
        async for event in client.events():
            if isinstance(event, NewMessage) and not event.mine:
                await client.reply(event.message, f"You said: {event.message.text}")


asyncio.run(main())
