"""The log on Kafka: one topic, for many processes on many machines.

The messages of the protocol, authentication and the assignor are kafka-python's. Its clients are not used: they block, and
their producer does not tell what may have landed from what cannot have (R4). What is here runs on the event loop alone,
without threads: `kafka_connection` speaks to one broker, `kafka_brokers` finds the right one, `kafka_producer` appends,
`kafka_fetcher` reads, `kafka_group` and `kafka_consumer` are a member of a group, and `kafka_topics` checks at start that
topic and brokers are set so that all this holds. The incarnation is the topic's id.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kafka.protocol.producer import ProduceRequest
from kafka.record.memory_records import MemoryRecordsBuilder

from event_log import kafka_fetcher
from event_log.kafka_batches import Answer, answer_of
from event_log.kafka_brokers import END, Brokers, OtherIncarnation, TopicMissing
from event_log.kafka_connection import LoginRefused, error_name
from event_log.kafka_consumer import KafkaConsumer
from event_log.kafka_producer import Producer
from event_log.kafka_settings import KafkaLogSettings, KafkaSecurity
from event_log.kafka_topics import LogUnfit, check_topics, create_topics
from event_log.partitioner import partition_for
from event_log.port import (
    Commit,
    DeadLetter,
    EventLog,
    GroupConsumer,
    LogError,
    LogRecord,
    LogUnavailable,
    NewRecord,
    Settled,
    Tag,
)

__all__ = [
    "KafkaLog",
    "KafkaLogSettings",
    "KafkaSecurity",
    "LogUnfit",
    "LoginRefused",
    "OtherIncarnation",
    "TopicMissing",
    "make_topics",
]

_MAX_REASON_BYTES = 2_048
_REFRESH_S = 30.0


class KafkaLog(EventLog):
    """See EventLog. Made by `open`."""

    def __init__(self, brokers: Brokers, incarnation: str) -> None:
        self._brokers = brokers
        self._incarnation = incarnation
        self._producer = Producer(brokers, brokers.settings.partitions)
        self._consumers: set[KafkaConsumer] = set()
        self._closed = False
        self._refreshing = asyncio.create_task(self._refresh())

    @classmethod
    async def open(cls, settings: KafkaLogSettings) -> "KafkaLog":
        """Connect, and check that topic and brokers are set as the log needs it.

        Raises LogUnfit where they are not, TopicMissing, LoginRefused, LogUnavailable where no broker answers in
        `open_timeout_s`, OSError and ssl.SSLError for files of `security`.
        """
        brokers = Brokers(settings)
        try:
            async with asyncio.timeout(settings.open_timeout_s):
                await brokers.insist(_cannot_open(settings), brokers.refresh, settings.open_timeout_s - 0.5)
                await brokers.insist(
                    _cannot_open(settings), lambda: check_topics(brokers), settings.open_timeout_s
                )
            assert brokers.topic is not None
            return cls(brokers, brokers.topic.incarnation)
        except TimeoutError:
            await brokers.close()
            raise LogUnavailable(
                f"{_cannot_open(settings)}: no answer within {settings.open_timeout_s:g} s"
            ) from None
        except BaseException:
            await brokers.close()
            raise

    @property
    def incarnation(self) -> str:
        """See EventLog.incarnation."""
        return self._incarnation

    @property
    def partition_count(self) -> int:
        """See EventLog.partition_count."""
        return self._brokers.settings.partitions

    def partition_of(self, user_id: str) -> int:
        """See EventLog.partition_of."""
        return partition_for(user_id, self.partition_count)

    def append(
        self, records: Sequence[NewRecord[Tag]], on_settled: Callable[[Sequence[Settled[Tag]]], None]
    ) -> None:
        """See EventLog.append."""
        self._producer.append(records, on_settled)

    def consumer(self, group: str) -> GroupConsumer:
        """See EventLog.consumer."""
        self._check_open()
        if not group:
            raise ValueError("a group needs a name")
        consumer = KafkaConsumer(
            self._brokers, self._brokers.settings.group_id(group), self._consumers.discard
        )
        self._consumers.add(consumer)
        return consumer

    async def read(self, partition: int, offset: int, max_bytes: int) -> Sequence[LogRecord]:
        """See EventLog.read."""
        self._check_open()
        if not (0 <= partition < self.partition_count and offset >= 0):
            raise ValueError(f"there is no record {offset} in partition {partition}")
        return await kafka_fetcher.read(self._brokers, partition, offset, max_bytes)

    async def end_offsets(self, partitions: Iterable[int]) -> Mapping[int, int]:
        """See EventLog.end_offsets."""
        self._check_open()
        return await self._brokers.offsets(partitions, END)

    async def committed(self, group: str, partitions: Iterable[int]) -> Mapping[int, Commit]:
        """See EventLog.committed."""
        self._check_open()
        return await self._brokers.committed(self._brokers.settings.group_id(group), partitions)

    async def dead_letter(self, letters: Sequence[DeadLetter]) -> None:
        """See EventLog.dead_letter. The topic is compacted, so of two letters with one key one is kept."""
        self._check_open()
        settings = self._brokers.settings
        for letter in letters:
            await self._brokers.insist(
                f"topic {settings.dead_letter_topic!r} takes no letters",
                lambda letter=letter: self._write_letter(letter),  # type: ignore[misc]
                settings.delivery_timeout_s,
            )

    async def close(self) -> None:
        """See EventLog.close."""
        if self._closed:
            return
        for consumer in tuple(self._consumers):
            await consumer.close()
        self._closed = True
        await self._producer.close()
        self._refreshing.cancel()
        await asyncio.gather(self._refreshing, return_exceptions=True)
        await self._brokers.close()

    def _check_open(self) -> None:
        if self._closed:
            raise LogUnavailable("the log is closed")

    async def _refresh(self) -> None:
        """Notice now and then what nobody has asked for: that leaders are others, or that the log is."""
        while True:
            await asyncio.sleep(_REFRESH_S)
            try:
                await self._brokers.refresh()
            except LogError:
                continue  # those who append or read are told, and tell it

    async def _write_letter(self, letter: DeadLetter) -> None:
        settings = self._brokers.settings
        node, topic_id = await self._brokers.leader_of_letters()
        data = ProduceRequest.TopicProduceData
        request = ProduceRequest(
            transactional_id=None,
            acks=-1,
            timeout_ms=int(settings.request_timeout_s * 750),
            topic_data=[
                data(
                    name=settings.dead_letter_topic,
                    topic_id=topic_id,
                    partition_data=[data.PartitionProduceData(index=0, records=_letter_batch(letter))],
                )
            ],
        )
        answer = await self._brokers.ask(node, request)
        (code,) = (p.error_code for t in answer.responses for p in t.partition_responses)
        if answer_of(code) is Answer.REFUSED_FOR_GOOD:
            raise LogError(f"topic {settings.dead_letter_topic!r} takes no letters: {error_name(code)}")
        if code:
            raise LogUnavailable(error_name(code))


async def make_topics(settings: KafkaLogSettings, copies: int, retention_s: float) -> None:
    """Make the topics of a log that are not there yet.

    Raises LogError where the brokers refuse, LogUnfit where what is there, or was made, does not fit, LogUnavailable.
    """
    brokers = Brokers(settings)
    try:
        await brokers.insist(
            _cannot_open(settings),
            lambda: create_topics(brokers, copies, retention_s),
            settings.open_timeout_s,
        )

        async def check() -> None:
            await brokers.refresh()
            await check_topics(brokers)

        await brokers.insist(_cannot_open(settings), check, settings.open_timeout_s)
    finally:
        await brokers.close()


def _cannot_open(settings: KafkaLogSettings) -> str:
    return f"the log at servers {','.join(settings.servers)} cannot be opened"


def _letter_batch(letter: DeadLetter) -> Any:
    headers = [
        ("reason", letter.reason.encode()[:_MAX_REASON_BYTES]),
        ("kept_at_us", str(time.time_ns() // 1_000).encode()),
    ]
    builder = MemoryRecordsBuilder(2, 0, 1 << 24)
    key = f"{letter.partition}/{letter.offset}".encode()
    builder.append(timestamp=time.time_ns() // 1_000_000, key=key, value=letter.value, headers=headers)
    builder.close()
    return builder.buffer()
