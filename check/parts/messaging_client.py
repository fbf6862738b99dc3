"""What a message costs the SDK: `python -m check.parts.messaging_client [--messages N] [--under-way N]`.

First its protocol alone, without any I/O: a message from `send_message` to its outcome and its own event. Then a client
that writes to itself, against a cell in a process of its own; the CPU is the client's alone, gRPC and event loop included.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_client import Client, ClientSettings, NewMessage
from messaging_client.commands import send_message
from messaging_client.kept import Kept
from messaging_client.protocol import Protocol
from messaging_client.values import NotifyLevel
from tests.system.cell_process import CellProcess, token

TEXT = "x" * 256
USER = "ann"
FRAME = 64


def opened() -> Protocol:
    """A client's protocol with a stream that has told everything."""
    protocol = Protocol(ClientSettings(), Kept(user_id=USER, cursor="c"), random.Random(1))
    protocol.connect(0.0)
    limits = messaging.Limits(max_in_flight=256, max_commands_per_frame=FRAME, max_frame_bytes=1 << 20)
    limits.retry_window.FromSeconds(30)
    welcome = messaging.Welcome(user_id=USER, limits=limits)
    resumed = messaging.Resumed(cursor="c", outcome=messaging.RESUME_OUTCOME_RESUMED)
    protocol.received([messaging.Update(welcome=welcome), messaging.Update(resumed=resumed)], 0.0)
    return protocol


def answered(frame: bytes, first: int) -> bytes:
    """What a cell would say: each command accepted, and its event."""
    answer = messaging.ConnectResponse()
    for number, command in enumerate(messaging.ConnectRequest.FromString(frame).commands, first):
        answer.updates.add().accepted.command_id = command.command_id
        event = answer.updates.add().event
        event.cursor = f"{number:036}"
        ref = event.message.ref
        ref.conversation_id, ref.sender_id, ref.message_id = "C" * 22, USER, command.send_message.message_id
        ref.sent_at.FromMicroseconds(1_700_000_000_000_000 + number)
        event.message.content.text = TEXT
    return answer.SerializeToString()


def protocol_alone(messages: int) -> float:
    """Microseconds of CPU a message, frames read and written as bytes."""
    protocol = opened()
    spent_s = 0.0
    for first in range(0, messages, FRAME):
        begin_s = time.process_time()
        for number in range(FRAME):
            outgoing = send_message(TEXT, f"user{number}", "", None, NotifyLevel.NORMAL, "")
            protocol.submit(outgoing, posted=False)
        frame = protocol.next_frame(1.0)
        assert frame is not None
        request = frame.SerializeToString()
        spent_s += time.process_time() - begin_s
        answer = answered(request, first)
        begin_s = time.process_time()
        protocol.received(messaging.ConnectResponse.FromString(answer).updates, 1.0)
        while protocol.hand_over(1.0) is not None:
            pass
        protocol.outbox.settled.clear()
        protocol.journal.clear()
        spent_s += time.process_time() - begin_s
    return spent_s * 1e6 / messages


async def to_itself(address: str, messages: int, under_way: int) -> str:
    """One client, `under_way` sends at a time, until the last of its own events is there."""
    settings = ClientSettings(in_order=False)
    async with Client(address, token(USER), settings=settings) as client:
        await client.online()
        left = messages

        async def send() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await client.send(TEXT, to=USER)

        async def hear() -> None:
            heard = 0
            async for event in client.events():
                heard += isinstance(event, NewMessage)
                if heard == messages:
                    return

        begin_s, begin_cpu_s = time.monotonic(), time.process_time()
        await asyncio.gather(hear(), *(send() for _ in range(under_way)))
        spent_s, cpu_s = time.monotonic() - begin_s, time.process_time() - begin_cpu_s
    return f"{messages / spent_s:,.0f} messages/s, {cpu_s * 1e6 / messages:.0f} µs of CPU each"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what both cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--under-way", type=int, default=64)
    asked = parser.parse_args(arguments)
    print(f"protocol alone: {protocol_alone(asked.messages):.0f} µs a message, sent and had back")
    with (
        tempfile.TemporaryDirectory() as folder,
        CellProcess(Path(folder), {"max_sends_per_second": 1_000_000}) as cell,
    ):
        for under_way, messages in ((asked.under_way, asked.messages), (1, min(asked.messages, 5_000))):
            told = asyncio.run(to_itself(cell.address, messages, under_way))
            print(f"a client to itself, {under_way} under way: {told}")


if __name__ == "__main__":
    main()
