"""The log on Kafka: one topic, for many processes on many machines.

The messages of the protocol, authentication and the assignor are kafka-python's. Its clients are not used: they block, and
their producer does not tell what may have landed from what cannot have (R4). What is here runs on the event loop alone,
without threads: `kafka_connection` speaks to one broker, `kafka_brokers` finds the right one, `kafka_producer` appends,
`kafka_fetcher` reads, `kafka_group` and `kafka_consumer` are a member of a group, `kafka_letters` keeps dead letters, and
`kafka_topics` checks at start that topic and brokers are set so that all this holds. The incarnation is the topic's id.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence

from event_log import kafka_fetcher
from event_log.kafka_brokers import END, Brokers, OtherIncarnation, TopicMissing
from event_log.kafka_connection import LoginRefused
from event_log.kafka_consumer import KafkaConsumer
from event_log.kafka_letters import Letters
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
from telemetry.metrics import Figure

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

_REFRESH_S = 30.0


class KafkaLog(EventLog):
    """See EventLog. Made by `open`."""

    def __init__(self, brokers: Brokers, incarnation: str) -> None:
        self._brokers = brokers
        self._incarnation = incarnation
        self._producer = Producer(brokers, brokers.settings.partitions)
        self._letters = Letters(brokers, incarnation)
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
                await brokers.insist(
                    _cannot_open(settings), lambda: check_topics(brokers), settings.open_timeout_s - 0.5
                )
            assert brokers.topic is not None
            brokers.opened = True
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

    def figures(self) -> Iterable[Figure]:
        """See EventLog.figures."""
        return self._producer.figures()

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
        """See EventLog.dead_letter."""
        self._check_open()
        await self._letters.keep(letters)

    def dead_letters(self) -> AsyncIterator[DeadLetter]:
        """See EventLog.dead_letters. In the order in which they were kept."""
        self._check_open()
        return self._letters.read()

    async def forget_dead_letters(self, places: Collection[tuple[int, int]]) -> None:
        """See EventLog.forget_dead_letters."""
        self._check_open()
        await self._letters.forget(places)

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
        await brokers.insist(_cannot_open(settings), lambda: check_topics(brokers), settings.open_timeout_s)
    finally:
        await brokers.close()


def _cannot_open(settings: KafkaLogSettings) -> str:
    return f"the log at servers {','.join(settings.servers)} cannot be opened"
