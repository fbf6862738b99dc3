"""What a member finds out of partitions that the group gave it, without brokers."""

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest

from event_log.kafka_group import Member
from event_log.kafka_settings import KafkaLogSettings
from event_log.port import Commit, LogError, LogUnavailable
from tests.event_log.driving import PATIENCE_S


class HalfAway:
    """A group that nobody coordinates now, of a log some partitions of which cannot be reached: the rest are told of."""

    def __init__(self) -> None:
        self.settings = KafkaLogSettings(servers=("127.0.0.1:1",), topic="log", heartbeat_interval_s=0.02)
        self.away: set[int] = set()

    async def coordinator(self, group: str) -> int:
        await asyncio.sleep(0.01)
        raise LogUnavailable("no coordinator")

    def forget_coordinator(self, group: str) -> None:
        """There is none."""

    def disconnect(self, purpose: str) -> None:
        """There are no connections."""

    def report(self, what: str, error: LogError) -> None:
        """Nobody listens."""

    async def committed(self, group: str, partitions: Iterable[int]) -> dict[int, Commit]:
        return {partition: Commit(5, "") for partition in partitions}

    async def offsets(self, partitions: Iterable[int], where: int) -> dict[int, int]:
        wanted = set(partitions)
        while wanted <= self.away:
            await asyncio.sleep(0.01)
        return dict.fromkeys(wanted - self.away, 9)


@pytest.fixture
def brokers() -> HalfAway:
    return HalfAway()


@pytest.fixture
async def member(brokers: HalfAway) -> AsyncIterator[Member]:
    made = Member(brokers, "group", lambda: None)  # type: ignore[arg-type]
    yield made
    await made.leave()


async def until_given(member: Member, *partitions: int) -> None:
    """Until it may tell its consumer that it has these; asking as often as it does with every heartbeat."""
    given: list[int] = []
    async with asyncio.timeout(PATIENCE_S):
        while sorted(given) != sorted(partitions):
            member._look_up_soon()
            await asyncio.sleep(0.01)
            given += [assignment.partition for assignment in member.ownership.tell().assigned]


async def test_a_partition_that_cannot_be_reached_holds_up_no_other(
    brokers: HalfAway, member: Member
) -> None:
    """I14: the others are the consumer's at once, those that come later too, and that one when it can be reached."""
    brokers.away = {0}
    member.ownership.assign(1, [0, 1, 2])
    await until_given(member, 1, 2)
    member._look_up_soon()
    await asyncio.sleep(0.02)
    member.ownership.assign(2, [0, 1, 2, 3])
    await until_given(member, 3)
    assert set(member.ownership.to_look_up()) == {0}
    brokers.away = set()
    await until_given(member, 0)
    assert member.failure is None
