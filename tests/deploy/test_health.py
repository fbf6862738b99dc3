"""The probe of the image, asking a real internal port."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from deploy import health
from messaging_cell import process_checks
from messaging_cell.certificates import make_for_development
from messaging_cell.internal_port import InternalPort
from messaging_cell.setting_kinds import Address
from messaging_cell.setting_sources import load
from messaging_cell.settings import Settings
from tests.system.cell_process import free_port


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    make_for_development(tmp_path, ["messaging-server"])
    return {
        "CELL_INTERNAL_LISTEN": f"0.0.0.0:{free_port()}",
        "CELL_INTERNAL_CERT_FILE": f"{tmp_path}/internal.pem",
        "CELL_INTERNAL_KEY_FILE": f"{tmp_path}/internal.key",
        "CELL_INTERNAL_CA_FILE": f"{tmp_path}/ca.pem",
    }


async def _faults(environment: Mapping[str, str]) -> list[str]:
    import asyncio

    return await asyncio.to_thread(lambda: list(health.faults(environment)))


async def test_a_process_is_healthy_while_it_serves(environment: Mapping[str, str]) -> None:
    """SERVING over mutual TLS is no fault; NOT_SERVING, a worker that is not there, and nobody at all are."""
    settings = load(Settings, {}, environment)
    port = InternalPort(
        Address("127.0.0.1", settings.internal_listen.port),
        process_checks.internal_server_credentials(settings),
    )
    await port.start()
    where = f"localhost:{settings.internal_listen.port}"
    assert await _faults(environment) == [f"{where}: NOT_SERVING"]
    await port.serving(True)
    assert await _faults(environment) == []
    (missing,) = await _faults({**environment, "CELL_WORKERS": "2"})
    assert missing.endswith(": UNAVAILABLE")
    await port.stop(0)
    assert await _faults(environment) == [f"{where}: UNAVAILABLE"]


def test_wrong_settings_are_told(
    environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a fault like any other, so that Docker shows it."""
    for name, value in {**environment, "CELL_WORKERS": "many"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        health.main()
    assert ended.value.code == 1
    assert "CELL_WORKERS" in capsys.readouterr().out
