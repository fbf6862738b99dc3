"""What a cell on Kafka and Cassandra is not started with: each fault by the name of its setting, in a line, at once."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from check.processes import CELL_COMMAND
from engines.cassandra import SUPERUSER, CassandraNode
from engines.kafka import KafkaCluster
from engines.run_folder import RunFolder
from engines.server import HOST, free_ports
from tests.support.engines import LONG, needed
from tests.system.cell_process import SECRET

PATIENCE_S = 90.0
"""On a machine that does something else, too. Alone it takes a second, and 15 where nobody answers."""
WORKERS = "messaging-server --workers 2"
ALL = ("run", WORKERS, "delivery-service", "history-service", "migrate")

pytestmark = [pytest.mark.timeout(400), LONG]


class Engines(NamedTuple):
    """Where passwords are asked for."""

    kafka: KafkaCluster
    cassandra: CassandraNode

    def settings(self, **changed: object) -> dict[str, object]:
        """Those of a cell that would start, but for what is changed."""
        fitting: dict[str, object] = {
            "log": f"kafka://{self.kafka.addresses('SASL_PLAINTEXT')[0]}/fitting",
            "kafka_username": "cell",
            "kafka_password": "secret",
            "history": f"cassandra://{self.cassandra.address}/fitting",
            "cassandra_username": SUPERUSER[0],
            "cassandra_password": SUPERUSER[1],
            "partitions": 2,
            "few_copies": "true",
            "copies": 1,
            "jwt_secret": SECRET,
            "insecure": "true",
            "listen": f"{HOST}:0",
        }
        return {name: value for name, value in (fitting | changed).items() if value is not None}


class Started(NamedTuple):
    """A command under way."""

    command: str
    process: subprocess.Popen[str]

    def refusal(self) -> str:
        """What it says when it has ended, which must be for people."""
        output, _ = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode not in (0, None), f"{self.command}: {output}"
        assert self.process.returncode > 0, f"{self.command}: {output}"
        assert "Traceback" not in output, f"{self.command}: {output}"
        return output


@pytest.fixture(scope="module")
def engines() -> Iterator[Engines]:
    run = RunFolder.create()
    try:
        kafka = needed(
            lambda: KafkaCluster(run, protocols=["SASL_PLAINTEXT"], scram_users={"cell": "secret"})
        )
        cassandra = needed(lambda: CassandraNode(run, passwords=True, quick_tables=True))
        kafka.start()
        cassandra.start()
        made = Engines(kafka, cassandra)
        (migrating,) = start(run.path, made.settings(), ("migrate",))
        output, _ = migrating.process.communicate(timeout=PATIENCE_S)
        assert migrating.process.returncode == 0, output
        yield made
    finally:
        run.close()


def start(folder: Path, settings: Mapping[str, object], commands: tuple[str, ...]) -> list[Started]:
    """Start these all at once, with the same settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CELL_")}
    started = []
    for command in commands:
        internal = f"{HOST}:{free_ports(1)[0]}"
        given = {"data_folder": folder / "data", "internal_listen": internal, **settings}
        if command == "run":
            del given["internal_listen"]
        process = subprocess.Popen(
            [CELL_COMMAND, *command.split()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=kept | {f"CELL_{name.upper()}": str(value) for name, value in given.items()},
        )
        started.append(Started(command, process))
    return started


def refusals(folder: Path, settings: Mapping[str, object], commands: tuple[str, ...]) -> Iterator[str]:
    """What each of these says that does not start."""
    begun = time.monotonic()
    started = start(folder, settings, commands)
    try:
        for one in started:
            yield one.refusal()
            print(f"{one.command} refused after {time.monotonic() - begun:.1f} s")
    finally:
        for one in started:
            one.process.kill()
            one.process.communicate()


def check(folder: Path, settings: Mapping[str, object], fault: str, commands: tuple[str, ...]) -> None:
    """Each is refused by this line, once for each worker, and says nothing else."""
    for output in refusals(folder, settings, commands):
        lines = [line for line in output.splitlines() if not is_of_others(line)]
        assert lines, output
        assert all(line.startswith("cell: ") and fault in line for line in lines), output


def is_of_others(line: str) -> bool:
    """Whether a line is a warning about the log-in of these tests, or tells which worker it was."""
    return '"worker_does_not_start"' in line or "Exchanging credentials in the clear" in line


def test_engines_that_nobody_answers_at(engines: Engines, tmp_path: Path) -> None:
    """A port where nobody listens, for each engine: the setting and the address are told."""
    nobody = f"{HOST}:{free_ports(1)[0]}"
    settings = engines.settings(log=f"kafka://{nobody}/fitting")
    check(tmp_path, settings, f"log: the log at servers {nobody} cannot be opened", ("run", WORKERS))
    settings = engines.settings(history=f"cassandra://{nobody}/fitting")
    check(tmp_path, settings, f"history: no node of Cassandra answers ({nobody}", ("migrate",))


def test_names_that_nobody_knows(engines: Engines, tmp_path: Path) -> None:
    """A host that cannot be found is told as such."""
    nowhere = "engines.invalid"
    settings = engines.settings(log=f"kafka://{nowhere}/fitting")
    check(
        tmp_path, settings, f"log: the log at servers {nowhere}:9092 cannot be opened", ("delivery-service",)
    )
    settings = engines.settings(history=f"cassandra://{nowhere}/fitting")
    check(tmp_path, settings, "history: no node of Cassandra is found by these names", ("history-service",))


def test_a_wrong_password(engines: Engines, tmp_path: Path) -> None:
    """Whose log-in is refused is told, and by which engine."""
    settings = engines.settings(kafka_password="wrong")
    check(tmp_path, settings, "does not take username 'cell'", ("delivery-service",))
    settings = engines.settings(cassandra_password="wrong")
    check(tmp_path, settings, "history: Cassandra refuses the username or password", ("messaging-server",))


def test_no_password_where_one_is_asked_for(engines: Engines, tmp_path: Path) -> None:
    """Nothing is set, and the engine wants something: it is told what that may be."""
    settings = engines.settings(kafka_username=None, kafka_password=None)
    check(tmp_path, settings, "does it want TLS, or a username and password?", ("delivery-service",))
    settings = engines.settings(cassandra_username=None, cassandra_password=None)
    check(tmp_path, settings, "history: Cassandra refuses the username or password", ("history-service",))
    settings = engines.settings(cassandra_password=None)
    check(tmp_path, settings, "cassandra_username, cassandra_password: are set both", ("history-service",))


def test_what_was_never_made(engines: Engines, tmp_path: Path) -> None:
    """A topic or a keyspace that is not there: which, and what makes it."""
    kafka = engines.kafka.addresses("SASL_PLAINTEXT")[0]
    check(
        tmp_path,
        engines.settings(log=f"kafka://{kafka}/never"),
        "log: there is no topic 'never'",
        ("delivery-service",),
    )
    settings = engines.settings(history=f"cassandra://{engines.cassandra.address}/never")
    fault = "history: keyspace never: there is none of this name; `cell migrate` makes it"
    check(tmp_path, settings, fault, ("history-service",))


def test_another_number_of_partitions(engines: Engines, tmp_path: Path) -> None:
    """It is for good: both numbers are told."""
    fault = "log: topic 'fitting' has 2 partitions, but partitions is set to 4"
    check(tmp_path, engines.settings(partitions=4), fault, ALL)


def test_fewer_copies_than_are_safe(engines: Engines, tmp_path: Path) -> None:
    """Topic and keyspace are looked at, whoever made them; each fault has a line."""
    settings = engines.settings(few_copies="false")
    check(tmp_path, settings, "few_copies", ("run", "migrate"))
    (output,) = refusals(tmp_path, settings, ("delivery-service",))
    assert (
        "log: topic 'fitting': replication factor is 1, must be at least 3, unless few_copies is set."
        in output
    )
    assert "cell: log: topic 'fitting': min.insync.replicas is 1" in output


def test_files_and_datacenters_that_are_not_there(engines: Engines, tmp_path: Path) -> None:
    """A file of certificates and a datacenter are told by their settings."""
    nowhere = tmp_path / "nowhere.pem"
    settings = engines.settings(cassandra_ca_file=nowhere, cassandra_tls="true")
    check(tmp_path, settings, f"cassandra_ca_file: {nowhere} cannot be read: No such file", ("migrate",))
    settings = engines.settings(cassandra_datacenter="dc9")
    fault = "history: datacenter is set to 'dc9', but nodes are in datacenter1"
    check(tmp_path, settings, fault, ("history-service",))
