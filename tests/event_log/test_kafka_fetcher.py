"""Reading from whoever leads a partition now, without brokers."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from event_log.kafka_brokers import TopicState
from event_log.kafka_fetcher import Fetcher
from event_log.kafka_settings import KafkaLogSettings
from tests.event_log.driving import PATIENCE_S

TOPIC_ID = uuid4()


class QuietBrokers:
    """Brokers that have no records, nor anything against being asked: as followers, which consumers may read from, too."""

    def __init__(self) -> None:
        self.settings = KafkaLogSettings(servers=("127.0.0.1:1",), topic="log")
        self.asked: list[int] = []
        self.epochs_told: list[int] = []
        """By fetches that name a partition, for each."""
        self.refusals: dict[int, int] = {}
        """An error code for the next fetch of a node."""
        self.next_epochs: dict[int, int] = {}
        """What a refresh learns."""
        self.next_leaders: dict[int, int] | None = None
        """What a refresh learns; None: nothing new."""
        self.learn({0: 1, 1: 1})

    def learn(self, leaders: dict[int, int], epochs: dict[int, int] | None = None) -> None:
        """As a refresh does, whoever asked for it."""
        self.topic = TopicState(TOPIC_ID, leaders, {}, epochs or {})

    async def refresh(self) -> None:
        leaders = self.topic.leaders if self.next_leaders is None else self.next_leaders
        self.learn(dict(leaders), self.next_epochs)

    def leader(self, partition: int) -> int | None:
        return self.topic.leaders.get(partition)

    async def ask(self, node: int, request: Any, purpose: str, timeout_s: float) -> Any:
        self.asked.append(node)
        self.epochs_told += [
            part.current_leader_epoch for topic in request.topics for part in topic.partitions
        ]
        await asyncio.sleep(0.01)
        refusal = self.refusals.pop(node, 0)
        part = SimpleNamespace(partition_index=0, error_code=refusal, high_watermark=-1, records=None)
        responses = [SimpleNamespace(partitions=[part])] if refusal else []
        return SimpleNamespace(error_code=0, session_id=1, responses=responses)

    def disconnect(self, purpose: str) -> None:
        """There are no connections."""


async def until_asked(brokers: QuietBrokers, node: int) -> None:
    brokers.asked.clear()
    async with asyncio.timeout(PATIENCE_S):
        while node not in brokers.asked:
            await asyncio.sleep(0.005)


@pytest.fixture
def brokers() -> QuietBrokers:
    return QuietBrokers()


@pytest.fixture
async def fetcher(brokers: QuietBrokers) -> AsyncIterator[Fetcher]:
    made = Fetcher(brokers, lambda: None, lambda: None)  # type: ignore[arg-type]
    made.seek(0, 0)
    yield made
    await made.close()


async def test_a_leader_that_others_have_learned_of_is_asked(brokers: QuietBrokers, fetcher: Fetcher) -> None:
    """After a move in good order the former leader refuses nothing; an append may be the first to learn of the new one."""
    await until_asked(brokers, 1)
    brokers.learn({0: 2, 1: 1})
    await until_asked(brokers, 2)
    brokers.learn({0: 1, 1: 1})
    await until_asked(brokers, 1)


async def test_one_that_leads_nothing_more_is_left_alone(brokers: QuietBrokers, fetcher: Fetcher) -> None:
    """It is asked again when it leads something, not before."""
    await until_asked(brokers, 1)
    brokers.learn({0: 2, 1: 1})
    await until_asked(brokers, 2)
    await asyncio.sleep(0.05)
    brokers.asked.clear()
    await asyncio.sleep(0.1)
    assert set(brokers.asked) == {2}


async def test_a_paused_partition_is_asked_of_its_new_leader(brokers: QuietBrokers, fetcher: Fetcher) -> None:
    """When it goes on, whatever was learned meanwhile."""
    await until_asked(brokers, 1)
    fetcher.pause([0])
    await asyncio.sleep(0.05)
    brokers.learn({0: 3, 1: 1})
    fetcher.resume([0])
    await until_asked(brokers, 3)


@pytest.mark.parametrize("refusal", [74, 76], ids=["FENCED_LEADER_EPOCH", "UNKNOWN_LEADER_EPOCH"])
async def test_a_leader_is_asked_by_its_epoch(brokers: QuietBrokers, fetcher: Fetcher, refusal: int) -> None:
    """One that leads in another epoch refuses: who leads is learned anew, and the broker told the epoch that there is."""
    await until_asked(brokers, 1)
    brokers.next_epochs = {0: 8}
    brokers.learn({0: 1, 1: 1}, {0: 7})
    async with asyncio.timeout(PATIENCE_S):
        while 7 not in brokers.epochs_told:
            await asyncio.sleep(0.005)
        brokers.refusals[1] = refusal
        while 8 not in brokers.epochs_told:
            await asyncio.sleep(0.005)
    assert brokers.epochs_told == [-1, 7, 8]


async def test_a_leader_is_looked_for_where_there_is_none(brokers: QuietBrokers) -> None:
    """Whatever nobody leads when it is sought is read as soon as somebody does, without an append that asks who."""
    brokers.learn({})
    fetcher = Fetcher(brokers, lambda: None, lambda: None)  # type: ignore[arg-type]
    fetcher.seek(0, 0)
    await asyncio.sleep(0.1)
    assert brokers.asked == []
    brokers.next_leaders = {0: 3}
    await until_asked(brokers, 3)
    await fetcher.close()


async def test_all_leaders_go_and_come_back(brokers: QuietBrokers, fetcher: Fetcher) -> None:
    """As when the only broker is restarted and others learn so: nobody is left to be asked, but it goes on."""
    await until_asked(brokers, 1)
    brokers.next_leaders = {}
    brokers.learn({})
    await asyncio.sleep(0.1)
    brokers.asked.clear()
    await asyncio.sleep(0.1)
    assert brokers.asked == []
    brokers.next_leaders = {0: 1}
    await until_asked(brokers, 1)


def test_what_a_broker_has_not_heard_of_stands() -> None:
    """An answer of an earlier epoch takes no leader back; where nobody leads in a later one, nobody is asked."""
    known = TopicState(TOPIC_ID, {0: 2, 1: 1, 2: 1}, {}, {0: 5, 1: 3, 2: 3})
    learned = TopicState(TOPIC_ID, {0: 1, 1: 2}, {}, {0: 4, 1: 4, 2: 4}).after(known)
    assert learned.leaders == {0: 2, 1: 2}
    assert learned.epochs == {0: 5, 1: 4, 2: 4}
