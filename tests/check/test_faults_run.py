"""A short run from end to end: a cell of its own, clients in processes of their own, faults, history, checker, report."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str | Path, timeout_s: float = 60) -> "subprocess.CompletedProcess[str]":
    """The program with these arguments, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "check.faults", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@pytest.mark.timeout(240)
def test_a_cell_that_is_killed_keeps_its_promises(tmp_path: Path) -> None:
    """A few kills under traffic: no violation, exit code 0, and a report that says what was done."""
    report = tmp_path / "report.json"
    given = [
        "--engine",
        "embedded",
        "--minutes",
        "0.5",
        "--seed",
        "3",
        "--users",
        "5",
        "--patience",
        "60",
        "--only",
        "kill",
    ]
    ran = run(*given, "--json", report, "--folder", tmp_path / "run", timeout_s=200)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "no violation" in ran.stdout
    told = json.loads(report.read_text())
    assert told["passed"]
    assert told["hits"] == {"kill": told["faults"]}
    assert told["accepted_outside_faults"] > 0


def test_ledgers_of_another_run_are_not_mixed_with_its_own(tmp_path: Path) -> None:
    """A folder that is not empty is refused at once."""
    (tmp_path / "plan.json").touch()
    ran = run("--folder", tmp_path)
    assert ran.returncode == 2
    assert "is not empty" in ran.stderr


def test_what_it_is_given_wrong_is_told(tmp_path: Path) -> None:
    """An engine that nobody knows is refused at once."""
    ran = run("--engine", "other")
    assert ran.returncode == 2
    assert "--engine" in ran.stderr
