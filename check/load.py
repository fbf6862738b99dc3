"""Clients that make load: each holds one stream, counts frames and answers, and keeps no more than it must."""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc

from cell.messaging.v1 import messaging_pb2 as messaging

CONNECT = "/cell.messaging.v1.MessagingService/Connect"
TEXT = "x" * 200
"""Makes a message of about 256 bytes with its ids."""

Clock = Callable[[], int]


@dataclass(slots=True)
class Tally:
    """What a run counted, over all its clients."""

    sent: int = 0
    accepted: int = 0
    rejected: int = 0
    delivered: int = 0
    """Events of messages that reached their recipient."""
    accept_us: list[float] = field(default_factory=list)
    deliver_us: list[float] = field(default_factory=list)


class Client:
    """One user's stream."""

    def __init__(self, channel: grpc.aio.Channel, user: str, token: str, tally: Tally) -> None:
        self.user = user
        self.on_delivered: Callable[[], None] = lambda: None
        self._call: Any = channel.stream_stream(CONNECT)(metadata=(("authorization", f"Bearer {token}"),))
        self._tally = tally
        self._ids = itertools.count(1)
        self._sent_at: dict[int, float] = {}
        self._outbox: deque[bytes] = deque()
        self._wake = asyncio.Event()

    async def open(self) -> None:
        """Say hello and wait until events are live."""
        hello = messaging.Hello(live_only=True)
        await self._call.write(_frame(messaging.Command(command_id=next(self._ids), hello=hello)))
        while True:
            frame = await self._call.read()
            if frame is grpc.aio.EOF:
                raise RuntimeError(f"{self.user}: the stream ended: {await self._call.details()}")
            updates = messaging.ConnectResponse.FromString(frame).updates
            if any(update.WhichOneof("update") == "resumed" for update in updates):
                return

    def send(self, recipient: str, scheduled: float | None = None) -> None:
        """Queue one message; its message_id says when it was due, in microseconds of the monotonic clock."""
        number = next(self._ids)
        due = time.monotonic() if scheduled is None else scheduled
        self._sent_at[number] = due
        message = messaging.SendMessage(
            message_id=f"{number}-{int(due * 1e6)}",
            recipients=messaging.Recipients(user_ids=[recipient]),
            content=messaging.Content(text=TEXT),
        )
        self._outbox.append(_frame(messaging.Command(command_id=number, send_message=message)))
        self._tally.sent += 1
        self._wake.set()

    async def run_writer(self, most: int = 64) -> None:
        """Write what is queued, up to `most` commands a frame, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._outbox:
                count = min(most, len(self._outbox))
                await self._call.write(b"".join(self._outbox.popleft() for _ in range(count)))

    async def run_reader(self) -> None:
        """Count what comes, until the stream ends."""
        tally = self._tally
        while (frame := await self._call.read()) is not grpc.aio.EOF:
            now = time.monotonic()
            for update in messaging.ConnectResponse.FromString(frame).updates:
                kind = update.WhichOneof("update")
                if kind == "accepted":
                    tally.accepted += 1
                    tally.accept_us.append((now - self._sent_at.pop(update.accepted.command_id)) * 1e6)
                elif kind == "event" and update.event.WhichOneof("event") == "message":
                    self._count(update.event.message, now)
                elif kind == "rejected":
                    tally.rejected += 1

    def _count(self, message: messaging.Message, now: float) -> None:
        if message.ref.sender_id == self.user and not self.to_itself:
            return
        self._tally.delivered += 1
        self._tally.deliver_us.append(now * 1e6 - int(message.ref.message_id.split("-")[1]))
        self.on_delivered()

    to_itself = False

    def cancel(self) -> None:
        """End the stream."""
        self._call.cancel()


def _frame(command: messaging.Command) -> bytes:
    return messaging.ConnectRequest(commands=[command]).SerializeToString()


async def open_clients(
    address: str, users: list[str], token: Callable[[str], str], tally: Tally, channels: int
) -> tuple[list[Client], Callable[[], Awaitable[None]]]:
    """Clients with live streams, spread over this many connections; and what closes them."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    pool = [grpc.aio.insecure_channel(address, options=options) for _ in range(channels)]
    clients = [Client(pool[i % channels], user, token(user), tally) for i, user in enumerate(users)]
    for start in range(0, len(clients), 100):
        await asyncio.gather(*(client.open() for client in clients[start : start + 100]))

    async def close() -> None:
        for client in clients:
            client.cancel()
        for channel in pool:
            await channel.close()

    return clients, close
