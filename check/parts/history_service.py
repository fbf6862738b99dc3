"""What storing and reading cost: `python -m check.parts.history_service [--messages N] [--users N] [--cassandra]`.

Messages of 256 bytes between pairs of users chosen at random, both partitions stored, so all rows of each message. CPU is
that of the whole process: of SQLite with its threads and checkpoints, of Cassandra with the driver's; the node's own CPU is
told beside it. With --cassandra a node is started, and the same rows are then inserted one by one, for comparison.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest.mock import patch

from check.servers import Server
from check.usage import Usage
from engines.cassandra import CassandraNode
from engines.run_folder import RunFolder
from event_log.port import Assignment, LogRecord
from event_log.reader import PartitionReader
from history_service import cassandra_writes
from history_service.cassandra import CassandraSettings, CassandraStore, migrate
from history_service.embedded import EmbeddedStore
from history_service.port import Batch, HistoryStore, Persisted
from history_service.readers import StoredEvents
from history_service.rows import Rows
from tests.history_service.written import WrittenLog


def written(messages: int, users: int) -> WrittenLog:
    """Messages as a log of 16 partitions."""
    chance = random.Random(1)
    log = WrittenLog(16)
    names = [f"user-{chance.getrandbits(64):016x}" for _ in range(users)]
    text = "m" * 160
    for number in range(messages):
        sender = chance.randrange(users)
        other = (sender + 1 + min(int(chance.expovariate(0.2)), users - 2)) % users
        message_id = f"{chance.getrandbits(122):032x}"
        log.message(names[sender], [names[other]], message_id, 1_700_000_000_000_000 + number * 37, text)
    log.names = names  # type: ignore[attr-defined]
    return log


def batches(log: WrittenLog, size: int) -> list[Batch]:
    """Batches of about `size` messages: of all partitions in turn, as polls give them."""
    rows = Rows(log.partition_of, 16)
    readers = {
        partition: PartitionReader(
            partition, log.incarnation, 16, Assignment(partition, 1, None, 0, len(records))
        )
        for partition, records in log.records.items()
    }
    step = max(1, 2 * size // 16)
    made = []
    for start in range(0, max(map(len, log.records.values())), step):
        batch = Batch(log.incarnation)
        for partition, records in log.records.items():
            for offset in range(start, min(start + step, len(records))):
                rows.add(batch, partition, readers[partition].read(LogRecord(offset, 1, records[offset])))
                batch.positions[partition] = Persisted(offset, 1)
        made.append(batch)
    return made


async def main() -> None:
    """Print what each step costs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--users", type=int, default=2_000)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--cassandra", action="store_true", help="a node that is started, not SQLite")
    asked = parser.parse_args()
    log = written(asked.messages, asked.users)
    before = time.process_time()
    made = batches(log, asked.batch)
    report("read records and make rows", time.process_time() - before, asked.messages, "message")
    if asked.cassandra:
        await in_cassandra(log, made, asked.messages)
    else:
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            store = await EmbeddedStore.open(Path(folder))
            await measure(store, log, made, asked.messages)
            await store.close()


async def measure(store: HistoryStore, log: WrittenLog, made: Sequence[Batch], messages: int) -> None:
    """Write everything, and read the events of some users."""
    wall, before = time.perf_counter(), time.process_time()
    for batch in made:
        await store.write(batch)
    report("write all rows", time.process_time() - before, messages, "message")
    report("  wall clock", time.perf_counter() - wall, messages, "message")
    events, read, before = StoredEvents(store, log.incarnation), 0, time.process_time()
    for name in log.names[:200]:  # type: ignore[attr-defined]
        partition, after = log.partition_of(name), -1
        while True:
            page = await events.events_after(name, partition, after, 65_536)
            read += len(page.events)
            after = page.through_offset
            if after == page.persisted_offset:
                break
    report("events_after, pages of 64 KiB", time.process_time() - before, read, "event")


async def in_cassandra(log: WrittenLog, made: Sequence[Batch], messages: int) -> None:
    """The same in a node of Cassandra, after the rows were inserted one by one."""
    run = RunFolder.create()
    try:
        node = CassandraNode(run)
        node.start()
        host, port = node.address.split(":")
        for keyspace in ("warm_up", "one_by_one", "batched"):
            settings = CassandraSettings(
                contact_points=((host, int(port)),), keyspace=keyspace, development=True
            )
            await migrate(settings, copies=1)
            store = await CassandraStore.open(settings)
            print(f"\n{keyspace}")
            before = usage(node).cpu_us
            with one_row_at_a_time() if keyspace == "one_by_one" else nullcontext():
                await measure(store, log, made, messages)
            report("the node's own CPU", (usage(node).cpu_us - before) / 1e6, messages, "message")
            await store.close()
    finally:
        run.close()


def usage(node: CassandraNode) -> Usage:
    """What the node has used so far."""
    assert node.server.pid is not None
    return Server(node.server.pid, node.address).usage()


@contextmanager
def one_row_at_a_time() -> Iterator[None]:
    """Each row in a statement of its own."""
    with (
        patch.object(cassandra_writes, "_BATCH_STATEMENTS", 1),
        patch.object(cassandra_writes, "_MUTATION_BYTES", 0),
    ):
        yield


def report(what: str, seconds: float, count: int, unit: str) -> None:
    """One line."""
    print(f"{what:34} {seconds / count * 1e6:8.1f} µs a {unit}")


if __name__ == "__main__":
    asyncio.run(main())
