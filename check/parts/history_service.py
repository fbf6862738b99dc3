"""What storing and reading cost: `python -m check.parts.history_service [--messages N] [--users N] [--batch N]`.

Messages of 256 bytes between pairs of users chosen at random, both partitions stored, so all rows of each message. CPU is
that of the whole process, SQLite's threads and checkpoints too.
"""

import argparse
import asyncio
import random
import tempfile
import time
from pathlib import Path

from event_log.port import Assignment, LogRecord
from event_log.reader import PartitionReader
from history_service.embedded import EmbeddedStore
from history_service.port import Batch, Persisted
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
    asked = parser.parse_args()
    log = written(asked.messages, asked.users)
    before = time.process_time()
    made = batches(log, asked.batch)
    report("read records and make rows", time.process_time() - before, asked.messages, "message")
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        store = await EmbeddedStore.open(Path(folder))
        wall, before = time.perf_counter(), time.process_time()
        for batch in made:
            await store.write(batch)
        report("write all rows", time.process_time() - before, asked.messages, "message")
        report("  wall clock", time.perf_counter() - wall, asked.messages, "message")
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
        await store.close()


def report(what: str, seconds: float, count: int, unit: str) -> None:
    """One line."""
    print(f"{what:34} {seconds / count * 1e6:8.1f} µs a {unit}")


if __name__ == "__main__":
    asyncio.run(main())
