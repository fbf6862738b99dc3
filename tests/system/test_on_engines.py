"""On Kafka and Cassandra a cell behaves as on its own engine: some of the same tests.

More of them: `TEST_ENGINE=kafka .venv/bin/python -m pytest tests/system/test_conversations.py tests/system/test_return.py
tests/system/test_history.py`.
"""

from collections.abc import Iterator

import pytest

from engines.cassandra import CassandraNode
from engines.kafka import KafkaCluster
from tests.system.cell_process import CellProcess, Engines
from tests.system.test_conversations import (
    test_all_clients_of_a_user_see_the_same_sequence,
    test_history_equals_what_was_told,
    test_marks_are_a_maximum,
)
from tests.system.test_return import (
    test_it_gets_what_it_missed_before_resumed,
    test_list_events_pages_equal_the_stream,
)

__all__ = [
    "test_all_clients_of_a_user_see_the_same_sequence",
    "test_history_equals_what_was_told",
    "test_it_gets_what_it_missed_before_resumed",
    "test_list_events_pages_equal_the_stream",
    "test_marks_are_a_maximum",
]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def cell(
    tmp_path_factory: pytest.TempPathFactory, kafka: KafkaCluster, cassandra: CassandraNode
) -> Iterator[CellProcess]:
    """Its window holds next to nothing, so that who returns is told from history."""
    engines = Engines(kafka.addresses()[0], cassandra.address)
    settings = {"window_bytes": 1 << 16}
    with CellProcess(tmp_path_factory.mktemp("cell"), settings, engines=engines) as running:
        yield running
