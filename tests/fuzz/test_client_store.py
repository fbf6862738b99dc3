"""What the SDK has kept, in a file that anything may have happened to."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import example
from hypothesis import strategies as st

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_client import wire
from messaging_client.commands import send_message
from messaging_client.errors import StoreFailed
from messaging_client.kept import Kept, KeptCommand
from messaging_client.protocol import Protocol
from messaging_client.steps import Connect, Load
from messaging_client.store import _TABLES, FileStore, _read
from messaging_client.values import NotifyLevel
from tests.fuzz.application import SETTINGS, look_at
from tests.fuzz.strategies import (
    INT64,
    TEXT,
    encodings,
)
from tests.fuzz.subjects import subject

GOOD_COMMAND = send_message("hi", "bob", "", None, NotifyLevel.NORMAL, "m1").command.SerializeToString()
CELLS = st.one_of(st.none(), INT64, TEXT, st.floats(), st.binary(max_size=8), st.just(GOOD_COMMAND))
REFUSALS = st.sampled_from(
    (
        '{"reason": "TOO_LARGE", "detail": "x", "field": "f", "limit": 1, "retry_after_s": null}',
        '{"reason": "NEW", "detail": "x"}',
        '{"reason": "OTHER", "detail": "x", "extra": 1}',
        "[]",
        "{",
        "[" * 3_000,
        '{"reason": [], "detail": {}}',
    )
)
ROWS = st.tuples(
    st.sampled_from(("m1", "m2")) | CELLS,
    st.just("lane") | CELLS,
    st.just(GOOD_COMMAND) | encodings(st.just(messaging.Command(ping=messaging.Ping()))) | CELLS,
    st.none() | CELLS,
    st.none() | REFUSALS | CELLS,
)
ABOUT = st.dictionaries(st.sampled_from(("cursor", "user_id", "x")), CELLS, max_size=3)


@subject(share=4, short=50, rows=st.lists(ROWS, max_size=3), about=ABOUT, bad_text=st.booleans())
@example([("m1", "lane", b"\xff", None, None)], {}, False)
@example([("m1", "lane", GOOD_COMMAND, None, "{")], {}, False)
@example([("m1", "lane", "text", None, None)], {}, False)
@example([], {"cursor": b"\xff"}, False)
@example([], {}, True)
def test_store_rows(rows: list[tuple[Any, ...]], about: dict[str, Any], bad_text: bool) -> None:
    """A store whose rows hold anything is what it held, or StoreFailed; never something a client stumbles over later."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(_TABLES)
        for name, value in about.items():
            connection.execute("insert or ignore into about values (?, ?)", (name, value))
        for row in rows:
            connection.execute(
                "insert or ignore into commands (id, lane, command, tried_at_us, refusal) values (?, ?, ?, ?, ?)",
                row,
            )
        if bad_text:
            connection.execute("insert or replace into about values ('cursor', cast(x'ff' as text))")
        store = FileStore("none")
        try:
            with store._failures():
                kept = _read(connection)
        except StoreFailed as failed:
            assert "none" in str(failed)
            return
        start(kept)


def start(kept: Kept) -> None:
    """A client starts on what was kept."""
    protocol = Protocol(SETTINGS, kept, random.Random(1))
    step = protocol.next_step(0.0)
    assert isinstance(step, Connect | Load)
    if isinstance(step, Connect):
        assert protocol.connect(0.0).SerializeToString()
    for each in protocol.outbox.uncertain():
        assert wire.timestamp(each.tried_at_us).IsInitialized()
    assert all(isinstance(each, KeptCommand) for each in kept.commands)
    while (event := protocol.hand_over(0.0)) is not None:
        look_at(event)


def _whole_file() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(_TABLES)
            connection.execute(
                "insert into commands (id, lane, command) values ('m1', 'lane', ?)", (GOOD_COMMAND,)
            )
            connection.execute("insert into about values ('cursor', 'c')")
            connection.execute("pragma user_version = 1")
            connection.commit()
        return path.read_bytes()


FILE = _whole_file()


@subject(
    share=1,
    short=40,
    edits=st.lists(
        st.tuples(st.integers(0, len(FILE)) | st.integers(0, 100), st.binary(max_size=4)), max_size=4
    ),
    length=st.integers(0, len(FILE)) | st.just(len(FILE)),
)
@example(
    [(FILE.index(b"tablesqlite_sequence"), b"\xff")], len(FILE)
)  # SQLite's error quotes what is no UTF-8
def test_store_files(edits: list[tuple[int, bytes]], length: int) -> None:
    """A store's file with anything in it opens and can be written, or is StoreFailed."""
    data = bytearray(FILE[:length])
    for at, new in edits:
        data[at : at + len(new)] = new
    with TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        path.write_bytes(data)
        store = FileStore(path)
        try:
            start(store.load())
            store.commit(())
        except StoreFailed as failed:
            assert str(path) in str(failed)
        finally:
            store.close()
