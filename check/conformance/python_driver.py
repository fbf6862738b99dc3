"""The driver of the Python SDK: does what lines of JSON on standard input say, and reports in lines of JSON.

An example for drivers in other languages, too; docs/sdk_authors.md specifies the lines.
"""

import asyncio
import json
import sys
from dataclasses import asdict
from typing import Any

from messaging_client import (
    Client,
    ClientFailed,
    ClientSettings,
    FileStore,
    MessageRef,
    NewMessage,
    NotDone,
    NotSent,
    OutcomeUnknown,
    Snapshot,
)


def tell(report: str, **fields: Any) -> None:
    """One line."""
    print(json.dumps({"report": report, **fields}), flush=True)


class Driver:
    """One client and its application."""

    def __init__(self) -> None:
        self._client: Client
        self._token = ""
        self._takes = asyncio.Event()
        self._takes.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def do(self, order: dict[str, Any]) -> bool:
        """Begin what a line says. Whether there may be more."""
        match order.pop("do"):
            case "connect":
                await self._connect(**order)
            case "token":
                self._token = order["token"]
                tell("done")
            case "send":
                sending = self._client.send(order["text"], to=order["to"], timeout_s=None)
                self._start(self._outcome(order["tag"], sending))
            case "react":
                reacting = self._client.react(MessageRef(**order["message"]), order["key"], timeout_s=None)
                self._start(self._outcome(order["tag"], reacting))
            case "mark_read":
                marking = self._client.mark_read(MessageRef(**order["message"]), timeout_s=None)
                self._start(self._outcome(order["tag"], marking))
            case "hold":
                self._takes.clear()
                tell("done")
            case "go_on":
                self._takes.set()
                tell("done")
            case "close":
                await self._client.flush()
                await self._client.close()
                tell("closed")
                return False
        return True

    async def _connect(
        self, address: str, token: str, cursor: str | None, store: str = "", **hints: Any
    ) -> None:
        self._token = token
        settings = ClientSettings(resume_after=cursor, **hints)
        kept = FileStore(store) if store else None
        self._client = Client(address, self._source, store=kept, settings=settings)
        await self._client.start()
        self._start(self._tell_events())

    async def _source(self) -> str:
        return self._token

    async def _outcome(self, tag: str, command: Any) -> None:
        try:
            await command
        except NotDone as refused:
            tell("outcome", tag=tag, outcome="not_done", reason=refused.reason)
        except OutcomeUnknown:
            tell("outcome", tag=tag, outcome="unknown")
        except ClientFailed as failed:
            tell("failed", why=str(failed))
        else:
            tell("outcome", tag=tag, outcome="accepted")

    async def _tell_events(self) -> None:
        try:
            async for event in self._client.events():
                match event:
                    case NewMessage(message=message):
                        tell("event", kind="message", text=message.text, message=asdict(message.ref))
                    case Snapshot():
                        tell("event", kind="reload")
                    case NotSent():
                        tell("event", kind="not_sent", message_id=event.message_id)
                    case _:
                        tell("event", kind=type(event).__name__)
                await self._takes.wait()
        except ClientFailed as failed:
            tell("failed", why=str(failed))

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def main() -> None:
    """Until `close`, or the end of standard input."""
    driver = Driver()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        if not await driver.do(json.loads(line)):
            return


if __name__ == "__main__":
    asyncio.run(main())
