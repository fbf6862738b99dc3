"""Dead letters on Kafka: a compacted topic of one partition, keyed by the place of the record, `partition/offset`.

Headers say why nobody could read it and what else DeadLetter has, and of which incarnation of the log it is: those of a
former one are not told. A letter that is kept no longer is a tombstone.
"""

import time
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from typing import Any

from kafka.protocol.consumer import FetchRequest
from kafka.protocol.producer import ProduceRequest
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from event_log.kafka_batches import Answer, answer_of
from event_log.kafka_brokers import Brokers
from event_log.kafka_connection import error_name
from event_log.port import DeadLetter, LogError, LogUnavailable

_MAX_REASON_BYTES = 2_048
_FETCH_BYTES = 1 << 20
"""At a time; a batch that is larger comes whole."""
_OUT_OF_RANGE = 1


class Letters:
    """Those of one log."""

    def __init__(self, brokers: Brokers, incarnation: str) -> None:
        self._brokers = brokers
        self._incarnation = incarnation
        self._topic = brokers.settings.dead_letter_topic

    async def keep(self, letters: Sequence[DeadLetter]) -> None:
        """See EventLog.dead_letter. The topic is compacted, so of two letters with one key one is kept."""
        for letter in letters:
            await self._insist(self._record(letter))

    async def forget(self, places: Collection[tuple[int, int]]) -> None:
        """See EventLog.forget_dead_letters."""
        for place in places:
            await self._insist(_batch(place, None, []))

    async def read(self) -> AsyncIterator[DeadLetter]:
        """See EventLog.dead_letters. The topic is read twice: only its end tells which letters are kept."""
        newest: dict[bytes, int] = {}
        async for record in self._records():
            newest[bytes(record.key or b"")] = record.offset
        async for record in self._records():
            key = bytes(record.key or b"")
            if newest.get(key) == record.offset and record.value is not None:
                letter = self._letter(key, record)
                if letter is not None:
                    yield letter

    def _record(self, letter: DeadLetter) -> Any:
        headers = {
            "reason": letter.reason.encode()[:_MAX_REASON_BYTES],
            "kept_at_us": str(time.time_ns() // 1_000).encode(),
            "append_time_us": str(letter.append_time_us).encode(),
            "time_us": str(letter.time_us).encode(),
            "counted": b"1" if letter.counted else b"0",
            "incarnation": self._incarnation.encode(),
        }
        return _batch(letter.place, letter.value, list(headers.items()))

    def _letter(self, key: bytes, record: Any) -> DeadLetter | None:
        """None for one of another incarnation."""
        headers = {name: bytes(value or b"") for name, value in record.headers}
        if headers.get("incarnation", self._incarnation.encode()) != self._incarnation.encode():
            return None
        partition, offset = map(int, key.split(b"/"))
        return DeadLetter(
            partition,
            offset,
            headers.get("reason", b"").decode(errors="replace"),
            bytes(record.value),
            int(headers.get("append_time_us", b"0")),
            int(headers.get("time_us", b"0")),
            headers.get("counted") == b"1",
        )

    async def _insist(self, records: Any) -> None:
        await self._brokers.insist(
            f"topic {self._topic!r} takes no letters",
            lambda: self._produce(records),
            self._brokers.settings.delivery_timeout_s,
        )

    async def _produce(self, records: Any) -> None:
        node, topic_id = await self._brokers.leader_of_letters()
        data = ProduceRequest.TopicProduceData
        request = ProduceRequest(
            transactional_id=None,
            acks=-1,
            timeout_ms=int(self._brokers.settings.request_timeout_s * 750),
            topic_data=[
                data(
                    name=self._topic,
                    topic_id=topic_id,
                    partition_data=[data.PartitionProduceData(index=0, records=records)],
                )
            ],
        )
        answer = await self._brokers.ask(node, request)
        (code,) = (p.error_code for t in answer.responses for p in t.partition_responses)
        if answer_of(code) is Answer.REFUSED_FOR_GOOD:
            raise LogError(f"topic {self._topic!r} takes no letters: {error_name(code)}")
        if code:
            raise LogUnavailable(error_name(code))

    async def _records(self) -> AsyncIterator[Any]:
        """All records of the topic through its end as it is found."""
        offset, end = 0, 1
        while offset < end:
            following, end, records = await self._brokers.insist(
                f"topic {self._topic!r} cannot be read",
                lambda at=offset: self._fetch(at),  # type: ignore[misc]
                self._brokers.settings.request_timeout_s,
            )
            for record in records:
                if record.offset >= offset:
                    yield record
            offset = following

    async def _fetch(self, offset: int) -> tuple[int, int, Iterable[Any]]:
        """Where to go on, where the topic ends, and records from `offset` on."""
        node, topic_id = await self._brokers.leader_of_letters()
        topic = FetchRequest.FetchTopic
        part = topic.FetchPartition(
            partition=0,
            current_leader_epoch=-1,
            fetch_offset=offset,
            last_fetched_epoch=-1,
            log_start_offset=-1,
            partition_max_bytes=_FETCH_BYTES,
        )
        request = FetchRequest(
            replica_id=-1,
            max_wait_ms=0,
            min_bytes=1,
            max_bytes=_FETCH_BYTES,
            isolation_level=0,
            session_id=0,
            session_epoch=-1,
            topics=[topic(topic=self._topic, topic_id=topic_id, partitions=[part])],
            forgotten_topics_data=[],
            rack_id="",
            max_version=13,
        )
        answer = await self._brokers.ask(node, request)
        (found,) = (part for each in answer.responses for part in each.partitions)
        if found.error_code == _OUT_OF_RANGE:
            start = await self._brokers.start_of_letters()
            return start, start + 1 if start > offset else start, ()
        if found.error_code:
            raise LogUnavailable(error_name(found.error_code))
        batches = list(_batches(bytes(found.records or b"")))
        end: int = found.high_watermark
        following = batches[-1].base_offset + batches[-1].last_offset_delta + 1 if batches else end
        return following, end, [record for batch in batches for record in batch]


def _batches(fetched: bytes) -> Iterable[Any]:
    """Whole batches. Raises LogUnavailable for one that is damaged."""
    records = MemoryRecords(fetched)
    while (batch := records.next_batch()) is not None:
        if not batch.validate_crc():
            raise LogUnavailable("a batch of dead letters is damaged")
        yield batch


def _batch(place: tuple[int, int], value: bytes | None, headers: list[tuple[str, bytes]]) -> Any:
    builder = MemoryRecordsBuilder(2, 0, 1 << 24)
    key = "{}/{}".format(*place).encode()
    builder.append(timestamp=time.time_ns() // 1_000_000, key=key, value=value, headers=headers)
    builder.close()
    return builder.buffer()
