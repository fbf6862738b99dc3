"""What a process loads and takes to tell of itself."""

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from messaging_cell.grpc_port import PortTaken
from messaging_cell.setting_kinds import Address
from messaging_cell.settings import Settings, SettingsRefused
from messaging_cell.telemetry import Telemetry
from telemetry.metrics import Figure

LOADED = """
import sys
import grpc.aio  # takes what it finds of its own add-ons
before = set(sys.modules)
import messaging_cell.cell_process
print(*{name.partition(".")[0] for name in set(sys.modules) - before})
"""


def test_nothing_is_loaded_unless_it_is_asked_for() -> None:
    """A process that tells nothing pays nothing: neither OpenTelemetry nor Prometheus's client is imported."""
    loaded = subprocess.run(
        [sys.executable, "-c", LOADED],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert "telemetry" in loaded.stdout.split()
    assert not {"opentelemetry", "prometheus_client"} & set(loaded.stdout.split())


@pytest.mark.parametrize(
    ("setting", "value", "module"),
    [
        ("otlp_endpoint", "http://127.0.0.1:4317", "telemetry.opentelemetry_spans"),
        ("metrics_listen", Address("127.0.0.1", 0), "telemetry.prometheus"),
    ],
)
async def test_a_missing_extra_is_named(
    setting: str, value: object, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the packages are not installed, the setting that needs them says which extra brings them."""
    monkeypatch.setitem(sys.modules, module, None)
    settings = Settings(**{setting: value})  # type: ignore[arg-type]
    with pytest.raises(SettingsRefused, match=rf"{setting}: .* is not installed.*`telemetry`"):
        await Telemetry(settings, "", "here").start()


async def test_a_port_in_use_is_told() -> None:
    """By its address, before anything else of it is started; and a process that tells nothing has nothing to stop."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address(*taken.getsockname())
        telemetry = Telemetry(Settings(metrics_listen=address), "", "here")
        with pytest.raises(PortTaken, match=str(address)):
            await telemetry.start()
        await telemetry.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_metrics_that_cannot_be_sent_are_told_and_those_after_them_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No error ends a process's metrics for good."""
    sent: asyncio.Queue[list[Figure]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    class Collector:
        times = 0

        def send(self, figures: list[Figure]) -> None:
            self.times += 1
            if self.times == 1:
                raise ValueError("it does not take them")
            loop.call_soon_threadsafe(sent.put_nowait, figures)

        def stop(self) -> None:
            pass

    telemetry = Telemetry(Settings(metrics_interval_s=0.01), "", "here")
    telemetry._metrics = Collector()  # type: ignore[assignment]
    await telemetry.start()
    assert await asyncio.wait_for(sent.get(), 20)
    await telemetry.stop()
    assert "it does not take them" in caplog.text
