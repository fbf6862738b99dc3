"""What each kind of process does not start with."""

from pathlib import Path
from typing import Any

import pytest

from messaging_cell.process_checks import check
from messaging_cell.setting_kinds import SERVERS, Address, EngineAddress
from messaging_cell.settings import Settings, SettingsRefused

AWAY: dict[str, Any] = {
    "log": EngineAddress("kafka", (Address("kafka", 9_092),), "cell"),
    "history": EngineAddress("cassandra", (Address("cassandra", 9_042),), "cell"),
}
INTERNAL_TLS: dict[str, Any] = {
    name: Path("/x") for name in ("internal_cert_file", "internal_key_file", "internal_ca_file")
}


def faults(is_whole: bool, has_clients: bool = False, **given: Any) -> str:
    with pytest.raises(SettingsRefused) as refused:
        check(Settings(**given), has_clients=has_clients, is_whole=is_whole)
    return str(refused.value)


def test_a_service_alone_needs_engines_that_it_can_share() -> None:
    """The embedded engine belongs to one process: the settings are named, and what they must be."""
    assert faults(False).startswith("log and history: the embedded engine is one process's")
    assert faults(False, log=AWAY["log"]).startswith("history: the embedded")
    check(Settings(**AWAY), has_clients=False, is_whole=False)


def test_a_whole_cell_is_one_process() -> None:
    """Workers are refused with the reason."""
    assert faults(True, workers=2).startswith("workers: 2 processes cannot share a whole cell")


@pytest.mark.parametrize(
    "far",
    [
        {"internal_listen": Address("0.0.0.0", 50_061)},
        {"servers": SERVERS.read("127.0.0.1:1,dns:servers.example:2")},
    ],
)
def test_links_over_a_network_take_tls_or_a_word(far: dict[str, Any]) -> None:
    """Links are trusted with everybody's messages."""
    assert "internal_cert_file, internal_key_file, internal_ca_file: not set" in faults(False, **AWAY, **far)
    for safe in (INTERNAL_TLS, {"insecure": True}):
        check(Settings(**{**AWAY, **far, **safe}), has_clients=False, is_whole=False)
