"""A running cell for tests that do not stop it."""

from collections.abc import Iterator

import pytest

from tests.messaging_cell.running import RunningCell


@pytest.fixture(scope="session")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCell]:
    """A cell in development mode, shared: each test has users of its own."""
    with RunningCell(tmp_path_factory.mktemp("cell")) as running:
        yield running
