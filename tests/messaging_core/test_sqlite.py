"""Durable connections, the folder's lock, checkpoints, the reserve, and when a process must end."""

import errno
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from messaging_core import sqlite
from messaging_core.sqlite import (
    Checkpointer,
    FolderInUse,
    NotDurable,
    Reserve,
    connect,
    end_if_fsync_failed,
    lock_folder,
)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    opened = connect(tmp_path / "x.db")
    yield opened
    opened.close()


def pragma(connection: sqlite3.Connection, name: str) -> object:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def test_every_connection_is_durable(tmp_path: Path, connection: sqlite3.Connection) -> None:
    """Each connection, reading ones too, has a write-ahead log, synchronous FULL, and makes no checkpoints by itself."""
    reading = connect(tmp_path / "x.db", read_only=True)
    for each in (connection, reading):
        assert pragma(each, "journal_mode") == "wal"
        assert pragma(each, "synchronous") == 2
        assert pragma(each, "wal_autocheckpoint") == 0
        assert pragma(each, "auto_vacuum") == 2
    reading.close()


def test_a_reading_connection_writes_nothing(tmp_path: Path, connection: sqlite3.Connection) -> None:
    """A connection for reading sees what was committed and refuses to write."""
    connection.execute("CREATE TABLE t (x)")
    reading = connect(tmp_path / "x.db", read_only=True)
    assert reading.execute("SELECT * FROM t").fetchall() == []
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reading.execute("INSERT INTO t VALUES (1)")
    reading.close()


def test_settings_that_do_not_take_are_refused(tmp_path: Path) -> None:
    """Where SQLite keeps another journal, there is no connection: the error names the file, the setting and both values."""
    with pytest.raises(NotDurable, match="keeps journal_mode at 'memory' where 'wal' is needed"):
        connect(Path(":memory:"))


def test_a_full_disk_does_not_keep_a_folder_from_being_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose it is cannot be written down then, and it is locked all the same."""

    def full(descriptor: int, written: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with lock_folder(tmp_path), pytest.raises(FolderInUse, match="in use by process unknown"):
        lock_folder(tmp_path)


def test_a_locked_folder_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """Another process gets the folder's name, the owner's process id and a way out; after release it gets the folder."""
    folder = tmp_path / "made" / "on the way"
    code = "import sys; from pathlib import Path; from messaging_core.sqlite import *; lock_folder(Path(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(folder)]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}:{root / 'protos'}"}
    with lock_folder(folder) as lock:
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 1
        assert f"{folder} is in use by process {os.getpid()}: stop that one first" in result.stderr
        with pytest.raises(FolderInUse):
            lock_folder(folder)
        lock.release()
    subprocess.run(command, env=environment, check=True)


def test_a_folder_that_is_made_is_its_owners_alone(tmp_path: Path) -> None:
    """Nobody else of the machine can look into it."""
    folder = tmp_path / "kept"
    with lock_folder(folder):
        assert folder.stat().st_mode & 0o077 == 0


def test_the_reserve_takes_room_and_gives_it_up(tmp_path: Path) -> None:
    """It is allocated, not sparse; giving it up frees it, twice is once, and it can be made again."""
    reserve = Reserve(tmp_path / "reserve", 1 << 20)
    for _ in range(2):
        assert reserve.restore()
        assert reserve.restore()
        assert (tmp_path / "reserve").stat().st_blocks * 512 >= 1 << 20
        reserve.give_up()
        reserve.give_up()
        assert not (tmp_path / "reserve").exists()


def test_a_reserve_that_does_not_fit_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk restoring says no and leaves no file behind; another error is raised."""
    for code, expected in ((errno.ENOSPC, False), (errno.EDQUOT, False), (errno.EIO, None)):

        def fail(descriptor: int, size_bytes: int, code: int = code) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(sqlite, "_allocate", fail)
        reserve = Reserve(tmp_path / "reserve", 1 << 20)
        if expected is None:
            with pytest.raises(OSError, match="Input/output"):
                reserve.restore()
        else:
            assert reserve.restore() is expected
        assert not (tmp_path / "reserve").exists()


def test_the_reserve_knows_whether_it_is_all_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing beside it can be allocated for want of room or a quota. It stays as large as it was."""
    reserve = Reserve(tmp_path / "reserve", 1 << 20)
    assert reserve.restore()
    assert not reserve.is_all_there_is()
    for code, expected in ((errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False)):

        def fail(descriptor: int, size_bytes: int, code: int = code) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(sqlite, "_allocate", fail)
        assert reserve.is_all_there_is() is expected
        assert (tmp_path / "reserve").stat().st_size == 1 << 20
        assert (tmp_path / "reserve").stat().st_blocks * 512 >= 1 << 20
    reserve.give_up()
    assert not reserve.is_all_there_is()
    assert not (tmp_path / "reserve").exists()


def test_the_checkpointer_moves_pages_and_bounds_the_log(
    tmp_path: Path, connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is committed reaches the database file without its writer; a long write-ahead log starts over."""
    monkeypatch.setattr(sqlite, "CHECKPOINT_INTERVAL_S", 0.01)
    monkeypatch.setattr(sqlite, "MAX_WAL_PAGES", 50)
    checkpointer = Checkpointer(tmp_path / "x.db")
    connection.execute("CREATE TABLE t (x)")
    deadline = time.monotonic() + 30
    for n in range(100):
        connection.execute("INSERT INTO t VALUES (?)", (bytes(40_000),))
        checkpointer.wrote()
        while (tmp_path / "x.db").stat().st_size < n * 40_000:
            assert time.monotonic() < deadline
            time.sleep(0.002)
    checkpointer.close()
    assert (tmp_path / "x.db-wal").stat().st_size < 100 * 40_000 / 2


def test_a_busy_checkpoint_is_tried_again(
    tmp_path: Path,
    connection: sqlite3.Connection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An error in a checkpoint is logged and costs nothing: the next one makes up for it."""
    monkeypatch.setattr(sqlite, "CHECKPOINT_INTERVAL_S", 0.01)
    checkpointer = Checkpointer(tmp_path / "x.db")
    working, failed = checkpointer._connection, threading.Event()

    class Failing:
        def execute(self, _: str) -> None:
            checkpointer._connection = working
            failed.set()
            raise sqlite3.OperationalError("disk I/O error")

        def close(self) -> None:
            raise AssertionError("not reached")

    checkpointer._connection = Failing()  # type: ignore[assignment]
    connection.execute("CREATE TABLE t (x)")
    connection.execute("INSERT INTO t VALUES (?)", (bytes(40_000),))
    checkpointer.wrote()
    assert failed.wait(30)
    deadline = time.monotonic() + 30
    while (tmp_path / "x.db").stat().st_size < 40_000:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    checkpointer.close()
    assert "will be tried again" in caplog.text


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    return error


FSYNC_FAILURES = [sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC]


@pytest.mark.parametrize("code", FSYNC_FAILURES)
def test_a_failed_fsync_ends_the_process(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an fsync that failed, nothing the process says about durability could be true."""
    ended: list[str] = []
    monkeypatch.setattr(sqlite, "_end_process", ended.append)
    end_if_fsync_failed(sqlite_error(code))
    assert re.search("failed to make data durable", ended[0])


@pytest.mark.parametrize(
    "error",
    [
        *[
            sqlite_error(getattr(sqlite3, name))
            for name in (
                "SQLITE_FULL",
                "SQLITE_BUSY",
                "SQLITE_IOERR",
                "SQLITE_IOERR_WRITE",
                "SQLITE_IOERR_READ",
                "SQLITE_CORRUPT",
                "SQLITE_READONLY",
                "SQLITE_CONSTRAINT",
            )
        ],
        sqlite3.OperationalError("without a code"),
        OSError(errno.EIO, "not SQLite's"),
    ],
)
def test_no_other_error_ends_the_process(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, a lock, a failed write or read: rolled back and told, but no reason to end."""
    monkeypatch.setattr(sqlite, "_end_process", lambda message: pytest.fail(message))
    end_if_fsync_failed(error)


def test_closing_while_a_checkpoint_begins_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A close that comes just before the thread forgets what woke it is noticed all the same."""
    monkeypatch.setattr(sqlite, "CHECKPOINT_INTERVAL_S", 0.01)
    checkpointer = Checkpointer(tmp_path / "x.db")

    class ClosedMeanwhile(threading.Event):
        def clear(self) -> None:
            checkpointer._closing.set()
            self.set()
            super().clear()

    waited_for, checkpointer._written = checkpointer._written, ClosedMeanwhile()
    waited_for.set()
    checkpointer._thread.join(30)
    assert not checkpointer._thread.is_alive()
