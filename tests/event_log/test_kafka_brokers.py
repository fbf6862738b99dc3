"""What is known of brokers, without any."""

import asyncio
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from kafka.protocol.consumer import ListOffsetsRequest

from event_log import kafka_brokers
from event_log.kafka_brokers import END, Brokers, TopicMissing, TopicState
from event_log.kafka_connection import Connection, ConnectionLost, LoginRefused
from event_log.kafka_settings import KafkaLogSettings
from event_log.kafka_topics import check_topics
from event_log.port import LogError, LogUnavailable

TOPIC_ID = uuid4()


class ToldBrokers(Brokers):
    """Nodes 1 to 3; each tells which node leads the only partition, and since which epoch."""

    def __init__(self, told: dict[int, tuple[int, int]]) -> None:
        super().__init__(KafkaLogSettings(servers=("127.0.0.1:1",), topic="log"))
        self.told = told
        self.away: set[int] = set()
        self.asked: list[int] = []
        self._addresses = dict.fromkeys(told, ("127.0.0.1", 1))

    async def ask(self, node: int, request: Any, purpose: str = "", timeout_s: float = 0.0) -> Any:
        self.asked.append(node)
        if node in self.away:
            raise ConnectionLost("away")
        leader, epoch = self.told[node]
        partition = SimpleNamespace(
            partition_index=0, leader_id=leader, leader_epoch=epoch, replica_nodes=[1, 2, 3], error_code=0
        )
        topic = SimpleNamespace(error_code=0, topic_id=TOPIC_ID, partitions=[partition])
        brokers = [SimpleNamespace(node_id=each, host="127.0.0.1", port=1) for each in self.told]
        return SimpleNamespace(brokers=brokers, topics=[topic])


async def test_a_broker_that_is_cut_off_from_the_others_is_not_believed_for_long() -> None:
    """It tells what was, as long as it is asked; others are asked in turn, and the later epoch stands."""
    brokers = ToldBrokers({1: (1, 5), 2: (2, 6), 3: (2, 6)})
    for _ in range(3):
        await brokers.refresh()
    assert brokers.leader(0) == 2
    for _ in range(6):
        await brokers.refresh()
        assert brokers.leader(0) == 2
    assert set(brokers.asked[-3:]) == {1, 2, 3}


async def test_one_that_does_not_answer_is_asked_after_the_others() -> None:
    """And the answer comes from the next one."""
    brokers = ToldBrokers({1: (2, 6), 2: (2, 6), 3: (2, 6)})
    brokers.away = {2}
    await brokers.refresh()
    assert brokers.asked == [2, 3]
    assert brokers.leader(0) == 2


class BoundedBrokers(Brokers):
    """Nodes 1 to 3, which tell as many records as is the number of the partition; `leaders` is what there is to learn."""

    def __init__(self, leaders: dict[int, int]) -> None:
        super().__init__(KafkaLogSettings(servers=("127.0.0.1:1",), topic="log", request_timeout_s=1.0))
        self.leaders = leaders
        self.topic = TopicState(TOPIC_ID, dict(leaders), {})
        self.frozen: set[int] = set()
        self.away: set[int] = set()

    async def ask(self, node: int, request: Any, purpose: str = "", timeout_s: float = 0.0) -> Any:
        if node in self.frozen:
            await asyncio.sleep(timeout_s or self.settings.request_timeout_s)
        if node in self.away | self.frozen:
            raise ConnectionLost("away")
        assert isinstance(request, ListOffsetsRequest)
        parts = [
            SimpleNamespace(
                partition_index=part.partition_index,
                offset=part.partition_index,
                error_code=0 if self.leaders.get(part.partition_index) == node else 6,
            )
            for part in request.topics[0].partitions
        ]
        return SimpleNamespace(topics=[SimpleNamespace(partitions=parts)])

    async def refresh(self) -> None:
        await asyncio.sleep(0)
        self.topic = TopicState(TOPIC_ID, dict(self.leaders), {})


async def test_bounds_are_told_of_all_that_can_be_reached() -> None:
    """I14: neither a partition without a leader, nor a broker that does not answer, takes what others have told along."""
    brokers = BoundedBrokers({1: 1, 2: 2, 3: 3})
    assert await brokers.offsets([1, 2, 3], END) == {1: 1, 2: 2, 3: 3}
    assert await brokers.offsets([0, 1, 2, 3], END) == {1: 1, 2: 2, 3: 3}
    brokers.away = {2}
    assert await brokers.offsets([0, 1, 2, 3], END) == {1: 1, 3: 3}
    brokers.frozen = {3}
    assert await brokers.offsets([0, 1, 2, 3], END) == {1: 1}
    for unreachable in ([0], [2], [3], [0, 2, 3]):
        with pytest.raises(LogUnavailable, match="bounds cannot be read"):
            await brokers.offsets(unreachable, END)


async def test_bounds_are_asked_of_a_new_leader_at_once() -> None:
    """Also where another partition has none: nobody is left out who can be reached after a look."""
    brokers = BoundedBrokers({1: 1, 2: 2})
    brokers.leaders = {1: 1, 2: 3}
    assert await brokers.offsets([0, 1, 2], END) == {1: 1, 2: 3 - 1}
    assert await brokers.offsets([], END) == {}


async def _refuse(host: str, port: int, *_: object) -> Connection:
    raise LoginRefused(f"{port} has a certificate that has run out")


async def test_a_broker_that_refuses_later_is_one_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the log is opened its refusal is told; afterwards it is asked again, and others meanwhile."""
    monkeypatch.setattr(kafka_brokers, "connect", _refuse)
    brokers = ToldBrokers({1: (1, 5)})
    with pytest.raises(LoginRefused, match="run out"):
        await brokers.connection(1)
    brokers.opened = True
    with pytest.raises(ConnectionLost, match="run out"):
        await brokers.connection(1)


async def test_a_broker_that_does_not_know_the_topic_later_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that has just started may not: before the log is opened that is told, afterwards it is what may pass."""
    brokers = ToldBrokers({1: (1, 5)})
    ask = brokers.ask

    async def unknown(*args: Any) -> Any:
        answer = await ask(*args)
        answer.topics[0].error_code = 3
        return answer

    monkeypatch.setattr(brokers, "ask", unknown)
    with pytest.raises(TopicMissing):
        await brokers.refresh()
    brokers.opened = True
    with pytest.raises(LogUnavailable, match="no topic 'log'"):
        await brokers.refresh()


async def test_no_broker_alive_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that starts tells of none at first, not of itself either: that passes, so opening goes on trying."""
    brokers = ToldBrokers({1: (1, 5)})
    ask, alive = brokers.ask, False

    async def starting(*args: Any) -> Any:
        answer = await ask(*args)
        return answer if alive else SimpleNamespace(brokers=[], topics=answer.topics)

    monkeypatch.setattr(brokers, "ask", starting)
    monkeypatch.setattr(brokers, "_ask_first_servers", lambda request, failure: starting(1, request()))
    with pytest.raises(LogUnavailable, match="no broker is alive"):
        await check_topics(brokers)
    alive = True
    with pytest.raises(
        (AttributeError, LogError)
    ):  # it is asked for its settings, which it does not know here
        await check_topics(brokers)
    assert list(brokers.nodes) == [1]
