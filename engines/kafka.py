"""Kafka in KRaft mode: one broker, or three with every topic on all of them."""

import base64
import socket
import struct
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from engines.artifacts import find_java, jars
from engines.run_folder import RunFolder
from engines.server import HOST, QUICK_START, Server, ServerFailed, free_ports

PLAINTEXT = "PLAINTEXT"
FRONT = "FRONT"
"""A listener in plain text that brokers tell their clients to find elsewhere, behind a proxy."""
_HEAP = {1: "-Xmx384m", 3: "-Xmx320m"}
_API_VERSIONS = struct.pack(">hhih5s", 18, 0, 7, 5, b"ready")


class KafkaCluster:
    """Brokers that are controllers too, so that three of them bear the loss of one. Stopped with the run's folder."""

    def __init__(
        self,
        run: RunFolder,
        brokers: int = 1,
        *,
        protocols: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
        scram_users: Mapping[str, str] | None = None,
        quick_start: bool = True,
        front_ports: Sequence[int] = (),
    ) -> None:
        """Write what the brokers need; nothing runs before `start`.

        `protocols` are those clients may use beside PLAINTEXT (`SSL`, `SASL_SSL`, `SASL_PLAINTEXT`), each on a port of
        its own; `settings` go into server.properties; `scram_users` have their passwords under SCRAM-SHA-512. Without
        `quick_start` a broker is as fast as it can be once it is warm, for measurements. With `front_ports`, one for each
        broker, there is a listener FRONT, whose clients are told to find the broker at that port.
        """
        if brokers not in (1, 3):
            raise ValueError(f"brokers is 1 or 3, not {brokers}")
        if front_ports and len(front_ports) != brokers:
            raise ValueError(f"front_ports is one port for each of {brokers} brokers, not {len(front_ports)}")
        self._run = run
        self._front_ports = front_ports
        self._protocols = (PLAINTEXT, *([FRONT] if front_ports else []), *protocols)
        self._settings = settings or {}
        self._scram_users = scram_users or {}
        self._compiler = [QUICK_START] if quick_start else []
        self._java = find_java()
        self._classpath = f"{jars('kafka')}/*"
        self._cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        ports = free_ports(brokers * (len(self._protocols) + 1))
        self._controller_ports = ports[:brokers]
        width = len(self._protocols)
        self._ports = [
            dict(zip(self._protocols, ports[brokers + at * width :], strict=False)) for at in range(brokers)
        ]
        self.brokers = [self._broker(at) for at in range(brokers)]
        """In the order of `addresses`. Node ids are 1, 2, 3."""

    def addresses(self, protocol: str = PLAINTEXT) -> list[str]:
        """`host:port` of each broker, for clients that speak this protocol."""
        return [f"{HOST}:{ports[protocol]}" for ports in self._ports]

    def start(self) -> None:
        """Start the brokers and wait until each takes requests. Raises ServerFailed."""
        formatting = [self._format(at) for at in range(len(self.brokers))]
        for process in formatting:
            output, _ = process.communicate()
            if process.returncode:
                raise ServerFailed(f"Kafka's folder could not be made:\n{output}")
        for broker in self.brokers:
            broker.launch()
        for broker in self.brokers:
            broker.wait_ready()

    def _broker(self, at: int) -> Server:
        folder = self._run.new_folder(f"kafka-{at + 1}")
        properties = folder / "server.properties"
        properties.write_text(
            "".join(f"{key}={value}\n" for key, value in self._properties(at, folder).items())
        )
        (folder / "log4j2.properties").write_text(_LOGGING)
        port = self._ports[at][PLAINTEXT]
        command = [*self._jvm(folder), *self._compiler, _HEAP[len(self._ports)], "kafka.Kafka", properties]
        return Server(self._run, folder.name, command, lambda: _answers(port))

    def _jvm(self, folder: Path) -> list[str | Path]:
        return [
            self._java,
            "-XX:+UseSerialGC",
            "-XX:-UsePerfData",
            f"-Djava.io.tmpdir={folder}",
            f"-Dlog4j2.configurationFile={folder}/log4j2.properties",
            "-cp",
            self._classpath,
        ]

    def _format(self, at: int) -> subprocess.Popen[str]:
        folder = self._run.path / self.brokers[at].name
        command: list[str | Path] = [
            *self._jvm(folder),
            QUICK_START,
            "kafka.tools.StorageTool",
            "format",
        ]
        command += [f"--cluster-id={self._cluster_id}", "--config", folder / "server.properties"]
        for user, password in self._scram_users.items():
            command += ["--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def _properties(self, at: int, folder: Path) -> Mapping[str, str]:
        copies = len(self._ports)
        listeners = [f"{protocol}://{HOST}:{port}" for protocol, port in self._ports[at].items()]
        voters = [f"{node}@{HOST}:{port}" for node, port in enumerate(self._controller_ports, 1)]
        told = [
            f"{name}://{HOST}:{self._front_ports[at] if name == FRONT else port}"
            for name, port in self._ports[at].items()
        ]
        security = {name: PLAINTEXT if name == FRONT else name for name in self._protocols}
        protocols = ["CONTROLLER:PLAINTEXT", *(f"{name}:{protocol}" for name, protocol in security.items())]
        return {
            "process.roles": "broker,controller",
            "node.id": str(at + 1),
            "controller.quorum.voters": ",".join(voters),
            "listeners": ",".join([*listeners, f"CONTROLLER://{HOST}:{self._controller_ports[at]}"]),
            "advertised.listeners": ",".join(told),
            "listener.security.protocol.map": ",".join(protocols),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": PLAINTEXT,
            "log.dirs": str(folder / "data"),
            "default.replication.factor": str(copies),
            "min.insync.replicas": str(min(copies, 2)),
            "offsets.topic.replication.factor": str(copies),
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": str(copies),
            "transaction.state.log.min.isr": str(min(copies, 2)),
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": str(copies),
            **_SMALL_AND_QUICK,
            **self._logins(),
            **self._settings,
        }

    def _logins(self) -> Mapping[str, str]:
        names = [protocol.lower() for protocol in self._protocols if protocol.startswith("SASL")]
        module = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        jaas = {f"listener.name.{name}.scram-sha-512.sasl.jaas.config": module for name in names}
        return {"sasl.enabled.mechanisms": "SCRAM-SHA-512", **jaas} if names else {}


_SMALL_AND_QUICK = {
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "num.recovery.threads.per.data.dir": "1",
    "background.threads": "2",
    "log.cleaner.dedupe.buffer.size": "4194304",
    # A killed broker of three is replaced within this time; one that is only slow should not be.
    "broker.session.timeout.ms": "6000",
    "broker.heartbeat.interval.ms": "500",
}
"""For a few topics of a test. What the cell's topics need, it asks for itself."""

_LOGGING = """\
status = error
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %c %m%n
"""


def _answers(port: int) -> bool:
    """Whether the broker answers ApiVersions: it takes requests once it is recovered, registered and unfenced."""
    try:
        with socket.create_connection((HOST, port), timeout=1.0) as connection:
            connection.sendall(struct.pack(">i", len(_API_VERSIONS)) + _API_VERSIONS)
            return len(connection.recv(8)) > 0
    except OSError:
        return False
