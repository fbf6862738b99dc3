"""A stream of raw bytes: says what no stub would."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from cell.messaging.v1 import messaging_pb2 as messaging
from check.calls import DEADLINE_S, STATUS_LOST, open_channel

Metadata = Sequence[tuple[str, str]]
CONNECT = "/cell.messaging.v1.MessagingService/Connect"


@dataclass(slots=True)
class Heard:
    """What a server said until the stream ended."""

    updates: list[messaging.Update] = field(default_factory=list)
    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN
    details: str = ""
    trailing: Metadata = ()
    """The trailing metadata of the stream's end."""

    def of(self, kind: str) -> list[Any]:
        """The updates of a kind."""
        return [getattr(update, kind) for update in self.updates if update.WhichOneof("update") == kind]


async def say(address: str, metadata: Metadata, *frames: bytes, done: bool = True) -> Heard:
    """Open Connect, write these frames, half-close if `done`, and listen until the server ends the stream."""
    while (heard := await _say(address, metadata, frames, done)).details == STATUS_LOST:
        pass  # once more: how it ended is not known
    return heard


async def _say(address: str, metadata: Metadata, frames: Sequence[bytes], done: bool) -> Heard:
    heard = Heard()
    async with asyncio.timeout(DEADLINE_S), open_channel(address) as channel:
        call: Any = channel.stream_stream(CONNECT)(metadata=metadata)  # no serializers: bytes as they are
        try:
            for frame in frames:
                await call.write(frame)
            if done:
                await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the server ended it meanwhile
        try:
            while (data := await call.read()) is not grpc.aio.EOF:
                heard.updates += messaging.ConnectResponse.FromString(data).updates
        except grpc.aio.AioRpcError:
            pass
        heard.code, heard.details = await call.code(), await call.details() or ""
        heard.trailing = tuple(await call.trailing_metadata() or ())
    return heard


def frame(*commands: messaging.Command) -> bytes:
    """A frame of these commands, numbered from 1 where they have no number."""
    made = messaging.ConnectRequest(commands=commands)  # copies them
    for number, command in enumerate(made.commands, 1):
        command.command_id = command.command_id or number
    return made.SerializeToString()


def hello(**fields: object) -> messaging.Command:
    """The first command of a stream."""
    return messaging.Command(hello=messaging.Hello(**fields))  # type: ignore[arg-type]
