"""Commands of unary calls: the same pipeline as a stream's, with one answer when every command has its outcome."""

import asyncio

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core.clock import wall_us
from messaging_core.refusals import Refused
from messaging_server import pieces
from messaging_server.content import invalid, too_large
from messaging_server.figures import kind_of
from messaging_server.pipeline import CommandDesk, Pending, Pipeline
from messaging_server.records import message_ref
from messaging_server.session import APPENDING, client_id_of

_OF_A_STREAM = frozenset(("hello", "acknowledge", "refresh_token"))


class _Call:
    """One call's commands. The only future is the call's own."""

    def __init__(self, desk: CommandDesk, user_id: str, traceparent: str) -> None:
        self._desk = desk
        self._traceparent = traceparent
        self._pipeline = Pipeline(desk, user_id, self)
        self._settled: asyncio.Future[None] | None = None
        """Set while `wait` waits: some commands have their outcome before all of them were taken."""
        self.outcomes: dict[int, messaging.Outcome] = {}
        """By position of the command in the call."""
        self._positions: dict[int, int] = {}
        self.refusal: Refused | None = None
        self.message: messaging.MessageRef | None = None

    def take(self, position: int, command: messaging.Command) -> None:
        """The next command."""
        name = command.WhichOneof("command")
        command.traceparent = command.traceparent or self._traceparent
        try:
            self._pipeline.check(command)
            if name in APPENDING:
                self._positions[command.command_id] = position
                self._pipeline.take(command)
                return
            self._pipeline.count_other()
            if name == "ping":
                pong = pieces.pong(command.command_id, wall_us())
                self.outcomes[position] = messaging.Outcome(pong=pong)
                self._desk.figures.others[name] += 1
            elif name in _OF_A_STREAM:
                raise Refused(messaging.REJECTED_REASON_UNSUPPORTED, "this belongs to a stream", name or "")
            else:
                raise Refused(messaging.REJECTED_REASON_UNSUPPORTED, "this server does not know this command")
        except Refused as refused:
            self._desk.figures.refused(kind_of(name), refused)
            self._reject(position, command.command_id, client_id_of(command, name), refused)

    async def wait(self) -> None:
        """Wait until every command has its outcome."""
        self._desk.submit()
        if self._pipeline.count:
            self._settled = asyncio.get_running_loop().create_future()
            try:
                await self._settled
            finally:
                self._pipeline.close()

    def accepted(self, pending: Pending) -> None:
        """A command is durable."""
        accepted = messaging.Accepted(command_id=pending.command_id)
        self.outcomes[self._positions[pending.command_id]] = messaging.Outcome(accepted=accepted)
        assert pending.prepared is not None
        self.message = message_ref(pending.prepared, pending.stamp_us)
        self._settle()

    def refused(self, pending: Pending, refused: Refused) -> None:
        """A command was refused after it had been taken."""
        self._reject(self._positions[pending.command_id], pending.command_id, pending.name, refused)
        self._settle()

    def _reject(self, position: int, command_id: int, name: str, refused: Refused) -> None:
        self.refusal = refused
        self.outcomes[position] = messaging.Outcome(rejected=pieces.rejected(command_id, name, refused))

    def _settle(self) -> None:
        if self._settled is not None and not self._pipeline.count and not self._settled.done():
            self._settled.set_result(None)


async def execute(
    request: messaging.ExecuteRequest, user_id: str, desk: CommandDesk, traceparent: str = ""
) -> messaging.ExecuteResponse:
    """One outcome for each command, in their order. Raises Refused if there are none or too many.

    `traceparent` is the call's trace context, for commands without one of their own.
    """
    limit = desk.settings.limits.max_commands_per_frame
    if not request.commands:
        raise invalid("commands", "name at least one command")
    if len(request.commands) > limit:
        raise too_large("commands", "commands of a call", limit)
    call = _Call(desk, user_id, traceparent)
    for position, command in enumerate(request.commands):
        call.take(position, command)
    await call.wait()
    return messaging.ExecuteResponse(outcomes=[call.outcomes[n] for n in range(len(request.commands))])


async def send_message(
    request: messaging.SendMessageRequest, user_id: str, desk: CommandDesk, traceparent: str = ""
) -> messaging.SendMessageResponse:
    """Send one message, in the call's trace context if the request has none. Raises Refused."""
    if not request.HasField("send_message"):
        raise invalid("send_message", "a message to send is required")
    call = _Call(desk, user_id, traceparent)
    call.take(
        0,
        messaging.Command(command_id=1, send_message=request.send_message, traceparent=request.traceparent),
    )
    await call.wait()
    if call.refusal is not None:
        raise call.refusal
    return messaging.SendMessageResponse(message=call.message)
