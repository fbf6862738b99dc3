"""Uses the client in a program that is not async, behind a web framework of threads for example.

The client lives in an event loop in a thread of its own; any thread calls it, and waits for the answer.

    CELL_TOKEN="$(cell token ann)" python examples/from_threads.py bob "Hello!"
"""

import asyncio
import os
import sys
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from messaging_client import Client

Answer = TypeVar("Answer")


class Messaging:
    """A client for all threads of a program. What a call raises is raised where it was called."""

    def __init__(self, address: str, token: str) -> None:
        """Start the thread, and the client in it."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="messaging", daemon=True)
        self._thread.start()
        self.client = Client(address, token)
        self.wait(self.client.start())

    def wait(self, call: Coroutine[Any, Any, Answer]) -> Answer:
        """What a call of the client returns: `messaging.wait(messaging.client.send(...))`."""
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    def close(self) -> None:
        """Send what is left, and end the thread."""
        self.wait(self.client.flush(5.0))
        self.wait(self.client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def main(to: str, text: str) -> None:
    """Send a message from each of three threads."""
    messaging = Messaging(os.environ.get("CELL_ADDRESS", "127.0.0.1:50051"), os.environ["CELL_TOKEN"])

    def work(number: int) -> None:
        message_id = messaging.wait(messaging.client.send(f"{text} ({number})", to=to))
        print(f"thread {number}: accepted as {message_id}", flush=True)

    workers = [threading.Thread(target=work, args=(number,)) for number in (1, 2, 3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    messaging.close()


main(*sys.argv[1:])
