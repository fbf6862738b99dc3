"""SQLite where losing nothing matters: durable connections, one process a folder, checkpoints, room on a full disk."""

import errno
import fcntl
import logging
import os
import sqlite3
import threading
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

_logger = logging.getLogger(__name__)

BUSY_TIMEOUT_S = 10.0
"""How long a statement waits for another connection's lock."""
CHECKPOINT_INTERVAL_S = 1.0
MAX_WAL_PAGES = 2_048
"""8 MiB: a write-ahead log longer than this is made to start over, which holds up writers while readers leave it. It is then
written where it was before: a commit costs one write to the disk, where a file that grows costs several."""
_RESTART_WAIT_MS = 100
"""For how long at most, at a time: a reader may stay for ever, writers must not wait for it."""
_LOCK_FILE = "lock"
_NO_ROOM_TO_OPEN = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_PROBE_BYTES = 1 << 20
"""Room for some transactions; a disk with less is full."""
_FSYNC_FAILED = frozenset({sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC})


class NotDurable(Exception):
    """SQLite does not take the settings without which a commit could be lost."""


class FolderInUse(Exception):
    """Another process works in the folder."""


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection whose COMMIT returns after an fsync: write-ahead log, synchronous FULL, both read back.

    Transactions are begun and ended by statements. It may move between threads but is used by one at a time. It makes no
    checkpoints: a `Checkpointer` does. Raises NotDurable, sqlite3.Error.
    """
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        # The first statement decides for a new file: freed pages can then be given back to the disk, when it is full.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        _set(connection, path, "journal_mode", "WAL", "wal")
        _set(connection, path, "synchronous", "FULL", 2)
        _set(connection, path, "wal_autocheckpoint", "0", 0)
        _set(connection, path, "fullfsync", "ON", 1)  # macOS; no difference elsewhere
        _set(connection, path, "checkpoint_fullfsync", "ON", 1)
        if read_only:
            _set(connection, path, "query_only", "ON", 1)
    except BaseException:
        connection.close()
        raise
    return connection


def _set(connection: sqlite3.Connection, path: Path, pragma: str, value: str, expected: object) -> None:
    connection.execute(f"PRAGMA {pragma} = {value}").fetchall()
    (actual,) = connection.execute(f"PRAGMA {pragma}").fetchone()
    if actual != expected:
        raise NotDurable(f"{path}: SQLite keeps {pragma} at {actual!r} where {expected!r} is needed")


def is_disk_full(error: BaseException) -> bool:
    """Whether SQLite says that there is no room."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def is_write_failed(error: BaseException) -> bool:
    """Whether a write failed otherwise, which may be for want of room, too: a used up quota is an I/O error to SQLite."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_IOERR_WRITE


def lacks_room_to_open(error: BaseException) -> bool:
    """Whether a file could not be opened because the disk is full. Of a COMMIT the same may say less: see `is_disk_full`."""
    return getattr(error, "sqlite_errorcode", None) in _NO_ROOM_TO_OPEN


def why_not_opened(error: Exception, path: Path) -> str:
    """Why a file could not be opened, in words: SQLite calls a full disk an I/O error, and quotes what is damaged."""
    if lacks_room_to_open(error):
        return f"no space is left on the disk of {path.parent}"
    return (
        str(error)
        if isinstance(error, sqlite3.Error | NotDurable)
        else f"the file is damaged ({error!r:.200})"
    )


def end_if_fsync_failed(error: BaseException) -> None:
    """End the process at once if SQLite says that an fsync failed.

    After that nobody knows what of the file is on the disk, and a second fsync that succeeds would not tell. What was told
    to be durable is; for the rest a restart reads what is really there. No other error means this: a write that fails is
    rolled back, and a full disk, a lock or a bad statement changes nothing.
    """
    if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", None) in _FSYNC_FAILED:
        _end_process(f"the disk failed to make data durable ({error}); ending, restart to see what it has")


def _end_process(message: str) -> NoReturn:
    _logger.critical(message)
    os.write(2, f"fatal: {message}\n".encode())
    os._exit(os.EX_IOERR)


class Lock:
    """A folder of this process alone, until released or until the process ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Let others have it. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def lock_folder(folder: Path) -> Lock:
    """Take the folder for this process alone. Raises FolderInUse, OSError.

    It is made if need be, for its owner's eyes only: what is kept there is what people write to each other.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _say_who(descriptor)
    except BlockingIOError:
        owner = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise FolderInUse(
            f"{folder} is in use by process {owner}: stop that one first, or choose another folder"
        ) from None
    except BaseException:
        os.close(descriptor)
        raise
    return Lock(descriptor)


def _say_who(descriptor: int) -> None:
    """Write this process's id down, for people; where the disk is full they have to do without."""
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise


def sync_folder(folder: Path) -> None:
    """Make the names of the files in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Reserve:
    """A file that only takes up room, to be given up when the disk is full so that deletions, which write too, can run."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes

    def restore(self) -> bool:
        """Take up the room. False, and none taken, if the disk does not have it. Raises OSError for other reasons."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(descriptor).st_size < self._size_bytes:
                _allocate(descriptor, self._size_bytes)
            return True
        except OSError as error:
            self.give_up()
            if error.errno in _NO_ROOM:
                return False
            raise
        finally:
            os.close(descriptor)

    def is_all_there_is(self) -> bool:
        """Whether the disk, or the user's quota of it, has no room beside the reserve, which is there."""
        try:
            descriptor = os.open(self._path, os.O_RDWR)
            try:
                _allocate(descriptor, self._size_bytes + _PROBE_BYTES)
            finally:
                os.ftruncate(descriptor, self._size_bytes)
                os.close(descriptor)
        except OSError as error:
            return error.errno in _NO_ROOM
        return False

    def give_up(self) -> None:
        """Free the room. Idempotent."""
        self._path.unlink(missing_ok=True)


def _allocate(descriptor: int, size_bytes: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size_bytes)
        return
    chunk = bytes(1 << 20)
    for at in range(0, size_bytes, len(chunk)):
        os.pwrite(descriptor, chunk[: size_bytes - at], at)


class Checkpointer:
    """Moves committed pages from the write-ahead log into the database, in a thread and connection of its own.

    So no commit waits for it, but where the write-ahead log has grown past MAX_WAL_PAGES: then it is made to start over.
    An idle database costs nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = threading.Event()
        self._closing = threading.Event()
        self._connection = connect(path)
        self._connection.execute(f"PRAGMA busy_timeout = {_RESTART_WAIT_MS}").fetchall()
        self._thread = threading.Thread(target=self._run, name=f"checkpoint-{path.stem}", daemon=True)
        self._thread.start()

    def wrote(self) -> None:
        """Something was committed. Cheap; from any thread."""
        self._written.set()

    def close(self) -> None:
        """Stop. Blocks while a checkpoint is under way."""
        self._closing.set()
        self._written.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while self._written.wait() and not self._closing.wait(CHECKPOINT_INTERVAL_S):
                self._written.clear()
                if self._closing.is_set():  # since the wait: the clear has taken the wake-up of close
                    break
                self._checkpoint()
        finally:
            self._connection.close()

    def _checkpoint(self) -> None:
        try:
            _, pages, _ = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if pages > MAX_WAL_PAGES:
                self._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        except sqlite3.Error as error:
            end_if_fsync_failed(error)
            _logger.warning("checkpoint of %s failed, will be tried again: %s", self._path, error)
            self._written.set()
