"""The driver as a process: lines to it, lines from it, and what it says on standard error."""

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from check.conformance.watch import Broken, Watch

_LINE_BYTES = 1 << 24
_STDERR_LINES = 12
Report = dict[str, Any]


class DriverProcess:
    """One life of a driver; `start` makes it, `kill` ends it."""

    def __init__(
        self, process: asyncio.subprocess.Process, watch: Watch, report: Callable[[Report], bool]
    ) -> None:
        self.stderr: list[str] = []
        """Its last lines."""
        self._process = process
        self._watch = watch
        self._report = report
        self._is_over = False
        self._reading = [asyncio.create_task(self._read()), asyncio.create_task(self._read_stderr())]

    @classmethod
    async def start(
        cls, watch: Watch, command: Sequence[str], report: Callable[[Report], bool]
    ) -> "DriverProcess":
        """Start it; `report` takes its reports, and says whether it may go on. Raises Broken if it cannot be started."""
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=pipe, stdout=pipe, stderr=pipe, limit=_LINE_BYTES
            )
        except OSError as error:
            raise Broken(f"the driver cannot be started: {error}") from None
        return cls(process, watch, report)

    async def order(self, **order: Any) -> None:
        """One line to it. Raises Broken if it does not read any more."""
        assert self._process.stdin is not None
        line = json.dumps(order)
        self._watch.note(f"app -> {line}")
        try:
            self._process.stdin.write(line.encode() + b"\n")
            await self._process.stdin.drain()
        except ConnectionError:
            raise Broken("the driver does not read its standard input any more") from None

    async def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        self._is_over = True
        with suppress(ProcessLookupError):
            self._process.kill()
        await asyncio.gather(*self._reading, return_exceptions=True)
        await self._process.wait()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._line(self._process.stdout):
            if self._is_over:
                continue  # what a killed one said last does not count
            self._watch.note(f"app <- {line.decode('utf-8', 'replace').rstrip()}")
            try:
                self._is_over = not self._report(json.loads(line))
            except Broken as broken:
                self._watch.fail(str(broken))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                self._watch.fail(f"the driver printed a line that is no report ({error!r}): {line[:200]!r}")
        if not self._is_over:
            self._watch.fail(f"the driver ended by itself with exit code {await self._process.wait()}")

    async def _line(self, stream: asyncio.StreamReader) -> bytes:
        try:
            return await stream.readline()
        except ValueError:
            self._watch.fail(f"the driver printed a line of more than {_LINE_BYTES:,} bytes")
            return b""

    async def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            self.stderr = [*self.stderr, line.decode("utf-8", "replace").rstrip()][-_STDERR_LINES:]
