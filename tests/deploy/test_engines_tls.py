"""Kafka and Cassandra with the TLS of the compose files, from certificates made the same way."""

import socket
import ssl
from pathlib import Path

import pytest

from engines.cassandra import CassandraNode
from engines.kafka import KafkaCluster
from engines.run_folder import RunFolder
from event_log.kafka import KafkaLog, KafkaLogSettings, KafkaSecurity, make_topics
from messaging_cell.certificates import make_for_development
from tests.deploy.compose_file import read
from tests.support.engines import STARTING, needed

COMPOSE = read(Path(__file__).resolve().parents[2] / "deploy" / "compose.yaml")
pytestmark = STARTING


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """The volume `engine-certs`; tests/deploy/test_compose.py runs the script that fills it."""
    make_for_development(tmp_path, ["kafka-1"])
    keystore = tmp_path / "keystore.pem"
    keystore.write_bytes((tmp_path / "internal.key").read_bytes() + (tmp_path / "internal.pem").read_bytes())
    return tmp_path


async def test_kafka_takes_the_certificates(own_run_folder: RunFolder, certificates: Path) -> None:
    """A broker with the settings of TLS in compose.yaml serves the cell, which checks its name, and its controller."""
    environment = COMPOSE["services"]["kafka-1"]["environment"]
    settings = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value.replace("/certs", str(certificates))
        for name, value in environment.items()
        if "_SSL_" in name
    }
    assert len(settings) == 5
    settings["listener.security.protocol.map"] = "CONTROLLER:SSL,PLAINTEXT:PLAINTEXT,SSL:SSL"
    settings["inter.broker.listener.name"] = "SSL"
    kafka = needed(lambda: KafkaCluster(own_run_folder, protocols=["SSL"], settings=settings))
    kafka.start()
    log_settings = KafkaLogSettings(
        servers=tuple(kafka.addresses("SSL")),
        topic="log",
        development=True,
        security=KafkaSecurity(tls=True, ca_file=certificates / "ca.pem"),
    )
    await make_topics(log_settings, 1, 2 * log_settings.least_retention_s)
    log = await KafkaLog.open(log_settings)
    assert await log.end_offsets([0]) == {0: 0}
    await log.close()


def test_cassandra_takes_the_certificates(own_run_folder: RunFolder, certificates: Path) -> None:
    """A node with the settings that cassandra-tls.sh writes shows a certificate of the authority."""
    script = (Path(__file__).resolve().parents[2] / "deploy" / "cassandra-tls.sh").read_text()
    block = script.partition("client_encryption_options:\n  enabled")[2].partition("END")[0]
    options = dict(line.strip().split(": ") for line in f"enabled{block}".splitlines() if ": " in line)
    assert options.pop("optional") == "false"
    factory = options.pop("class_name")
    keystore = options.pop("keystore").replace("/certs", str(certificates))
    assert options == {"enabled": "true"}
    given = (  # optional, so that the node can be waited for as always
        f"{{enabled: true, optional: true, keystore: {keystore}, ssl_context_factory: {{class_name: {factory}}}}}"
    )
    node = needed(
        lambda: CassandraNode(
            own_run_folder, quick_tables=True, settings={"client_encryption_options": given}
        )
    )
    node.start()
    context = ssl.create_default_context(cafile=certificates / "ca.pem")
    with (
        socket.create_connection(("127.0.0.1", node.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        assert secured.version() in ("TLSv1.2", "TLSv1.3")
