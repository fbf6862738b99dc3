"""One client of a measurement: a stream on a connection of its own, and what it was told.

A message says who sent it, which of its messages it is and when it was due, so whoever gets it can count it. Clients parse
no more than that.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
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
    last_us: int = 0
    """When the last of them came."""
    to_itself: bool = False
    """Whether senders are their own recipients."""


class Client:
    """What a cell's client and an echo's have in common: a stream, and a ledger of message numbers."""

    __slots__ = (
        "_tally",
        "accepted",
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
        self.stream = GrpcStream(method, metadata, self.take, self._ended)
        self.live: asyncio.Future[None] | None = asyncio.get_running_loop().create_future()
        """Done when messages come; let go of once it is."""
        self.whole = True
        """Whether the stream has been there ever since it was live."""
        self.sent, self.accepted, self.refused = Bits(), Bits(), Bits()
        self.received = Received()
        self._tally = tally

    def hello(self) -> None:
        """Say what opens the stream."""
        raise NotImplementedError

    def send(self, number: int, due_us: int, recipients: Sequence[str]) -> None:
        """Send the message of this number."""
        raise NotImplementedError

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
        self.whole = False
        if self.live is not None and not self.live.done():
            self.live.set_exception(ConnectionError(reason))
        else:
            self._tally.ended[reason] += 1


class CellClient(Client):
    """A user with one stream, which says hello and sends messages."""

    __slots__ = ("_due_us",)

    def __init__(self, number: int, tally: Tally, token: str) -> None:
        super().__init__(number, tally, CONNECT, {"authorization": f"Bearer {token}"})
        self._due_us: dict[int, int] = {}

    def hello(self) -> None:
        """Events from now on."""
        hello = messaging.Command(command_id=1, hello=messaging.Hello(live_only=True))
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
        self.stream.send(messaging.ConnectRequest(commands=[command]).SerializeToString())

    def take(self, frame: bytes) -> None:
        """Events, outcomes, and what tells that the stream is live."""
        for kind, start, end in updates(frame):
            if kind == EVENT:
                self._has(frame, start, end)
            elif kind == ACCEPTED:
                accepted = messaging.Update.FromString(frame[start:end]).accepted
                self._accept(accepted.command_id - _FIRST_COMMAND)
            elif kind == REJECTED:
                self._reject(messaging.Update.FromString(frame[start:end]).rejected)
            elif kind == RESUMED:
                self._is_live()

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
