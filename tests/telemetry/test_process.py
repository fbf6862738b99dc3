"""What a process tells of itself."""

from pathlib import Path

import pytest

from telemetry import catalogue, process
from telemetry.process import ProcessFigures

OF_EVERY_PROCESS = {catalogue.CPU, catalogue.MEMORY, catalogue.UPTIME, catalogue.LOOP_LAG}


def test_it_tells_its_open_files() -> None:
    """One more is one more, beside CPU, memory, time and the lag of the loop."""
    figures = ProcessFigures()
    assert {each.metric for each in figures()} == OF_EVERY_PROCESS | {catalogue.FILES}
    (before,) = (each.value for each in figures() if each.metric is catalogue.FILES)
    with Path(__file__).open():
        (after,) = (each.value for each in figures() if each.metric is catalogue.FILES)
    assert isinstance(before, int)
    assert after == before + 1


@pytest.mark.parametrize("there_is_something", [True, False])
def test_files_that_cannot_be_counted_are_left_out(
    there_is_something: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where no file is left to read the folder by, or there is no such folder: the rest is told all the same."""
    folder = tmp_path / "fd"
    if there_is_something:
        folder.write_bytes(
            b""
        )  # its size says nothing, as that of an older kernel's folder, and it cannot be listed
    monkeypatch.setattr(process, "_FILES", folder)
    assert {each.metric for each in ProcessFigures()()} == OF_EVERY_PROCESS
