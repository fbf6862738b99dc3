"""What the pace of requests costs and gives: `python -m check.parts.kafka_pace [--intervals-ms 0,2,3] [--rates 300,1000]`.

Two logs on one broker do what a message takes of Kafka: one appends origins, at random times; the other reads them, appends
a copy of each to another partition, and reads that. CPU is of this process (both logs) and of the broker, for each message;
latency from when an origin is handed to the log until its copy is read.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Sequence

import uvloop

from check.parts.event_log import PARTITIONS, Engine, started
from event_log import kafka_fetcher, kafka_producer
from event_log.port import EventLog, NewRecord

_STAMP_BYTES = 8
_PADDING = bytes(300)
_COPY, _ORIGIN = b"c", b"o"
_WARM_UP_S = 3.0


def _nothing(_settled: object) -> None:
    """Nobody waits for it."""


async def _send(log: EventLog, rate: int, seconds: float) -> int:
    """Origins at random times; how many."""
    sent, due_s = 0, time.perf_counter()
    until_s = due_s + seconds
    while due_s < until_s:
        due_s += random.expovariate(rate)
        if (left_s := due_s - time.perf_counter()) > 0:
            await asyncio.sleep(left_s)
        stamp = time.perf_counter_ns().to_bytes(_STAMP_BYTES)
        log.append([NewRecord(random.randrange(PARTITIONS), _ORIGIN + stamp + _PADDING, None)], _nothing)
        sent += 1
    return sent


async def _deliver(log: EventLog, took_ms: list[float]) -> None:
    """What delivery does: a copy of each origin; of each copy, how long it took."""
    async with log.consumer("delivery") as consumer:
        while True:
            polled = await consumer.poll(0.1)
            for assignment in polled.assigned:
                consumer.seek(assignment.partition, assignment.end_offset)
            copies = []
            for partition, records in polled.records:
                for record in records:
                    stamp = record.value[1 : 1 + _STAMP_BYTES]
                    if record.value[:1] == _ORIGIN:
                        copy = _COPY + stamp + _PADDING
                        copies.append(NewRecord((partition + 1) % PARTITIONS, copy, None))
                    else:
                        took_ms.append((time.perf_counter_ns() - int.from_bytes(stamp)) / 1e6)
            if copies:
                log.append(copies, _nothing)


async def _measure(engine: Engine, interval_ms: float, rate: int, seconds: float) -> None:
    kafka_producer.INTERVAL_S = kafka_fetcher.INTERVAL_S = interval_ms / 1_000
    server, delivery = await engine.open(from_disk=False), await engine.open(from_disk=True)
    took_ms: list[float] = []
    delivering = asyncio.create_task(_deliver(delivery, took_ms))
    await _send(server, rate, _WARM_UP_S)
    took_ms.clear()
    cpu_s, broker_s = time.process_time(), engine.server_cpu_s()
    sent = await _send(server, rate, seconds)
    cpu_us = (time.process_time() - cpu_s) / sent * 1e6
    broker_us = (engine.server_cpu_s() - broker_s) / sent * 1e6
    delivering.cancel()
    await asyncio.wait((delivering,))
    await asyncio.gather(server.close(), delivery.close())
    took_ms.sort()
    middle, late = (took_ms[int(len(took_ms) * share)] for share in (0.5, 0.99))
    print(
        f"{rate:>6}/s, {interval_ms:>4} ms apart: {cpu_us:>6.0f} µs here, {broker_us:>6.0f} of the broker a message;"
        f" p50 {middle:.1f}, p99 {late:.1f} ms",
        flush=True,
    )


async def main(intervals_ms: Sequence[float], rates: Sequence[int], seconds: float, rounds: int) -> None:
    async with started("kafka") as engine:
        for _ in range(rounds):
            for rate in rates:
                for interval_ms in intervals_ms:
                    await _measure(engine, interval_ms, rate, seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--intervals-ms", default="0,2,3,5")
    parser.add_argument("--rates", default="300,1000,2000")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    intervals = [float(each) for each in given.intervals_ms.split(",")]
    uvloop.run(main(intervals, [int(each) for each in given.rates.split(",")], given.seconds, given.rounds))
