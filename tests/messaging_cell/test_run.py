"""`cell run`: how it starts, what it refuses, how it stops."""

import json
import platform
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from cell.messaging.v1 import messaging_pb2 as messaging
from cell.messaging.v1 import messaging_pb2_grpc as messaging_grpc
from messaging_cell import runtime
from tests.messaging_cell.running import RunningCell, environment, run

SECRET = "a secret of at least thirty-two bytes"


def assert_no_traceback(text: str) -> None:
    assert "Traceback" not in text
    assert "Exception" not in text


def test_it_says_where_it_is_and_what_to_try(tmp_path: Path) -> None:
    """In development mode it says so, names its data folder and address, and the commands it prints work as they are."""
    with RunningCell(tmp_path) as cell:
        assert "Development mode" in cell.stdout
        assert str(cell.data_folder) in cell.stdout
        (line,) = (line for line in cell.stdout.splitlines() if "chat alice" in line)
        words = line.split()
        assert words[:3] == ["cell", "chat", "alice"]
        assert "no conversations yet" in run(tmp_path / "elsewhere", *words[1:]).stdout
        assert cell.stderr == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM: exit code 0, nothing that looks like a traceback, and it starts again on its data."""
    with RunningCell(tmp_path) as cell:
        assert cell.run("send", "bob", "hello", "--from", "ann").returncode == 0
        cell.signal(number)
        assert cell.exit_code() == 0
        assert_no_traceback(cell.stderr)
        cell.start()
        assert "hello" in cell.run("history", "bob", "ann").stdout


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    """While it waits for a client that does not leave, another Ctrl-C ends it."""
    with RunningCell(tmp_path) as cell, grpc.insecure_channel(cell.address) as channel:
        token = cell.run("token", "ann").stdout.strip()
        stub = messaging_grpc.MessagingServiceStub(channel)
        request = messaging.SubscribeRequest(hello=messaging.Hello(live_only=True))
        updates = stub.Subscribe(request, metadata=(("authorization", f"Bearer {token}"),))
        assert next(updates)
        cell.signal(signal.SIGINT)
        assert any(update.HasField("go_away") for frame in updates for update in frame.updates)
        cell.signal(signal.SIGINT)
        assert cell.exit_code() == 130
        assert_no_traceback(cell.stderr)


def test_one_cell_a_folder(cell: RunningCell) -> None:
    """A second cell on the same folder is refused by a message that names the folder; the first goes on."""
    second = run(cell.data_folder, "run", "--listen", "127.0.0.1:0")
    assert second.returncode == 1
    assert str(cell.data_folder) in second.stderr
    assert "in use by process" in second.stderr
    assert_no_traceback(second.stderr)
    assert cell.run("send", "still-here", "?", "--from", "ann").returncode == 0


def test_one_cell_a_port(cell: RunningCell, tmp_path: Path) -> None:
    """A port that is taken is named."""
    second = run(tmp_path, "run", "--listen", cell.address)
    assert second.returncode == 1
    assert f"Cannot listen on {cell.address}: Address already in use" in second.stderr
    assert_no_traceback(second.stderr)


@pytest.mark.parametrize(
    ("listen", "said"), [("203.0.113.1:0", "Cannot"), ("no.such.host.invalid:0", "Cannot listen on no.such")]
)
def test_an_address_of_another_machine_cannot_be_listened_on(tmp_path: Path, listen: str, said: str) -> None:
    """The address is named, with the reason."""
    refused = run(tmp_path, "run", "--listen", listen, CELL_JWT_SECRET=SECRET, CELL_INSECURE="true")
    assert refused.returncode == 1
    assert said in refused.stderr
    assert_no_traceback(refused.stderr)


def test_development_mode_serves_this_machine_only(tmp_path: Path) -> None:
    """Without keys another address is refused; with keys it is not."""
    refused = run(tmp_path, "run", "--listen", "0.0.0.0:0")
    assert refused.returncode == 2
    assert "no keys are set" in refused.stderr
    with RunningCell(tmp_path, CELL_JWT_SECRET=SECRET, CELL_INSECURE="true") as cell:
        assert "Development" not in cell.stdout
    if socket.has_ipv6:
        with RunningCell(tmp_path, "--listen", "[::1]:0") as cell:
            assert cell.address.startswith("[::1]:")
            assert cell.run("send", "bob", "hello", "--from", "ann").returncode == 0


def test_settings_that_are_refused_end_it_with_2(tmp_path: Path) -> None:
    """Every fault in a line of its own, with the name, and exit code 2."""
    refused = run(
        tmp_path, "run", "--partitions", "many", CELL_DRAIN_S="x", CELL_DRIAN_S="1", CELL_JWT_SECRET="tiny"
    )
    assert refused.returncode == 2
    lines = refused.stderr.splitlines()
    assert [line.split()[1].rstrip(":") for line in lines] == [
        "CELL_DRIAN_S",
        "--partitions",
        "CELL_DRAIN_S",
        "CELL_JWT_SECRET",
    ]
    assert "tiny" not in refused.stderr
    assert run(tmp_path, "run", "--no-such-flag").returncode == 2


def test_keys_that_cannot_be_used_end_it_with_2(tmp_path: Path) -> None:
    """A key file that is not there, or not a key."""
    missing = str(tmp_path / "none.json")
    refused = run(tmp_path, "run", "--insecure", "true", "--jwt-jwks-file", missing)
    assert refused.returncode == 2
    assert "jwt_jwks_file" in refused.stderr
    assert "none.json: No such file" in refused.stderr
    assert_no_traceback(refused.stderr)


def test_the_number_of_partitions_is_for_good(tmp_path: Path) -> None:
    """A folder made with another number of partitions is refused, and the message says both."""
    with RunningCell(tmp_path, "--partitions", "4"):
        pass
    refused = run(tmp_path / "data", "run", "--listen", "127.0.0.1:0", "--partitions", "8")
    assert refused.returncode == 1
    assert "4" in refused.stderr
    assert "8" in refused.stderr
    assert_no_traceback(refused.stderr)


@pytest.mark.parametrize("made", ["file", "read-only"])
def test_a_data_folder_that_cannot_be_used_is_named(tmp_path: Path, made: str) -> None:
    """A file where the folder should be, or a place nobody may write to."""
    folder = Path("/proc/cell") if made == "read-only" else tmp_path / "data"
    if made == "file":
        folder.write_text("")
    refused = run(folder, "run", "--listen", "127.0.0.1:0")
    assert refused.returncode in (1, 2)
    assert str(folder) in refused.stderr
    assert_no_traceback(refused.stderr)


@pytest.mark.parametrize("file", ["log/log.db", "history/history.db"])
def test_data_that_is_something_else_is_left_alone(tmp_path: Path, file: str) -> None:
    """A file that is no database of the cell is named by its folder at least, and not touched."""
    path = tmp_path / file
    path.parent.mkdir()
    path.write_bytes(b"something else " * 100)
    refused = run(tmp_path, "run", "--listen", "127.0.0.1:0")
    assert refused.returncode == 1
    assert str(tmp_path) in refused.stderr
    assert "not a database" in refused.stderr
    assert_no_traceback(refused.stderr)
    assert path.read_bytes() == b"something else " * 100


def test_a_part_that_cannot_go_on_ends_it(tmp_path: Path) -> None:
    """A fatal error of any part ends the process with code 1 and a message that names the part."""
    (tmp_path / "broken.py").write_text(
        "import sys\n"
        "from messaging_cell import command, runtime\n"
        "runtime.prepare()\n"
        "from history_service.embedded import EmbeddedStore\n"
        "from history_service.port import StoreError\n"
        "async def write(self, batch):\n"
        "    raise StoreError('the disk is gone')\n"
        "EmbeddedStore.write = write\n"
        "runtime.prepare = lambda: None\n"
        "command.main()\n"
    )
    cell = RunningCell(tmp_path)
    cell.start([sys.executable, str(tmp_path / "broken.py"), "run"])
    try:
        cell.run("send", "bob", "hello", "--from", "ann")
        assert cell.exit_code() == 1
        last = cell.stderr.splitlines()[-1]
        assert last.startswith("cell: The history service cannot go on: the disk is gone.")
    finally:
        cell.kill()


def printed(tmp_path: Path, program: str, variable: str, given: str | None) -> str:
    """What a program prints where the user has given a variable this value, or not set it."""
    variables = {} if given is None else {variable: given}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(tmp_path, **variables),
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    return done.stdout


@pytest.mark.parametrize(("given", "used"), [(None, runtime.GRPC_EXPERIMENTS), ("", ""), ("other", "other")])
def test_what_the_user_has_set_for_grpc_stays(tmp_path: Path, given: str | None, used: str) -> None:
    """GRPC_EXPERIMENTS is set before grpc is imported, unless the user has."""
    program = "import os; from messaging_cell import runtime; runtime.prepare(); print(os.environ['GRPC_EXPERIMENTS'])"
    assert printed(tmp_path, program, "GRPC_EXPERIMENTS", given).strip() == used


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are glibc's")
@pytest.mark.parametrize(("given", "used"), [(None, 2), ("1", 1)])
def test_threads_share_a_few_arenas(tmp_path: Path, given: str | None, used: int) -> None:
    """Many threads that allocate make no more arenas than the cell wants, or the user: each would keep its own holes."""
    program = """if True:
        import ctypes, threading
        from messaging_cell import runtime
        runtime.prepare()
        libc = ctypes.CDLL(None)
        libc.malloc.restype = ctypes.c_void_p
        all_have = threading.Barrier(16)
        def allocate():
            libc.malloc(1_000)
            all_have.wait()
        threads = [threading.Thread(target=allocate) for _ in range(16)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
    """
    assert 1 <= printed(tmp_path, program, "MALLOC_ARENA_MAX", given).count("<heap nr=") <= used


@pytest.mark.parametrize("experiments", ["", "no_such_experiment"])
def test_it_works_without_the_grpc_experiment(tmp_path: Path, experiments: str) -> None:
    """The experiment changes what a message costs and nothing else."""
    with RunningCell(tmp_path, GRPC_EXPERIMENTS=experiments) as cell:
        assert cell.run("send", "bob", "hello", "--from", "ann").returncode == 0
        assert "hello" in cell.run("listen", "bob", "--after", "", "--count", "1").stdout
        cell.signal(signal.SIGINT)
        assert cell.exit_code() == 0


def test_logs_are_json_where_nobody_watches(tmp_path: Path) -> None:
    """On a standard error that is no terminal each line is one JSON object."""
    with RunningCell(tmp_path, "--log-level", "debug") as cell:
        cell.run("send", "bob", "hello", "--from", "ann")
        cell.signal(signal.SIGINT)
        assert cell.exit_code() == 0
        for line in cell.stderr.splitlines():
            assert {"event", "level", "timestamp", "logger"} <= json.loads(line).keys()


@pytest.mark.parametrize("made", ["beside the certificate", "elsewhere"])
def test_what_to_try_over_tls_says_what_to_trust(tmp_path: Path, made: str) -> None:
    """The authority that `cell certs` leaves beside a certificate, and the commands work as they are; or the system's."""
    certificates = tmp_path / "my certificates"
    assert run(tmp_path, "certs", str(certificates)).returncode == 0
    authority = certificates / "ca.pem"
    if made == "elsewhere":
        authority.rename(tmp_path / "ca.pem")
    pair = [
        f"--tls-{kind}-file={certificates / f'server.{end}'}"
        for kind, end in (("cert", "pem"), ("key", "key"))
    ]
    with RunningCell(tmp_path, *pair) as cell:
        (line,) = (line for line in cell.stdout.splitlines() if "chat alice" in line)
        words = shlex.split(line)
        if made == "elsewhere":
            assert words[-1] == "--tls"
        else:
            assert words[-2:] == ["--ca-file", str(authority)]
            assert "no conversations yet" in run(tmp_path / "elsewhere", *words[1:]).stdout
