"""Runs scenarios against a driver."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from check.conformance.app import driver
from check.conformance.cell import scripted_cell
from check.conformance.scenarios import Scenario
from check.conformance.watch import Broken, Watch

_SCENARIO_S = 180.0


@dataclass(frozen=True, slots=True)
class Result:
    """How one scenario went."""

    name: str
    rule: str
    passed: bool
    took_s: float
    message: str = ""
    """What was expected and what came; empty if it passed."""
    transcript: list[str] = field(default_factory=list)
    stderr: list[str] = field(default_factory=list)


async def run_one(
    scenario: Scenario, command: Sequence[str], patience_s: float, *, has_connect: bool = True
) -> Result:
    """One scenario, with a cell and a driver process of its own."""
    watch = Watch(patience_s)
    started_s = time.monotonic()
    message, stderr = "", []
    try:
        async with (
            asyncio.timeout(_SCENARIO_S),
            scripted_cell(watch, has_connect=has_connect) as cell,
            driver(watch, command) as app,
        ):
            try:
                await scenario.play(cell, app)
                watch.check()
            finally:
                stderr = app.stderr
    except Broken as broken:
        message = str(broken)
    except TimeoutError:
        message = f"it was not over after {_SCENARIO_S:g} s"
    took_s = round(time.monotonic() - started_s, 3)
    if not message:
        return Result(scenario.name, scenario.rule, True, took_s)
    return Result(scenario.name, scenario.rule, False, took_s, message, watch.transcript, stderr)


async def run_all(
    scenarios: Sequence[Scenario],
    command: Sequence[str],
    *,
    patience_s: float = 20.0,
    jobs: int = 4,
    has_connect: bool = True,
    tell: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """All of them, a few at the same time; `tell` hears of each as it ends. Results are in the order of the scenarios."""
    places = asyncio.Semaphore(jobs)

    async def run(scenario: Scenario) -> Result:
        async with places:
            result = await run_one(scenario, command, patience_s, has_connect=has_connect)
            tell(result)
            return result

    return await asyncio.gather(*(run(scenario) for scenario in scenarios))
