"""How appends are sent: together, each partition in order, and none held up by another's (I14).

The brokers are scripted here; what they do is what the test says.
"""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from kafka.record.memory_records import MemoryRecords

from event_log import kafka_producer
from event_log.kafka_brokers import Brokers, TopicState
from event_log.kafka_connection import ConnectionLost
from event_log.kafka_producer import MAX_REQUESTS_PER_NODE, Producer
from event_log.kafka_settings import KafkaLogSettings
from event_log.port import Fate, LogFull, LogUnavailable, NewRecord, Settled
from messaging_core.clock import passing_s
from tests.event_log.driving import PATIENCE_S

PARTITIONS = 8


class Request:
    """A produce request that waits for its answer."""

    def __init__(self, request: Any, answer: "asyncio.Future[Any]") -> None:
        self.answer = answer
        self.batches: dict[int, list[bytes]] = {
            data.index: [bytes(r.value) for batch in MemoryRecords(data.records) for r in batch]
            for data in request.topic_data[0].partition_data
        }

    def reply(self, code: int = 0, base_offset: int = 100) -> None:
        """Say the same of all batches."""
        parts = [
            SimpleNamespace(index=index, error_code=code, base_offset=base_offset if not code else -1)
            for index in self.batches
        ]
        self.answer.set_result(SimpleNamespace(responses=[SimpleNamespace(partition_responses=parts)]))

    def lose(self) -> None:
        self.answer.set_exception(ConnectionLost("gone"))


class ScriptedBrokers:
    """One node that leads everything, and takes requests on as many connections as are asked for."""

    def __init__(self, **settings: Any) -> None:
        self.settings = KafkaLogSettings(
            **{"servers": ("x:1",), "topic": "log", "partitions": PARTITIONS, **settings}
        )
        self.topic = TopicState(uuid.uuid4(), dict.fromkeys(range(PARTITIONS), 1), {})
        self.gone = None
        self.requests: list[Request] = []
        self.purposes: set[str] = set()
        self.reachable = True
        self.refreshed = 0

    def leader(self, partition: int) -> int | None:
        return self.topic.leaders.get(partition)

    def open_connection(self, node: int, purpose: str) -> "ScriptedBrokers | None":
        return self if purpose in self.purposes else None

    async def connection(self, node: int, purpose: str) -> None:
        if not self.reachable:
            raise ConnectionLost("unreachable")
        self.purposes.add(purpose)

    async def refresh(self) -> None:
        self.refreshed += 1
        await asyncio.sleep(0)

    async def ask_any(self, request: Callable[[], Any]) -> Any:
        return SimpleNamespace(error_code=0, producer_id=7)

    def report(self, what: str, error: Exception) -> None:
        pass

    def send(self, request: Any) -> "asyncio.Future[Any]":
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.requests.append(Request(request, answer))
        return answer

    def close(self, reason: str) -> None:
        for request in self.requests:
            if not request.answer.done():
                request.lose()

    async def next_request(self, number: int) -> Request:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.requests) <= number:
                await asyncio.sleep(0.005)
        return self.requests[number]


class Told:
    def __init__(self) -> None:
        self.fates: dict[bytes, Settled[bytes]] = {}

    def __call__(self, settled: Sequence[Settled[bytes]]) -> None:
        for one in settled:
            assert one.tag not in self.fates
            self.fates[one.tag] = one

    async def wait(self, *tags: bytes) -> list[Fate]:
        async with asyncio.timeout(PATIENCE_S):
            while not all(tag in self.fates for tag in tags):
                await asyncio.sleep(0.005)
        return [self.fates[tag].fate for tag in tags]


@pytest.fixture
def told() -> Told:
    return Told()


def a_producer(brokers: ScriptedBrokers) -> Producer:
    return Producer(cast(Brokers, brokers), PARTITIONS)


def records(partition: int, *values: bytes) -> list[NewRecord[bytes]]:
    return [NewRecord(partition, value, value) for value in values]


async def test_what_is_appended_in_one_turn_goes_together(told: Told) -> None:
    """Appends of several callers to several partitions make one request; offsets follow from the batch's first."""
    brokers = ScriptedBrokers()
    producer = a_producer(brokers)
    producer.append(records(0, b"a", b"b"), told)
    producer.append([*records(1, b"c"), *records(0, b"d")], told)
    request = await brokers.next_request(0)
    assert request.batches == {0: [b"a", b"b", b"d"], 1: [b"c"]}
    request.reply(base_offset=40)
    assert await told.wait(b"a", b"b", b"c", b"d") == [Fate.APPENDED] * 4
    assert [told.fates[tag].offset for tag in (b"a", b"b", b"d", b"c")] == [40, 41, 42, 40]
    await producer.close()
    assert len(brokers.requests) == 1


async def test_a_stalled_partition_holds_up_no_other(told: Told) -> None:
    """While one request has no answer, others go beside it, each partition in order; what failed twice goes alone."""
    brokers = ScriptedBrokers()
    producer = a_producer(brokers)
    producer.append([*records(0, b"stalled"), *records(1, b"with it")], told)
    stalled = await brokers.next_request(0)
    producer.append([*records(0, b"behind"), *records(2, b"beside")], told)
    beside = await brokers.next_request(1)
    assert beside.batches == {2: [b"beside"]}
    beside.reply()
    assert await told.wait(b"beside") == [Fate.APPENDED]
    assert b"behind" not in told.fates

    stalled.reply(code=7)  # REQUEST_TIMED_OUT: the copies of one of the two are missing
    again = await brokers.next_request(2)
    assert again.batches == {0: [b"stalled"], 1: [b"with it"]}
    again.reply(code=7)
    alone = {tuple((await brokers.next_request(n)).batches) for n in (3, 4)}
    assert alone == {(0,), (1,)}
    for request in brokers.requests[3:5]:
        request.reply()
    assert await told.wait(b"stalled", b"with it") == [Fate.APPENDED] * 2
    (await brokers.next_request(5)).reply(base_offset=101)
    assert await told.wait(b"behind") == [Fate.APPENDED]
    await producer.close()


async def test_requests_to_a_node_are_bounded(told: Told) -> None:
    """Only so many requests have no answer at a time; what comes then waits for one, and goes together."""
    brokers = ScriptedBrokers()
    producer = a_producer(brokers)
    for partition in range(MAX_REQUESTS_PER_NODE):
        producer.append(records(partition, b"%d" % partition), told)
        await brokers.next_request(partition)
    for partition in range(MAX_REQUESTS_PER_NODE, PARTITIONS):
        producer.append(records(partition, b"%d" % partition), told)
    await asyncio.sleep(0.1)
    assert len(brokers.requests) == MAX_REQUESTS_PER_NODE
    brokers.requests[0].reply()
    rest = await brokers.next_request(MAX_REQUESTS_PER_NODE)
    assert rest.batches.keys() == set(range(MAX_REQUESTS_PER_NODE, PARTITIONS))
    for request in brokers.requests[1:]:
        request.reply()
    await producer.close()
    assert len(told.fates) == PARTITIONS


async def test_a_lost_connection_makes_it_unclear_and_is_tried_again(told: Told) -> None:
    """The same batch goes out again after the connection broke, and is appended when a broker says so."""
    brokers = ScriptedBrokers()
    producer = a_producer(brokers)
    producer.append(records(0, b"a"), told)
    (await brokers.next_request(0)).lose()
    again = await brokers.next_request(1)
    assert again.batches == {0: [b"a"]}
    again.reply(base_offset=9)
    assert await told.wait(b"a") == [Fate.APPENDED]
    assert told.fates[b"a"].offset == 9
    await producer.close()


async def test_time_ends_with_what_is_known(told: Told) -> None:
    """Its time over, an append that no broker was given is not done, one without an answer is unknown."""
    quick = {"request_timeout_s": 0.3, "delivery_timeout_s": 0.4}
    brokers = ScriptedBrokers(**quick)
    producer = a_producer(brokers)
    producer.append(records(0, b"sent"), told)
    await brokers.next_request(0)
    assert await told.wait(b"sent") == [Fate.UNKNOWN]
    await producer.close()

    brokers = ScriptedBrokers(**quick)
    brokers.reachable = False
    producer = a_producer(brokers)
    producer.append(records(0, b"never sent"), told)
    await producer.close()
    assert await told.wait(b"never sent") == [Fate.NOT_APPENDED]
    with pytest.raises(LogUnavailable, match="closed"):
        producer.append(records(0, b"late"), told)


async def test_a_partition_that_nobody_leads_is_waited_for(told: Told) -> None:
    """Who leads it is asked now and then, not all the time; others go on meanwhile, and it goes out when somebody does."""
    brokers = ScriptedBrokers()
    leaders = brokers.topic.leaders
    brokers.topic = brokers.topic._replace(leaders={p: 1 for p in leaders if p != 0})
    producer = a_producer(brokers)
    producer.append([*records(0, b"led by nobody"), *records(1, b"led")], told)
    (await brokers.next_request(0)).reply()
    assert await told.wait(b"led") == [Fate.APPENDED]
    await asyncio.sleep(0.5)
    assert 1 <= brokers.refreshed < 50
    brokers.topic = brokers.topic._replace(leaders=leaders)
    late = await brokers.next_request(1)
    assert late.batches == {0: [b"led by nobody"]}
    late.reply()
    await producer.close()


async def test_the_time_of_an_append_goes_on_while_the_machine_sleeps(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waited when it fell asleep is not sent any more when it wakes: it would be a second message (R3)."""
    brokers = ScriptedBrokers()
    brokers.reachable = False
    producer = a_producer(brokers)
    producer.append(records(0, b"before"), told)
    await asyncio.sleep(0.05)
    monkeypatch.setattr(kafka_producer, "passing_s", lambda: passing_s() + 3_600.0)
    brokers.reachable = True
    brokers.purposes.add("append-0")
    producer.append(records(1, b"after"), told)
    request = await brokers.next_request(0)
    assert request.batches == {1: [b"after"]}
    assert await told.wait(b"before") == [Fate.NOT_APPENDED]
    request.reply()
    await producer.close()
    assert len(brokers.requests) == 1


async def test_a_full_buffer_refuses_whole_calls(told: Told) -> None:
    """Beyond its bound appends are refused before any was taken, unless one is alone; settled ones make room."""
    brokers = ScriptedBrokers(max_pending_bytes=1_000)
    producer = a_producer(brokers)
    producer.append(records(0, bytes(5_000)), told)
    with pytest.raises(LogFull, match="5200 bytes"):
        producer.append(records(1, b"a"), told)
    (await brokers.next_request(0)).reply()
    await told.wait(bytes(5_000))
    producer.append(records(1, b"b"), told)
    (await brokers.next_request(1)).reply()
    await producer.close()
    assert b"a" not in told.fates
