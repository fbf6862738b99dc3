"""A client made of the protos and grpcio alone, as any other language's would be.

It keeps a ledger of all it was told, resumes from its last cursor after every break (R10), and settles each command by the
rules of the contract (`check/plain_outbox.py`). It drops nothing, so that doubles show.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import grpc

from cell.history.v1 import history_pb2_grpc
from cell.messaging.v1 import messaging_pb2 as messaging
from cell.messaging.v1 import messaging_pb2_grpc
from check.calls import DEADLINE_S, STATUS_LOST, bearer, open_channel
from check.ledger import Ledger, Moved, Opened, Skipped, Told, is_message
from check.plain_outbox import PlainOutbox, Submission, text_message

CLOSE_S = 5.0
"""How long the last stream may take to end."""

PAUSE_S = 0.05
"""Between streams: as short as tests like it."""

_EXECUTE_PAUSE_S = 0.1
"""After a call that failed, where commands go by Execute."""


class PlainClient:
    """One client of one user. `async with` opens its first stream and waits for Welcome.

    `transport` "connect" holds a Connect stream; "subscribe" holds a Subscribe stream and sends by Execute. With several
    addresses each stream goes to the next of them, on a connection of its own.
    """

    def __init__(
        self,
        address: str | Sequence[str],
        user_id: str,
        token: Callable[[str], str],
        *,
        transport: str = "connect",
        resume_after: str | None = "",
        reconnects: bool = True,
        first_command_id: int = 1,
        retry_window_s: float | None = None,
        ledger: Ledger | None = None,
        unshown: str = "",
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self.user_id = user_id
        self.ledger = ledger or Ledger(user_id)
        self.cursor = resume_after
        """Where the next stream starts; None for live_only."""
        self.welcome: messaging.Welcome | None = None
        self.resumed: messaging.Resumed | None = None
        """Of the present stream."""
        self.resumed_outcomes: list[int] = []
        self.go_aways: list[messaging.GoAway] = []
        self.endings: list[grpc.StatusCode] = []
        """How the streams ended."""
        self.details: list[str] = []
        self.streams = 0
        self.outbox = PlainOutbox(
            self.ledger, retry_window_s=retry_window_s, first_command_id=first_command_id, unshown=unshown
        )
        """`unshown` and `retry_window_s` are told there."""
        self.accepted_order = self.outbox.accepted_order
        self.conflicts = self.outbox.conflicts
        self.strays = self.outbox.strays
        self.on_update: Callable[[messaging.Update], None] | None = None
        self._addresses = [address] if isinstance(address, str) else list(address)
        self._credentials = credentials
        self._token = token
        self._transport = transport
        self._reconnects = reconnects
        self._changed = asyncio.Event()
        self._call: Any = None
        self._closing = False
        self._runner: asyncio.Task[None] | None = None
        self._use(self._addresses[0])

    # -- life --------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self.start()
        try:
            await self.until(lambda: self.welcome is not None or self._ended_for_good, "Welcome")
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def start(self) -> None:
        """Begin to connect, without waiting for it."""
        self._runner = asyncio.ensure_future(self._run())

    async def close(self) -> None:
        """Leave, as a program that ends does: what is in flight stays without an outcome."""
        self._closing = True
        if self._call is not None:
            self._call.cancel()
        self._notify()
        if self._runner is not None:
            await asyncio.wait((self._runner,), timeout=CLOSE_S)
            self._runner.cancel()  # grpc may never wake a write whose call was cancelled before it was connected
            with suppress(asyncio.CancelledError):
                await self._runner
        await self.channel.close()

    def drop_stream(self) -> None:
        """Break the stream, as a network does."""
        if self._call is not None:
            self._call.cancel()

    def _use(self, address: str) -> None:
        self.channel = open_channel(address, self._credentials)
        self.messaging = messaging_pb2_grpc.MessagingServiceStub(self.channel)
        self.history = history_pb2_grpc.HistoryServiceStub(self.channel)

    async def _use_next(self) -> None:
        """The next address, if there are several."""
        if len(self._addresses) > 1:
            await self.channel.close()
            self._use(self._addresses[self.streams % len(self._addresses)])

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """For calls of this user."""
        return bearer(self._token(self.user_id))

    # -- commands ----------------------------------------------------------------------------------------------------

    def submit(self, command: messaging.Command) -> Submission:
        """Queue a command; it is tried until it is settled."""
        submission = Submission(command)
        self.outbox.add(submission)
        self._notify()
        return submission

    async def settle(self, *submissions: Submission) -> None:
        """Wait until all of these are settled."""
        await self.until(lambda: all(s.settled for s in submissions), f"{len(submissions)} outcomes")

    async def do(self, command: messaging.Command) -> Submission:
        """Submit and settle."""
        submission = self.submit(command)
        await self.settle(submission)
        return submission

    async def done(self, command: messaging.Command) -> Submission:
        """Submit and settle what must be accepted."""
        submission = await self.do(command)
        assert submission.accepted or submission.pong, submission.rejected
        return submission

    async def send(self, text: str, to: Iterable[str], message_id: str = "") -> messaging.Message:
        """Send text, and return it as this client is told of it."""
        submission = await self.done(text_message(text, to, message_id))
        return await self.message(self.user_id, submission.id)

    async def message(self, sender_id: str, message_id: str) -> messaging.Message:
        """A message, once it has come."""

        def find() -> messaging.Message | None:
            for event in reversed(self.ledger.events):
                ref = event.message.ref
                if is_message(event) and ref.sender_id == sender_id and ref.message_id == message_id:
                    return event.message
            return None

        await self.until(lambda: find() is not None, f"message {sender_id}/{message_id}")
        found = find()
        assert found is not None
        return found

    async def until(self, condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
        """Wait for something about this client to become true."""
        end = time.monotonic() + deadline_s
        while not condition():
            if self._ended_for_good and self._runner is not None and not self._runner.cancelled():
                self._runner.result()  # raises what went wrong
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no {what} at {self!r}")
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, 0.5, max(0.0, self._due_s() - time.monotonic()))):
                    await self._changed.wait()

    async def until_resumed(self) -> messaging.Resumed:
        """Wait until all that was missed has come."""
        await self.until(lambda: self.resumed is not None, "Resumed")
        assert self.resumed is not None
        return self.resumed

    async def until_events(self, count: int) -> list[messaging.Event]:
        """Wait until the ledger has at least so many events."""
        await self.until(lambda: len(self.ledger.events) >= count, f"{count} events")
        return self.ledger.events

    async def until_ended(self) -> grpc.StatusCode:
        """Wait until the stream has ended; for clients that do not reconnect."""
        await self.until(lambda: bool(self.endings), "end of stream")
        return self.endings[-1]

    def __repr__(self) -> str:
        return (
            f"<{self.user_id} by {self._transport}: {self.streams} streams ended {[c.name for c in self.endings[-5:]]} "
            f"{self.details[-1:]}, {len(self.ledger.events)} events, {self.outbox!r}, "
            f"resumed {self.resumed is not None}>"
        )

    # -- streams -----------------------------------------------------------------------------------------------------

    @property
    def _ended_for_good(self) -> bool:
        return self._runner is not None and self._runner.done()

    def _notify(self) -> None:
        self._changed.set()

    async def _run(self) -> None:
        while not self._closing:
            code, detail = await self._one_stream()
            if detail == STATUS_LOST:
                self._end_stream()
                continue
            self.endings.append(code)
            self.details.append(detail)
            self._end_stream()
            if not self._reconnects:
                break
            if not self._closing:
                await self._pause()
                await self._use_next()
        self._notify()

    async def _pause(self) -> None:
        """Between streams."""
        await asyncio.sleep(PAUSE_S)

    def _hello(self) -> messaging.Hello:
        hello = messaging.Hello(client_id="plain", client_info="check.plain_client")
        if self.cursor is None:
            hello.live_only = True
        else:
            hello.resume_after = self.cursor
        return hello

    async def _one_stream(self) -> tuple[grpc.StatusCode, str]:
        self.streams += 1
        self.outbox.opens(self.streams, time.monotonic())
        self.ledger.add(Opened(self.cursor))
        writer: asyncio.Task[None] | None = None
        try:
            if self._transport == "connect":
                self._call = self.messaging.Connect(metadata=self.metadata)
                hello = self.outbox.numbered(messaging.Command(hello=self._hello()))
                await self._call.write(messaging.ConnectRequest(commands=[hello]))
            else:
                self._call = self.messaging.Subscribe(
                    messaging.SubscribeRequest(hello=self._hello()), metadata=self.metadata
                )
            writer = asyncio.ensure_future(self._write())
            async for frame in self._frames():
                for update in frame:
                    self._take(update)
                self._notify()
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or ""
        except (asyncio.CancelledError, asyncio.InvalidStateError, grpc.aio.UsageError):
            task = asyncio.current_task()
            if (
                task is None or task.cancelling() or not self._call.done()
            ):  # it is not the call that was cancelled
                raise
        finally:
            if writer is not None:
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
        return await self._call.code(), await self._call.details() or ""

    async def _frames(self) -> AsyncIterator[Sequence[messaging.Update]]:
        while (frame := await self._call.read()) is not grpc.aio.EOF:
            yield frame.updates

    def _end_stream(self) -> None:
        self.welcome = self.resumed = None
        self.outbox.stream_ended()
        self._notify()

    # -- what is sent ------------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        """Send what waits, within the limits that Welcome named; until cancelled."""
        while True:
            await self.until(lambda: self.welcome is not None and self._may_send(), "chance to send", 1e9)
            batch = self.outbox.next_batch(time.monotonic())
            self._leave_to_look()
            if not batch:
                continue
            commands = [submission.command for submission in batch]
            try:
                if self._transport == "connect":
                    await self._call.write(messaging.ConnectRequest(commands=commands))
                else:
                    await self._execute(commands)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError):
                if self._transport == "connect":
                    return  # the reader sees how the stream ended
                self.outbox.unanswered(commands, time.monotonic(), _EXECUTE_PAUSE_S)

    def _may_send(self) -> bool:
        return self.outbox.may_send(time.monotonic())

    def _due_s(self) -> float:
        return self.outbox.due_s(time.monotonic())

    def _leave_to_look(self) -> None:
        if self.outbox.wants_later_stream:
            self.drop_stream()

    async def _execute(self, commands: list[messaging.Command]) -> None:
        request = messaging.ExecuteRequest(commands=commands)
        response = await self.messaging.Execute(request, metadata=self.metadata, timeout=30)
        if len(response.outcomes) != len(commands):
            self.strays += [messaging.Update(pong=messaging.Pong())]
        for outcome in response.outcomes:
            update = messaging.Update()
            update.MergeFromString(outcome.SerializeToString())  # numbered as in Update
            self._take(update)
        self._notify()

    # -- what arrives ------------------------------------------------------------------------------------------------

    def _take(self, update: messaging.Update) -> None:
        kind = update.WhichOneof("update")
        if kind == "event":
            self.ledger.add(Told(update.event))
            self.cursor = update.event.cursor
        elif kind == "gap":
            self.ledger.add(Skipped(update.gap.after, update.gap.until))
            self.cursor = update.gap.until
        elif kind == "checkpoint":
            self.ledger.add(Moved(update.checkpoint.cursor))
            self.cursor = update.checkpoint.cursor
        elif kind == "resumed":
            self._take_resumed(update.resumed)
        elif kind == "welcome":
            self.welcome = update.welcome
            self.outbox.welcomed(update.welcome.limits, time.monotonic())
        elif kind == "go_away":
            self.go_aways.append(update.go_away)
        elif kind in ("accepted", "rejected", "pong"):
            self.outbox.outcome(update, time.monotonic())
            self._leave_to_look()
        if self.on_update is not None:
            self.on_update(update)

    def _take_resumed(self, resumed: messaging.Resumed) -> None:
        self.ledger.add(Moved(resumed.cursor))
        self.cursor = resumed.cursor
        self.resumed = resumed
        self.resumed_outcomes.append(resumed.outcome)
        self.outbox.resumed(time.monotonic())
        self._leave_to_look()
