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
from tests.messaging_cell.running import CELL, DEADLINE_S, SERVING, assert_said, environment, run, until

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


def is_alive(pid: int) -> bool:
    """A process that has ended, but that nobody has waited for, is not alive."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a worker is not told")
WORKER = "from messaging_cell import workers; workers.end_with_parent(); print('here', flush=True); " + SLEEPS
WATCHER = f"""
import sys
from messaging_cell.setting_kinds import Address
from messaging_cell.settings import Settings
from messaging_cell.workers import Workers
Workers(Settings(workers=1), Address("127.0.0.1", 0), [sys.executable, "-c", {WORKER!r}]).run()
"""


@LINUX
def test_a_worker_ends_with_whoever_watches_over_it(tmp_path: Path) -> None:
    """Killed -9, it leaves nobody who keeps its ports."""
    with subprocess.Popen(
        [sys.executable, "-c", WATCHER], env=environment(tmp_path), stdout=subprocess.PIPE, text=True
    ) as watcher:
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == "here\n"
        (worker,) = Path(f"/proc/{watcher.pid}/task/{watcher.pid}/children").read_text().split()
        assert is_alive(int(worker))
        watcher.kill()
    until(lambda: not is_alive(int(worker)), "the worker has ended")


@LINUX
def test_a_worker_whose_watcher_was_gone_before_it_asked_ends(tmp_path: Path) -> None:
    """Whoever its parent is by then did not start it."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    done = subprocess.run(
        [sys.executable, "-c", WORKER],
        env=environment(tmp_path, MESSAGING_CELL_WATCHED_BY=str(gone.pid)),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert_said(done, 1, "whoever watched over this worker is gone")


def test_who_shares_a_port_by_a_setting_outlives_its_parent(tmp_path: Path) -> None:
    """As a cell that was started by nohup from a shell that then ends."""
    shell = "import subprocess, sys; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); sys.stdin.read()"
    said = tmp_path / "said"
    with (
        said.open("w") as output,
        subprocess.Popen(
            [sys.executable, "-c", shell, *CELL, "run", "--listen", "127.0.0.1:0"],
            env=environment(tmp_path / "data", CELL_SHARED_PORT="true"),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
        ) as parent,
    ):
        until(lambda: "Clients connect to" in said.read_text(), "it serves")
        cell = int(said.read_text().split()[0])
        assert parent.stdin is not None
        parent.stdin.close()
    try:
        found = SERVING.search(said.read_text())
        assert found
        done = run(tmp_path / "data", "send", "bob", "hello", "--from", "ann", CELL_ADDRESS=found[1])
        assert done.returncode == 0, done.stderr
        assert "Stopping" not in said.read_text()
    finally:
        os.kill(cell, signal.SIGKILL)
