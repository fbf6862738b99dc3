"""What a run leaves: nothing, however it ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engines.run_folder import RunFolder, process_of, sweep
from engines.server import Server, ServerFailed, free_ports

PATIENCE_S = 30.0
SLEEPS = "import time; time.sleep(600)"
OWNER = """
import sys, time
from engines.run_folder import RunFolder
from engines.server import Server
run = RunFolder.create()
server = Server(run, "sleeper", [sys.executable, "-c", "import time; time.sleep(600)", run.path], lambda: True)
server.start()
print(run.path, server.pid, run._watchdog.pid, flush=True)
time.sleep(600)
"""


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """A process that has ended, but that nobody has waited for, is not alive."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def crashed_run(*, with_watchdog: bool) -> tuple[Path, int]:
    """A process that has started a server and is killed; the run's folder and the server's process id."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner.stdout:
        folder, server, watchdog = owner.stdout.readline().split()
    assert is_alive(int(server))
    if with_watchdog:
        os.kill(int(watchdog), signal.SIGKILL)
        wait_until(lambda: not is_alive(int(watchdog)))
    owner.kill()
    owner.wait()
    return Path(folder), int(server)


def sleeper(run: RunFolder, answers: Callable[[], bool] = lambda: True) -> Server:
    return Server(run, "sleeper", [sys.executable, "-c", SLEEPS, run.path], answers)


def test_closing_stops_and_deletes_everything() -> None:
    """After close no server runs and the folder is gone."""
    run = RunFolder.create()
    server = sleeper(run)
    server.start()
    pid = server.pid
    assert pid is not None
    assert process_of(run.path / "sleeper.pid") == pid
    run.close()
    assert server.pid is None
    assert not is_alive(pid)
    assert not run.path.exists()


def test_a_killed_run_leaves_nothing() -> None:
    """Whoever started servers is killed -9: they are stopped all the same."""
    folder, server = crashed_run(with_watchdog=False)
    wait_until(lambda: not is_alive(server) and not folder.exists())


def test_what_a_run_and_its_watchdog_left_goes_with_the_next_run() -> None:
    """Both killed -9 at once: the next run stops and deletes what they left, but not what is watched over."""
    folder, server = crashed_run(with_watchdog=True)
    watched = RunFolder.create()
    try:
        wait_until(lambda: not is_alive(server) and not folder.exists())
        sweep(watched.path)
        assert watched.path.exists()
    finally:
        watched.close()


def test_another_process_with_the_same_id_is_left_alone(tmp_path: Path) -> None:
    """A pid file of a process whose command line does not name the folder says nothing."""
    pid_file = tmp_path / "server.pid"
    pid_file.write_text(str(os.getpid()))
    assert process_of(pid_file) is None
    pid_file.write_text("")
    assert process_of(pid_file) is None


def test_a_server_is_killed_paused_and_started_again() -> None:
    """Its process ends by kill, stands still by pause, goes on by resume, and is another one after a new start."""
    run = RunFolder.create()
    try:
        server = sleeper(run)
        server.start()
        first = server.pid
        assert first is not None
        server.pause()
        assert Path(f"/proc/{first}/stat").read_text().rpartition(") ")[2][0] == "T"
        server.resume()
        server.kill()
        with pytest.raises(ServerFailed, match="does not run"):
            server.pause()
        server.start()
        assert server.pid not in (None, first)
        server.stop()
        with pytest.raises(ServerFailed, match="does not run"):
            server.resume()
    finally:
        run.close()


def test_a_server_that_ends_tells_why() -> None:
    """A server that does not come up fails with the last lines that it wrote."""
    run = RunFolder.create()
    try:
        server = Server(
            run, "broken", ["/bin/sh", "-c", f"echo no port in {run.path}; exit 1"], lambda: False
        )
        with pytest.raises(ServerFailed, match=r"broken has ended:\nno port in"):
            server.start()
    finally:
        run.close()


def test_what_could_not_be_found_again_is_not_started() -> None:
    """A command that does not name the folder is refused: nobody could stop it after a crash."""
    run = RunFolder.create()
    try:
        with pytest.raises(ValueError, match="told from other processes"):
            run.spawn("stray", ["/bin/sleep", "600"])
    finally:
        run.close()


def test_ports_are_not_those_of_clients() -> None:
    """Free ports are distinct and outside the range from which the system numbers outgoing connections."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(1_024 <= port < first for port in ports)
