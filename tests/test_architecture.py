"""Who may import whom, read from the source: a role is a package, a vendor is a file."""

import ast
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parent.parent

MAY_IMPORT = {
    "telemetry": set(),
    "messaging_core": {"cell"},
    "event_log": {"cell", "messaging_core", "telemetry"},
    "session_link": {"cell", "messaging_core"},
    "messaging_server": {"cell", "messaging_core", "telemetry", "event_log", "session_link"},
    "delivery_service": {"cell", "messaging_core", "telemetry", "event_log", "session_link"},
    "history_service": {"cell", "messaging_core", "telemetry", "event_log"},
    "messaging_client": {"cell"},
    "messaging_cell": {
        "cell",
        "messaging_core",
        "telemetry",
        "event_log",
        "session_link",
        "messaging_server",
        "delivery_service",
        "history_service",
        "messaging_client",
    },
    "engines": set(),
    "check": {
        "cell",
        "messaging_cell",  # the raw echo that a cell is compared with runs in the same runtime
        "messaging_client",  # whose driver is tried for conformance
        "engines",  # on which a cell is tried and measured
    },
}
"""Of the packages of this project, those that each may import beside itself."""

FREE = ("check/model/", "check/parts/", "tests/")
"""Folders that may import everything: models with the cell's decisions in them, and parts of the cell by themselves, with
the tests' helpers around them."""

OTHERS = {"cell", "tests"}
"""The generated package, and what is not installed: no part of the product imports the latter, nor `check` or `engines`."""

VENDOR_FILES = {
    "sqlite3": (
        "messaging_core/sqlite.py",
        "event_log/embedded*.py",
        "history_service/embedded*.py",
        "messaging_client/store.py",
        "check/model/storing.py",
    ),
    "kafka": ("event_log/kafka*.py", "check/parts/kafka_clients.py"),
    "cassandra": ("history_service/cassandra*.py",),
    "opentelemetry": ("telemetry/opentelemetry*.py",),
    "prometheus_client": ("telemetry/prometheus.py",),
}
"""The only files that may import a vendor."""

Sources = Mapping[str, str]
"""Text of Python files by path below the root."""


def imports(path: str, source: str) -> Iterator[str]:
    """The full name of every module that a file imports, at the top, in a function or for types only."""
    package = PurePosixPath(path).parent.parts
    for node in ast.walk(ast.parse(source, path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            yield ".".join([*base, *([node.module] if node.module else [])])


def role_violations(sources: Sources) -> Iterator[str]:
    """Imports of our own packages that MAY_IMPORT does not name."""
    ours = MAY_IMPORT.keys() | OTHERS
    for path, source in sources.items():
        if path.startswith(FREE):
            continue
        role = path.partition("/")[0]
        for imported in {name.partition(".")[0] for name in imports(path, source)} & ours:
            if imported not in MAY_IMPORT[role] | {role}:
                yield f"{path} imports {imported}"


def vendor_violations(sources: Sources) -> Iterator[str]:
    """Imports of a vendor by a file that is not its own."""
    for path, source in sources.items():
        for imported in {name.partition(".")[0] for name in imports(path, source)} & VENDOR_FILES.keys():
            if not any(fnmatch(path, allowed) for allowed in VENDOR_FILES[imported]):
                yield f"{path} imports {imported}"


@pytest.fixture(scope="module")
def product() -> Sources:
    files = (path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in files}


def test_roles_keep_apart(product: Sources) -> None:
    """No package imports another that it may not know."""
    assert product
    assert list(role_violations(product)) == []


def test_vendors_stay_in_their_files(product: Sources) -> None:
    """A vendor is imported only where its name says."""
    assert list(vendor_violations(product)) == []


def test_every_package_has_its_rule() -> None:
    """A new top-level package must say here what it may import."""
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert found <= MAY_IMPORT.keys() | OTHERS


def test_services_know_nothing_of_each_other() -> None:
    """The table itself lets no service import another, and only the command import them all."""
    services = {"messaging_server", "delivery_service", "history_service"}
    for role, allowed in MAY_IMPORT.items():
        assert role == "messaging_cell" or not allowed & services


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("messaging_server/a.py", "import history_service"),
        ("messaging_server/a.py", "from delivery_service.window import Window"),
        ("history_service/a.py", "def f():\n    import delivery_service.service"),
        ("delivery_service/a.py", "if TYPE_CHECKING:\n    from messaging_server import ports"),
        ("event_log/a.py", "import session_link.port as port"),
        ("session_link/a.py", "from event_log import port"),
        ("messaging_core/a.py", "import event_log"),
        ("messaging_client/a.py", "from messaging_core import ids"),
        ("messaging_core/a.py", "from messaging_cell.settings import Settings"),
        ("messaging_cell/a.py", "import tests.system.room"),
        ("messaging_cell/a.py", "from check.load import Client"),
        ("messaging_cell/a.py", "from engines.kafka import KafkaCluster"),
        ("check/a.py", "from messaging_server.settings import ServerSettings"),
        ("check/a.py", "import tests.system.room"),
    ],
)
def test_a_forbidden_role_is_caught(path: str, source: str) -> None:
    """Every form of import is seen, wherever in the file it stands."""
    assert len(list(role_violations({path: source}))) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("messaging_cell/a.py", "import history_service, delivery_service, messaging_server"),
        ("delivery_service/links/a.py", "from ..window import Window\nfrom . import b\nimport asyncio"),
        ("messaging_client/a.py", "from cell.messaging.v1 import messaging_pb2"),
        ("check/parts/a.py", "import event_log.embedded, tests.event_log.world"),
    ],
)
def test_an_allowed_role_passes(path: str, source: str) -> None:
    """The command imports them all; a package imports itself, the generated code and what is not ours."""
    assert list(role_violations({path: source})) == []


@pytest.mark.parametrize(
    ("path", "source", "caught"),
    [
        ("event_log/reader.py", "import sqlite3", True),
        ("messaging_server/a.py", "from sqlite3 import connect", True),
        ("delivery_service/a.py", "from kafka.errors import KafkaError", True),
        ("messaging_cell/a.py", "import cassandra.cluster", True),
        ("messaging_core/sqlite.py", "import sqlite3", False),
        ("event_log/embedded_writer.py", "import sqlite3", False),
        ("history_service/embedded.py", "import sqlite3", False),
        ("messaging_client/store.py", "import sqlite3", False),
        ("messaging_client/outbox.py", "import sqlite3", True),
        ("event_log/kafka.py", "import kafka", False),
        ("history_service/cassandra.py", "from cassandra.cluster import Cluster", False),
        ("event_log/kafka_producer.py", "from kafka import KafkaProducer", False),
        ("messaging_cell/a.py", "from event_log import kafka", False),
        ("tests/a.py", "from engines.kafka import KafkaCluster", False),
    ],
)
def test_a_strayed_vendor_is_caught(path: str, source: str, caught: bool) -> None:
    """A vendor in another file is told; our adapter of the same name is not the vendor."""
    assert bool(list(vendor_violations({path: source}))) is caught
