"""Clients that make load, each with one stream on a connection of its own, and parse no more than they count.

Commands are encoded once for each pair of users, and only their ids and times put in. Every message says when it was due, in
microseconds of this process's monotonic clock, so that its latency includes what a late sender adds.
"""

import asyncio
import itertools
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from cell.messaging.v1 import messaging_pb2 as messaging
from check.grpc_stream import GrpcStream

CONNECT = "/cell.messaging.v1.MessagingService/Connect"
ECHO = "/check.Echo/Stream"
MESSAGE_BYTES = 256
"""Of an echo, and about those of a command that sends a message."""
EVENT, ACCEPTED, REJECTED, RESUMED = 0x0A, 0x12, 0x1A, 0x9A
"""First byte of an encoded Update: the tag of what it holds, of RESUMED the first byte of two."""

_FIRST_NUMBER = 2**28
"""Of command ids: from here on they all have five bytes as varints."""
_NUMBER, _DUE, _MARK = b"N" * 10, b"D" * 16, b"\x02due="
_TEXT_BYTES = 216
MAX_COMMANDS = 32
"""In one frame."""
_OPENED_AT_ONCE = 100
_OPEN_TIMEOUT_S = 60.0


@dataclass(slots=True)
class Tally:
    """What was counted, over all clients; times in microseconds."""

    sent: int = 0
    delivered: int = 0
    """Messages that reached their recipient, or echoes that came back."""
    rejected: int = 0
    late_us: list[int] = field(default_factory=list)
    """From when a message was due until it was sent."""
    latency_us: list[int] = field(default_factory=list)
    """From when a message was due until it was delivered."""
    ended: list[str] = field(default_factory=list)
    """Why streams ended that should not have."""

    def clear_times(self) -> None:
        """Begin anew with times."""
        self.late_us.clear()
        self.latency_us.clear()


def now_us() -> int:
    """Microseconds of this process's monotonic clock."""
    return time.monotonic_ns() // 1_000


class CellClient:
    """A user who writes to another one, or to itself."""

    def __init__(self, user: str, peer: str, token: str, tally: Tally) -> None:
        self.on_delivered: Callable[[], None] = _nothing
        self.on_accepted: Callable[[], None] = _nothing
        self.in_flight = 0
        """Commands without an outcome."""
        self.commands_a_frame = MAX_COMMANDS
        """At most, of those that are sent in one turn of the event loop."""
        self.live: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when events are live."""
        self.stream = GrpcStream(CONNECT, {"authorization": f"Bearer {token}"}, self._take, self._ended)
        self._encode = command_encoder(peer)
        self._tally = tally
        self._own = b"" if user == peer else _sender_field(user)
        """In events of its own messages, which count only where it writes to itself."""
        self._numbers = itertools.count(_FIRST_NUMBER)
        self._outbox: list[bytes] = []
        self._scheduled = False

    def open(self) -> None:
        """Say hello."""
        hello = messaging.Command(command_id=1, hello=messaging.Hello(live_only=True))
        self.stream.send(messaging.ConnectRequest(commands=[hello]).SerializeToString())

    def send(self, due_us: int) -> None:
        """Send one message; what is sent in one turn of the event loop goes out in as few frames as may be."""
        self._outbox.append(self._encode(next(self._numbers), due_us))
        self.in_flight += 1
        self._tally.sent += 1
        self._tally.late_us.append(now_us() - due_us)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        outbox, self._outbox = self._outbox, []
        for start in range(0, len(outbox), self.commands_a_frame):
            self.stream.send(b"".join(outbox[start : start + self.commands_a_frame]))

    def _take(self, frame: bytes) -> None:
        for kind, start, end in updates(frame):
            if kind == EVENT:
                self._count(frame, start, end)
            elif kind == ACCEPTED:
                self.in_flight -= 1
                self.on_accepted()
            elif kind == REJECTED:
                self.in_flight -= 1
                self._tally.rejected += 1
            elif kind == RESUMED and not self.live.done():
                self.live.set_result(None)

    def _count(self, event: bytes, start: int, end: int) -> None:
        due_us = due_of(event, start, end)
        if due_us is None or (self._own and event.find(self._own, start, end) >= 0):
            return
        self._tally.delivered += 1
        self._tally.latency_us.append(now_us() - due_us)
        self.on_delivered()

    def _ended(self, reason: str) -> None:
        self._tally.ended.append(reason)
        if not self.live.done():
            self.live.set_exception(RuntimeError(reason))


class EchoClient:
    """A stream whose frames come back."""

    def __init__(self, tally: Tally) -> None:
        self.on_delivered: Callable[[], None] = _nothing
        self.live: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the first frame has come back."""
        self.stream = GrpcStream(ECHO, {}, self._take, self._ended)
        self._tally = tally

    def open(self) -> None:
        """Send the first frame."""
        self.stream.send(_MARK + b"%016d" % now_us())

    def send(self, due_us: int) -> None:
        """Send one frame."""
        self._tally.sent += 1
        self._tally.late_us.append(now_us() - due_us)
        self.stream.send((_MARK + b"%016d" % due_us).ljust(MESSAGE_BYTES, b"x"))

    def _take(self, frame: bytes) -> None:
        due_us = due_of(frame, 0, len(frame))
        assert due_us is not None, "it is our own"
        if not self.live.done():
            self.live.set_result(None)
            return
        self._tally.delivered += 1
        self._tally.latency_us.append(now_us() - due_us)
        self.on_delivered()

    def _ended(self, reason: str) -> None:
        self._tally.ended.append(reason)


Client = CellClient | EchoClient


async def open_clients(
    address: str, clients: Sequence[Client], tls: ssl.SSLContext | None = None
) -> Callable[[], Awaitable[None]]:
    """Connect them all and wait until they are live; returns what closes them. Raises RuntimeError."""
    loop = asyncio.get_running_loop()
    host, _, port = address.rpartition(":")
    for start in range(0, len(clients), _OPENED_AT_ONCE):
        some = clients[start : start + _OPENED_AT_ONCE]
        for client in some:
            await loop.create_connection(lambda client=client: client.stream, host, int(port), ssl=tls)
            client.open()
        async with asyncio.timeout(_OPEN_TIMEOUT_S):
            await asyncio.gather(*(client.live for client in some))

    async def close() -> None:
        for client in clients:
            client.stream.close()
        await asyncio.sleep(0)

    return close


def command_encoder(recipient: str) -> Callable[[int, int], bytes]:
    """Encodes a frame with one command, a message to this user: of its number, 2**28 to 10**10, and when it is due."""
    message = messaging.SendMessage(
        message_id=_NUMBER.decode(),
        recipients=messaging.Recipients(user_ids=[recipient]),
        content=messaging.Content(text=(_MARK + _DUE).decode().ljust(_TEXT_BYTES, "x")),
    )
    rest = messaging.Command(send_message=message).SerializeToString()
    before, _, after = rest.partition(_NUMBER)
    between, _, after = after.partition(_DUE)
    head = b"\x0a" + _varint(len(rest) + 6) + b"\x08"

    def encode(number: int, due_us: int) -> bytes:
        return b"".join((head, _varint(number), before, b"%010d" % number, between, b"%016d" % due_us, after))

    return encode


def updates(frame: bytes) -> Iterator[tuple[int, int, int]]:
    """First byte, start and end of each update in an encoded ConnectResponse."""
    at, end = 0, len(frame)
    while at < end:
        size, shift = 0, 0
        while True:
            at += 1
            byte = frame[at]
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        at += 1
        yield frame[at], at, at + size
        at += size


def due_of(frame: bytes, start: int, end: int) -> int | None:
    """When the message in this part of a frame was due; None if there is none of ours."""
    at = frame.find(_MARK, start, end)
    return None if at < 0 else int(frame[at + len(_MARK) : at + len(_MARK) + len(_DUE)])


def schedule(count: int, per_second: float, phases: Sequence[float]) -> Iterator[tuple[int, float]]:
    """For ever (which of `count`, when): each at its own phase (0 to 1) of the same interval, so that they meet by chance.

    Times are in seconds from the start, and rise; `per_second` is the rate of all together.
    """
    order = sorted(range(count), key=lambda which: phases[which])
    interval_s = count / per_second
    for round_number in itertools.count():
        for which in order:
            yield which, (round_number + phases[which]) * interval_s


def _sender_field(user: str) -> bytes:
    """How MessageRef says who has sent a message."""
    return messaging.MessageRef(sender_id=user).SerializeToString()


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _nothing() -> None:
    """Send nothing in turn."""
