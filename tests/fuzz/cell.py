"""A whole messaging server over a log in memory, without sockets, in a time that passes as fast as it is waited for."""

import asyncio
import selectors
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, NoReturn

import grpc

from cell.messaging.v1 import messaging_pb2 as messaging
from event_log.port import Assignment, Fate, NewRecord
from event_log.reader import PartitionReader, Reading, Verdict
from messaging_core.events import positioned
from messaging_core.limits import Limits
from messaging_server.server import MessagingServer
from messaging_server.settings import ServerSettings
from session_link.in_process import in_process_link
from tests.fuzz.strategies import INCARNATION
from tests.messaging_server.memory_cell import MemoryStore, Owner, Tokens
from tests.messaging_server.memory_log import MemoryLog

LIMITS = Limits(
    max_content_bytes=1_000,
    max_recipients=8,
    max_commands_per_frame=8,
    max_in_flight=6,
    max_sends_per_second=10,
    max_frame_bytes=8_000,
)
SETTINGS = ServerSettings(
    server_id="s",
    limits=LIMITS,
    event_buffer_bytes=4_000,
    outcome_buffer_bytes=2_000,
    frame_bytes=3_000,
    in_flight_bytes=6_000,
    held_bytes=20_000,
    max_streams_per_user=4,
)
OUTCOME_BYTES = 512
"""No outcome is larger: what it repeats of its command has a bound."""
PARTITIONS = 3


class _Clock(selectors.DefaultSelector):
    """Does not wait: time passes instead."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise AssertionError("everything waits for something that will not come")
        self.now_s += max(0.0, timeout)
        return super().select(0)


class FastLoop(asyncio.SelectorEventLoop):
    """An event loop of its own time. What nobody caught is in `faults`."""

    def __init__(self) -> None:
        self._clock = _Clock()
        self._clock.now_s = time.monotonic()
        super().__init__(self._clock)
        self.faults: list[str] = []
        self.set_exception_handler(lambda _, context: self.faults.append(repr(context)))

    def time(self) -> float:
        return self._clock.now_s


_loop: FastLoop | None = None


def run(example: Coroutine[Any, Any, None]) -> None:
    """Run one example to its end. Raises what it raises, and AssertionError for what nobody caught meanwhile."""
    global _loop
    if _loop is None:
        _loop = FastLoop()
    try:
        _loop.run_until_complete(example)
    finally:
        faults, _loop.faults = _loop.faults, []
    assert not faults, faults


class _Server(MessagingServer):
    """Timed by the loop from its beginning."""

    @property
    def now_s(self) -> Callable[[], float]:
        return asyncio.get_running_loop().time

    @now_s.setter
    def now_s(self, _: Callable[[], float]) -> None:
        pass


class Cell:
    """The server under test, an honest owner of all partitions, a history and registry."""

    def __init__(self, limits: Limits) -> None:
        self.log = MemoryLog(PARTITIONS, INCARNATION)
        self.store = MemoryStore(self.log)
        self.server: MessagingServer = _Server(
            log=self.log,
            history=self.store,
            registry=self.store,
            authenticator=Tokens(),
            settings=replace(SETTINGS, limits=limits),
        )
        self.servicer = self.server._servicer
        self.fates: list[Fate] = []
        """Of the next appends; then everything is appended."""
        self.log.fate = self._fate

    def _fate(self, _: NewRecord[Any]) -> Fate:
        return self.fates.pop(0) if self.fates else Fate.APPENDED

    def readings(self) -> list[Reading]:
        """What becomes of every record of the log, by R1 to R5."""
        found = []
        for partition, records in enumerate(self.log.records):
            reader = PartitionReader(
                partition, INCARNATION, PARTITIONS, Assignment(partition, 1, None, 0, len(records))
            )
            found += [reader.read(record) for record in records]
        return found

    def effective(self, kind: int = 1) -> list[Reading]:
        """Origins that count. Nothing in the log is unreadable, here or by whoever is told of it."""
        readings = self.readings()
        for reading in readings:
            assert reading.verdict is not Verdict.UNREADABLE
            if reading.verdict is Verdict.EFFECTIVE:
                told = positioned(reading.logged, bytes(8), 0, reading.offset, reading.time_us, reading.event)
                assert messaging.ConnectResponse.FromString(told.piece).updates[0].HasField("event")
        return [r for r in readings if r.verdict is Verdict.EFFECTIVE and r.origin and r.logged.kind == kind]


@asynccontextmanager
async def running_cell(limits: Limits = LIMITS) -> Any:
    cell = Cell(limits)
    owner_end, server_end = in_process_link()
    serving = asyncio.create_task(cell.server.serve_link(server_end))
    try:
        async with Owner(cell.log, owner_end):
            yield cell
    finally:
        cell.log.held = False
        cell.log.let_go()
        await cell.server.close()
        await serving


async def moment(seconds: float = 0.01) -> None:
    """Everything that can happen now has happened."""
    await asyncio.sleep(seconds)


class Call:
    """One call as grpc.aio would serve it, and the client at its other end."""

    def __init__(self, token: str | None = "ann") -> None:
        self.metadata = () if token is None else (("authorization", f"Bearer {token}"),)
        self.status: grpc.StatusCode | None = None
        """How it ended; None while it lives."""
        self.detail = ""
        self.trailers: tuple[tuple[str, bytes], ...] = ()
        self.frames: list[bytes] = []
        """Written by the server."""
        self.stalled: asyncio.Event | None = None
        """While set, nothing is taken until it is."""
        self._inbound: asyncio.Queue[Any] = asyncio.Queue()
        self._task: asyncio.Task[Any] | None = None

    # The server's side: grpc.aio.ServicerContext.

    def invocation_metadata(self) -> Any:
        return self.metadata

    def code(self) -> grpc.StatusCode | None:
        return self.status

    async def read(self) -> Any:
        data = await self._inbound.get()
        if data is None:
            raise grpc.aio.UsageError("RPC already finished.")
        return data

    async def write(self, frame: bytes) -> None:
        if self.status is not None:
            raise grpc.aio.UsageError("RPC already finished.")
        if self.stalled is not None:
            await self.stalled.wait()
        assert frame
        assert isinstance(frame, bytes)
        self.frames.append(frame)

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> NoReturn:
        assert self.status is None, "a call ends once"
        assert code is not grpc.StatusCode.OK
        self.status, self.detail, self.trailers = code, details, tuple(trailing_metadata)
        self._inbound.put_nowait(None)
        raise grpc.aio.AbortError(details)

    # The client's side.

    def serve(self, handler: Coroutine[Any, Any, Any]) -> None:
        """The server begins to serve it."""
        self._task = asyncio.create_task(self._serve(handler))

    async def _serve(self, handler: Coroutine[Any, Any, Any]) -> Any:
        try:
            answer = await handler
        except grpc.aio.AbortError:
            return None
        except grpc.aio.UsageError:
            assert self.status is not None, "it may only be used up after its end"
            return None
        if self.status is None:
            self.status = grpc.StatusCode.OK
        return answer

    def connect(self, cell: Cell) -> "Call":
        self.serve(cell.servicer.connect(None, self))  # type: ignore[arg-type]
        return self

    def send(self, data: bytes) -> None:
        """One frame."""
        self._inbound.put_nowait(data)

    def half_close(self) -> None:
        self._inbound.put_nowait(grpc.aio.EOF)

    async def cancel(self) -> None:
        """The connection breaks."""
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def answer(self) -> Any:
        """What the handler gave; raises what it raised."""
        assert self._task is not None
        return await self._task

    @property
    def is_over(self) -> bool:
        """Whether the handler has returned."""
        return self._task is not None and self._task.done()

    def failure(self) -> BaseException | None:
        """What the handler raised that no handler may."""
        over = self._task is not None and self._task.done() and not self._task.cancelled()
        return self._task.exception() if over and self._task is not None else None

    def updates(self) -> list[messaging.Update]:
        """All that was written so far. Every frame is one that clients can read."""
        return [
            update for frame in self.frames for update in messaging.ConnectResponse.FromString(frame).updates
        ]

    def outcomes(self) -> "Counter[int]":
        """How often each command id got its outcome."""
        told: Counter[int] = Counter()
        for update in self.updates():
            which = update.WhichOneof("update")
            if which in ("accepted", "rejected", "pong"):
                told[getattr(update, which).command_id] += 1
        return told
