"""What holds for all tests, and the real servers, one of each for a whole run. Other fixtures stand where they are used."""

import signal

import pytest
from hypothesis import settings

from tests.support.engines import cassandra, kafka, own_run_folder, run_folder

__all__ = ["cassandra", "kafka", "own_run_folder", "run_folder"]

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # in the background of a script: programs would start with it, too
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says more about the machine than about the code.
settings.register_profile("cell", deadline=None)
settings.load_profile("cell")

_LONG_FILES = (
    "tests/system/test_kill.py",
    "tests/system/test_processes.py",
    "tests/check/test_conformance.py",
    "tests/event_log/test_kafka_faults.py",
    "tests/system/test_durability.py",
    "tests/history_service/test_port.py",
    "tests/test_readme.py",
    "tests/simulation/",
    "tests/system/",
)
"""Begun first where several processes share the tests: a file is one process's, and the last one to end is waited for."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first."""

    def place(item: pytest.Item) -> int:
        return next(
            (n for n, name in enumerate(_LONG_FILES) if item.nodeid.startswith(name)), len(_LONG_FILES)
        )

    items.sort(key=place)
