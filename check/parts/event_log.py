"""What a log and the reader cost: `python -m check.parts.event_log [--engine kafka] [--records N] [--busy]`.

Figures are of this process, and for Kafka beside them those of its broker. What differs is the engine, nothing else: the
same records, calls and reads.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from cell.log.v1 import record_pb2 as log_pb2
from cell.messaging.v1 import messaging_pb2 as messaging
from engines.kafka import KafkaCluster
from engines.run_folder import RunFolder
from event_log.embedded import EmbeddedLog, EmbeddedLogSettings
from event_log.kafka import KafkaLog, KafkaLogSettings, make_topics
from event_log.port import Assignment, EventLog, LogFull, LogRecord, NewRecord, Settled
from event_log.reader import PartitionReader

PARTITIONS = 16
BATCH = 20


def a_record(number: int) -> bytes:
    """An origin of some 300 bytes, as a message of a direct conversation makes it."""
    message_id = f"0190aaaa-bbbb-7ccc-8ddd-{number:012}"
    ref = messaging.MessageRef(conversation_id="x" * 22, sender_id="user-12345", message_id=message_id)
    message = messaging.Message(ref=ref, content=messaging.Content(text="h" * 90))
    return log_pb2.Record(
        origin=log_pb2.Origin(
            logged=log_pb2.LoggedEvent(
                kind=log_pb2.EVENT_KIND_MESSAGE,
                sender_id="user-12345",
                conversation_id="x" * 22,
                participant_count=2,
                event_time_us=time.time_ns() // 1_000,
                event=messaging.Event(message=message).SerializeToString(),
            ),
            command_id=message_id,
            payload_digest=number,
            participant_ids=["user-12345", "user-54321"],
        )
    ).SerializeToString()


class Engine(Protocol):
    """A log that can be opened again."""

    async def open(self, *, from_disk: bool) -> EventLog: ...

    def server_cpu_s(self) -> float:
        """What a process of the engine's own has used."""
        ...


class Embedded:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def open(self, *, from_disk: bool) -> EventLog:
        settings = EmbeddedLogSettings(**({"tail_bytes": 0} if from_disk else {}))
        return await EmbeddedLog.open(self.folder, PARTITIONS, settings)

    def server_cpu_s(self) -> float:
        return 0.0


class Kafka:
    def __init__(self, cluster: KafkaCluster) -> None:
        self.cluster = cluster
        self.settings = KafkaLogSettings(
            servers=tuple(cluster.addresses()), topic="cost", partitions=PARTITIONS, development=True
        )

    async def open(self, *, from_disk: bool) -> EventLog:
        if not from_disk:
            await make_topics(self.settings, 1, 2 * self.settings.least_retention_s)
        return await KafkaLog.open(self.settings)

    def server_cpu_s(self) -> float:
        user, system = Path(f"/proc/{self.cluster.brokers[0].pid}/stat").read_text().split()[13:15]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def started(name: str) -> AsyncIterator[Engine]:
    if name == "embedded":
        with tempfile.TemporaryDirectory() as folder:
            yield Embedded(Path(folder))
        return
    run = RunFolder.create()
    try:
        cluster = KafkaCluster(run, quick_start=False)
        cluster.start()
        yield Kafka(cluster)
    finally:
        run.close()


class Stopwatch:
    """Wall and CPU time of a stretch, all threads of the process, and of the engine's own."""

    def __init__(self, what: str, records: int, engine: Engine | None = None) -> None:
        self.what, self.records, self.engine = what, records, engine

    def __enter__(self) -> None:
        self.server = self.engine.server_cpu_s() if self.engine else 0.0
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        server = (self.engine.server_cpu_s() if self.engine else 0.0) - self.server
        per_record = f"{cpu / self.records * 1e6:.2f} µs CPU a record"
        beside = f"  + {server / self.records * 1e6:.2f} of the broker" if server else ""
        print(f"{self.what:44} {self.records / wall:>10,.0f} records/s {per_record:>24}{beside}")


async def append_all(log: EventLog, values: Sequence[bytes]) -> None:
    done = asyncio.Event()
    settled_count = 0

    def on_settled(settled: Sequence[Settled[int]]) -> None:
        nonlocal settled_count
        settled_count += len(settled)
        if settled_count == len(values):
            done.set()

    for at in range(0, len(values), BATCH):
        batch = [NewRecord(n % PARTITIONS, values[n], n) for n in range(at, min(at + BATCH, len(values)))]
        while True:
            try:
                log.append(batch, on_settled)
                break
            except LogFull:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0)
    await done.wait()


async def consume(log: EventLog, group: str, count: int) -> list[LogRecord]:
    records: list[LogRecord] = []
    async with log.consumer(group) as consumer:
        while len(records) < count:
            for _, page in (await consumer.poll(1.0)).records:
                records += page
    return records


async def latencies(log: EventLog, count: int) -> None:
    times = []
    for n in range(count):
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        before = time.perf_counter()
        log.append([NewRecord(0, bytes(300), n)], future.set_result)
        await future
        times.append(time.perf_counter() - before)
    times.sort()
    print(
        f"one append at a time: p50 {times[count // 2] * 1e3:.2f} ms, p99 {times[count * 99 // 100] * 1e3:.2f} ms"
    )


async def keep_busy() -> None:
    while True:
        sum(range(20_000))
        await asyncio.sleep(0)


async def one_by_one(log: EventLog, count: int) -> None:
    """Records in transactions of their own, the worst to read from the file."""
    for n in range(count):
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        log.append([NewRecord(n % PARTITIONS, bytes(300), n)], future.set_result)
        await future


async def main(name: str, records: int, busy: bool) -> None:
    values = [a_record(n) for n in range(records)]
    print(f"{name}: {records:,} records of {len(values[0])} bytes, {BATCH} a call, {PARTITIONS} partitions")
    async with started(name) as engine:
        log = await engine.open(from_disk=False)
        await append_all(log, values[:2_000])
        with Stopwatch("append", records, engine):
            await append_all(log, values)
        with Stopwatch("append while one group reads", records, engine):
            reading = asyncio.create_task(consume(log, "live", 2 * records + 2_000))
            await append_all(log, values)
        read = await reading
        await latencies(log, 500)
        await one_by_one(log, 2_000)
        await log.close()
        log = await engine.open(from_disk=True)
        load = asyncio.create_task(keep_busy()) if busy else None
        total = 2 * records + 4_500
        with Stopwatch("read what is not in memory" + (", the loop busy" if busy else ""), total, engine):
            await consume(log, "late", total)
        if load:
            load.cancel()
        await log.close()
    reader = PartitionReader(0, "x", PARTITIONS, Assignment(0, 1, None, 0, records))
    ordered = [record._replace(offset=n) for n, record in enumerate(read[:records])]
    with Stopwatch("the reader's verdicts, parsing included", records):
        for record in ordered:
            reader.read(record)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=("embedded", "kafka"), default="embedded")
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--busy", action="store_true", help="keep the loop at work while the file is read")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.engine, arguments.records, arguments.busy))
