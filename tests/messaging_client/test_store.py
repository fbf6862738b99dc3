"""What a store keeps, over restarts and faults."""

import sqlite3
from pathlib import Path

import pytest

from messaging_client.errors import NotDone, Reason, StoreFailed, StoreInUse
from messaging_client.kept import Drop, Kept, KeptCommand, Moved, OfLog, OfUser, Put, Refused, Tried
from messaging_client.store import FileStore, MemoryStore

ONE = KeptCommand("one", "to bob", b"\x3a\x00")  # any command does: a ping
TWO = KeptCommand("two", "to bob", b"\x3a\x00")


def reopened(path: Path) -> Kept:
    store = FileStore(path)
    kept = store.load()
    store.close()
    return kept


def test_everything_comes_back_in_order(tmp_path: Path) -> None:
    """Commands in the order given, what was tried, what was refused and why, the cursor, the user, the cell's log."""
    path = tmp_path / "client.db"
    store = FileStore(path)
    assert store.load() == Kept()
    refusal = NotDone(Reason.TOO_LARGE, "no", field="content", limit=7, retry_after_s=1.5, message_id="two")
    store.commit([Put(ONE), Put(TWO), OfUser("ann"), OfLog("log"), Moved("c1"), Tried("one", 5)])
    store.commit([Moved("c2"), Refused("two", refusal)])
    store.close()
    kept = reopened(path)
    assert (kept.user_id, kept.cursor, kept.log) == ("ann", "c2", "log")
    assert [command.id for command in kept.commands] == ["one", "two"]
    assert kept.commands[0].tried_at_us == 5
    told = kept.commands[1].refusal
    assert told is not None
    assert vars(told) == vars(refusal)


def test_an_outcome_forgets_the_command(tmp_path: Path) -> None:
    """Drop, and the id is free again."""
    store = FileStore(tmp_path / "client.db")
    store.load()
    store.commit([Put(ONE), Drop("one"), Put(ONE)])
    store.close()
    assert len(reopened(tmp_path / "client.db").commands) == 1


def test_changes_are_made_all_or_none(tmp_path: Path) -> None:
    """A commit that fails leaves the file as it was, and the store can go on."""
    store = FileStore(tmp_path / "client.db")
    store.load()
    store.commit([Put(ONE)])
    with pytest.raises(StoreFailed):
        store.commit([Moved("c1"), Put(ONE)])
    store.commit([Put(TWO)])
    store.close()
    kept = reopened(tmp_path / "client.db")
    assert (kept.cursor, len(kept.commands)) == (None, 2)


def test_a_store_is_for_one_at_a_time(tmp_path: Path) -> None:
    """A second client is refused, until the first has closed."""
    path = tmp_path / "client.db"
    first = FileStore(path)
    first.load()
    with pytest.raises(StoreInUse):
        FileStore(path).load()
    first.close()
    reopened(path)


def test_commits_are_on_the_disk(tmp_path: Path) -> None:
    """WAL with synchronous=FULL: a commit that has returned survives a loss of power."""
    store = FileStore(tmp_path / "client.db")
    store.load()
    assert store._connection is not None
    assert store._connection.execute("pragma journal_mode").fetchone() == ("wal",)
    assert store._connection.execute("pragma synchronous").fetchone() == (2,)
    store.close()


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 5_000])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """What is no store of ours is a StoreFailed, never an exception of SQLite's."""
    path = tmp_path / "client.db"
    path.write_bytes(content)
    with pytest.raises(StoreFailed):
        FileStore(path).load()


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    """A later version's store is left alone."""
    path = tmp_path / "client.db"
    connection = sqlite3.connect(path)
    connection.execute("pragma user_version = 99")
    connection.close()
    with pytest.raises(StoreFailed, match="version 99"):
        FileStore(path).load()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """The folder must exist; the error names the path."""
    with pytest.raises(StoreFailed, match="nowhere"):
        FileStore(tmp_path / "nowhere" / "client.db").load()


def test_a_closed_store_takes_nothing(tmp_path: Path) -> None:
    """After close a commit fails instead of being lost."""
    store = FileStore(tmp_path / "client.db")
    store.load()
    store.close()
    with pytest.raises(StoreFailed, match="closed"):
        store.commit([Moved("c")])


def test_memory_keeps_nothing() -> None:
    """The next start is a first one."""
    store = MemoryStore()
    store.load()
    store.commit([Put(ONE)])
    store.close()
    assert MemoryStore().load() == Kept()
