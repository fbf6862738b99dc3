"""The thin shell around the protocol: one connection to a cell, with its streams, calls, clock and store.

Whatever goes into the protocol is followed by `_changed`, which hands out outcomes and wakes those who wait. All of it runs
in one event loop; only a durable store has a thread of its own.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import grpc
import grpc.aio

from cell.history.v1 import history_pb2 as history
from cell.history.v1 import history_pb2_grpc
from cell.messaging.v1 import messaging_pb2 as messaging
from cell.messaging.v1 import messaging_pb2_grpc
from messaging_client import clock, status, wire
from messaging_client.backoff import Backoff
from messaging_client.channels import Channels
from messaging_client.errors import CallFailed, ClientFailed, MessagingError, NotDone, Reason
from messaging_client.events import Event, Snapshot
from messaging_client.keeper import Keeper
from messaging_client.kept import Store
from messaging_client.outgoing import NEVER_S, Outgoing
from messaging_client.protocol import Protocol
from messaging_client.seeking import SNAPSHOT_CONVERSATIONS, seek
from messaging_client.settings import ClientSettings
from messaging_client.steps import Connect, End, Failed, Load, Wait
from messaging_client.tokens import Tokens, expires_us, metadata
from messaging_client.trace_context import TraceContext, opentelemetry_context, present

_log = logging.getLogger("messaging_client")
_CALL_S = 30.0
"""For one call, or one new token."""
_LEAST_SLEEP_S = 0.001
_LEAST_TICK_S = 0.02
"""Between two looks at the clock, unless something becomes due earlier: what is due may wait for the writer."""
_AGAIN = frozenset((grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED))

Answer = TypeVar("Answer")


class Connection:
    """Runs one protocol. `start` first, `close` last; one task at a time may wait in `next_event`."""

    def __init__(
        self,
        address: str,
        tokens: Tokens,
        credentials: grpc.ChannelCredentials | None,
        options: Iterable[tuple[str, Any]],
        settings: ClientSettings,
        store: Store,
        trace_context: TraceContext = opentelemetry_context,
    ) -> None:
        self._trace_context = trace_context
        self._tokens = tokens
        self._channels = Channels(address, credentials, options)
        self._settings = settings
        self._keeper = Keeper(store)
        self._rng = random.Random()
        self._protocol: Protocol | None = None
        self._call: Any = None
        self._runner: asyncio.Task[None] | None = None
        self._background: set[asyncio.Future[Any]] = set()
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._late: dict[asyncio.Future[None], MessagingError | None] = {}
        """Outcomes that came when whoever waited had just been cancelled, and did not know it yet."""
        self._tick_s = -NEVER_S
        """When the clock looks again."""
        self._is_waited_for = False
        self._has_snapshot = False
        """Whether the application was handed a snapshot last."""
        self._is_closed = False
        # Who waits: the runner, the writer, the reader, the clock, the application.
        self._stepped, self._writable, self._readable = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._ticked, self._arrived = asyncio.Event(), asyncio.Event()
        self._progress = asyncio.Event()

    # Life.

    async def start(self) -> None:
        """Open the store and begin to connect. Raises StoreFailed, StoreInUse."""
        if self._protocol is not None:
            raise RuntimeError("a client is started once: make another one")
        kept = await self._keeper.load()
        refreshes = self._tokens.refreshes
        self._protocol = Protocol(self._settings, kept, self._rng, refreshes_token=refreshes)
        self._keeper.keeps(self._protocol, self._changed)
        self._runner = asyncio.create_task(self._run())

    async def close(self) -> None:
        """End the stream, and release the store. Raises StoreFailed where the last changes could not be kept."""
        why = ClientFailed("the client is closed")
        self.protocol.fail(why)
        if self._is_closed:
            return
        self._is_closed = True
        try:
            runner, self._runner = self._runner, None
            if runner is not None:
                runner.cancel()
                await asyncio.gather(runner, return_exceptions=True)
            self._give_up(why)  # if the runner had not begun yet
            self._changed()
            await self._channels.close()
            for task in self._background:
                task.cancel()
            await asyncio.gather(*self._background, return_exceptions=True)
        finally:
            await self._keeper.close()

    def _give_up(self, why: ClientFailed) -> None:
        """Nothing is tried any more."""
        self.protocol.fail(why)
        kept = self._keeper.is_durable
        given_up = self.protocol.outbox.abandon(str(self.protocol.failure), kept=kept)
        if given_up and not kept:
            _log.warning("%d commands without an outcome are given up", given_up)

    @property
    def protocol(self) -> Protocol:
        """What decides. Raises RuntimeError before `start`."""
        if self._protocol is None:
            raise RuntimeError("the client is not started: use `async with Client(...)`")
        return self._protocol

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something about the protocol is so. Raises ClientFailed if the client fails before."""
        while not condition():
            self.protocol.check()
            self._progress.clear()
            await self._progress.wait()

    async def flushed(self, timeout_s: float | None) -> bool:
        """Wait until every command has its outcome; False if that is not so in time, or will never be."""
        outbox = self.protocol.outbox
        with contextlib.suppress(TimeoutError, ClientFailed):
            async with asyncio.timeout(timeout_s):
                await self.until(lambda: not len(outbox))
        return not len(outbox) and not outbox.abandoned

    # Commands.

    async def perform(self, outgoing: Outgoing, timeout_s: float | None) -> None:
        """Have a command done. Raises NotDone, OutcomeUnknown, ClientFailed."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        outgoing.traceparent = present(self._trace_context)
        self.protocol.submit(outgoing, posted=False)
        self._waiting.setdefault(outgoing.id, []).append(future)
        self._changed()
        try:
            await self._outcome(outgoing.id, future, timeout_s)
        except NotDone:
            await self._keeper.keep()  # or the next process would do it
            raise

    async def _outcome(self, id_: str, future: asyncio.Future[None], timeout_s: float | None) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            error = self._withdraw(id_, future)
            if error is not None:
                raise error from None
        except asyncio.CancelledError:
            self._withdraw(id_, future)
            raise

    async def post(self, outgoing: Outgoing, *, taking: bool) -> None:
        """Take a command to be done, now or after a restart. Raises NotDone, ClientFailed."""
        outgoing.traceparent = present(self._trace_context)
        self.protocol.submit(outgoing, posted=True)
        if taking:  # without a pause between: both are in one commit
            self.protocol.take(clock.now_s())
        self._changed()
        await self._keeper.keep()

    def _withdraw(self, id_: str, future: asyncio.Future[None]) -> Exception | None:
        if not future.cancelled():  # it has come at the last moment
            return future.exception()  # type: ignore[return-value]
        if future in self._late:  # or a moment after
            return self._late.pop(future)
        waiting = self._waiting[id_]
        waiting.remove(future)
        if not waiting:
            del self._waiting[id_]
        error = self.protocol.withdraw(id_)
        self._changed()
        return error

    # Events.

    async def next_event(self) -> Event | None:
        """The next event; the one before is taken. None once the client is closed. Raises ClientFailed."""
        if self._is_waited_for:
            raise RuntimeError("the events of a client are for one task at a time")
        self._is_waited_for = True
        try:
            while not self._is_closed:
                self._arrived.clear()
                if self._has_snapshot:
                    # Or the next process would start later, and not be given what comes now.
                    await self.confirm()
                    self._has_snapshot = False
                event = self.protocol.hand_over(clock.now_s())
                self._changed()
                if event is not None:
                    self._has_snapshot = isinstance(event, Snapshot)
                    return event
                if not self._is_closed:
                    self.protocol.check()
                await self._arrived.wait()
            return None
        finally:
            self._is_waited_for = False

    async def confirm(self) -> None:
        """The event that was handed over last is taken; durable on return."""
        self.protocol.take(clock.now_s())
        self._changed()
        await self._keeper.keep()

    def acknowledge(self, cursor: str) -> None:
        """Tell the cell soon."""
        self.protocol.acknowledge(cursor)
        self._changed()

    # Questions.

    async def ask(
        self,
        question: Callable[[history_pb2_grpc.HistoryServiceStub, Any, float], Awaitable[Answer]],
        timeout_s: float,
    ) -> Answer:
        """The answer of history, asked again while it is away. Raises CallFailed, ClientFailed."""
        end_s = clock.now_s() + timeout_s
        traceparent = present(self._trace_context)
        backoff = Backoff(0.2, 5.0, self._rng)
        may_renew = self._tokens.refreshes
        while True:
            if self._is_closed:
                self.protocol.check()
            left_s = max(_LEAST_SLEEP_S, end_s - clock.now_s())
            try:
                token = await self._token(renew=False)
                stub = history_pb2_grpc.HistoryServiceStub(self._channels.for_call())
                return await question(stub, metadata(token, traceparent), min(left_s, _CALL_S))
            except grpc.aio.AioRpcError as error:
                failed, code = status.failure_of(error), error.code()
            except (grpc.aio.UsageError, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                    raise  # otherwise the channel was given up under the call
                failed = CallFailed(Reason.UNAVAILABLE, "the connection was given up under the call")
                code = grpc.StatusCode.UNAVAILABLE
            pause_s = max(backoff.failed(), failed.retry_after_s or 0.0)
            if code is grpc.StatusCode.UNAUTHENTICATED and may_renew:
                may_renew = False
                await self._token(renew=True)
            elif code not in _AGAIN or clock.now_s() + pause_s >= end_s:
                raise failed
            else:
                await asyncio.sleep(pause_s)

    # The runner.

    async def _run(self) -> None:
        protocol = self.protocol
        try:
            while True:
                self._stepped.clear()
                now_s = clock.now_s()
                match protocol.next_step(now_s):
                    case Failed():
                        return
                    case Wait(until_s):
                        await _sleep(self._stepped, until_s - now_s)
                    case Load() as load:
                        await self._load(load)
                    case Connect():
                        await self._one_stream()
                self._changed()
        except Exception as error:
            _log.exception("the client fails")
            protocol.fail(ClientFailed(f"internal error: {error!r}"))
        finally:
            self._call = None
            self._give_up(ClientFailed("the client is closed"))
            self._changed()

    async def _load(self, load: Load) -> None:
        request = history.ListConversationsRequest(page_size=SNAPSHOT_CONVERSATIONS)
        try:
            meta = metadata(await self._token(renew=True))
            stub = history_pb2_grpc.HistoryServiceStub(self._channels.for_call())
            page = await stub.ListConversations(request, metadata=meta, timeout=_CALL_S)
            found = await seek(stub, meta, load.sought, self.protocol.user_id, _CALL_S)
        except grpc.aio.AioRpcError as error:
            end = status.end_of(error)
        except CallFailed as error:
            end = End("UNAVAILABLE", error.detail)
        else:
            shown = [wire.conversation_from(each) for each in page.conversations]
            complete = not page.next_page_token
            self.protocol.loaded(page.cursor, shown, complete, found, clock.now_s())
            return
        _log.info("cannot load yet: %s %s", end.code, end.detail)
        self.protocol.load_failed(end, clock.now_s())

    async def _one_stream(self) -> None:
        try:
            token = await self._token(renew=True)
        except CallFailed as error:
            self.protocol.connect_failed(End("UNAVAILABLE", error.detail), clock.now_s())
            return
        stub = messaging_pb2_grpc.MessagingServiceStub(self._channels.for_stream())
        call = self._call = stub.Connect(metadata=metadata(token))
        call.add_done_callback(lambda _: self._readable.set())
        hello = self.protocol.connect(clock.now_s())
        helpers = [asyncio.create_task(self._write(call, hello)), asyncio.create_task(self._clock())]
        end = End("CANCELLED", "the client left")
        try:
            end = await self._read(call)
        finally:
            self._call = None
            call.cancel()
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            self.protocol.stream_ended(end, clock.now_s())
        _log.info("the stream ended: %s %s", end.code, end.detail)

    async def _read(self, call: Any) -> End:
        protocol = self.protocol
        try:
            while True:
                while not protocol.reads and not call.done():
                    self._readable.clear()
                    await self._readable.wait()
                frame = await call.read()
                if frame is grpc.aio.EOF:
                    return End((await call.code()).name, await call.details() or "")
                protocol.received(frame.updates, clock.now_s())
                self._changed()
        except grpc.aio.AioRpcError as error:
            return status.end_of(error)
        except (asyncio.CancelledError, asyncio.InvalidStateError, grpc.aio.UsageError):
            if not call.done() or _is_cancelled():
                raise  # it is the client that ends
            return End("CANCELLED", "the client left the stream")

    async def _write(self, call: Any, hello: messaging.ConnectRequest) -> None:
        protocol = self.protocol
        try:
            await call.write(hello)
            while True:
                self._writable.clear()
                frame = protocol.next_frame(clock.now_s())
                self._hand_out()
                self._readable.set()  # an outcome may be waited for
                if frame is None:
                    await self._writable.wait()
                    continue
                self._wake_clock()
                await self._keeper.keep()
                if not protocol.may_write(clock.now_s()):
                    self._changed()
                    return
                await call.write(frame)
        except (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError, ClientFailed):
            return  # the reader sees how the stream ended

    async def _clock(self) -> None:
        protocol = self.protocol
        while True:
            self._ticked.clear()
            now_s = clock.now_s()
            protocol.on_time(now_s)
            if now_s >= protocol.token_due_s:
                protocol.token_due_s = float("inf")
                self._in_background(self._refresh())
            self._hand_out()
            self._writable.set()
            self._tick_s = max(protocol.due_s(now_s), now_s + _LEAST_TICK_S)
            await _sleep(self._ticked, self._tick_s - now_s)

    async def _refresh(self) -> None:
        try:
            token = await self._token(renew=True)
        except CallFailed as error:
            _log.warning("no new access token yet: %s", error.detail)
            self.protocol.no_token(clock.now_s())
        else:
            self.protocol.new_token(token, expires_us(token))
        self._changed()

    # What follows a change.

    def _changed(self) -> None:
        """Wake whoever has something to do. Where it happens with each message, nobody else."""
        self._hand_out()
        self._stepped.set()
        self._readable.set()
        if self.protocol.has_frame():
            self._writable.set()
        self._wake_clock()

    def _wake_clock(self) -> None:
        if self.protocol.due_s(clock.now_s()) < self._tick_s:
            self._ticked.set()

    def _hand_out(self) -> None:
        """Give outcomes to those who wait, have changes kept, and end the stream if that is wanted."""
        protocol = self.protocol
        settled, protocol.outbox.settled = protocol.outbox.settled, []
        for outgoing, error in settled:
            for future in self._waiting.pop(outgoing.id, ()):
                if future.cancelled():
                    self._late[future] = error
                elif error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)
        if protocol.journal:
            self._keeper.keep_soon()
        if protocol.inbox or protocol.failure is not None:
            self._arrived.set()
        self._progress.set()
        if self._call is not None and protocol.wants_end(clock.now_s()):
            self._call.cancel()

    # Tokens.

    async def _token(self, *, renew: bool) -> str:
        """An access token. Raises CallFailed if the source has none now."""
        try:
            async with asyncio.timeout(_CALL_S):
                return await (self._tokens.fresh() if renew else self._tokens.present())
        except TimeoutError as error:
            raise CallFailed(
                Reason.TOKEN_INVALID, f"the token source gave nothing in {_CALL_S:.0f} s"
            ) from error
        except Exception as error:
            raise CallFailed(Reason.TOKEN_INVALID, f"the token source failed: {error!r}") from error
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise  # it is we who are cancelled, not something within the source
            raise CallFailed(Reason.TOKEN_INVALID, "the token source was cancelled") from error

    def _in_background(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _is_cancelled() -> bool:
    """Whether it is the present task that is cancelled, not something that it waits for."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def _sleep(woken: asyncio.Event, seconds: float) -> None:
    """Until woken, and no longer than that."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(None if seconds == float("inf") else max(_LEAST_SLEEP_S, seconds)):
            await woken.wait()
