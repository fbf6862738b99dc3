"""The SDK under test, as an application uses it: its driver, a process that is told what to do in lines of JSON.

docs/sdk_authors.md specifies the lines.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from check.conformance.cell import Cell
from check.conformance.watch import Broken, Watch, expect

_LINE_BYTES = 1 << 24
_STDERR_LINES = 12
Report = dict[str, Any]


class App:
    """One driver process."""

    def __init__(self, watch: Watch, process: asyncio.subprocess.Process) -> None:
        self.may_fail = False
        """Whether the client may say that it cannot go on."""
        self.failed = asyncio.Event()
        self.stderr: list[str] = []
        self._watch = watch
        self._process = process
        self._events: asyncio.Queue[Report] = asyncio.Queue()
        self._outcomes: dict[str, asyncio.Future[Report]] = {}
        self._done: asyncio.Queue[None] = asyncio.Queue()
        self._closed = asyncio.Event()

    # Orders.

    async def connect(
        self, cell: Cell, *, cursor: str | None = "c0", token: str = "token-1", **hints: float
    ) -> None:
        """Start the client. `cursor` None is a first start; `hints` shorten the client's own times, if it can."""
        await self._order("connect", address=cell.address, token=token, cursor=cursor, **hints)

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

    async def read(self) -> None:
        """Take the driver's reports until it ends."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self._watch.note(f"app <- {line.decode('utf-8', 'replace').rstrip()}")
            try:
                self._report(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                self._watch.fail(f"the driver printed a line that is no report ({error!r}): {line[:200]!r}")
        if not self._closed.is_set():
            code = await self._process.wait()
            self._watch.fail(f"the driver ended by itself with exit code {code}")

    async def read_stderr(self) -> None:
        """Keep the last lines."""
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            self.stderr = [*self.stderr, line.decode("utf-8", "replace").rstrip()][-_STDERR_LINES:]

    def _report(self, report: Report) -> None:
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
            case other:
                raise ValueError(f"there is no report {other!r}")

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
        assert self._process.stdin is not None
        line = json.dumps({"do": order, **arguments})
        self._watch.note(f"app -> {line}")
        try:
            self._process.stdin.write(line.encode() + b"\n")
            await self._process.stdin.drain()
        except ConnectionError:
            raise Broken("the driver does not read its standard input any more") from None


@asynccontextmanager
async def driver(watch: Watch, command: Sequence[str]) -> AsyncIterator[App]:
    """The driver as a process of its own; killed at the end. Raises Broken if it cannot be started."""
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=pipe, limit=_LINE_BYTES
        )
    except OSError as error:
        raise Broken(f"the driver cannot be started: {error}") from None
    app = App(watch, process)
    reading = [asyncio.create_task(app.read()), asyncio.create_task(app.read_stderr())]
    try:
        yield app
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await asyncio.gather(*reading, return_exceptions=True)
        await process.wait()
