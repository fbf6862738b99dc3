"""The trace reader rebuilds files as a loss of power would leave them: shown on real processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.strace_trace import (
    Call,
    Disk,
    TraceUnreadable,
    read_trace,
    sent,
    strace_wrapper,
    why_not_strace,
)

needs_strace = pytest.mark.skipif(bool(why_not_strace()), reason=why_not_strace() or "strace works")


def traced(folder: Path, program: str) -> list[Call]:
    """Run a Python program under strace, in a folder, until it kills itself."""
    trace = folder.parent / "trace"
    folder.mkdir()
    wrapper = [part for part in strace_wrapper(trace) if part != "-D"]
    subprocess.run([*wrapper, sys.executable, "-c", program], cwd=folder, check=False)
    with trace.open() as lines:
        return list(read_trace(lines))


@needs_strace
def test_only_what_was_synced_is_durable(tmp_path: Path) -> None:
    """Writes after a file's last fsync are gone, and a file never synced is; renames keep the file."""
    program = """
import os, shutil
os.mkdir("gone")
with open("gone/file", "w") as file:
    file.write("x")
    file.flush()
    os.fsync(file.fileno())
kept = os.open("kept.new", os.O_CREAT | os.O_RDWR)
os.write(kept, b"one ")
os.pwrite(kept, b"two", 4)
os.fsync(kept)
os.pwrite(kept, b"TWO and more", 4)
os.rename(os.path.abspath("kept.new"), os.path.abspath("kept"))
never = os.open("never", os.O_CREAT | os.O_WRONLY)
os.write(never, b"gone")
cut = os.open("cut", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
os.write(cut, b"0123456789")
os.ftruncate(cut, 5)
os.writev(cut, [b"a", b"b"])
os.fdatasync(cut)
os.lseek(kept, 1, os.SEEK_SET)
os.write(kept, b"N")
os.fsync(kept)
shutil.rmtree("gone")
"""
    folder = tmp_path / "data"
    calls = traced(folder, program)
    disk = Disk(folder, calls)
    assert disk.after_loss(10**9) == {"kept": b"oNe TWO and more", "cut": b"01234ab"}
    first_sync = next(call for path, call in disk.syncs if path.endswith("kept.new"))
    assert disk.after_loss(first_sync.ended) == {"kept.new": b"one two", "gone/file": b"x"}
    assert disk.after_loss(first_sync.begun - 1) == {"gone/file": b"x"}
    assert (folder / "kept").read_bytes() == b"oNe TWO and more"
    assert disk.after_loss(10**9, lambda: True)["never"] == b"gone"


@needs_strace
def test_a_database_is_as_of_its_last_commit(tmp_path: Path) -> None:
    """A database in WAL mode whose last commit was not synced is rebuilt without it, whole; one that was synced, with it."""
    program = """
import os, sqlite3
database = sqlite3.connect("a.db", isolation_level=None)
database.execute("pragma journal_mode=wal")
database.execute("pragma synchronous=full")
database.execute("create table t(n)")
database.executemany("insert into t values(?)", [(n,) for n in range(50)])
database.execute("pragma synchronous=off")
database.execute("insert into t values(50)")
os.kill(os.getpid(), 9)
"""
    folder = tmp_path / "data"
    disk = Disk(folder, traced(folder, program))
    rebuilt = tmp_path / "rebuilt"
    rebuilt.mkdir()
    for path, content in disk.after_loss(10**9).items():
        (rebuilt / path).write_bytes(content)
    count = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('select count(*) from t').fetchone()[0])"
    for where, rows in ((folder, 51), (rebuilt, 50)):
        done = subprocess.run(
            [sys.executable, "-c", count, where / "a.db"], capture_output=True, text=True, check=True
        )
        assert int(done.stdout) == rows


@needs_strace
def test_what_was_sent_is_seen(tmp_path: Path) -> None:
    """Bytes put on a socket are there, in their place among the other calls, over threads."""
    program = """
import os, socket, threading
one, two = socket.socketpair()
def say(text):
    one.sendmsg([text[:2], text[2:]])
    one.send(b"x")
for n in range(20):
    thread = threading.Thread(target=say, args=(b"hello",)); thread.start(); thread.join()
"""
    calls = traced(tmp_path / "data", program)
    assert [b"".join(call.strings) for call in sent(calls)] == [b"hello", b"x"] * 20


def test_a_call_in_two_lines_is_one() -> None:
    """A call that another thread's calls cut in two lines began on the first and ended on the second."""
    lines = [
        "1 1.0 fdatasync(3<\\x2f\\x61> <unfinished ...>\n",
        '2 1.1 write(4<\\x2f\\x62>, "\\x61", 1) = 1\n',
        "2 1.1 fsync(4<\\x2f\\x62>) = -1 EIO (Input/output error)\n",
        "2 1.2 +++ exited with 0 +++\n",
        "1 1.3 <... fdatasync resumed>) = 0\n",
        '1 1.4 pwrite64(3<\\x2f\\x61>, "\\x61\\x62", 2, 10 <unfinished ...>) = ?\n',
        "1 1.5 +++ killed by SIGKILL +++\n",
    ]
    write, sync = read_trace(lines)
    assert (write.name, write.path, write.strings, write.begun) == ("write", "/b", [b"a"], 1)
    assert (sync.name, sync.path, sync.begun, sync.ended) == ("fdatasync", "/a", 0, 4)


def test_what_is_not_known_is_not_passed_over() -> None:
    """A line that is no call, or a string that strace cut short, is an error: nothing must be missed silently."""
    with pytest.raises(TraceUnreadable):
        list(read_trace(["1 1.0 what is this\n"]))
    (call,) = read_trace(['1 1.0 write(4<\\x2f\\x62>, "\\x61"..., 100) = 100\n'])
    with pytest.raises(TraceUnreadable, match="too small"):
        assert call.strings
