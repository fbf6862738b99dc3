"""A member of a consumer group on Kafka: its membership and its reading, as the port tells them."""

import asyncio
from collections.abc import Callable, Iterable, Mapping

from event_log.kafka_brokers import Brokers
from event_log.kafka_fetcher import Fetcher
from event_log.kafka_group import Member
from event_log.port import Commit, GroupConsumer, LogUnavailable, Polled, check_commits, check_seek
from event_log.waiter import Waiter


class KafkaConsumer(GroupConsumer):
    """See GroupConsumer."""

    def __init__(self, brokers: Brokers, group: str, on_close: Callable[["KafkaConsumer"], None]) -> None:
        self._waiter = Waiter()
        self._member = Member(brokers, group, self._waiter.wake)
        self._fetcher = Fetcher(brokers, self._waiter.wake, self._member.confirm)
        self._on_close = on_close
        self._closed = False

    async def poll(self, timeout_s: float) -> Polled:
        """See GroupConsumer.poll."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        await asyncio.sleep(0)  # or a consumer that is behind would never let the loop go
        self._check_open()
        self._member.let_go()
        while True:
            if self._member.failure is not None:
                raise self._member.failure
            if self._member.ownership.has_changes:
                return self._tell()
            if records := self._fetcher.take():
                return Polled((), (), records)
            remaining_s = deadline - loop.time()
            if remaining_s <= 0:
                return Polled((), (), ())
            await self._waiter.wait(remaining_s)
            self._check_open()

    def seek(self, partition: int, offset: int) -> None:
        """See GroupConsumer.seek."""
        check_seek(partition, offset, self._fetcher)
        self._fetcher.seek(partition, offset)

    def pause(self, partitions: Iterable[int]) -> None:
        """See GroupConsumer.pause."""
        self._fetcher.pause(partitions)

    def resume(self, partitions: Iterable[int]) -> None:
        """See GroupConsumer.resume."""
        self._fetcher.resume(partitions)

    def lag(self) -> Mapping[int, int]:
        """See GroupConsumer.lag."""
        return self._fetcher.lag()

    async def commit(self, commits: Mapping[int, Commit]) -> None:
        """See GroupConsumer.commit."""
        self._check_open()
        self._member.check_owned(commits)
        check_commits(commits)
        if commits:
            await self._member.commit(commits)

    async def close(self) -> None:
        """See GroupConsumer.close."""
        if not self._closed:
            self._closed = True
            self._on_close(self)
            self._waiter.wake()
            await self._fetcher.close()
            await self._member.leave()

    def _check_open(self) -> None:
        if self._closed:
            raise LogUnavailable("this consumer is closed")

    def _tell(self) -> Polled:
        told = self._member.ownership.tell()
        for partition in told.revoked:
            self._fetcher.remove(partition)
        for assignment in told.assigned:
            committed = assignment.committed
            first = committed.offset if committed else assignment.start_offset
            self._fetcher.seek(assignment.partition, first)
        return Polled(told.revoked, told.assigned, ())
