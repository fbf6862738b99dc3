"""The conformance scenarios: the Python SDK keeps every rule, and a client that breaks one is caught."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from check.conformance.__main__ import main
from check.conformance.runner import Result, run_one
from check.conformance.scenarios import ALL
from check.conformance.scenarios.endings import check_pauses
from check.conformance.watch import Broken
from tests.check.broken_driver import FAULTS

ROOT = Path(__file__).resolve().parents[2]
PYTHON_DRIVER = [sys.executable, "-m", "check.conformance.python_driver"]
BY_NAME = {scenario.name: scenario for scenario in ALL}
LONG_S = 60.0
FOR_ALL = [scenario.name for scenario in ALL if not scenario.needs_connect]
"""Scenarios for clients that have no Connect stream, too."""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module", autouse=True)
def where_packages_are() -> Iterator[None]:
    """Drivers are processes of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        yield


@pytest.fixture(scope="module")
def results() -> dict[tuple[str, str], Result]:
    """Of every kind of client and name, run beside one another, because most of the time is spent waiting."""

    async def run(kind: str, name: str, places: asyncio.Semaphore) -> tuple[tuple[str, str], Result]:
        command, patience_s = PYTHON_DRIVER, LONG_S
        scenario = BY_NAME[FAULTS[name][1] if kind == "broken" else name]
        if kind == "subscribing":
            command = [sys.executable, "-m", "tests.check.subscribing_driver"]
        elif kind == "broken":
            command, patience_s = [sys.executable, "-m", "tests.check.broken_driver", name], 10.0
        async with places:
            result = await run_one(scenario, command, patience_s, has_connect=kind != "subscribing")
        if kind == "broken" and FAULTS[name][2] not in result.message:
            # A busy machine makes pauses and takes time: again, alone among its like, with all the time there is.
            async with alone:
                result = await run_one(scenario, command, LONG_S)
        return (kind, name), result

    alone = asyncio.Lock()

    async def run_everything() -> dict[tuple[str, str], Result]:
        places = asyncio.Semaphore(10)
        wanted = [
            *product(["broken"], FAULTS),
            *product(["sdk"], BY_NAME),
            *product(["subscribing"], FOR_ALL),
        ]
        return dict(await asyncio.gather(*(run(kind, name, places) for kind, name in wanted)))

    return asyncio.run(run_everything())


@pytest.mark.parametrize("name", BY_NAME)
def test_the_python_sdk_keeps_the_rule(name: str, results: dict[tuple[str, str], Result]) -> None:
    """Every scenario passes with the driver of our own SDK."""
    result = results["sdk", name]
    assert result.passed, "\n".join([result.message, *result.transcript, *result.stderr])


@pytest.mark.parametrize("name", FOR_ALL)
def test_a_client_that_subscribes_keeps_the_rule(name: str, results: dict[tuple[str, str], Result]) -> None:
    """What is not about a Connect stream holds for clients that have none, and passes with Subscribe and Execute."""
    result = results["subscribing", name]
    assert result.passed, "\n".join([result.message, *result.transcript, *result.stderr])


@pytest.mark.parametrize("name", FAULTS)
def test_a_client_that_breaks_the_rule_is_caught(name: str, results: dict[tuple[str, str], Result]) -> None:
    """The scenario of that rule fails, and says what was wrong."""
    result = results["broken", name]
    assert not result.passed
    assert FAULTS[name][2] in result.message, "\n".join([result.message, *result.transcript, *result.stderr])


@pytest.mark.parametrize("pauses_s", [[0.01, 0.0, 0.0, 0.01], [0.5, 0.5, 0.52, 0.51]])
def test_no_pauses_and_pauses_in_step_are_caught(pauses_s: list[float]) -> None:
    """A client that comes back at once is a storm; those that come back after the same time are one together."""
    with pytest.raises(Broken):
        check_pauses(pauses_s)


def test_random_pauses_pass() -> None:
    """As full jitter makes them."""
    check_pauses([0.1, 0.7, 0.2, 3.0])


def test_every_scenario_tells_its_rule() -> None:
    """No scenario without a rule, and no name twice."""
    assert len(BY_NAME) == len(ALL)
    assert all(len(scenario.rule) > 30 for scenario in ALL)


def test_the_command_lists_the_scenarios(capsys: pytest.CaptureFixture[str]) -> None:
    """`--list` names each with its rule, and needs no driver."""
    assert main(["--list"]) == 0
    output = capsys.readouterr().out
    assert all(scenario.name in output for scenario in ALL)


def test_the_command_tells_what_passed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One scenario by its name: a line, the sum, the results as JSON, and the exit code."""
    file = tmp_path / "results.json"
    options = ["--only", "hello_first_and_once", "--json", str(file)]
    assert main([*options, "--", *PYTHON_DRIVER]) == 0
    assert "1 of 1 scenarios passed" in capsys.readouterr().out
    (result,) = json.loads(file.read_text())
    assert result["name"] == "hello_first_and_once"
    assert result["passed"]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["/no/such/driver"], "the driver cannot be started"),
        ([sys.executable, "-c", "raise SystemExit(3)"], "exit code 3"),
        ([sys.executable, "-c", "print('hello'); input(); input()"], "a line that is no report"),
    ],
)
def test_a_driver_that_is_none_is_told(
    command: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A driver that cannot be started, ends, or prints something else fails the scenario with a reason, exit code 1."""
    assert main(["--only", "hello_first_and_once", "--", *command]) == 1
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [([], "the command that starts the driver is missing"), (["--only", "no_such"], "no scenario no_such")],
)
def test_a_wrong_call_is_told(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is missing or unknown is named, with exit code 2."""
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert said in capsys.readouterr().err
