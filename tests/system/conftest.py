"""One cell for each module of tests, and clients of it.

TEST_ENGINE=kafka runs these tests on Kafka and Cassandra instead of the embedded engine.
"""

import os
from collections.abc import Callable, Iterator

import pytest

from check.plain_client import PlainClient
from tests.system.cell_process import CellProcess, Engines, token

Connect = Callable[..., PlainClient]


@pytest.fixture(scope="session", autouse=True)
def engines_of_cells(request: pytest.FixtureRequest) -> None:
    """What cells keep their data in."""
    if os.environ.get("TEST_ENGINE") == "kafka":
        kafka, cassandra = request.getfixturevalue("kafka"), request.getfixturevalue("cassandra")
        CellProcess.default_engines = Engines(kafka.addresses()[0], cassandra.address)


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CellProcess]:
    """A cell with default settings, shared by the module's tests: each uses users of its own."""
    with CellProcess(tmp_path_factory.mktemp("cell")) as running:
        yield running


@pytest.fixture
def connect(cell: CellProcess) -> Connect:
    """Gives a function that makes clients of the module's cell, by user id."""

    def make(user_id: str, **options: object) -> PlainClient:
        return PlainClient(cell.address, user_id, token, **options)  # type: ignore[arg-type]

    return make
