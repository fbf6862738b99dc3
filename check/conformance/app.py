"""The SDK under test, as an application uses it: its driver, a process that is told what to do in lines of JSON.

docs/sdk_authors.md specifies the lines.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from check.conformance.cell import Cell
from check.conformance.driver_process import DriverProcess, Report
from check.conformance.watch import Watch, expect


class App:
    """One application, in all its lives."""

    def __init__(self, watch: Watch, command: Sequence[str], folder: Path) -> None:
        self.may_fail = False
        """Whether the client may say that it cannot go on."""
        self.failed = asyncio.Event()
        self.store = str(folder / "store")
        """Where the client may keep what it keeps."""
        self._watch = watch
        self._command_line = command
        self._process: DriverProcess
        self._events: asyncio.Queue[Report] = asyncio.Queue()
        self._outcomes: dict[str, asyncio.Future[Report]] = {}
        self._done: asyncio.Queue[None] = asyncio.Queue()
        self._closed = asyncio.Event()

    @property
    def stderr(self) -> list[str]:
        """The last lines that the driver wrote to standard error."""
        return self._process.stderr

    async def start(self) -> None:
        """Start its driver. Raises Broken."""
        self._process = await DriverProcess.start(self._watch, self._command_line, self._report)

    async def kill(self) -> None:
        """Kill its driver."""
        await self._process.kill()

    async def start_again(self) -> None:
        """Kill it, and start another process. What it was told or told before does not count any more."""
        self._watch.note("app is killed, and started again")
        await self.kill()
        self._events = asyncio.Queue()
        await self.start()

    # Orders.

    async def connect(
        self, cell: Cell, *, cursor: str | None = "c0", token: str = "token-1", **more: float | str
    ) -> None:
        """Start the client. `cursor` None is a first start; `more` is a store, or hints that shorten the client's times."""
        await self._order("connect", address=cell.address, token=token, cursor=cursor, **more)

    async def token(self, token: str) -> None:
        """From now on the application's token source gives this one."""
        await self._setting("token", token=token)

    async def send(self, text: str, *, to: str = "bob") -> str:
        """Send a message. Returns the tag of its outcome."""
        return await self._command("send", text=text, to=[to])

    async def react(self, event: Report, key: str) -> str:
        """React to a message that was told."""
        return await self._command("react", message=event["message"], key=key)

    async def mark_read(self, event: Report) -> str:
        """Mark a message that was told as read."""
        return await self._command("mark_read", message=event["message"])

    async def hold(self) -> None:
        """Take no more events; what is told to the client from now on waits."""
        await self._setting("hold")

    async def go_on(self) -> None:
        """Take events again."""
        await self._setting("go_on")

    async def close(self) -> None:
        """Close the client when what is under way has its outcomes."""
        await self._order("close")

    # Reports.

    async def told(self, kind: str, **fields: Any) -> Report:
        """The next event. Raises Broken unless it is of this kind and has these fields."""
        expected = f"the event {kind} {fields or ''}".rstrip()
        event = await self._watch.wait(self._events.get(), expected)
        is_it = event.get("kind") == kind and all(event.get(name) == value for name, value in fields.items())
        expect(is_it, expected, event)
        return event

    async def told_nothing(self, why: str, *, for_s: float = 0.5) -> None:
        """Raises Broken if an event is told."""
        await self._watch.quiet(self._events.get(), why, for_s=for_s)

    async def outcome(self, tag: str, expected: str) -> Report:
        """The outcome of a command. Raises Broken unless it is this one."""
        waiting = asyncio.shield(self._outcomes[tag])
        report = await self._watch.wait(waiting, f"the outcome {expected!r} of the command {tag!r}")
        expect(report.get("outcome") == expected, f"the outcome {expected!r} of {tag!r}", report)
        return report

    def has_outcome(self, tag: str) -> bool:
        """Whether the application was told what became of a command."""
        return self._outcomes[tag].done()

    async def is_closed(self) -> None:
        """Wait until the client is closed."""
        await self._watch.wait(self._closed.wait(), "the report `closed`")

    # Lines.

    def _report(self, report: Report) -> bool:
        match report["report"]:
            case "event":
                self._events.put_nowait(report)
            case "outcome":
                outcome = self._outcomes[report["tag"]]
                expect(not outcome.done(), "one outcome for each command", f"a second one: {report}")
                outcome.set_result(report)
            case "failed":
                self.failed.set()
                if not self.may_fail:
                    self._watch.fail(
                        f"the client says that it cannot go on, where it could: {report.get('why')}"
                    )
            case "done":
                self._done.put_nowait(None)
            case "closed":
                self._closed.set()
                return False
            case other:
                raise ValueError(f"there is no report {other!r}")
        return True

    async def _command(self, order: str, **arguments: Any) -> str:
        tag = f"{order}-{len(self._outcomes) + 1}"
        self._outcomes[tag] = asyncio.get_running_loop().create_future()
        await self._order(order, tag=tag, **arguments)
        return tag

    async def _setting(self, order: str, **arguments: Any) -> None:
        """An order that counts once the driver has said so: what the cell says next must not overtake it."""
        await self._order(order, **arguments)
        await self._watch.wait(self._done.get(), f"the report `done` after {order!r}")

    async def _order(self, order: str, **arguments: Any) -> None:
        await self._process.order(do=order, **arguments)


@asynccontextmanager
async def driver(watch: Watch, command: Sequence[str]) -> AsyncIterator[App]:
    """An application whose driver is killed at the end, with a folder for what it keeps. Raises Broken."""
    with TemporaryDirectory(prefix="conformance-") as folder:
        app = App(watch, command, Path(folder))
        await app.start()
        try:
            yield app
        finally:
            await app.kill()
