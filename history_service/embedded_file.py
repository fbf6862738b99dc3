"""The file of the embedded store: its tables, and whether it is one of ours. `embedded.py` says what the tables hold."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from history_service.port import StoreError
from messaging_core.sqlite import (
    FolderInUse,
    Lock,
    NotDurable,
    connect,
    lock_folder,
    sync_folder,
    why_not_opened,
)

FILE = "history.db"
APPLICATION_ID = 0x43454C48  # "CELH"
SCHEMA_VERSION = 1
EPOCH = 2**48
"""Positions of one log incarnation; see `embedded.py`."""

_SCHEMA = """
create table incarnations (epoch integer primary key, incarnation text not null unique);
create table positions (epoch integer, partition integer, through integer not null, time_us integer not null,
    primary key (epoch, partition)) without rowid;
create table conversations (conversation_id text primary key, participants text not null) without rowid;
create table messages (conversation_id text, sent_at_us integer, sender_id text, message_id text, event blob not null,
    primary key (conversation_id, sent_at_us, sender_id, message_id)) without rowid;
create table reactions (conversation_id text, sent_at_us integer, sender_id text, message_id text, key text,
    user_id text, position integer not null, removed integer not null,
    primary key (conversation_id, sent_at_us, sender_id, message_id, key, user_id)) without rowid;
create table inbox (user_id text, position integer, logged blob not null,
    primary key (user_id, position)) without rowid;
create table shared_inbox (conversation_id text, partition integer, position integer, logged blob not null,
    primary key (conversation_id, partition, position)) without rowid;
create table marks (user_id text, conversation_id text, marker_id text, kind integer, sent_at_us integer not null,
    sender_id text not null, message_id text not null, position integer not null, logged blob not null,
    primary key (user_id, conversation_id, marker_id, kind)) without rowid;
create index marks_in_order on marks (user_id, position);
create table overviews (user_id text, conversation_id text, last_at_us integer not null, shared integer not null,
    primary key (user_id, conversation_id)) without rowid;
create table gaps (partition integer, position integer, time_us integer not null,
    primary key (partition, position)) without rowid;
"""


def prepare(folder: Path) -> Lock:
    """Lock the folder, and see that its file is a history of this version; make it if there is none. Raises StoreError."""
    path = folder / FILE
    try:
        lock = lock_folder(folder)
    except FolderInUse as error:
        raise StoreError(str(error)) from error
    with opening(path, lock):
        with closing(connect(path)) as connection:
            _check(connection, path)
        sync_folder(folder)
    return lock


@contextmanager
def opening(path: Path, lock: Lock) -> Iterator[None]:
    """What opens the file in a locked folder: where it fails the folder is free again. Raises StoreError."""
    try:
        yield
    except (sqlite3.Error, NotDurable, UnicodeDecodeError) as error:  # SQLite's errors quote the file
        lock.release()
        raise StoreError(f"{path} cannot be opened: {why_not_opened(error, path)}") from error
    except BaseException:
        lock.release()
        raise


def _check(connection: sqlite3.Connection, path: Path) -> None:
    (application_id,) = connection.execute("pragma application_id").fetchone()
    (version,) = connection.execute("pragma user_version").fetchone()
    (tables,) = connection.execute("select count(*) from sqlite_schema").fetchone()
    if application_id == APPLICATION_ID and version == SCHEMA_VERSION:
        return
    if application_id == APPLICATION_ID:
        raise StoreError(
            f"{path} is a history of version {version}; this program knows version {SCHEMA_VERSION}"
        )
    if application_id or tables:
        raise StoreError(f"{path} is not a history of the messaging cell")
    with transaction(connection, "begin immediate"):
        for statement in _SCHEMA.split(";\n"):
            connection.execute(statement)
        connection.execute(f"pragma application_id = {APPLICATION_ID}")
        connection.execute(f"pragma user_version = {SCHEMA_VERSION}")


@contextmanager
def transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    """Begin with this statement; commit what is done, or none of it."""
    connection.execute(begin)
    try:
        yield
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise


def epoch_of(connection: sqlite3.Connection, incarnation: str) -> int | None:
    """The number of a log incarnation, from 1; None while nothing of it is stored."""
    row = connection.execute(
        "select epoch from incarnations where incarnation = ?", (incarnation,)
    ).fetchone()
    return None if row is None else row[0]
