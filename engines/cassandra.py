"""One Cassandra 5 node, started as quickly as it can be."""

import socket
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from engines.artifacts import find_java, jars
from engines.run_folder import RunFolder
from engines.server import HOST, QUICK_START, Server, ServerFailed, free_ports

DATACENTER = "datacenter1"
"""What the node's snitch calls it; clients that balance by datacenter must name it."""
SUPERUSER = ("cassandra", "cassandra")
"""Name and password, where passwords are asked for."""
_START_TIMEOUT_S = 60.0


class CassandraNode:
    """A cluster of one node, with its data in the run's folder. Stopped with it."""

    def __init__(
        self,
        run: RunFolder,
        *,
        passwords: bool = False,
        quick_tables: bool = False,
        settings: Mapping[str, str] | None = None,
        quick_start: bool = True,
    ) -> None:
        """Write what the node needs; nothing runs before `start`.

        With `passwords` clients must log in, at first as SUPERUSER. With `quick_tables` tables are made and emptied ten
        times as fast, but do not outlive a kill. `settings` go into cassandra.yaml; a value is YAML. Without `quick_start`
        the node is as fast as it can be once it is warm, for measurements.
        """
        self.port, storage_port = free_ports(2)
        folder = run.new_folder("cassandra")
        yaml = {
            **_SMALL_AND_QUICK,
            **_folders(folder),
            "native_transport_port": str(self.port),
            "storage_port": str(storage_port),
            "seed_provider": "[{class_name: org.apache.cassandra.locator.SimpleSeedProvider,"
            f" parameters: [{{seeds: '{HOST}:{storage_port}'}}]}}]",
            **(_PASSWORDS if passwords else {}),
            **(settings or {}),
        }
        (folder / "cassandra.yaml").write_text("".join(f"{key}: {value}\n" for key, value in yaml.items()))
        (folder / "logback.xml").write_text(_LOGGING)
        (folder / "triggers").mkdir()
        self._passwords = passwords
        self.server = Server(run, folder.name, _command(folder, quick_tables, quick_start), self._answers)

    @property
    def address(self) -> str:
        """`host:port` for clients."""
        return f"{HOST}:{self.port}"

    def start(self) -> None:
        """Start the node, or start it again, and wait until it takes requests. Raises ServerFailed."""
        self.server.start()
        if self._passwords:
            self._wait_for_superuser()

    def _answers(self) -> bool:
        return _ask(self.port, [(_OPTIONS, b"")]) == _SUPPORTED

    def _wait_for_superuser(self) -> None:
        """The node makes its first user a moment after it takes requests."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        user, password = (text.encode() for text in SUPERUSER)
        token = b"\0" + user + b"\0" + password
        version = b"\0\1\0\x0bCQL_VERSION\0\x053.0.0"
        login = [(_STARTUP, version), (_AUTH_RESPONSE, struct.pack(">i", len(token)) + token)]
        while _ask(self.port, login) != _AUTH_SUCCESS:
            if time.monotonic() > deadline:
                raise ServerFailed("cassandra has not made its superuser")
            time.sleep(0.05)


_OPTIONS, _STARTUP, _AUTH_RESPONSE, _SUPPORTED, _AUTH_SUCCESS = 5, 1, 15, 6, 16
"""Opcodes of the CQL binary protocol, version 4."""


def _ask(port: int, requests: Sequence[tuple[int, bytes]]) -> int:
    """The opcode of the answer to the last of these (opcode, body); -1 where there is none."""
    frames = [struct.pack(">BBhBi", 4, 0, 0, opcode, len(body)) + body for opcode, body in requests]
    opcode = -1
    try:
        with (
            socket.create_connection((HOST, port), timeout=1.0) as connection,
            connection.makefile("rb") as answers,
        ):
            for frame in frames:
                connection.sendall(frame)
                *_, opcode, size = struct.unpack(">BBhBi", answers.read(9))
                answers.read(size)
    except (OSError, struct.error):
        return -1
    return opcode


def _command(folder: Path, quick_tables: bool, quick_start: bool) -> list[str | Path]:
    libraries = jars("cassandra")
    (jamm,) = libraries.glob("jamm-*.jar")
    return [
        find_java(),
        *([QUICK_START] if quick_start else []),
        "-Xms512m",
        "-Xmx512m",
        "-XX:MaxDirectMemorySize=128m",
        "-XX:+UseSerialGC",
        "-XX:-UsePerfData",
        "-Xss256k",
        "-XX:+ExitOnOutOfMemoryError",
        f"-javaagent:{jamm}",
        *(f"--add-exports={package}=ALL-UNNAMED" for package in _EXPORTS),
        *(f"--add-opens={package}=ALL-UNNAMED" for package in _OPENS),
        "-Djdk.attach.allowAttachSelf=true",
        "-Dio.netty.tryReflectionSetAccessible=true",
        "-Djava.net.preferIPv4Stack=true",
        f"-Djava.io.tmpdir={folder}",
        f"-Djna.tmpdir={folder}",
        f"-Dcassandra.storagedir={folder}",
        f"-Dcassandra.config={(folder / 'cassandra.yaml').as_uri()}",
        f"-Dlogback.configurationFile={folder / 'logback.xml'}",
        # Nobody else to wait for.
        "-Dcassandra.skip_wait_for_gossip_to_settle=0",
        "-Dcassandra.ring_delay_ms=0",
        "-Dcassandra.initial_token=0",
        "-Dcassandra.superuser_setup_delay_ms=0",
        f"-Dcassandra.unsafesystem={str(quick_tables).lower()}",
        "-Dcassandra-foreground=yes",
        f"-Dcassandra.triggers_dir={folder / 'triggers'}",
        "-cp",
        f"{libraries}/*",
        "org.apache.cassandra.service.CassandraDaemon",
    ]


def _folders(folder: Path) -> Mapping[str, str]:
    return {
        "data_file_directories": f"[{folder}/data]",
        "commitlog_directory": f"{folder}/commitlog",
        "saved_caches_directory": f"{folder}/saved_caches",
        "hints_directory": f"{folder}/hints",
        "cdc_raw_directory": f"{folder}/cdc_raw",
    }


_SMALL_AND_QUICK = {
    "cluster_name": "engines",
    "num_tokens": "1",
    "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
    "endpoint_snitch": "SimpleSnitch",
    "listen_address": HOST,
    "rpc_address": HOST,
    "start_native_transport": "true",
    "auto_bootstrap": "false",
    "commitlog_sync": "periodic",
    "commitlog_sync_period": "200ms",
    "commitlog_disk_access_mode": "mmap",
    "commitlog_segment_size": "16MiB",
    "commitlog_total_space": "128MiB",
    "memtable_heap_space": "96MiB",
    "memtable_offheap_space": "64MiB",
    "concurrent_compactors": "1",
    "compaction_throughput": "0MiB/s",
    "concurrent_reads": "8",
    "concurrent_writes": "8",
    "native_transport_max_threads": "16",
    "file_cache_size": "32MiB",
    "networking_cache_size": "16MiB",
    "key_cache_size": "8MiB",
    "counter_cache_size": "0MiB",
    "auto_snapshot": "false",
    "hinted_handoff_enabled": "false",
}
"""For some keyspaces of a test. What was written survives kill -9 at once: the commit log is mapped memory."""

_PASSWORDS = {
    "authenticator": "{class_name: org.apache.cassandra.auth.PasswordAuthenticator}",
    "authorizer": "CassandraAuthorizer",
    "role_manager": "CassandraRoleManager",
}

_EXPORTS = (
    "java.base/jdk.internal.misc",
    "java.base/java.lang.ref",
    "java.base/sun.nio.ch",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.rmi/sun.rmi.transport.tcp",
    "java.sql/java.sql",
    "jdk.unsupported/sun.misc",
)
_OPENS = (
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.reflect",
    "java.base/java.math",
    "java.base/java.net",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "java.rmi/sun.rmi.transport.tcp",
    "jdk.management/com.sun.management.internal",
    "jdk.naming.dns/com.sun.jndi.dns",
)
"""Of what Cassandra's own jvm17-server.options opens."""

_LOGGING = """\
<configuration>
  <appender name="console" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%date %level [%thread] %logger{0} %msg%n</pattern></encoder>
  </appender>
  <logger name="org.apache.cassandra.service.StartupChecks" level="ERROR"/>
  <root level="WARN"><appender-ref ref="console"/></root>
</configuration>
"""
