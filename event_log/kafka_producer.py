"""Appends to Kafka: what has queued up goes out together, and is settled together.

Each node gets one request at a time with the batches of all its partitions that have something to send, so batches grow
with the load by themselves. Should a request take long, because one partition's copies do, others go out beside it, on
connections of their own (I14). What is known of a batch's fate is decided in `kafka_batches`.

Bounds: appends under way `max_pending_bytes`, then LogFull; their time `delivery_timeout_s`; requests to one node at a time
MAX_REQUESTS_PER_NODE, of MAX_REQUEST_BYTES each.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from kafka.protocol.producer import InitProducerIdRequest, ProduceRequest

from event_log.figures import AppendFigures
from event_log.kafka_batches import OVERHEAD_BYTES, Answer, Batch, Lane, OnSettled, Waiting, answer_of
from event_log.kafka_brokers import Brokers
from event_log.kafka_connection import Connection, ConnectionLost, error_name
from event_log.port import (
    Fate,
    LogError,
    LogFull,
    LogUnavailable,
    NewRecord,
    Settled,
    checked_bytes,
)
from messaging_core.clock import passing_s
from telemetry.metrics import Figure

_logger = logging.getLogger(__name__)

MAX_REQUESTS_PER_NODE = 4
MAX_REQUEST_BYTES = 1 << 20
"""And at most one batch more."""
PATIENCE_S = 0.02
"""After which a request has taken so long that others go out beside it."""
_ALONE_AFTER = 2
_SWEEP_S = 0.1
_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 0.5
_ALL_IN_SYNC = -1
"""acks=all."""
_Fates = list[tuple[Waiting, Fate, int]]


class Producer:
    """See EventLog.append. Belongs to one event loop."""

    def __init__(self, brokers: Brokers, partition_count: int) -> None:
        self._brokers = brokers
        self._settings = brokers.settings
        self._loop = asyncio.get_running_loop()
        self._lanes = [Lane(partition) for partition in range(partition_count)]
        self._due: dict[int, None] = {}
        """Partitions with something to send and nothing on its way, in the order of their turns."""
        self._busy: dict[int | None, dict[int, float]] = {}
        """For each node the requests on their way: number and when they went out."""
        self._pending_bytes = 0
        self._appends = AppendFigures()
        self._producer_id = -1
        self._soon: asyncio.Handle | None = None
        self._later: asyncio.TimerHandle | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """What the producer waits for, each once at a time."""
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    def append(self, records: Sequence[NewRecord[Any]], on_settled: OnSettled) -> None:
        """See EventLog.append."""
        if self._closed:
            raise LogUnavailable("the log is closed")
        if self._brokers.gone is not None:
            raise self._brokers.gone
        size_bytes = checked_bytes(records, len(self._lanes), OVERHEAD_BYTES)
        if self._pending_bytes and self._pending_bytes + size_bytes > self._settings.max_pending_bytes:
            raise LogFull(f"{self._pending_bytes} bytes of appends are under way")
        if not records:
            return
        self._pending_bytes += size_bytes
        deadline_s = passing_s() + self._settings.delivery_timeout_s
        sendable = False
        for partition, value, tag in records:
            lane = self._lanes[partition]
            lane.queue.append(Waiting(value, tag, on_settled, deadline_s))
            if lane.batch is None and partition not in self._due:
                self._due[partition] = None
                sendable = sendable or not self._busy.get(self._brokers.leader(partition))
        self._idle.clear()
        if sendable:
            self._kick_soon()
        elif (
            self._later is None
        ):  # an answer will come first, or else it takes so long that another request may go
            self._later = self._loop.call_later(PATIENCE_S, self._send_due)
        if self._sweep is None:
            self._sweep = self._loop.call_later(_SWEEP_S, self._expire)

    def figures(self) -> Iterable[Figure]:
        """See EventLog.figures."""
        return self._appends.figures(self._pending_bytes)

    async def close(self) -> None:
        """Wait until everything is settled, which takes no longer than the time of an append, and stop."""
        self._closed = True
        await self._idle.wait()
        for timer in (self._sweep, self._soon, self._later):
            if timer is not None:
                timer.cancel()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _kick_soon(self) -> None:
        """Send what is due when all of this turn of the loop have had their say."""
        if self._soon is None:
            self._soon = self._loop.call_soon(self._send_due)

    def _send_due(self) -> None:
        self._soon = None
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._brokers.gone is not None:
            self._give_up(math.inf)
        if not self._due:
            return
        if self._producer_id < 0:
            self._once("producer id", self._init_producer)
            return
        now, passed_s = self._loop.time(), passing_s()
        by_node: dict[int, list[Lane]] = {}
        wake_at = now + _LONGEST_PAUSE_S
        for partition in self._due:
            lane = self._lanes[partition]
            if lane.deadline_s <= passed_s:  # the machine slept, or this process stood still, since last time
                self._give_up(passed_s)
                return
            if lane.not_before > now:
                wake_at = min(wake_at, lane.not_before)
            elif lane.needs_other_producer(self._producer_id):
                self._producer_id = -1
                self._once("producer id", self._init_producer)
                return
            elif (node := self._brokers.leader(partition)) is None:
                lane.not_before = now + _PAUSE_S
                wake_at = min(wake_at, lane.not_before)
                self._once("leaders", self._refresh)
            else:
                by_node.setdefault(node, []).append(lane)
        for node, lanes in by_node.items():
            wake_at = min(wake_at, self._send_to(node, lanes, now))
        if self._due:
            self._later = self._loop.call_at(wake_at, self._send_due)

    def _send_to(self, node: int, lanes: Sequence[Lane], now: float) -> float:
        """Send to a node if it may get another request. When to look again."""
        busy = self._busy.setdefault(node, {})
        if busy:
            free_at = max(busy.values()) + PATIENCE_S
            if len(busy) == MAX_REQUESTS_PER_NODE or free_at > now:
                return free_at if len(busy) < MAX_REQUESTS_PER_NODE else now + _LONGEST_PAUSE_S
        number = next(n for n in range(MAX_REQUESTS_PER_NODE) if n not in busy)
        purpose = f"append-{number}"
        connection = self._brokers.open_connection(node, purpose)
        if connection is None:
            self._once(f"{purpose} {node}", partial(self._connect, node, purpose))
            return now + _LONGEST_PAUSE_S
        self._send(node, number, connection, self._batches(lanes))
        return now

    def _batches(self, lanes: Sequence[Lane]) -> list[tuple[Lane, Batch]]:
        """Those of the next lanes in turn, until a request is full.

        A request is answered when all of it can be. So what failed does not go with what did not, and what failed again
        goes alone.
        """
        chosen: list[tuple[Lane, Batch]] = []
        size_bytes = 0
        now_ms = time.time_ns() // 1_000_000
        trouble = min(lanes[0].failures, _ALONE_AFTER)
        for lane in lanes[:1] if trouble == _ALONE_AFTER else lanes:
            if size_bytes >= MAX_REQUEST_BYTES:
                break
            if min(lane.failures, _ALONE_AFTER) != trouble:
                continue
            batch = lane.next_batch(self._settings.max_batch_bytes, self._producer_id, now_ms)
            size_bytes += len(batch.encoded)
            chosen.append((lane, batch))
            del self._due[lane.partition]
        return chosen

    def _send(
        self, node: int, number: int, connection: Connection, batches: list[tuple[Lane, Batch]]
    ) -> None:
        topic = self._brokers.topic
        assert topic is not None
        data = ProduceRequest.TopicProduceData
        partitions = [
            data.PartitionProduceData(index=lane.partition, records=batch.encoded) for lane, batch in batches
        ]
        timeout_s = self._settings.request_timeout_s
        request = ProduceRequest(
            transactional_id=None,
            acks=_ALL_IN_SYNC,
            # The broker's answer that it takes too long comes before the connection is taken for dead.
            timeout_ms=int(timeout_s * 750),
            topic_data=[data(name=self._settings.topic, topic_id=topic.topic_id, partition_data=partitions)],
        )
        try:
            answer = connection.send(request)
        except ConnectionLost:
            self._failed(batches, Answer.REFUSED)  # nothing of it was written
            return
        for _, batch in batches:
            batch.on_its_way = True
        self._busy[node][number] = self._loop.time()
        timer = self._loop.call_later(timeout_s, connection.close, f"no answer within {timeout_s:g} s")
        answer.add_done_callback(partial(self._answered, node, number, batches, timer))

    def _answered(
        self,
        node: int,
        number: int,
        batches: list[tuple[Lane, Batch]],
        timer: asyncio.TimerHandle,
        answer: "asyncio.Future[Any]",
    ) -> None:
        timer.cancel()
        took_s = self._loop.time() - self._busy[node].pop(number)
        # Those given up in the meantime have had their fate told; what is said of them now comes too late.
        batches = [(lane, batch) for lane, batch in batches if lane.batch is batch]
        if answer.cancelled() or answer.exception() is not None:
            self._failed(batches, Answer.UNCLEAR)
            return
        codes = {
            p.index: (p.error_code, p.base_offset)
            for t in answer.result().responses
            for p in t.partition_responses
        }
        fates: _Fates = []
        failed: list[tuple[Lane, Batch]] = []
        appended = size_bytes = 0
        for lane, batch in batches:
            code, base_offset = codes.get(lane.partition, (-1, -1))
            said = answer_of(code)
            if said is Answer.APPENDED and base_offset >= 0:
                settled = lane.appended(batch, base_offset)
                appended += len(settled)
                size_bytes += len(batch.encoded)
                fates += settled
                if lane.queue:
                    self._due[lane.partition] = None
            else:
                _logger.debug("append to partition %d: %s", lane.partition, error_name(code))
                fates += lane.failed(batch, said)
                failed.append((lane, batch))
        if appended:
            self._appends.appended(appended, size_bytes, took_s)
        if failed:
            self._try_again([lane for lane, _ in failed])
        self._settle(fates)
        self._kick_soon()

    def _failed(self, batches: list[tuple[Lane, Batch]], answer: Answer) -> None:
        """The same became of all of these attempts."""
        fates: _Fates = []
        for lane, batch in batches:
            fates += lane.failed(batch, answer)
        self._try_again([lane for lane, _ in batches])
        self._settle(fates)
        self._kick_soon()

    def _try_again(self, lanes: Iterable[Lane]) -> None:
        """After a pause, when it may be known who leads them now."""
        now = self._loop.time()
        for lane in lanes:
            lane.not_before = now + min(_PAUSE_S * 2 ** min(lane.failures - 1, 4), _LONGEST_PAUSE_S)
            if not lane.is_idle:
                self._due[lane.partition] = None
        self._once("leaders", self._refresh)

    def _expire(self) -> None:
        self._sweep = None
        self._give_up(passing_s())

    def _give_up(self, now_s: float) -> None:
        """Settle what has had its time by then."""
        fates: _Fates = []
        waiting = False
        for lane in self._lanes:
            fates += lane.expire(now_s)
            if lane.is_idle:
                self._due.pop(lane.partition, None)
            else:
                waiting = True
                if lane.batch is None:
                    self._due[lane.partition] = None
        if waiting and self._sweep is None:
            self._sweep = self._loop.call_later(_SWEEP_S, self._expire)
        if fates:
            self._settle(fates)
            self._kick_soon()

    def _settle(self, fates: _Fates) -> None:
        """Tell fates that are known together, each caller its own at once."""
        told: dict[OnSettled, list[Settled[Any]]] = {}
        for (value, tag, on_settled, _), fate, offset in fates:
            self._pending_bytes -= len(value) + OVERHEAD_BYTES
            told.setdefault(on_settled, []).append(Settled(tag, fate, offset))
            if fate is not Fate.APPENDED:
                self._appends.failed(1, fate)
        for on_settled, settled in told.items():
            try:
                on_settled(settled)
            except Exception:
                _logger.exception("a callback for settled appends raised")
        if not self._pending_bytes:
            self._idle.set()

    def _once(self, what: str, run: Callable[[], Any]) -> None:
        """Run this, unless it runs; then look again what can be sent."""
        if what in self._tasks:
            return

        async def running() -> None:
            try:
                await run()
            except LogError as error:
                self._brokers.report("appends wait", error)
                await asyncio.sleep(_PAUSE_S)
            finally:
                del self._tasks[what]
                self._kick_soon()

        self._tasks[what] = asyncio.create_task(running())

    async def _connect(self, node: int, purpose: str) -> None:
        try:
            await self._brokers.connection(node, purpose)
        except ConnectionLost:
            await self._brokers.refresh()
            await asyncio.sleep(_PAUSE_S)

    async def _refresh(self) -> None:
        await self._brokers.refresh()

    async def _init_producer(self) -> None:
        """A producer id, under which the brokers know what they have taken already."""
        answer = await self._brokers.ask_any(
            lambda: InitProducerIdRequest(
                transactional_id=None,
                transaction_timeout_ms=60_000,
                producer_id=-1,
                producer_epoch=-1,
                max_version=4,
            )
        )
        if answer.error_code:
            raise LogUnavailable(f"no producer id: {error_name(answer.error_code)}")
        self._producer_id = answer.producer_id
