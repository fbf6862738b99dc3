"""The compose files: no Docker is asked, so what they say is held to what the project knows."""

import os
import re
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.core import TyperGroup

from messaging_cell import process_checks
from messaging_cell.certificates import KeyPair, read_authorities
from messaging_cell.command import app
from messaging_cell.setting_kinds import EngineAddress
from messaging_cell.setting_sources import load
from messaging_cell.settings import Settings
from messaging_server.settings import ServerSettings
from tests.deploy.compose_file import NotRead, read

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
ONE = read(DEPLOY / "compose.yaml")
THREE = read(DEPLOY / "compose.three.yaml")
CERTIFICATE_VOLUMES = ("certs", "engine-certs")
OURS = ("certs", "migrate", "messaging-server", "delivery-service", "history-service", "cell")
LONG_RUNNING = ("messaging-server", "delivery-service", "history-service")
Service = Mapping[str, Any]


def merged(below: Any, above: Any) -> Any:
    """As `docker compose` puts a second file over the first."""
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {key: merged(below[key], above[key]) if key in below else above[key] for key in above}
    if isinstance(below, list) and isinstance(above, list) and ":" in str(below):
        return [each for each in below if _target(each) not in map(_target, above)] + above
    return above


def _target(mount: str) -> str:
    return mount.split(":")[1]


def _three() -> dict[str, Service]:
    services = dict(ONE["services"])
    for name, service in THREE["services"].items():
        own = {key: value for key, value in service.items() if key != "extends"}
        below = services.get(name, {})
        if "extends" in service:
            assert service["extends"]["file"] == "compose.yaml"
            below = ONE["services"][service["extends"]["service"]]
        services[name] = merged(below, own)
    return services


SERVICES = {"one": dict(ONE["services"]), "three": _three()}
VOLUMES = {"one": set(ONE["volumes"]), "three": {*ONE["volumes"], *THREE["volumes"]}}
both = pytest.mark.parametrize("size", SERVICES)


def settings_of(service: Service) -> Settings:
    secret = {"CELL_JWT_SECRET": "x" * 32} if "env_file" in service else {}
    return load(Settings, {}, {**service["environment"], **secret})


@both
@pytest.mark.parametrize("name", [name for name in OURS if name != "certs"])
def test_settings_are_there_and_taken(size: str, name: str) -> None:
    """Every CELL_* variable is a setting, its value is allowed, and they go together for the service they are given to."""
    service = SERVICES[size][name]
    assert all(isinstance(value, str) for value in service["environment"].values())
    settings = settings_of(service)
    if name in LONG_RUNNING:
        process_checks.check(settings, has_clients=name == "messaging-server", is_whole=False)


@both
@pytest.mark.parametrize("name", [name for name in OURS if name not in ("certs", "cell")])
def test_commands_and_their_flags_are_those_of_cell(size: str, name: str) -> None:
    """A service runs a command that there is."""
    command, *arguments = SERVICES[size][name]["command"]
    found = typer.main.get_command(app)
    assert isinstance(found, TyperGroup)
    flags = {flag for option in found.commands[command].params for flag in option.opts}
    assert {word for word in arguments if word.startswith("-")} <= flags


def test_engines_have_the_versions_that_tests_run_on() -> None:
    """Those of engines/pom.xml."""
    pom = ElementTree.parse(ROOT / "engines" / "pom.xml")
    space = {"m": "http://maven.apache.org/POM/4.0.0"}
    versions = {
        dependency.findtext("m:artifactId", "", space): dependency.findtext("m:version", "", space)
        for dependency in pom.iterfind(".//m:dependency", space)
    }
    for name, service in SERVICES["three"].items():
        if name.startswith("kafka"):
            assert service["image"] == f"apache/kafka:{versions['kafka_2.13']}"
        elif name.startswith("cassandra"):
            assert service["image"] == f"cassandra:{versions['cassandra-all']}"
        else:
            assert name in OURS
            assert service["image"] == ONE["x-cell"]["image"]


@both
def test_engines_are_asked_where_they_are(size: str) -> None:
    """Log and history name every broker and node by its service and port, and so do the engines among themselves."""
    services = SERVICES[size]
    brokers = sorted(name for name in services if name.startswith("kafka-"))
    nodes = sorted(name for name in services if name.startswith("cassandra-"))
    assert len(brokers) == len(nodes) == {"one": 1, "three": 3}[size]
    for name in ("migrate", *LONG_RUNNING):
        settings = settings_of(services[name])
        assert _hosts(settings.log) == [(broker, 9092) for broker in brokers]
        assert _hosts(settings.history) == [(node, 9042) for node in nodes]
        assert settings.copies == len(brokers)
        assert settings.few_copies is (len(brokers) < 3)
    voters = ",".join(f"{number}@{broker}:9093" for number, broker in enumerate(brokers, 1))
    for number, broker in enumerate(brokers, 1):
        environment = services[broker]["environment"]
        assert environment["KAFKA_NODE_ID"] == str(number)
        assert environment["KAFKA_ADVERTISED_LISTENERS"] == f"CELL://{broker}:9092"
        assert environment["KAFKA_CONTROLLER_QUORUM_VOTERS"] == voters
        assert environment["KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR"] == str(len(brokers))
        assert f"{broker}:{environment['KAFKA_LOG_DIRS']}" in services[broker]["volumes"]
    for node in nodes:
        assert services[node]["environment"]["CASSANDRA_SEEDS"] in nodes
        assert f"{node}:/var/lib/cassandra" in services[node]["volumes"]


def _hosts(engine: EngineAddress) -> list[tuple[str, int]]:
    return [(server.host, server.port) for server in engine.servers]


@both
def test_delivery_finds_every_worker_of_every_server(size: str) -> None:
    """By a DNS name that is the service's, on the internal ports of its workers; clients by the published port."""
    services = SERVICES[size]
    server = settings_of(services["messaging-server"])
    (found,) = settings_of(services["delivery-service"]).servers
    assert found.by_dns
    assert found.host == "messaging-server"
    first = server.internal_listen.port
    assert list(found.ports) == list(range(first, first + server.workers))
    (published,) = services["messaging-server"]["ports"]
    host_ports, target = published.split(":")
    low, high = map(int, host_ports.split("-"))
    assert int(target) == server.listen.port
    assert high - low >= services["messaging-server"]["deploy"]["replicas"]
    assert services["cell"]["environment"]["CELL_ADDRESS"] == f"{found.host}:{server.listen.port}"


@both
def test_what_is_named_is_there(size: str) -> None:
    """Services that are waited for, volumes, mounted files; and a service that is waited for to be healthy can tell."""
    services = SERVICES[size]
    for service in services.values():
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "test" in services[other]["healthcheck"]
            else:
                assert services[other].get("restart", "no") == "no"
        for mount in service["volumes"]:
            source, target, *_ = mount.split(":")
            assert (DEPLOY / source).is_file() if source.startswith("./") else source in VOLUMES[size]
            assert target.startswith("/")
        build = service.get("build")
        assert build is None or (DEPLOY / build["context"] / build["dockerfile"]).resolve().is_file()


@both
def test_everyone_has_time_to_leave(size: str) -> None:
    """Docker waits longer than a drain may take."""
    service = SERVICES[size]["messaging-server"]
    drain_s = settings_of(service).drain_s + ServerSettings(server_id="").drain_grace_s + 5
    assert int(service["stop_grace_period"].removesuffix("s")) > drain_s
    assert all("stop_grace_period" in SERVICES[size][name] for name in LONG_RUNNING)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What make-certs.sh makes, with the volumes as folders."""
    folder = tmp_path_factory.mktemp("volumes")
    for volume in CERTIFICATE_VOLUMES:
        (folder / volume).mkdir()
    script = (DEPLOY / "make-certs.sh").read_text()
    for mount in ONE["services"]["certs"]["volumes"]:
        volume, target, *_ = mount.split(":")
        if volume in CERTIFICATE_VOLUMES:
            script = re.sub(rf"(?<![\w.-]){target}(?![\w-])", str(folder / volume), script)
    (folder / "make-certs.sh").write_text(script)
    (folder / "chown").write_text("#!/bin/sh\n")  # the image's user is not here
    (folder / "chown").chmod(0o755)
    _make(folder)
    return folder


def _make(folder: Path) -> None:
    cell = Path(sys.executable).parent
    subprocess.run(
        ["sh", str(folder / "make-certs.sh"), *ONE["services"]["certs"]["command"]],
        env={**os.environ, "PATH": f"{folder}:{cell}:{os.environ['PATH']}"},
        check=True,
    )


def test_certificates_are_made_once(certificates: Path) -> None:
    """`up` again leaves them as they are, and no authority's key is kept."""
    before = {path: path.stat().st_mtime_ns for path in certificates.rglob("*") if path.is_file()}
    _make(certificates)
    assert {path: path.stat().st_mtime_ns for path in certificates.rglob("*") if path.is_file()} == before
    assert not list(certificates.rglob("ca.key"))


@both
def test_certificates_are_where_they_are_looked_for(size: str, certificates: Path) -> None:
    """Every file of a setting is in the volume that its service has, and can be used."""
    for name in OURS:
        for path in _files(SERVICES[size][name].get("environment", {})):
            assert (certificates / "certs" / path.relative_to("/certs")).is_file()
    for pair in ("server", "internal"):
        KeyPair(certificates / "certs" / f"{pair}.pem", certificates / "certs" / f"{pair}.key").read()
    assert read_authorities(certificates / "certs" / "engines-ca.pem") == read_authorities(
        certificates / "engine-certs" / "ca.pem"
    )
    names = set(ONE["services"]["certs"]["command"])
    engines = {name for name in SERVICES[size] if name.startswith(("kafka-", "cassandra-"))}
    assert engines | {"messaging-server"} <= names
    for name in engines:
        assert "engine-certs:/certs:ro" in SERVICES[size][name]["volumes"]


def _files(environment: Mapping[str, str]) -> Iterator[Path]:
    return (Path(value) for name, value in environment.items() if name.endswith("_FILE"))


def test_cassandra_gets_the_settings_of_tls(tmp_path: Path) -> None:
    """The block of the image's file is replaced whole, also at a second start; the rest stays."""
    yaml = tmp_path / "cassandra.yaml"
    yaml.write_text("before: 1\nclient_encryption_options:\n  # off\n  enabled: false\n# a word\nafter: 2\n")
    entry = tmp_path / "docker-entrypoint.sh"
    entry.write_text('#!/bin/sh\necho "$@" > started\n')
    entry.chmod(0o755)
    script = (DEPLOY / "cassandra-tls.sh").read_text().replace("/etc/cassandra/cassandra.yaml", str(yaml))
    for _ in range(2):
        subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
            check=True,
        )
        text = yaml.read_text()
        assert text.startswith("before: 1\nafter: 2\nclient_encryption_options:\n  enabled: true\n")
        assert text.count("client_encryption_options") == 1
        assert (tmp_path / "started").read_text() == "cassandra -f\n"


def test_the_image_has_what_the_wheel_is_made_of() -> None:
    """Docker is given every package of the wheel, and what the Dockerfile copies."""
    given = {
        line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {package.partition("/")[0] for package in packages} <= given
    assert {"pyproject.toml", "requirements.lock", *project["project"]["license-files"]} <= given
    assert all((ROOT / path).exists() for path in given)
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    extras = re.search(r'"\.\[(.*)\]"', dockerfile)
    assert extras is not None
    assert set(extras.group(1).split(",")) == project["project"]["optional-dependencies"].keys()
    copied = [words.split()[1] for words in dockerfile.splitlines() if words.startswith("COPY deploy")]
    assert set(copied) <= given


def test_the_example_asks_for_a_secret() -> None:
    """It names what must be given and gives nothing, so that no cell runs with a secret that is published."""
    lines = [line for line in (DEPLOY / "cell.env.example").read_text().splitlines() if line[:1] != "#"]
    assert lines == ["CELL_JWT_SECRET="]
    assert "/deploy/cell.env" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("text", ["a:\n  - b", "a: {b: c}", "a: |\n  b", "a: b # c", "a: 'b'", "a: 1\na: 2"])
def test_what_the_reader_does_not_know_is_refused(text: str, tmp_path: Path) -> None:
    """The compose files stay within what these tests read."""
    (tmp_path / "file").write_text(text)
    with pytest.raises(NotRead):
        read(tmp_path / "file")


@both
def test_the_image_is_built_once(size: str) -> None:
    """Who builds the same tag at once is in each other's way: one service does, the others neither build nor fetch it."""
    ours = {name: SERVICES[size][name] for name in OURS}
    assert {service["image"] for service in ours.values()} == {"messaging-cell"}
    assert [name for name, service in ours.items() if "build" in service] == ["certs"]
    assert all(service.get("pull_policy") == "never" for name, service in ours.items() if name != "certs")
