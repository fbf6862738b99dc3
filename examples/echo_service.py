"""A service that echoes each message exactly once, whatever happens to it: kill it at any time and start it again.

    CELL_TOKEN_FILE=token python examples/echo_service.py echo.db

Outbox and cursor are kept in the file that is named. The answer is posted and the event taken in one step, so that after a
kill neither is the answer missing nor is it there twice. The token file is read whenever a token is needed; whoever renews
it need not restart the service.
"""

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from messaging_client import Client, FileStore, NewMessage, NotSent

ADDRESS = os.environ.get("CELL_ADDRESS", "127.0.0.1:50051")
TOKEN_FILE = Path(os.environ["CELL_TOKEN_FILE"])


async def token() -> str:
    """The present access token."""
    return (await asyncio.to_thread(TOKEN_FILE.read_text)).strip()


async def echo(client: Client) -> None:
    """Answer each message of others in its conversation."""
    async for event in client.events():
        match event:
            case NewMessage(message=message, mine=False):
                await client.post(
                    message.content,
                    conversation_id=message.conversation_id,
                    reply_to=message,
                    taking=True,
                )
            case NotSent(message_id=message_id, error=error):
                logging.error("the echo %s was refused: %s", message_id, error)


async def main(store: str) -> None:
    """Run until SIGTERM or Ctrl-C."""
    async with Client(ADDRESS, token, store=FileStore(store)) as client:
        echoing = asyncio.create_task(echo(client))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, echoing.cancel)
        await asyncio.wait([echoing])
        if not echoing.cancelled():
            echoing.result()


logging.basicConfig(level=logging.INFO)
asyncio.run(main(sys.argv[1]))
