"""ghz against a cell, and after it our own client with the same load: unary SendMessage, and Connect streams.

    python -m check.ghz [--seconds 20] [--rate 200] [--connections 10] [--engine embedded|kafka] [--json FILE]

Both count from when a call begins until it has ended; one of Connect lasts as long as it sends. Calls begin at their times,
whether those before have ended or not. Fifty users write each to the next; each has a stream besides, which counts what
comes. The exit code is 1 where a call did not end with OK or a message did not come, 2 where ghz is not there.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import uvloop
from rich.console import Console

from check.connections import machine
from check.connections.figures import write_figures
from check.connections.options import options_of, parser
from check.connections.progress import stopping
from check.connections.targets import CELL, Target, running
from check.connections.warm_up import warm_up
from check.ghz import load, own, program, report
from check.ghz.listeners import Listeners, listening
from check.ghz.load import Load
from check.ghz.program import GhzFailed
from check.ghz.report import Measured, Report
from check.usage import usage_of_all

_WIDTH = 120
_STREAMS = 1_000
"""That the cell allows."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure as the command line says; the exit code."""
    command_line = _parser()
    given = command_line.parse_args(arguments)
    try:
        asked = load.loads(given.seconds, given.rate, given.connections)
    except ValueError as error:
        command_line.error(str(error))
    console, described = Console(stderr=True, width=_WIDTH), machine.description()
    try:
        ghz = program.install() if given.install and not program.find() else program.find()
        if ghz is None:
            console.print(f"ghz is not installed: `{program.INSTALL}`, or --install", highlight=False)
            return 2
        found = uvloop.run(_measure(ghz, asked, given.engine, console))
    except GhzFailed as error:
        console.print(str(error), highlight=False, markup=False)
        return 2 if program.find() is None else 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("Stopped.")
        return 130
    for one, measured in zip(asked, found, strict=True):
        Console(width=_WIDTH).print(report.table(one, measured))
    unmet = [
        fault for one, some in zip(asked, found, strict=True) for each in some for fault in each.faults(one)
    ]
    if given.json:
        figures = {
            name: value
            for one, some in zip(asked, found, strict=True)
            for each in some
            for name, value in each.figures(one).items()
        }
        run = {name: getattr(given, name) for name in ("seconds", "rate", "connections", "engine")}
        write_figures(given.json, "check.ghz", described, run, figures, {"unmet": unmet}, arguments)
    for line in unmet:
        print(f"NOT MET: {line}")
    return 1 if unmet else 0


async def _measure(ghz: Path, asked: Sequence[Load], engine: str, console: Console) -> list[list[Measured]]:
    """Of each load the run of ghz, and after it our own."""
    words = ["--engine", engine, "--connections", str(_STREAMS), "--workers", "1"]
    found = []
    with stopping():
        console.print("starting a cell")
        async with running(CELL, options_of(parser("").parse_args(words))) as target:
            await warm_up(target)
            tokens, address = load.tokens(), target.addresses[0]
            async with listening(address, tokens) as listeners:
                for one in asked:

                    async def by_ghz(one: Load = one) -> Report:
                        config = one.ghz_config(tokens)
                        return report.of_ghz(await program.run(ghz, config, address, one.most_s))

                    async def by_us(one: Load = one) -> Report:
                        return await own.run(one, tokens, address)

                    console.print(f"{one.name}: ghz")
                    first = await _measured(by_ghz, one, target, listeners)
                    console.print(f"{one.name}: our own client")
                    found.append([first, await _measured(by_us, one, target, listeners)])
    return found


async def _measured(
    run: Callable[[], Awaitable[Report]], one: Load, target: Target, listeners: Listeners
) -> Measured:
    pids = [pid for some in target.pids.values() for pid in some]
    before = usage_of_all(pids)
    made = await run()
    came = await listeners.wait(report.expected_to_come(one))
    target.check()
    return Measured(made, came, usage_of_all(pids).cpu_us - before.cpu_us)


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m check.ghz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("--seconds", type=float, default=20.0, help="of each run")
    add("--rate", type=float, default=200.0, help="messages a second")
    add("--connections", type=int, default=10, help="that calls are spread over")
    add("--engine", choices=("embedded", "kafka"), default="embedded", help="kafka: with Cassandra")
    add("--install", action="store_true", help=f"where ghz is not there: {program.INSTALL}")
    add("--json", type=Path, help="file for all figures")
    return made


if __name__ == "__main__":
    sys.exit(main())
