"""A cell that says what a script tells it to: real gRPC on a free port of this machine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from google.protobuf import text_format

from cell.history.v1 import history_pb2 as history
from cell.messaging.v1 import messaging_pb2 as messaging
from check.conformance import says
from check.conformance.executing import Executing
from check.conformance.manners import Manners
from check.conformance.watch import Broken, Watch, expect

_MESSAGING = "/cell.messaging.v1.MessagingService/"
_HISTORY = "/cell.history.v1.HistoryService/"
_COURTESIES = frozenset(("acknowledge", "mark_received"))


class Stream:
    """One stream, from the cell's side. Pings and acknowledgements are answered by themselves.

    It is a Connect stream; or, with `hello` given, a Subscribe stream, whose client sends by Execute.
    """

    def __init__(self, cell: "Cell", number: int, context: Any, hello: messaging.Hello | None) -> None:
        self.number = number
        self.opened_s = cell.now_s()
        metadata = dict(context.invocation_metadata())
        self.authorization = str(metadata.get("authorization", ""))
        self.answers_pings = True
        self.refreshes: asyncio.Queue[str] = asyncio.Queue()
        """Tokens that `refresh_token` brought."""
        self.left = asyncio.Event()
        """The client has closed its side, or is gone, or the script has ended the stream."""
        self._cell = cell
        self._context = context
        self._manners = Manners()
        self._writing = asyncio.Lock()
        self._pings_s: asyncio.Queue[float] = asyncio.Queue()
        self._commands: asyncio.Queue[messaging.Command] = asyncio.Queue()
        self._hello: asyncio.Future[messaging.Hello] = asyncio.get_running_loop().create_future()
        self._reads = hello is None
        if hello is not None:
            self._hello.set_result(hello)
        self._end: asyncio.Future[grpc.StatusCode] = asyncio.get_running_loop().create_future()

    # What a script does.

    async def hello(self) -> messaging.Hello:
        """What the client opened with."""
        return await self._cell.watch.wait(asyncio.shield(self._hello), "`hello`")

    async def open(self, **welcome: Any) -> messaging.Hello:
        """Take hello, and say welcome and that nothing was missed."""
        hello = await self.hello()
        await self.say(says.welcome(self._cell.limits, **welcome), says.resumed(hello.resume_after))
        return hello

    async def open_after(self, cursor: str, **welcome: Any) -> None:
        """As `open`. Raises Broken if the client resumes elsewhere."""
        hello = await self.open(**welcome)
        expect(hello.resume_after == cursor, f"hello.resume_after {cursor!r}", repr(hello.resume_after))

    async def welcome(self, **welcome: Any) -> None:
        """Take hello, and say welcome only."""
        await self.hello()
        await self.say(says.welcome(self._cell.limits, **welcome))

    async def say(self, *updates: messaging.Update) -> None:
        """One frame to the client; without updates an empty one. A client that is gone does not hear it."""
        for update in updates:
            self._manners.said(update)
            self._cell.given.add(says.cursor_of(update))
            self._cell.watch.note(f"stream {self.number} <- {_line(update) or '(an unknown update)'}")
        told = [update for update in updates if not self._cell.executing.answer(update)]
        if updates and not told:
            return
        frame = messaging.ConnectResponse(updates=told).SerializeToString()
        try:
            async with self._writing:
                await self._context.write(frame)
        except Exception:  # grpc has many ways to say it
            self.left.set()

    async def any_command(self) -> messaging.Command:
        """The next command of the application, however long it takes."""
        return await self._commands.get()

    async def command(self, expected: str = "a command") -> messaging.Command:
        """The next command of the application."""
        return await self._cell.watch.wait(self._commands.get(), expected)

    async def command_or_end(self, expected: str) -> messaging.Command | None:
        """The next command; None if the client leaves before it gives one."""
        getting, leaving = asyncio.create_task(self._commands.get()), asyncio.create_task(self.left.wait())
        both: set[asyncio.Future[Any]] = {getting, leaving}
        try:
            first = asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            await self._cell.watch.wait(first, expected)
            return getting.result() if getting.done() else None
        finally:
            getting.cancel()
            leaving.cancel()

    async def send(self, text: str) -> messaging.Command:
        """The next command. Raises Broken unless it sends this text."""
        command = await self.command(f"a send of {text!r} on stream {self.number}")
        expect(command.send_message.content.text == text, f"a send of {text!r}", _line(command))
        return command

    async def sends(self, *texts: str) -> list[messaging.Command]:
        """The next commands. Raises Broken unless they send these texts, in any order."""
        commands = [await self.command(f"sends of {texts}") for _ in texts]
        came = sorted(command.send_message.content.text for command in commands)
        expect(came == sorted(texts), f"sends of {sorted(texts)}", came)
        return commands

    async def no_command(self, why: str, *, for_s: float = 0.7) -> None:
        """Raises Broken if a command comes."""
        await self._cell.watch.quiet(self._commands.get(), why, for_s=for_s)

    async def refreshed(self, expected: str) -> str:
        """The next new token that the client gives to this stream."""
        return await self._cell.watch.wait(self.refreshes.get(), expected)

    async def ping(self, expected: str) -> float:
        """When the next ping came."""
        return await self._cell.watch.wait(self._pings_s.get(), expected)

    async def end(
        self, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE, *, retry_after_s: float | None = None
    ) -> None:
        """End the stream, with details where there is something to wait for."""
        if retry_after_s is not None:
            details = says.retry_details(code.value[0], retry_after_s)
            self._context.set_trailing_metadata((("grpc-status-details-bin", details),))
        self._cell.watch.note(f"stream {self.number} <- ends with {code.name}")
        if not self._end.done():
            self._end.set_result(code)
        await self._cell.watch.wait(self.left.wait(), "the stream to end")

    async def is_left(self, expected: str) -> None:
        """Wait until the client leaves it."""
        await self._cell.watch.wait(self.left.wait(), expected)

    # The service.

    async def serve(self) -> None:
        """Until the script ends it, or the client leaves."""
        reading = asyncio.create_task(self._read() if self._reads else asyncio.sleep(0))
        try:
            code = await self._end
        finally:
            reading.cancel()
            self._cell.watch.note(f"stream {self.number} is over")
            self.left.set()
        if code is not grpc.StatusCode.OK:
            await self._context.abort(code, "by the script")

    async def _read(self) -> None:
        try:
            while (frame := await self._context.read()) is not grpc.aio.EOF:
                for command in self._manners.frame(frame):
                    self._cell.watch.note(f"stream {self.number} -> {_line(command)}")
                    await self.take(command)
        except Broken as broken:
            self._cell.watch.fail(str(broken))
        if not self._end.done():
            self._end.set_result(grpc.StatusCode.OK)

    async def take(self, command: messaging.Command) -> None:
        """A command that came, on this stream or by a call beside it."""
        kind = command.WhichOneof("command")
        if kind == "hello":
            self._hello.set_result(command.hello)
        elif kind == "ping":
            self._pings_s.put_nowait(self._cell.now_s())
            if self.answers_pings:
                await self.say(messaging.Update(pong=messaging.Pong(command_id=command.command_id)))
        elif kind == "refresh_token":
            self.refreshes.put_nowait(command.refresh_token.token)
            await self.say(says.accepted(command))
        elif kind in _COURTESIES:
            cursor = command.acknowledge.cursor
            expect(cursor in self._cell.given, "acknowledge with a cursor that the client was given", cursor)
            await self.say(says.accepted(command))
        else:
            self._commands.put_nowait(command)


class Cell:
    """The scripted cell of one scenario."""

    def __init__(self, watch: Watch, *, has_connect: bool = True) -> None:
        self.watch = watch
        self.executing = Executing()
        self.address = ""
        self.limits = says.limits()
        """What Welcome tells."""
        self.snapshot = "snapshot"
        """The cursor of ListConversations."""
        self.listings: list[str] = []
        """The `authorization` of each ListConversations."""
        self.given = {""}
        """Cursors that a client may have."""
        self.stored: list[messaging.Message] = []
        """What ListMessages gives."""
        self.streams: list[Stream] = []
        self._arrived: asyncio.Queue[Stream] = asyncio.Queue()
        self._has_connect = has_connect

    def now_s(self) -> float:
        """A clock that never goes back."""
        return asyncio.get_running_loop().time()

    async def stream(self, *, times: int = 1) -> Stream:
        """The next stream that a client opens; `times` as Watch.wait."""
        expected = f"stream {len(self.streams) - self._arrived.qsize() + 1}: a new call"
        return await self.watch.wait(self._arrived.get(), expected, times=times)

    async def no_stream(self, why: str, *, for_s: float) -> None:
        """Raises Broken if a stream is opened."""
        await self.watch.quiet(self._arrived.get(), why, for_s=for_s)

    # The services.

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method; grpc.GenericRpcHandler. Frames stay bytes, so that their size is known."""
        method = details.method or ""
        if method == _MESSAGING + "Connect" and self._has_connect:
            return grpc.stream_stream_rpc_method_handler(self._connect)
        if method == _MESSAGING + "Subscribe" and not self._has_connect:
            return grpc.unary_stream_rpc_method_handler(self._subscribe)
        if method == _MESSAGING + "Execute" and not self._has_connect:
            return grpc.unary_unary_rpc_method_handler(self._execute)
        answers: dict[str, tuple[Any, Any]] = {
            "ListConversations": (self._list_conversations, history.ListConversationsRequest),
            "ListMessages": (self._list_messages, history.ListMessagesRequest),
            "GetMessages": (self._get_messages, history.GetMessagesRequest),
        }
        if method.removeprefix(_HISTORY) not in answers:
            return None
        answer, request = answers[method.removeprefix(_HISTORY)]
        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=request.FromString,
            response_serializer=lambda response: response.SerializeToString(),
        )

    async def _connect(self, _: Any, context: Any) -> None:
        await self._serve(context, None)

    async def _subscribe(self, request: Any, context: Any) -> None:
        await self._serve(context, messaging.SubscribeRequest.FromString(request).hello)

    async def _serve(self, context: Any, hello: messaging.Hello | None) -> None:
        stream = Stream(self, len(self.streams) + 1, context, hello)
        self.streams.append(stream)
        self.watch.note(f"stream {stream.number} is opened")
        self._arrived.put_nowait(stream)
        await stream.serve()

    async def _execute(self, encoded: Any, context: Any) -> bytes:
        """The script answers as if the commands had come on the present stream; if that ends first, so does the call."""
        commands = messaging.ExecuteRequest.FromString(encoded).commands
        most = self.limits.max_commands_per_frame
        if not 1 <= len(commands) <= most:
            self.watch.fail(f"expected 1 to {most} commands in an Execute call; came: {len(commands)}")
        stream = self.streams[-1] if self.streams else None
        if stream is not None and not stream.left.is_set():
            outcomes = [self.executing.begin(command) for command in commands]
            for command in commands:
                self.watch.note(f"Execute -> {_line(command)}")
                await stream.take(command)
            leaving = asyncio.create_task(stream.left.wait())
            answered: set[asyncio.Future[Any]] = {*outcomes, leaving}
            while not leaving.done() and not all(outcome.done() for outcome in outcomes):
                _, answered = await asyncio.wait(answered, return_when=asyncio.FIRST_COMPLETED)
            leaving.cancel()
            if all(outcome.done() for outcome in outcomes):
                told = [outcome.result() for outcome in outcomes]
                return messaging.ExecuteResponse(outcomes=told).SerializeToString()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "by the script")
        raise AssertionError("abort raises")

    async def _list_conversations(
        self, _: history.ListConversationsRequest, context: Any
    ) -> history.ListConversationsResponse:
        self.watch.note(f"ListConversations, answered with cursor {self.snapshot!r}")
        self.listings.append(str(dict(context.invocation_metadata()).get("authorization", "")))
        return history.ListConversationsResponse(cursor=self.snapshot)

    async def _list_messages(
        self, request: history.ListMessagesRequest, _: Any
    ) -> history.ListMessagesResponse:
        self.watch.note(f"ListMessages {_line(request)}")
        shown = [] if request.page_token else [history.HistoryMessage(message=each) for each in self.stored]
        token = "end" if shown or request.page_token else ""
        return history.ListMessagesResponse(
            messages=shown, newer_page_token=token, persisted_cursor=self.snapshot
        )

    async def _get_messages(self, request: history.GetMessagesRequest, _: Any) -> history.GetMessagesResponse:
        self.watch.note(f"GetMessages {_line(request)}")
        wanted = {ref.message_id for ref in request.messages}
        found = [each for each in self.stored if each.ref.message_id in wanted]
        return history.GetMessagesResponse(messages=[history.HistoryMessage(message=each) for each in found])


class _Services(grpc.GenericRpcHandler):
    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        return self._cell.service(details)


@asynccontextmanager
async def scripted_cell(watch: Watch, *, has_connect: bool = True) -> AsyncIterator[Cell]:
    """A cell on a free port: with Connect, or else with Subscribe and Execute."""
    server = grpc.aio.server(options=(("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)))
    cell = Cell(watch, has_connect=has_connect)
    server.add_generic_rpc_handlers((_Services(cell),))
    cell.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield cell
    finally:
        await server.stop(None)


def _line(message: Any) -> str:
    return text_format.MessageToString(message, as_one_line=True, as_utf8=True)
