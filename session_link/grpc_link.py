"""The link over gRPC: cell.delivery.v1.SessionLinkService. Frames are joined from messages encoded when sent."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

import grpc
from google.protobuf.message import DecodeError

from cell.delivery.v1 import session_link_pb2 as link
from messaging_core.wire import varint
from session_link.inbox import Inbox
from session_link.port import (
    QUEUE_BYTES,
    LinkBroken,
    LinkClosed,
    LinkEnd,
    LinkRefused,
    OwnerEnd,
    ServerEnd,
)
from session_link.routed import FromOwner, from_message, to_message

FRAME_BYTES = 256 * 1024
"""A frame takes messages until it is this large; one message alone may be larger."""
MAX_FRAME_BYTES = 8 * 1024 * 1024
"""Largest frame either side takes: gRPC's max_receive_message_length."""
INBOX_BYTES = 4 * 1024 * 1024
"""What an end takes in ahead of its receiver; past it HTTP/2 flow control holds the sender."""
CLOSE_TIMEOUT_S = 1.0

_KEEPALIVE: tuple[tuple[str, int], ...] = (
    # A machine that vanishes must not keep partitions or sessions: noticed within 15 s.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", MAX_FRAME_BYTES),
    ("grpc.max_send_message_length", MAX_FRAME_BYTES),
)
SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    *_KEEPALIVE,
    # Without this a server takes keepalive pings more often than every 5 minutes for abuse.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)
"""What a gRPC server on the internal port must be made with."""

_SERVICE = "cell.delivery.v1.SessionLinkService"
_MESSAGES_TAG = b"\x0a"  # LinkRequest.messages = 1, LinkResponse.messages = 1

Out = TypeVar("Out")
In = TypeVar("In")


async def dial(
    address: str,
    *,
    credentials: grpc.ChannelCredentials | None = None,
    server_name: str = "",
    queue_bytes: int = QUEUE_BYTES,
) -> OwnerEnd:
    """Open a link to a messaging server's internal port, "host:port". Raises LinkClosed if nobody serves there.

    With `credentials` the server must show a certificate for `server_name`, or for the host if that is empty.
    """
    options: tuple[tuple[str, int | str], ...] = _KEEPALIVE
    if server_name:
        options = (*options, ("grpc.ssl_target_name_override", server_name))
    if credentials is None:
        channel = grpc.aio.insecure_channel(address, options=options)
    else:
        channel = grpc.aio.secure_channel(address, credentials, options=options)
    try:
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(f"/{_SERVICE}/Link")()
        await call.wait_for_connection()
    except BaseException as error:
        await channel.close()
        if isinstance(error, grpc.aio.AioRpcError):
            raise LinkClosed(f"{error.code().name}: {error.details()}") from error
        raise
    return _OwnerGrpcEnd(channel, call, queue_bytes)


def add_session_link_service(
    server: grpc.aio.Server,
    serve: Callable[[ServerEnd], Awaitable[object]],
    *,
    queue_bytes: int = QUEUE_BYTES,
) -> None:
    """Serve links on a gRPC server. `serve` runs each until it ends; it may raise LinkRefused or LinkBroken."""

    async def handle(_requests: object, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        await context.send_initial_metadata(())  # tells the dialing side that somebody is there
        end = _ServerGrpcEnd(context, queue_bytes)
        status, details = await _serve(end, serve)
        if status is not grpc.StatusCode.OK:
            await context.abort(status, details)

    # No serializers: bytes in, bytes out.
    method: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(handle)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {"Link": method}),))


async def _serve(
    end: "_ServerGrpcEnd", serve: Callable[[ServerEnd], Awaitable[object]]
) -> tuple[grpc.StatusCode, str]:
    serving = asyncio.ensure_future(serve(end))
    try:
        # gRPC cancels the handler when the other side is gone; whoever serves sees LinkClosed in its turn instead.
        await asyncio.wait((serving, end.lost), return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
    except asyncio.CancelledError:
        end.lose("the call was cancelled")
        raise
    except LinkClosed:
        pass
    except LinkRefused as refused:
        return grpc.StatusCode.FAILED_PRECONDITION, str(refused)
    except LinkBroken as broken:
        return grpc.StatusCode.INVALID_ARGUMENT, str(broken)
    finally:
        await end.close()
    if end.unparsable:
        return grpc.StatusCode.INVALID_ARGUMENT, "a frame does not parse"
    return grpc.StatusCode.OK, ""


class _Stream(Protocol):
    """What a call on the client's side and a context on the server's have in common."""

    async def read(self) -> Any: ...

    async def write(self, frame: bytes) -> None: ...


class _GrpcEnd(LinkEnd[Out, In]):
    """Two tasks a link: one reads frames ahead, one writes what the last turn of the loop has sent."""

    def __init__(
        self,
        stream: _Stream,
        encode: Callable[[Out], bytes],
        parse: Callable[[bytes], Sequence[In]],
        queue_bytes: int,
    ) -> None:
        self.unparsable = False
        self._stream = stream
        self._encode = encode
        self._parse = parse
        self._inbox: Inbox[In] = Inbox()
        self._queue: list[bytes] = []
        self._queued_bytes = 0
        self._queue_bytes = queue_bytes
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when nothing goes out any more."""
        self._sent = asyncio.Event()
        self._closing = False
        self._reader = asyncio.create_task(self._read())
        self._writer = asyncio.create_task(self._write())

    @property
    def queued_bytes(self) -> int:
        return 0 if self._inbox.ended or self._writer.done() else self._queued_bytes

    def send(self, messages: Sequence[Out]) -> None:
        if self._closing or self._inbox.ended:
            raise LinkClosed("the link has ended")
        encoded = [self._encode(message) for message in messages]
        self._queued_bytes += sum(map(len, encoded))
        if self._queued_bytes > self._queue_bytes:
            self.lose("the other end has stopped taking")
            raise LinkClosed("the other end has stopped taking")
        self._queue.extend(encoded)
        self._sent.set()

    async def receive(self) -> Sequence[In]:
        return await self._inbox.take()

    def lose(self, reason: str) -> None:
        """End the link; nothing more goes out."""
        self._inbox.end(reason)
        self._closing = True
        self._queue.clear()
        if not self.lost.done():
            self.lost.set_result(None)
        self._writer.cancel()
        self._reader.cancel()

    async def _flush(self) -> None:
        """Nothing more is sent; wait a little for what was."""
        self._closing = True
        self._sent.set()
        await asyncio.wait((self._writer,), timeout=CLOSE_TIMEOUT_S)

    async def _write(self) -> None:
        try:
            while not (self._closing and not self._queue):
                await self._sent.wait()
                self._sent.clear()
                queue, self._queue = self._queue, []
                for frame, payload_bytes in _frames(queue):
                    await self._stream.write(frame)
                    self._queued_bytes -= payload_bytes
        except asyncio.CancelledError:
            raise
        except Exception:  # whatever gRPC raises here, the call is over; the reader comes to its end in order
            self._closing = True

    async def _read(self) -> None:
        try:
            while (frame := await self._stream.read()) is not grpc.aio.EOF:
                if messages := self._parse(frame):
                    self._inbox.put(messages, len(frame))
                if self._inbox.bytes > INBOX_BYTES:
                    await self._inbox.emptied()
            self._inbox.end("the other end closed the link")
        except DecodeError:
            self.unparsable = True
            self._inbox.end("a frame does not parse")
        except asyncio.CancelledError:
            self._inbox.end("the call was cancelled")
            raise
        except Exception as error:  # whatever gRPC raises here, the call is over
            self._inbox.end(_reason(error))


class _OwnerGrpcEnd(_GrpcEnd[FromOwner, link.ServerMessage]):
    def __init__(self, channel: grpc.aio.Channel, call: Any, queue_bytes: int) -> None:
        super().__init__(
            call, _encode_from_owner, lambda frame: link.LinkResponse.FromString(frame).messages, queue_bytes
        )
        self._channel = channel
        self._call = call

    def lose(self, reason: str) -> None:
        super().lose(reason)
        self._call.cancel()

    async def close(self) -> None:
        if not self._closing and not self._inbox.ended:
            await self._flush()
            await self._half_close()
        self.lose("the link was closed")
        await self._channel.close()

    async def _half_close(self) -> None:
        """Wait for the server to end the call: cancelling would take back what it has not read yet."""
        try:
            await self._call.done_writing()
        except (grpc.RpcError, asyncio.InvalidStateError):
            return
        await asyncio.wait((self._reader,), timeout=CLOSE_TIMEOUT_S)


class _ServerGrpcEnd(_GrpcEnd[link.ServerMessage, FromOwner]):
    def __init__(self, context: "grpc.aio.ServicerContext[bytes, bytes]", queue_bytes: int) -> None:
        super().__init__(context, link.ServerMessage.SerializeToString, _parse_from_owner, queue_bytes)

    async def close(self) -> None:
        if not self._closing and not self._inbox.ended:
            await self._flush()
        self.lose("the link was closed")


def _encode_from_owner(message: FromOwner) -> bytes:
    return to_message(message).SerializeToString()


def _parse_from_owner(frame: bytes) -> Sequence[FromOwner]:
    return [from_message(message) for message in link.LinkRequest.FromString(frame).messages]


def _frames(messages: Sequence[bytes]) -> list[tuple[bytes, int]]:
    """Frames of about FRAME_BYTES that hold these in order, each with the size of its messages."""
    frames: list[tuple[bytes, int]] = []
    parts: list[bytes] = []
    size = 0
    for message in messages:
        parts += (_MESSAGES_TAG, varint(len(message)), message)
        size += len(message)
        if size >= FRAME_BYTES:
            frames.append((b"".join(parts), size))
            parts, size = [], 0
    if parts:
        frames.append((b"".join(parts), size))
    return frames


def _reason(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return f"{type(error).__name__}: {error}"
