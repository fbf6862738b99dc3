"""The real servers come up, and come back on the same data and ports."""

import socket

import pytest

from engines.artifacts import EnginesMissing
from engines.cassandra import CassandraNode
from engines.kafka import KafkaCluster
from engines.run_folder import RunFolder
from engines.server import HOST
from tests.support.engines import LONG, STARTING, needed

pytestmark = STARTING


def test_shared_kafka_serves(kafka: KafkaCluster) -> None:
    """Its address takes connections."""
    (address,) = kafka.addresses()
    assert address.startswith(f"{HOST}:")
    socket.create_connection((HOST, int(address.rpartition(":")[2]))).close()


@LONG
def test_brokers_bear_kill_and_pause(own_run_folder: RunFolder) -> None:
    """Three brokers: one is killed -9 and comes back where it was; a paused one does not answer until it goes on."""
    cluster = needed(
        lambda: KafkaCluster(own_run_folder, 3, protocols=["SASL_PLAINTEXT"], scram_users={"cell": "secret"})
    )
    cluster.start()
    broker = cluster.brokers[0]
    killed = broker.pid
    broker.kill()
    broker.start()
    assert broker.pid not in (None, killed)
    broker.pause()
    assert not broker.answers()
    broker.resume()
    broker.wait_ready()
    assert len({*cluster.addresses(), *cluster.addresses("SASL_PLAINTEXT")}) == 6


@LONG
def test_cassandra_bears_a_kill(own_run_folder: RunFolder) -> None:
    """A node that asks for passwords comes up with its superuser, and again after kill -9 at the same address."""
    node = needed(lambda: CassandraNode(own_run_folder, passwords=True))
    node.start()
    address = node.address
    node.server.kill()
    assert not node.server.answers()
    node.start()
    assert node.address == address


@pytest.mark.parametrize("required", ["", "1"])
def test_missing_engines_skip_or_fail(monkeypatch: pytest.MonkeyPatch, required: str) -> None:
    """Where the machine lacks something a test is skipped with the reason; with REQUIRE_ENGINES=1 it fails with it."""
    monkeypatch.setenv("REQUIRE_ENGINES", required)

    def start() -> None:
        raise EnginesMissing("no Java")

    with pytest.raises(pytest.fail.Exception if required else pytest.skip.Exception, match="no Java"):
        needed(start)
