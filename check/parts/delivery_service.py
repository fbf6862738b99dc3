"""What the delivery service's decisions and links cost, in CPU of this process.

    .venv/bin/python -m check.parts.delivery_service

Figures of one machine at one time compare only with those of the same run.
"""

import asyncio
import time
from collections.abc import Sequence

import grpc

from cell.delivery.v1 import session_link_pb2 as link
from cell.log.v1 import record_pb2 as log
from delivery_service.outbox import Outbox
from delivery_service.partition import OwnedPartition
from delivery_service.settings import DeliverySettings
from event_log.partitioner import partition_for
from event_log.port import Assignment, Fate, LogRecord
from messaging_core.events import PositionedEvent
from session_link.grpc_link import SERVER_OPTIONS, add_session_link_service, dial
from session_link.in_process import in_process_link
from session_link.port import LinkClosed, OwnerEnd, ServerEnd
from tests.support.log_records import origin_record

PARTITIONS = 16
BATCH = 50
"""Records in a poll."""
TEXT_BYTES = 256


def partition_of(user: str) -> int:
    """A user's partition."""
    return partition_for(user, PARTITIONS)


def owner(number: int, users: Sequence[str], outboxes: Sequence[Outbox]) -> OwnedPartition:
    """The owner of a partition whose users here are all attached, spread over the links."""
    made = OwnedPartition(
        Assignment(number, 1, None, 0, 0),
        incarnation="log",
        partition_count=PARTITIONS,
        partition_of=partition_of,
        settings=DeliverySettings(),
    )
    here = [user for user in users if partition_of(user) == number]
    for at, user in enumerate(here):
        attach = link.Attach(user_id=user, user_number=at, session_number=at, after_offset=-1, credit_bytes=1)
        made.attach(outboxes[at % len(outboxes)], attach)
    return made


def cost_us(partition: OwnedPartition, records: Sequence[LogRecord], outboxes: Sequence[Outbox]) -> float:
    """CPU for each record: reading, deduplication, encoding, window, routing, forwarding."""
    began = time.process_time()
    start = 0
    while start < len(records):
        start += partition.take(records[start : start + BATCH])
        for record in partition.forwarder.take(0.0):
            partition.forwarder.settled(record.tag, Fate.APPENDED, 0.0)
        partition.tell_through()
        for outbox in outboxes:
            outbox.drain()
    return (time.process_time() - began) / len(records) * 1e6


def measure_room(size: int, count: int, links: int) -> None:
    """A message to a room: its origin, and one of its copies."""
    users = [f"user-{n}" for n in range(size)]
    outboxes = [Outbox(f"server {n}") for n in range(links)]
    home = partition_of(users[0])
    values = [
        origin_record(users[0], users, f"{n:0{TEXT_BYTES}}", command_id=f"id-{n}") for n in range(count)
    ]
    origins = [LogRecord(offset, 1, value) for offset, value in enumerate(values)]
    cost = cost_us(owner(home, users, outboxes), origins, outboxes)
    by_target: dict[int, list[log.Copy]] = {}
    source = owner(home, users, outboxes)
    for record in origins:
        source.take([record])
        for made in source.forwarder.take(0.0):
            by_target.setdefault(made.partition, []).append(log.Record.FromString(made.value).copy)
            source.forwarder.settled(made.tag, Fate.APPENDED, 0.0)
    target, copies = next(iter(by_target.items()))
    encoded = [log.Record(copy=copy).SerializeToString() for copy in copies]
    there = [LogRecord(offset, 1, value) for offset, value in enumerate(encoded)]
    copy_cost = cost_us(owner(target, users, outboxes), there, outboxes)
    whole = cost + copy_cost * len(by_target)
    print(
        f"room of {size:5}, {links:2} links: origin {cost:6.1f} us, a copy {copy_cost:5.1f} us x {len(by_target)};"
        f" {whole:6.1f} us a message, {whole / size:5.2f} us a recipient"
    )


async def measure_link(name: str, owner_end: OwnerEnd, server_end: ServerEnd, count: int = 40_000) -> None:
    """Events over a link, both ends in this process."""
    event = PositionedEvent(1, bytes(TEXT_BYTES + 150), 1_700_000_000_000_000, bytes(60), "user-1")
    received = 0

    async def receive() -> None:
        nonlocal received
        try:
            while True:
                received += len(await server_end.receive())
        except LinkClosed:
            pass

    receiving = asyncio.create_task(receive())
    outbox = Outbox("server")
    began = time.process_time()
    for _ in range(count // BATCH):
        for number in range(BATCH):
            outbox.routed(1, event, (number,))
        owner_end.send(outbox.drain())
        await asyncio.sleep(0)
    while received < count:
        await asyncio.sleep(0.001)
    print(
        f"link {name:10}: {(time.process_time() - began) / count * 1e6:5.2f} us an event, built, sent and received"
    )
    await owner_end.close()
    await receiving


async def measure_links() -> None:
    """Both kinds."""
    await measure_link("in process", *in_process_link())
    ends: asyncio.Queue[ServerEnd] = asyncio.Queue()
    closed = asyncio.Event()

    async def serve(end: ServerEnd) -> None:
        ends.put_nowait(end)
        await closed.wait()

    server = grpc.aio.server(options=SERVER_OPTIONS)
    add_session_link_service(server, serve)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    owner_end = await dial(f"127.0.0.1:{port}")
    await measure_link("gRPC", owner_end, await ends.get())
    closed.set()
    await server.stop(0)


def main() -> None:
    """Print everything."""
    for _ in range(2):
        measure_room(2, 10_000, 1)
        measure_room(1_000, 300, 1)
        measure_room(1_000, 300, 16)
    asyncio.run(measure_links())


if __name__ == "__main__":
    main()
