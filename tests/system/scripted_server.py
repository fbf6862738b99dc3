"""A messaging server that says what a test tells it to: to show what the plain client does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from cell.messaging.v1 import messaging_pb2 as messaging
from cell.messaging.v1 import messaging_pb2_grpc

Script = Callable[["Talk"], Awaitable[None]]


class Talk:
    """One stream, from the server's side."""

    def __init__(self, call: Any, hello: messaging.Hello | None = None) -> None:
        self._call = call
        self._hello = hello
        self._frame = messaging.ConnectResponse if hello is None else messaging.SubscribeResponse
        self._commands: list[messaging.Command] = []

    async def hello(self) -> messaging.Hello:
        """What the client opened with."""
        if self._hello is None:
            self._hello = (await self.command()).hello
        return self._hello

    async def command(self) -> messaging.Command:
        """The client's next command."""
        while not self._commands:
            frame = await self._call.read()
            if frame is grpc.aio.EOF:
                raise EOFError
            self._commands += frame.commands
        return self._commands.pop(0)

    async def tell(self, *updates: messaging.Update) -> None:
        """One frame to the client."""
        await self._call.write(self._frame(updates=updates))

    async def welcome(self, retry_window_s: float = 45, max_in_flight: int = 256) -> None:
        """Open the stream."""
        limits = messaging.Limits(max_in_flight=max_in_flight, max_commands_per_frame=64)
        limits.retry_window.FromMicroseconds(int(retry_window_s * 1e6))
        await self.tell(messaging.Update(welcome=messaging.Welcome(limits=limits)))

    async def resumed(self, cursor: str) -> None:
        """All that was missed was sent."""
        outcome = messaging.RESUME_OUTCOME_RESUMED
        await self.tell(messaging.Update(resumed=messaging.Resumed(cursor=cursor, outcome=outcome)))

    async def accept(self, command: messaging.Command) -> None:
        """Say that a command is durable."""
        await self.tell(messaging.Update(accepted=messaging.Accepted(command_id=command.command_id)))

    async def stay(self) -> None:
        """Keep the stream until the client leaves."""
        await asyncio.Event().wait()


class ScriptedServer(messaging_pb2_grpc.MessagingServiceServicer):
    """Each stream plays the next script; when that returns the stream ends with UNAVAILABLE."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = list(scripts)
        self.executed: list[messaging.Command] = []
        self.address = ""

    async def Connect(self, requests: Any, context: Any) -> None:
        await self._play(Talk(context), context)

    async def Subscribe(self, request: messaging.SubscribeRequest, context: Any) -> None:
        await self._play(Talk(context, request.hello), context)

    async def Execute(self, request: messaging.ExecuteRequest, context: Any) -> messaging.ExecuteResponse:
        self.executed += request.commands
        accepted = [
            messaging.Outcome(accepted=messaging.Accepted(command_id=c.command_id)) for c in request.commands
        ]
        return messaging.ExecuteResponse(outcomes=accepted)

    async def _play(self, talk: Talk, context: Any) -> None:
        await self._scripts.pop(0)(talk)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the script is over")


@asynccontextmanager
async def scripted_server(*scripts: Script) -> AsyncIterator[ScriptedServer]:
    """A server on a free port."""
    server = grpc.aio.server()
    servicer = ScriptedServer(*scripts)
    messaging_pb2_grpc.add_MessagingServiceServicer_to_server(servicer, server)
    servicer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield servicer
    finally:
        await server.stop(None)
