"""Watching over workers: whatever comes at whatever moment, none is left behind and none is waited for in vain."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from messaging_cell import workers
from messaging_cell.setting_kinds import Address
from messaging_cell.settings import Settings
from messaging_cell.workers import Workers

SLEEPS = "import time; time.sleep(600)"


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Signals go where they went, afterwards."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def made(script: str, count: int) -> Workers:
    """Workers that run a script; its arguments are their flags."""
    settings = Settings(workers=count, internal_listen=Address("127.0.0.1", 50061))
    return Workers(settings, Address("127.0.0.1", 50051), [sys.executable, "-c", script])


def test_a_signal_while_workers_start_stops_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the one that is just being started, and those after it never are."""
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*args, **options))
        if len(started) == 2:
            signal.raise_signal(signal.SIGTERM)
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    assert made(SLEEPS, 3).run() == 0
    assert [process.returncode for process in started] == [-signal.SIGTERM] * 2


def test_each_has_ports_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """For other processes and for whoever fetches metrics: as many as there are workers, from the settings' on."""
    commands: list[list[str]] = []
    popen = subprocess.Popen

    def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        commands.append(command)
        if len(commands) == 2:
            signal.raise_signal(signal.SIGTERM)
        return popen([sys.executable, "-c", SLEEPS], **options)

    monkeypatch.setattr(subprocess, "Popen", start)
    settings = Settings(workers=2, metrics_listen=Address("127.0.0.1", 9464))
    assert Workers(settings, Address("127.0.0.1", 50051), ["cell"]).run() == 0
    for flag, first in (("--internal-listen", 50061), ("--metrics-listen", 9464)):
        given = [command[command.index(flag) + 1] for command in commands]
        assert given == [f"127.0.0.1:{first}", f"127.0.0.1:{first + 1}"]


def test_a_signal_when_a_worker_has_ended_but_nobody_has_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end is not lost, so nobody waits for it."""
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*args, **options))
        return started[-1]

    def pause(_: float) -> None:
        (other,) = (process for process in started if process.returncode is None)
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(time, "sleep", pause)
    assert made("", 2).run() == 0
    assert [process.returncode for process in started] == [0, 0]


def test_children_that_it_did_not_start_do_not_concern_it() -> None:
    """As the first process of a container it is given those whose parents are gone."""
    stray = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, stray.pid, os.WEXITED | os.WNOWAIT)
    assert made("raise SystemExit(3)", 1).run() == 3
    stray.returncode = 0  # its end was taken by the workers' parent


def test_a_worker_that_cannot_start_again_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one of them has lasted the settings are right: what is away comes back, and the streams of the others stay."""
    monkeypatch.setattr(workers, "_START_S", 0.5)
    monkeypatch.setattr(workers, "_RESTART_PAUSE_S", 0.0)
    log = tmp_path / "starts"
    # The second one ends when all have lasted, then refuses twice, then stays.
    script = f"""
import sys, time
log = {str(log)!r}
if "127.0.0.1:50062" in sys.argv:
    with open(log, "a") as file:
        file.write("x")
    starts = len(open(log).read())
    if starts < 4:
        time.sleep(1.0 if starts == 1 else 0)
        sys.exit(1)
time.sleep(600)
"""

    def stop() -> None:
        deadline = time.monotonic() + 50
        while time.monotonic() < deadline and not (log.exists() and len(log.read_text()) == 4):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    stopping = threading.Thread(target=stop)
    stopping.start()
    assert made(script, 2).run() == 0
    stopping.join()
    assert log.read_text() == "xxxx"
