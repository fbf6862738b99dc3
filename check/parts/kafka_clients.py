"""What the log on Kafka costs beside other clients, on one broker in one run: `python -m check.parts.kafka_clients`.

kafka-python's own clients are tuned as far as they go (big batches, no metrics); confluent-kafka is tried where it is
installed. Each appends the same records and reads them again; figures are CPU time of this process, all threads.
"""

import argparse
import asyncio
import importlib
import importlib.util
import logging
import time
from collections.abc import Callable
from typing import Any

from kafka import KafkaConsumer, KafkaProducer

from check.parts.event_log import PARTITIONS, Kafka, Stopwatch, a_record, append_all, consume
from engines.kafka import KafkaCluster
from engines.run_folder import RunFolder

BATCH_BYTES = 256 << 10
LINGER_MS = 5


async def our_log(engine: Kafka, values: list[bytes]) -> None:
    log = await engine.open(from_disk=False)
    await append_all(log, values[:2_000])
    with Stopwatch("this log: append", len(values), engine):
        await append_all(log, values)
    with Stopwatch("this log: read", len(values), engine):
        await consume(log, "group", len(values))
    await log.close()


def kafka_python(engine: Kafka, values: list[bytes]) -> None:
    servers = list(engine.settings.servers)
    producer = KafkaProducer(
        bootstrap_servers=servers,
        acks="all",
        enable_idempotence=True,
        linger_ms=LINGER_MS,
        batch_size=BATCH_BYTES,
        metrics_enabled=False,
    )
    with Stopwatch("kafka-python: append", len(values), engine):
        for n, value in enumerate(values):
            producer.send(engine.settings.topic, value, partition=n % PARTITIONS)
        producer.flush()
    producer.close()
    consumer = KafkaConsumer(
        engine.settings.topic,
        bootstrap_servers=servers,
        group_id="python",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        metrics_enabled=False,
        max_poll_records=4_096,
    )
    read(
        "kafka-python: read",
        len(values),
        engine,
        lambda: sum(map(len, consumer.poll(1_000).values())),
    )
    consumer.close()


def confluent(engine: Kafka, values: list[bytes]) -> None:
    library: Any = importlib.import_module("confluent_kafka")
    servers = {"bootstrap.servers": ",".join(engine.settings.servers)}
    producer = library.Producer(
        {
            **servers,
            "enable.idempotence": True,
            "linger.ms": LINGER_MS,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    with Stopwatch("confluent-kafka: append", len(values), engine):
        for n, value in enumerate(values):
            producer.produce(engine.settings.topic, value, partition=n % PARTITIONS)
        producer.flush()
    consumer = library.Consumer({**servers, "group.id": "confluent", "auto.offset.reset": "earliest"})
    consumer.subscribe([engine.settings.topic])
    read("confluent-kafka: read", len(values), engine, lambda: len(consumer.consume(4_096, 1.0)))
    consumer.close()


def read(what: str, count: int, engine: Kafka, poll: Callable[[], int]) -> None:
    """Measured from the first records on, as joining a group takes its time."""
    deadline = time.monotonic() + 60
    found = 0
    while not found:
        found = poll()
    with Stopwatch(what, count - found, engine):
        while found < count and time.monotonic() < deadline:
            found += poll()


def main(records: int) -> None:
    logging.disable(logging.WARNING)
    values = [a_record(n) for n in range(records)]
    print(f"{records:,} records of {len(values[0])} bytes, {PARTITIONS} partitions, one broker")
    run = RunFolder.create()
    try:
        cluster = KafkaCluster(run, quick_start=False)
        cluster.start()
        engine = Kafka(cluster)
        asyncio.run(our_log(engine, values))
        kafka_python(engine, values)
        if importlib.util.find_spec("confluent_kafka"):
            confluent(engine, values)
        else:
            print("confluent-kafka is not installed")
    finally:
        run.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    main(parser.parse_args().records)
