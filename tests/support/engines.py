"""Real Kafka and Cassandra for tests: started once for a test run, shared by its tests, stopped with it.

Tests keep apart by names: each takes topics, groups and keyspaces of its own (`unique_name`). Tests that kill or stop a
server ask for one of their own. Where Java or Maven is missing such tests are skipped, and with REQUIRE_ENGINES=1 they fail.

tests/conftest.py gives the fixtures to all tests.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from engines.artifacts import EnginesMissing
from engines.cassandra import CassandraNode
from engines.kafka import KafkaCluster
from engines.run_folder import RunFolder

Started = TypeVar("Started")

STARTING = pytest.mark.timeout(300)
"""For tests that may be the first to ask for a server, whose jars may have to be fetched."""
LONG = pytest.mark.skipif(os.environ.get("LONG_TESTS") != "1", reason="takes minutes: runs with LONG_TESTS=1")
"""For tests of minutes, which are left to whoever changes what they show."""


def unique_name(prefix: str) -> str:
    """A name that no other test uses: for topics, groups and keyspaces."""
    return f"{prefix}_{uuid.uuid4().hex[:12]}"


def needed(start: Callable[[], Started]) -> Started:
    """What `start` returns. Where the machine lacks what it takes, the test is skipped, or fails if engines are required."""
    try:
        return start()
    except EnginesMissing as missing:
        if os.environ.get("REQUIRE_ENGINES") == "1":
            pytest.fail(f"REQUIRE_ENGINES=1, but: {missing}")
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def run_folder() -> Iterator[RunFolder]:
    """Where the servers that are shared live."""
    run = RunFolder.create()
    yield run
    run.close()


@pytest.fixture(scope="session")
def kafka(run_folder: RunFolder) -> KafkaCluster:
    """One broker that all tests share. It must not be stopped."""
    return needed(lambda: _started(KafkaCluster(run_folder)))


@pytest.fixture(scope="session")
def cassandra(run_folder: RunFolder) -> CassandraNode:
    """A node that all tests share. It must not be stopped."""
    return needed(lambda: _started(CassandraNode(run_folder, quick_tables=True)))


@pytest.fixture
def own_run_folder() -> Iterator[RunFolder]:
    """For the servers of one test, which may do to them what it likes."""
    run = RunFolder.create()
    yield run
    run.close()


Server = TypeVar("Server", KafkaCluster, CassandraNode)


def _started(server: Server) -> Server:
    server.start()
    return server
