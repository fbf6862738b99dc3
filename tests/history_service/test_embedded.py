"""What only the SQLite engine of the history store owes: its file, its threads, a full disk."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from history_service import embedded
from history_service.embedded import EmbeddedStore
from history_service.port import Batch, MessageRow, StoreError, StoreUnavailable
from messaging_core.sqlite import connect
from tests.history_service.written import INCARNATION

FILE = "history.db"


class TestOpen:
    async def test_one_process_at_a_time(self, tmp_path: Path) -> None:
        """A folder in use is refused, and free again once closed."""
        store = await EmbeddedStore.open(tmp_path / "made" / "anew")
        with pytest.raises(StoreError, match="in use"):
            await EmbeddedStore.open(tmp_path / "made" / "anew")
        await store.close()
        await (await EmbeddedStore.open(tmp_path / "made" / "anew")).close()

    async def test_a_later_version_is_refused(self, tmp_path: Path) -> None:
        """A file of a later version is refused with both versions named, and left as it was."""
        await (await EmbeddedStore.open(tmp_path)).close()
        await asyncio.to_thread(execute, tmp_path / FILE, "pragma user_version = 9")
        with pytest.raises(StoreError, match=r"version 9.*version 1"):
            await EmbeddedStore.open(tmp_path)
        await asyncio.to_thread(execute, tmp_path / FILE, "pragma user_version = 1")
        await (await EmbeddedStore.open(tmp_path)).close()

    async def test_another_programs_file_is_refused(self, tmp_path: Path) -> None:
        """So is a database that is not a history."""
        await asyncio.to_thread(execute, tmp_path / FILE, "create table other (x)")
        with pytest.raises(StoreError, match="not a history"):
            await EmbeddedStore.open(tmp_path)

    async def test_a_file_that_is_no_database_is_refused(self, tmp_path: Path) -> None:
        """So is a file that is no database at all."""
        (tmp_path / FILE).write_bytes(b"no database, but long enough to be one " * 100)
        with pytest.raises(StoreError, match="not a database"):
            await EmbeddedStore.open(tmp_path)

    async def test_a_full_disk_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """SQLite says "disk I/O error", also after the file was looked at. The folder is free again."""
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
        opened: list[sqlite3.Connection] = []

        def connect_twice(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
            if len(opened) == 2:
                raise error
            opened.append(connect(path, read_only=read_only))
            return opened[-1]

        with monkeypatch.context() as patched:
            patched.setattr(embedded, "connect", connect_twice)
            with pytest.raises(StoreError, match=f"no space is left on the disk of {tmp_path}"):
                await EmbeddedStore.open(tmp_path)
        for connection in opened:
            with pytest.raises(sqlite3.ProgrammingError, match="closed"):
                connection.total_changes  # noqa: B018
        await (await EmbeddedStore.open(tmp_path)).close()


class TestWriting:
    async def test_a_bad_batch_fails_alone(self, tmp_path: Path) -> None:
        """Writes that wait together share a transaction, yet one that cannot be done fails no other."""
        store = await EmbeddedStore.open(tmp_path)
        bad: Any = Batch(INCARNATION, messages=[MessageRow("c", 1, "ann", "m", None)])  # type: ignore[arg-type]
        calls = [store.register(f"c{number}", ("ann",)) for number in range(20)]
        results = await asyncio.gather(*calls, store.write(bad), return_exceptions=True)
        assert results[:-1] == [None] * 20
        assert isinstance(results[-1], Exception)
        assert len(await store.participants([f"c{number}" for number in range(20)])) == 20
        await store.close()

    async def test_a_full_disk_is_unavailable_until_there_is_room(self, tmp_path: Path) -> None:
        """A write that finds no room changes nothing, can be tried again, and reads go on."""
        store = await EmbeddedStore.open(tmp_path)
        await store.register("c", ("ann",))
        await store._writer.run(lambda connection: connection.execute("pragma max_page_count = 30"))
        batch = Batch(
            INCARNATION, messages=[MessageRow("c", n, "ann", f"m{n}", bytes(1_000)) for n in range(200)]
        )
        with pytest.raises(StoreUnavailable, match="full"):
            await store.write(batch)
        assert await store.participants(["c"]) == {"c": ("ann",)}
        await store._writer.run(lambda connection: connection.execute("pragma max_page_count = 1000000"))
        await store.write(batch)
        await store.close()

    async def test_the_write_ahead_log_stays_bounded(self, tmp_path: Path) -> None:
        """Its pages go to the database while writes go on: it is used over and over, not grown."""
        store = await EmbeddedStore.open(tmp_path)
        for start in range(0, 60_000, 1_000):
            rows = [MessageRow("c", n, "ann", f"m{n}", bytes(300)) for n in range(start, start + 1_000)]
            await store.write(Batch(INCARNATION, messages=rows))
        assert (tmp_path / f"{FILE}-wal").stat().st_size < 16 << 20
        await store.close()

    async def test_a_closed_store_is_unavailable(self, tmp_path: Path) -> None:
        """Calls after closing fail at once; closing twice is no error."""
        store = await EmbeddedStore.open(tmp_path)
        await store.close()
        await store.close()
        with pytest.raises(StoreUnavailable):
            await store.register("c", ("ann",))
        with pytest.raises(StoreUnavailable):
            await store.participants(["c"])

    async def test_what_waits_at_closing_is_done(self, tmp_path: Path) -> None:
        """Closing finishes the writes that were asked for before."""
        store = await EmbeddedStore.open(tmp_path)
        calls = [asyncio.create_task(store.register(f"c{n}", ("ann",))) for n in range(50)]
        await asyncio.sleep(0)
        await store.close()
        await asyncio.gather(*calls)
        store = await EmbeddedStore.open(tmp_path)
        assert len(await store.participants([f"c{n}" for n in range(50)])) == 50
        await store.close()


def execute(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()
