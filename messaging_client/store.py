"""The stores: one in memory, and one in an SQLite file that outlives kill -9 and a loss of power.

The file has two tables. `about` holds the user, the cursor and the name of the cell's log; `commands` holds the outbox, in
order. It is opened in WAL mode with synchronous=FULL, so that a commit is on the disk when it returns, and locked for as
long as it is open: two clients cannot share it. A process that was killed leaves no lock behind.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_client.errors import NotDone, StoreFailed, StoreInUse
from messaging_client.kept import Change, Drop, Kept, KeptCommand, Moved, OfLog, OfUser, Put, Refused, Tried
from messaging_client.wire import reason_named

_VERSION = 1
_BUSY_S = 2.0
"""How long another client may take to let go of the file."""
_TABLES = """
create table if not exists about (name text primary key, value text not null) without rowid;
create table if not exists commands (
    sequence integer primary key autoincrement,
    id text not null unique,
    lane text not null,
    command blob not null,
    tried_at_us integer,
    refusal text
);
"""


class MemoryStore:
    """Keeps nothing: what was not sent is gone when the process ends, and the next start is a first one."""

    is_durable = False

    def load(self) -> Kept:
        """Store.load."""
        return Kept()

    def commit(self, changes: Sequence[Change]) -> None:
        """Store.commit."""

    def close(self) -> None:
        """Store.close."""


class FileStore:
    """Keeps outbox and cursor in one SQLite file (and its -wal file beside it while it is open)."""

    is_durable = True

    def __init__(self, path: str | Path) -> None:
        """The file is made when the client starts, in a folder that exists."""
        self.path = Path(path)
        self._connection: sqlite3.Connection | None = None

    def load(self) -> Kept:
        """Store.load."""
        with self._failures():
            self._connection = connection = sqlite3.connect(
                self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            try:
                _prepare(connection)
                return _read(connection)
            except BaseException:
                self.close()
                raise

    def commit(self, changes: Sequence[Change]) -> None:
        """Store.commit."""
        connection = self._connection
        if connection is None:
            raise StoreFailed(f"{self.path} is closed")
        with self._failures():
            connection.execute("begin immediate")
            try:
                for change in changes:
                    _apply(connection, change)
                connection.execute("commit")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("rollback")
                raise

    def close(self) -> None:
        """Store.close."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                raise StoreInUse(f"{self.path} is in use by another client") from error
            raise StoreFailed(f"{self.path}: {error}") from error
        except (sqlite3.Error, StoreFailed, UnicodeDecodeError) as error:
            # SQLite's errors quote the file, in which damage may have left anything.
            raise StoreFailed(f"{self.path}: {error}") from error


def _prepare(connection: sqlite3.Connection) -> None:
    """Lock the file, and make it what it must be."""
    connection.execute("pragma locking_mode = exclusive")
    (mode,) = connection.execute("pragma journal_mode = wal").fetchone()
    connection.execute("pragma synchronous = full")
    (synchronous,) = connection.execute("pragma synchronous").fetchone()
    if (mode, synchronous) != ("wal", 2):
        raise StoreFailed(f"the file system does not allow a durable store: {mode}, {synchronous}")
    connection.execute("begin exclusive")
    (version,) = connection.execute("pragma user_version").fetchone()
    if version not in (0, _VERSION):
        connection.execute("rollback")
        raise StoreFailed(f"the store has version {version}; this client knows {_VERSION}")
    for statement in filter(str.strip, _TABLES.split(";")):
        connection.execute(statement)
    connection.execute(f"pragma user_version = {_VERSION}")
    connection.execute("commit")


def _read(connection: sqlite3.Connection) -> Kept:
    """Everything. Raises StoreFailed for what no client has written, so that none stumbles over it later."""
    about = dict(connection.execute("select name, value from about").fetchall())
    rows = connection.execute(
        "select id, lane, command, tried_at_us, refusal from commands order by sequence"
    ).fetchall()
    try:
        if not all(isinstance(value, str) for value in about.values()):
            raise TypeError("user, cursor or log is no text")
        commands = [_command(*row) for row in rows]
        return Kept(about.get("user_id", ""), about.get("cursor"), commands, about.get("log", ""))
    except (ArithmeticError, DecodeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise StoreFailed(f"a row is damaged: {error!r:.200}") from error


def _command(id_: Any, lane: Any, command: Any, tried_at_us: Any, refusal: Any) -> KeptCommand:
    if not (isinstance(id_, str) and isinstance(lane, str) and isinstance(tried_at_us, int | None)):
        raise TypeError("id, lane or time of a command")
    if messaging.Command.FromString(command).WhichOneof("command") is None:
        raise ValueError("no command")
    return KeptCommand(id_, lane, command, tried_at_us, _refusal_from(id_, refusal) if refusal else None)


def _apply(connection: sqlite3.Connection, change: Change) -> None:
    match change:
        case Put(kept):
            connection.execute(
                "insert into commands (id, lane, command, tried_at_us) values (?, ?, ?, ?)",
                (kept.id, kept.lane, kept.command, kept.tried_at_us),
            )
        case Tried(id_, at_us):
            connection.execute("update commands set tried_at_us = ? where id = ?", (at_us, id_))
        case Refused(id_, refusal):
            connection.execute("update commands set refusal = ? where id = ?", (_refusal_to(refusal), id_))
        case Drop(id_):
            connection.execute("delete from commands where id = ?", (id_,))
        case Moved(cursor):
            connection.execute("insert or replace into about values ('cursor', ?)", (cursor,))
        case OfUser(user_id):
            connection.execute("insert or replace into about values ('user_id', ?)", (user_id,))
        case OfLog(incarnation):
            connection.execute("insert or replace into about values ('log', ?)", (incarnation,))


def _refusal_to(refusal: NotDone) -> str:
    names = ("reason", "detail", "field", "limit", "retry_after_s")
    return json.dumps({name: getattr(refusal, name) for name in names})


def _refusal_from(message_id: str, text: str) -> NotDone:
    said = json.loads(text)
    retry_after_s = said["retry_after_s"]
    return NotDone(
        reason_named(said["reason"]),
        str(said["detail"]),
        field=str(said["field"]),
        limit=int(said["limit"]),
        retry_after_s=None if retry_after_s is None else float(retry_after_s),
        message_id=message_id,
    )
