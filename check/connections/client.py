"""One client of a measurement: a stream on a connection of its own, and what it was told.

A message says who sent it, which of its messages it is and when it was due, so whoever gets it can count it. Clients parse
no more than that.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cell.messaging.v1 import messaging_pb2 as messaging
from check.connections.bits import Bits, Received
from check.grpc_stream import GrpcStream
from check.histogram import Histogram
from check.load import ACCEPTED, CONNECT, ECHO, EVENT, REJECTED, RESUMED, now_us, updates

MESSAGE_BYTES = 256
"""Of an echo, and about those of a command that sends to one recipient."""
_MARK = b"\x02due="
_MARK_LENGTH = len(_MARK)
_TEXT_BYTES = 216
_MOST_COMMANDS, _MOST_BYTES = 32, 8_192
"""In one frame; a command to many recipients may be larger than that alone."""
_GAP, _CHECKPOINT = 0x8A, 0xA2
_MOVES_CURSOR = (EVENT, RESUMED, _GAP, _CHECKPOINT)
"""First byte of an encoded Update that moves the client's cursor (R10)."""
_FIRST_COMMAND = 2
"""Number of the command that sends the first message; 1 is the hello."""


@dataclass(slots=True)
class Tally:
    """What the clients of a process have seen together. Times are microseconds of the system's monotonic clock."""

    sent: int = 0
    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    delivered: int = 0
    """Messages that reached their recipients, once for each."""
    own: int = 0
    """Messages that came back to their senders' own streams."""
    doubled: int = 0
    out_of_order: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    """Why streams ended that should not have."""
    late: Histogram = field(default_factory=Histogram)
    """From when a message was due until it was sent."""
    accept: Histogram = field(default_factory=Histogram)
    """From when a message was due until its sender knew it to be durable."""
    latency: Histogram = field(default_factory=Histogram)
    """From when a message was due until a recipient had it."""
    outbox: list[bytes] = field(default_factory=list)
    """What the client that sends now has not put into a frame yet."""
    outbox_bytes: int = 0
    returned: int = 0
    """Streams that came back after they had ended."""
    on_lost: "Callable[[Client], None] | None" = None
    """Brings a client back whose stream has ended; without it such a client stays away."""
    last_us: int = 0
    """When the last of them came."""
    to_itself: bool = False
    """Whether senders are their own recipients."""


class Client:
    """What a cell's client and an echo's have in common: a stream, and a ledger of message numbers."""

    __slots__ = (
        "_metadata",
        "_method",
        "_tally",
        "accepted",
        "is_there",
        "live",
        "number",
        "received",
        "refused",
        "sent",
        "stream",
        "whole",
    )

    def __init__(self, number: int, tally: Tally, method: str, metadata: Mapping[str, str]) -> None:
        self.number = number
        self._method = method
        self._metadata = metadata
        self._tally = tally
        self.open()
        self.is_there = True
        """Whether the stream has not ended."""
        self.whole = True
        """Whether everything since it was first live must have come: it was always there, or came back where it left."""
        self.sent, self.accepted, self.refused = Bits(), Bits(), Bits()
        self.received = Received()

    def open(self) -> None:
        """Make a new stream, which is yet to be connected."""
        self.stream = GrpcStream(self._method, self._metadata, self.take, self._ended)
        self.live: asyncio.Future[None] | None = asyncio.get_running_loop().create_future()
        """Done when messages come; let go of once it is."""

    def hello(self) -> None:
        """Say what opens the stream."""
        raise NotImplementedError

    def send(self, number: int, due_us: int, recipients: Sequence[str]) -> None:
        """Send the message of this number, at the latest with `flush`, which comes before another client sends."""
        raise NotImplementedError

    def flush(self) -> None:
        """Send what waits for a frame."""

    def take(self, frame: bytes) -> None:
        """A frame has come."""
        raise NotImplementedError

    def _sends(self, number: int, due_us: int) -> bytes:
        """Write down that this is sent now; what it must say."""
        self.sent.add(number)
        tally = self._tally
        tally.sent += 1
        tally.late.add(now_us() - due_us)
        return _MARK + b"%016d%08d%08d" % (due_us, self.number, number)

    def _has(self, frame: bytes, start: int, end: int) -> None:
        """Write down the message in this part of a frame, if there is one of ours."""
        at = frame.find(_MARK, start, end)
        if at < 0:
            return
        at += _MARK_LENGTH
        sender, number = int(frame[at + 16 : at + 24]), int(frame[at + 24 : at + 32])
        tally = self._tally
        is_double, is_late = self.received.add(sender, number)
        if is_double:
            tally.doubled += 1
            return
        tally.out_of_order += is_late
        if sender == self.number and not tally.to_itself:
            tally.own += 1
            return
        tally.delivered += 1
        tally.last_us = now = now_us()
        tally.latency.add(now - int(frame[at : at + 16]))

    def _is_live(self) -> None:
        if self.live is not None and not self.live.done():
            self.live.set_result(None)

    def _ended(self, reason: str) -> None:
        self.is_there = False
        tally = self._tally
        if self.live is not None and not self.live.done():
            self.live.set_exception(ConnectionError(reason))
            return
        tally.ended[reason] += 1
        if tally.on_lost is None:
            self.whole = False
        else:
            tally.on_lost(self)


class CellClient(Client):
    """A user with one stream, which says hello and sends messages.

    One that does not verify counts what comes, its own messages too, and looks into none of it: for load of which a
    client's process could not look at everything.
    """

    __slots__ = ("_cursor", "_due_us", "verifies")

    def __init__(self, number: int, tally: Tally, token: str, *, verifies: bool = True) -> None:
        super().__init__(number, tally, CONNECT, {"authorization": f"Bearer {token}"})
        self.verifies = verifies
        self._due_us: dict[int, int] = {}
        self._cursor = ""
        """Where it is, if it is one that comes back."""

    def hello(self) -> None:
        """Events from now on, or from where it was."""
        start = (
            messaging.Hello(resume_after=self._cursor) if self._cursor else messaging.Hello(live_only=True)
        )
        hello = messaging.Command(command_id=1, hello=start)
        self.stream.send(messaging.ConnectRequest(commands=[hello]).SerializeToString())

    def send(self, number: int, due_us: int, recipients: Sequence[str]) -> None:
        """Send a message of some 200 letters."""
        text = self._sends(number, due_us).decode().ljust(_TEXT_BYTES, "x")
        self._due_us[number] = due_us
        message = messaging.SendMessage(
            message_id=f"m{number}",
            recipients=messaging.Recipients(user_ids=recipients),
            content=messaging.Content(text=text),
        )
        command = messaging.Command(command_id=_FIRST_COMMAND + number, send_message=message)
        tally = self._tally
        encoded = messaging.ConnectRequest(commands=[command]).SerializeToString()
        if len(tally.outbox) == _MOST_COMMANDS or tally.outbox_bytes + len(encoded) > _MOST_BYTES:
            self.flush()
        tally.outbox.append(encoded)
        tally.outbox_bytes += len(encoded)

    def flush(self) -> None:
        """Encoded requests, one after the other, are a request with all of their commands."""
        tally = self._tally
        if tally.outbox:
            self.stream.send(b"".join(tally.outbox))
            tally.outbox.clear()
            tally.outbox_bytes = 0

    def take(self, frame: bytes) -> None:
        """Events, outcomes, and what tells that the stream is live."""
        keeps_cursor = self._tally.on_lost is not None
        for kind, start, end in updates(frame):
            if keeps_cursor and kind in _MOVES_CURSOR:
                self._move(messaging.Update.FromString(frame[start:end]))
            if kind == EVENT:
                if self.verifies:
                    self._has(frame, start, end)
                else:
                    self._tally.delivered += 1
            elif kind == ACCEPTED:
                accepted = messaging.Update.FromString(frame[start:end]).accepted
                self._accept(accepted.command_id - _FIRST_COMMAND)
            elif kind == REJECTED:
                self._reject(messaging.Update.FromString(frame[start:end]).rejected)
            elif kind == RESUMED:
                self._is_live()

    def _move(self, update: messaging.Update) -> None:
        self._cursor = getattr(update, update.WhichOneof("update") or "").cursor
        if update.resumed.outcome == messaging.RESUME_OUTCOME_RESET:
            self.whole = False  # it has another log than it had

    def _accept(self, number: int) -> None:
        self.accepted.add(number)
        self._tally.accepted += 1
        self._tally.accept.add(now_us() - self._due_us.pop(number))

    def _reject(self, rejected: messaging.Rejected) -> None:
        reason = messaging.RejectedReason.Name(rejected.reason).removeprefix("REJECTED_REASON_")
        self._tally.rejected[reason] += 1
        number = rejected.command_id - _FIRST_COMMAND
        self._due_us.pop(number, None)
        if number >= 0 and rejected.outcome == messaging.REJECTED_OUTCOME_NOT_DONE:
            self.refused.add(number)


class EchoClient(Client):
    """A stream whose frames come back: each is one message to itself."""

    __slots__ = ()

    def __init__(self, number: int, tally: Tally) -> None:
        super().__init__(number, tally, ECHO, {})

    def hello(self) -> None:
        """A frame that comes back when the stream is there."""
        self.stream.send(b"hello")

    def send(self, number: int, due_us: int, recipients: Sequence[str]) -> None:
        """Send one frame, whoever it is for."""
        self.accepted.add(number)
        self.stream.send(self._sends(number, due_us).ljust(MESSAGE_BYTES, b"x"))

    def take(self, frame: bytes) -> None:
        """A frame has come back."""
        self._has(frame, 0, len(frame))
        self._is_live()
