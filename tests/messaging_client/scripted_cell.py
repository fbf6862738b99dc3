"""A cell on a port that says what a test tells it to: streams by script, and a little history."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from cell.history.v1 import history_pb2 as history
from cell.history.v1 import history_pb2_grpc
from cell.messaging.v1 import messaging_pb2 as messaging
from cell.messaging.v1 import messaging_pb2_grpc
from messaging_core.ids import conversation_id

USER = "ann"
Script = Callable[["Talk"], Awaitable[None]]


class Talk:
    """One stream, from the cell's side. When its script returns the stream ends with UNAVAILABLE."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.token = dict(context.invocation_metadata()).get("authorization", "").removeprefix("Bearer ")
        self.frames: list[int] = []
        """Commands in each frame."""
        self._commands: list[messaging.Command] = []
        self._writing = asyncio.Lock()

    async def command(self, *, pings: bool = False) -> messaging.Command:
        """The next command that is no ping, unless pings are asked for."""
        while True:
            while not self._commands:
                frame = await self.context.read()
                if frame is grpc.aio.EOF:
                    raise EOFError
                self.frames.append(len(frame.commands))
                self._commands += frame.commands
            command = self._commands.pop(0)
            if pings or not command.HasField("ping"):
                return command
            await self.tell(messaging.Update(pong=messaging.Pong(command_id=command.command_id)))

    async def tell(self, *updates: messaging.Update) -> None:
        async with self._writing:
            await self.context.write(messaging.ConnectResponse(updates=updates))

    async def open(self, ping_interval_s: float = 60, **limits: int) -> messaging.Hello:
        """Take hello, and say welcome and that nothing was missed."""
        hello = (await self.command()).hello
        await self.welcome(ping_interval_s, **limits)
        await self.resumed(hello.resume_after)
        return hello

    async def welcome(self, ping_interval_s: float = 60, expires_s: int | None = None, **limits: int) -> None:
        taken = messaging.Limits(max_in_flight=16, max_commands_per_frame=8)
        for name, limit in limits.items():
            setattr(taken, name, limit)
        welcome = messaging.Welcome(user_id=USER, limits=taken)
        welcome.limits.retry_window.FromSeconds(45)
        welcome.ping_interval.FromMicroseconds(int(ping_interval_s * 1e6))
        welcome.server_time.FromSeconds(1_000_000)
        if expires_s is not None:
            welcome.token_expire_time.FromSeconds(1_000_000 + expires_s)
        await self.tell(messaging.Update(welcome=welcome))

    async def resumed(self, cursor: str) -> None:
        outcome = messaging.RESUME_OUTCOME_RESUMED
        await self.tell(messaging.Update(resumed=messaging.Resumed(cursor=cursor, outcome=outcome)))

    async def accept(self, *commands: messaging.Command) -> None:
        accepted = (messaging.Accepted(command_id=command.command_id) for command in commands)
        await self.tell(*(messaging.Update(accepted=each) for each in accepted))

    async def reject(
        self, command: messaging.Command, reason: int, *, retry_after_s: float | None = None, **fields: Any
    ) -> None:
        rejected = messaging.Rejected(
            command_id=command.command_id,
            reason=reason,  # type: ignore[arg-type]
            outcome=messaging.REJECTED_OUTCOME_NOT_DONE,
            **fields,
        )
        if retry_after_s is not None:
            rejected.retry_after.FromMicroseconds(int(retry_after_s * 1e6))
        await self.tell(messaging.Update(rejected=rejected))

    async def accept_all(self) -> None:
        """Accept whatever comes."""
        while True:
            await self.accept(await self.command())

    async def end(self, code: grpc.StatusCode, detail: str = "") -> None:
        if not self.frames:
            # grpc's client, which still writes hello, may take an end before that for an error of its own.
            await self.command()
        await self.context.abort(code, detail)


def message_event(cursor: str, text: str, sender_id: str = "bob", message_id: str = "") -> messaging.Update:
    """A message that someone sent."""
    event = messaging.Event(cursor=cursor)
    event.message.ref.sender_id = sender_id
    event.message.ref.message_id = message_id or f"id-{cursor}"
    event.message.ref.conversation_id = conversation_id([USER, sender_id])
    event.message.content.text = text
    return messaging.Update(event=event)


class ScriptedCell(messaging_pb2_grpc.MessagingServiceServicer, history_pb2_grpc.HistoryServiceServicer):
    """Each stream plays the next script; more streams than scripts wait for ever."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = list(scripts)
        self.failures: list[BaseException] = []
        self.snapshots = 0
        self.silent_calls = 0
        """Questions for conversations that are not answered, from now on."""
        self.stored: list[messaging.Message] = []
        self.address = ""

    async def Connect(self, requests: Any, context: Any) -> None:
        script = self._scripts.pop(0) if self._scripts else _wait
        try:
            await script(Talk(context))
        except EOFError:
            return
        except AssertionError as error:
            self.failures.append(error)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the script is over")

    async def ListConversations(
        self, request: history.ListConversationsRequest, context: Any
    ) -> history.ListConversationsResponse:
        if self.silent_calls:
            self.silent_calls -= 1
            await asyncio.Event().wait()
        self.snapshots += 1
        return history.ListConversationsResponse(cursor=f"snapshot-{self.snapshots}")

    async def ListMessages(
        self, request: history.ListMessagesRequest, context: Any
    ) -> history.ListMessagesResponse:
        shown = [] if request.page_token else [history.HistoryMessage(message=m) for m in self.stored]
        return history.ListMessagesResponse(messages=shown, newer_page_token="more")


async def _wait(talk: Talk) -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def scripted_cell(
    *scripts: Script, credentials: grpc.ServerCredentials | None = None
) -> AsyncIterator[ScriptedCell]:
    """A cell on a free port; what its scripts found wrong is raised at the end."""
    server = grpc.aio.server()
    cell = ScriptedCell(*scripts)
    messaging_pb2_grpc.add_MessagingServiceServicer_to_server(cell, server)
    history_pb2_grpc.add_HistoryServiceServicer_to_server(cell, server)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    cell.address = f"127.0.0.1:{port}"
    await server.start()
    try:
        yield cell
    finally:
        await server.stop(None)
    if cell.failures:
        raise cell.failures[0]
