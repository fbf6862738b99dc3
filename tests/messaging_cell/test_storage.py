"""What engines take before they are asked: the packages that talk to them, and settings that go together."""

import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from messaging_cell import storage
from messaging_cell.setting_kinds import Address, EngineAddress
from messaging_cell.settings import Settings, SettingsRefused
from tests.messaging_cell.running import DEADLINE_S, assert_said, environment

KAFKA: dict[str, Any] = {"log": EngineAddress("kafka", (Address("127.0.0.1", 1),), "cell")}
CASSANDRA: dict[str, Any] = {"history": EngineAddress("cassandra", (Address("127.0.0.1", 1),), "cell")}
WITHOUT = """
import sys
sys.modules[sys.argv.pop(1)] = None
from messaging_cell import command
command.main()
"""


async def _told(settings: Settings) -> object:
    return storage.told(settings)


@pytest.mark.parametrize(
    ("use", "engine", "modules", "extra"),
    [
        (storage.open_log, KAFKA, ("event_log.kafka",), "kafka"),
        (storage.open_store, CASSANDRA, ("history_service.cassandra",), "cassandra"),
        (storage.migrate, KAFKA, ("event_log.kafka",), "kafka"),
        (storage.migrate, CASSANDRA, ("history_service.cassandra",), "cassandra"),
        (_told, KAFKA, ("event_log.kafka", "event_log.kafka_topics"), "kafka"),
    ],
)
async def test_a_missing_extra_is_named(
    use: Callable[[Settings], Awaitable[object]],
    engine: dict[str, Any],
    modules: tuple[str, ...],
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the packages are not installed, the setting that needs them says which extra brings them."""
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    (setting,) = engine
    with pytest.raises(SettingsRefused, match=rf"^{setting}: .* is not installed.*the extra `{extra}`"):
        await use(Settings(**engine))


@pytest.mark.parametrize(
    ("package", "command", "said"),
    [
        ("kafka", "run --log kafka://127.0.0.1:1/cell", "log: kafka"),
        ("cassandra", "run --history cassandra://127.0.0.1:1/cell", "history: cassandra"),
        ("kafka", "migrate --print --log kafka://127.0.0.1:1/cell", "log: kafka"),
    ],
)
def test_a_command_without_its_packages_ends_with_2(
    package: str, command: str, said: str, tmp_path: Path
) -> None:
    """In a line, with what to install."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, package, *command.split()],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert_said(done, 2, said, f"is not installed. Install messaging-cell with the extra `{package}`")


async def test_cassandra_over_tls_takes_an_authority() -> None:
    """Names of nodes are not checked, so the system's authorities, who vouch for anybody, are not enough."""
    with pytest.raises(SettingsRefused, match=r"^cassandra_tls, cassandra_ca_file: are set both"):
        await storage.open_store(Settings(**CASSANDRA, cassandra_tls=True))
