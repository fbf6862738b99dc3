"""A gRPC call that costs its client next to nothing: the part of HTTP/2 (RFC 9113) that one bidirectional stream needs.

grpcio's own client costs as much as the server that is to be measured, so a load made with it measures itself. Here a frame
out is a join and a frame in is a few slices; there is no task, no future and no lock. What is left out a grpcio server does
not do: padding, pushes, and headers that would have to be understood.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import cast

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK = _END_STREAM = 1
_END_HEADERS = 4
_STREAM = 1
_INITIAL_WINDOW_SIZE = 4
_FRAME_HEAD, _MESSAGE_HEAD = 9, 5
_FIRST_ROOM = 65_535
_MOST_ROOM = 2**31 - 1
"""What the server may send without being asked to go on: more than any measurement takes."""
MAX_MESSAGE_BYTES = 16_384 - _MESSAGE_HEAD
"""Sent in one frame."""


class GrpcStream(asyncio.Protocol):
    """One call on a connection of its own."""

    __slots__ = (
        "_body",
        "_headers",
        "_on_end",
        "_on_message",
        "_rest",
        "_room",
        "_stream_room",
        "_transport",
        "_waiting",
    )

    def __init__(
        self,
        method: str,
        metadata: Mapping[str, str],
        on_message: Callable[[bytes], None],
        on_end: Callable[[str], None],
    ) -> None:
        """`on_end` is called with the reason when the call ends, unless `close` ended it."""
        self._headers = _header_block(method, metadata)
        self._on_message = on_message
        self._on_end = on_end
        self._room = self._stream_room = _FIRST_ROOM
        self._waiting: deque[bytes] = deque()
        self._rest = self._body = b""
        self._transport: asyncio.Transport = _NOT_CONNECTED

    def send(self, message: bytes) -> None:
        """Send one message of at most MAX_MESSAGE_BYTES; it waits where the server has no room for it."""
        self._waiting.append(message)
        self._flush()

    def close(self) -> None:
        """End the call and its connection, if there is one."""
        self._on_end = _ignore
        self._transport.close()

    def abort(self) -> None:
        """The same at once, whether or not what was sent has gone: where nobody takes it, `close` would wait for long."""
        self._on_end = _ignore
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the connection is there."""
        self._transport = cast(asyncio.Transport, transport)
        window = _INITIAL_WINDOW_SIZE.to_bytes(2) + _MOST_ROOM.to_bytes(4)
        self._transport.write(
            _PREFACE
            + _frame(_SETTINGS, 0, 0, window)
            + _frame(_WINDOW_UPDATE, 0, 0, (_MOST_ROOM - _FIRST_ROOM).to_bytes(4))
            + _frame(_HEADERS, _END_HEADERS, _STREAM, self._headers)
        )

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio: the connection is gone."""
        self._end(f"the connection was lost: {error}")

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes have come."""
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        while end - at >= _FRAME_HEAD:
            start = at + _FRAME_HEAD
            until = start + int.from_bytes(data[at : at + 3])
            if until > end:
                break
            if data[at + 3] == _DATA:
                self._take(data[start:until])
            else:
                self._control(data[at + 3], data[at + 4], data[at + 8], data[start:until])
            at = until
        self._rest = data[at:]

    def _take(self, body: bytes) -> None:
        if self._body:
            body = self._body + body
        at, end = 0, len(body)
        while end - at >= _MESSAGE_HEAD:
            until = at + _MESSAGE_HEAD + int.from_bytes(body[at + 1 : at + _MESSAGE_HEAD])
            if until > end:
                break
            self._on_message(body[at + _MESSAGE_HEAD : until])
            at = until
        self._body = body[at:]

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._transport.is_closing():
            return
        if kind == _WINDOW_UPDATE:
            self._widen(stream, int.from_bytes(payload))
        elif kind == _PING and not flags & _ACK:
            self._transport.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _SETTINGS and not flags & _ACK:
            for at in range(0, len(payload), 6):
                if int.from_bytes(payload[at : at + 2]) == _INITIAL_WINDOW_SIZE:
                    self._stream_room += int.from_bytes(payload[at + 2 : at + 6]) - _FIRST_ROOM
            self._transport.write(_frame(_SETTINGS, _ACK, 0, b""))
            self._flush()
        elif kind in (_RST_STREAM, _GOAWAY) or (kind == _HEADERS and flags & _END_STREAM):
            self._end(f"the server ended the call, with frame {kind}: {payload!r}")

    def _widen(self, stream: int, by: int) -> None:
        if stream == _STREAM:
            self._stream_room += by
        else:
            self._room += by
        self._flush()

    def _flush(self) -> None:
        if self._transport.is_closing():
            return  # as the caller is told, or has asked for
        waiting = self._waiting
        while waiting:
            size = len(waiting[0]) + _MESSAGE_HEAD
            if size > self._room or size > self._stream_room:
                return
            self._room -= size
            self._stream_room -= size
            message = waiting.popleft()
            self._transport.write(
                b"".join((size.to_bytes(3), b"\0\0\0\0\0\1\0", len(message).to_bytes(4), message))
            )

    def _end(self, reason: str) -> None:
        on_end, self._on_end = self._on_end, _ignore
        on_end(reason)


class _NotConnected(asyncio.Transport):
    """Before there is a connection."""

    def close(self) -> None:
        """Nothing to close."""

    def abort(self) -> None:
        """Nothing to close."""

    def is_closing(self) -> bool:
        """It is as good as closed."""
        return True


_NOT_CONNECTED = _NotConnected()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def _header_block(method: str, metadata: Mapping[str, str]) -> bytes:
    """HPACK (RFC 7541) without compression: POST and http from the static table, everything else in letters."""
    fields = {":path": method, ":authority": "cell", "te": "trailers", "content-type": "application/grpc"}
    letters = b"".join(b"\0" + _text(name) + _text(value) for name, value in {**fields, **metadata}.items())
    return b"\x83\x86" + letters


def _text(text: str) -> bytes:
    """A length with a prefix of seven bits, and the letters as they are."""
    size = len(text)
    if size < 127:
        return bytes((size,)) + text.encode()
    size -= 127
    length = bytearray(b"\x7f")
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes(length) + bytes((size,)) + text.encode()


def _ignore(_: str) -> None:
    """The end has been told, or nobody wants to know."""
