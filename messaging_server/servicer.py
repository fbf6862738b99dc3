"""cell.messaging.v1.MessagingService over gRPC: takes and gives raw bytes, and parses them itself.

So a frame that does not parse is INVALID_ARGUMENT, and what goes out is joined from pieces that were encoded once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core import grpc_status
from messaging_core.grpc_status import status_name
from messaging_core.identity import Authenticator, Identity, TokenInvalid, identify
from messaging_core.refusals import Refused, reason_name
from messaging_server import endings
from messaging_server.calls import execute, send_message
from messaging_server.content import invalid, too_large
from messaging_server.endings import Ending
from messaging_server.pipeline import CommandDesk
from messaging_server.streams import Stream, Streams, abort
from telemetry.trace_context import traceparent_of

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = "cell.messaging.v1.MessagingService"
Request = TypeVar("Request", bound=Message)


class MessagingServicer(grpc.GenericRpcHandler):
    """The client port's service."""

    def __init__(self, streams: Streams, desk: CommandDesk, authenticator: Authenticator) -> None:
        self._streams = streams
        self._desk = desk
        self._authenticator = authenticator
        # Neither serializers nor deserializers: bytes in, bytes out.
        self._handlers: dict[str, Any] = {
            f"/{SERVICE}/Connect": grpc.stream_stream_rpc_method_handler(self.connect),
            f"/{SERVICE}/Subscribe": grpc.unary_stream_rpc_method_handler(self.subscribe),
            f"/{SERVICE}/Execute": grpc.unary_unary_rpc_method_handler(self.execute),
            f"/{SERVICE}/SendMessage": grpc.unary_unary_rpc_method_handler(self.send_message),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method of this service."""
        return self._handlers.get(handler_call_details.method)

    async def connect(self, _requests: object, context: "Context") -> None:
        """One client stream."""
        stream = await self._open(context)
        streams = self._streams
        try:
            while stream.ending is None:
                data = await context.read()
                if data is grpc.aio.EOF:
                    stream.half_closed()
                    break
                if streams.was_paused:
                    stream.end(endings.PAUSED)
                stream.frame(data)
                streams.soon()
                if not stream.reads_on:
                    stream.room = asyncio.get_running_loop().create_future()
                    await stream.room
                    stream.room = None
            streams.soon()
            await self._finish(stream, context)
        finally:
            streams.remove(stream)

    async def subscribe(self, data: bytes, context: "Context") -> None:
        """The updates of a client that cannot hold a bidirectional stream."""
        stream = await self._open(context)
        try:
            try:
                request = messaging.SubscribeRequest.FromString(data)
            except DecodeError:
                stream.end(endings.BAD_FRAME)
            else:
                if request.HasField("hello"):
                    stream.open(request.hello)
                else:
                    stream.end(endings.HELLO_MISSING)
            self._streams.soon()
            await self._finish(stream, context)
        finally:
            self._streams.remove(stream)

    async def execute(self, data: bytes, context: "Context") -> bytes:
        """The commands of a client without a Connect stream."""
        return await self._counted(
            "Execute", self._call(execute, messaging.ExecuteRequest, data, context), context
        )

    async def send_message(self, data: bytes, context: "Context") -> bytes:
        """One message."""
        call = self._call(send_message, messaging.SendMessageRequest, data, context)
        return await self._counted("SendMessage", call, context)

    async def _counted(self, method: str, call: Awaitable[bytes], context: "Context") -> bytes:
        began_s, status = self._desk.now_s(), "CANCELLED"
        try:
            answer = await call
            status = "OK"
        except grpc.aio.AbortError:
            status = status_name(context)
            raise
        finally:
            self._desk.figures.calls.add(f"{SERVICE}/{method}", status, self._desk.now_s() - began_s)
        return answer

    async def _call(
        self, do: Callable[..., Any], kind: type[Request], data: bytes, context: "Context"
    ) -> bytes:
        identity = self._identity(context)
        if isinstance(identity, Ending):
            await abort(context, identity)
        if self._streams.refusing or self._streams.was_paused:
            await grpc_status.abort(
                context, endings.call_refused(endings.LEAVING if self._streams.refusing else endings.PAUSED)
            )
        limit = self._desk.settings.limits.max_frame_bytes
        if len(data) > limit:
            await grpc_status.abort(context, too_large("", "bytes of a request", limit))
        try:
            request = kind.FromString(data)
        except DecodeError:
            await grpc_status.abort(context, invalid("", "the request does not parse"))
        try:
            traceparent = traceparent_of(context.invocation_metadata())
            response: Message = await do(request, identity.user_id, self._desk, traceparent)
        except Refused as refused:
            await grpc_status.abort(context, refused)
        return response.SerializeToString()

    async def _open(self, context: "Context") -> Stream:
        identity = self._identity(context)
        opened = identity if isinstance(identity, Ending) else self._streams.open(identity, context)
        if isinstance(opened, Ending):
            assert opened.refused is not None
            self._desk.figures.turned_away[reason_name(opened.refused.reason)] += 1
            await abort(context, opened)
        return opened

    async def _finish(self, stream: Stream, context: "Context") -> None:
        """Wait until everything was written that is to be, and end the call."""
        if not stream.is_over:
            stream.done = asyncio.get_running_loop().create_future()
            if stream.ending is not None:
                stream.want_write()
            await stream.done
        if stream.ending is not None and stream.ending.status is not grpc.StatusCode.OK:
            await abort(context, stream.ending)

    def _identity(self, context: "Context") -> Identity | Ending:
        """Who calls, or why that is nobody."""
        try:
            return identify(context.invocation_metadata(), self._authenticator)
        except TokenInvalid as error:
            return endings.token_invalid(str(error))
        except Refused as refused:
            return endings.by(refused)
