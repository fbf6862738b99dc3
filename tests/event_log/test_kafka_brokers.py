"""What is known of brokers, without any."""

from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from event_log.kafka_brokers import Brokers
from event_log.kafka_connection import ConnectionLost
from event_log.kafka_settings import KafkaLogSettings

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
