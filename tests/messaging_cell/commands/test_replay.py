"""`cell replay`, as it is run, on the embedded engine and on Kafka and Cassandra."""

from pathlib import Path

import pytest

from cell.log.v1 import record_pb2 as log_pb2
from event_log import reader
from history_service.consumer import HistoryConsumer
from history_service.settings import HistorySettings
from messaging_cell import storage
from messaging_cell.setting_sources import load
from messaging_cell.settings import Settings
from tests.history_service.log_driving import Appender, stored
from tests.history_service.written import WrittenLog
from tests.messaging_cell.running import RunningCell, assert_said, run
from tests.support.engines import STARTING, unique_name

PARTITIONS = 4


@pytest.fixture(params=["embedded", pytest.param("real", marks=STARTING)])
def variables(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Settings of a cell that is not running, by their variables."""
    given = {"CELL_PARTITIONS": str(PARTITIONS)}
    if request.param == "real":
        name = unique_name("cell")
        addresses = ",".join(request.getfixturevalue("kafka").addresses())
        given |= {
            "CELL_LOG": f"kafka://{addresses}/{name}",
            "CELL_HISTORY": f"cassandra://{request.getfixturevalue('cassandra').address}/{name}",
            "CELL_COPIES": "1",
            "CELL_FEW_COPIES": "true",
        }
        assert run(tmp_path / "data", "migrate", **given).returncode == 0
    return given


async def leave_letters(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> int:
    """What an old version would leave that knows no messages, and some bytes that are no record; ann's partition."""
    log, store = await storage.open_log(settings), await storage.open_store(settings)
    made = WrittenLog(PARTITIONS, log.incarnation)
    partition = made.partition_of("ann")
    made.message("ann", ["ann"], "m", 5)
    made.poison(partition)
    await Appender(log, made).append()
    with monkeypatch.context() as old:
        old.setattr(reader, "_EVENT_FIELDS", {log_pb2.EVENT_KIND_READ_MARK: "read_mark"})
        consumer = HistoryConsumer(log, store, HistorySettings())
        await consumer.start()
        await stored(log, store)
        await consumer.close()
    await store.close()
    await log.close()
    return partition


async def test_letters_are_listed_and_put_back(
    variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--list and --dry-run change nothing and say what is there; then it is put back, once; what cannot be read stays."""
    folder = tmp_path / "data"
    settings = load(Settings, {"data_folder": str(folder)}, variables)
    partition = await leave_letters(settings, monkeypatch)
    stays = "not a record: stays: nothing of it could be read"
    for flag, outcome, end in (
        ("--list", "can be put back", "2 letters."),
        ("--dry-run", "would be put back", "1 letter would be put back, 1 stay."),
        (None, "is back", "1 letter put back, 1 stay."),
    ):
        done = run(folder, "replay", *([flag] if flag else []), **variables)
        assert done.returncode == 0, done.stderr
        *letters, last = done.stdout.splitlines()
        first, second = sorted(letters)
        assert first.startswith(f"partition {partition} offset 0, 20")
        assert first.endswith(f"kind 1 with an event of message: {outcome}")
        assert second.startswith(f"partition {partition} offset 1, 20")
        assert f" 2 bytes, {stays}" in second
        assert last == end
    again = run(folder, "replay", **variables)
    assert again.returncode == 0
    assert again.stdout.splitlines()[-1] == "No letters put back, 1 stay."


async def test_without_letters_there_is_nothing_to_do(variables: dict[str, str], tmp_path: Path) -> None:
    """It says so, and that is no failure."""
    for flags in ([], ["--list"], ["--dry-run"]):
        done = run(tmp_path / "data", "replay", *flags, **variables)
        assert (done.returncode, done.stdout) == (0, "No letters.\n"), done.stderr


def test_a_running_cell_has_its_folder(cell: RunningCell) -> None:
    """On the embedded engine the cell must be stopped: it says whose the folder is, and the exit code is 1."""
    assert_said(run(cell.data_folder, "replay"), 1, "data_folder", str(cell.data_folder))


def test_wrong_use_is_told(tmp_path: Path) -> None:
    """Flags that exclude each other, and settings that are not allowed, end with 2 and make nothing."""
    assert_said(run(tmp_path / "none", "replay", "--list", "--dry-run"), 2, "--list and --dry-run")
    assert_said(run(tmp_path / "none", "replay", CELL_PARTITIONS="0"), 2, "CELL_PARTITIONS")
    assert_said(run(tmp_path / "none", "replay", CELL_LOG="kafka://127.0.0.1:1/cell"), 1, "log")
    assert not (tmp_path / "none").exists()
