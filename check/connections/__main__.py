"""The command line: `python -m check.connections`."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import asdict

import uvloop
from rich.console import Console

from check.charts import draw
from check.connections import bounds, machine, plot, report
from check.connections.coordinator import measure
from check.connections.figures import write_figures
from check.connections.options import Options, options_of, parser
from check.connections.progress import stopping, teller
from check.connections.result import Run, ratios
from check.connections.targets import CELL, ECHO

_DESCRIPTION = """How many streams a cell holds, what they cost, and how fast messages are with all of them there.

Every client is a gRPC connection of its own with one stream and its own token, on loopback. All connect; then each sends its
messages at times that are set beforehand, from which latencies count, so that nothing that stalls is hidden. Each message
is looked for at each of its recipients. The raw grpcio echo server is measured first with the same streams and frames.

The exit code is 1 where a message was lost, came twice or wrongly, or where a bound that was given is not met; 2 where this
machine does not allow the run."""
_WIDTH = 140


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure as the command line says; the exit code."""
    command_line = parser(_DESCRIPTION)
    bounds.add_to(command_line)
    given = command_line.parse_args(arguments)
    try:
        options = options_of(given)
    except ValueError as error:
        command_line.error(str(error))
    console = Console(stderr=True, width=_WIDTH)
    found = machine.needs(options)
    console.print("What this run takes, of what the machine allows:\n" + machine.told(found), highlight=False)
    if not given.anyway and not all(need.is_met for need in found):
        console.print("It is not started; --anyway starts it all the same.")
        return 2
    described = machine.description()
    try:
        runs = uvloop.run(_measure(options, given.baseline, console))
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("Stopped.")
        return 130
    limits = bounds.given_in(given)
    figures = {name: value for run in runs[-1:] for name, value in run.figures().items()}
    if len(runs) > 1:
        figures |= ratios(runs[-1], runs[0])
    unmet = [
        *(f"{count:,} {what}" for what, count in runs[-1].faults.items()),
        *bounds.unmet(limits, figures),
    ]
    Console(width=_WIDTH).print(report.table(runs))
    for name, value in figures.items():
        if name.endswith("_over_echo"):
            print(f"{name}: {value:g}")
    if given.json:
        rest = {"bounds": limits, "unmet": unmet, "runs": {run.kind: run.as_json() for run in runs}}
        write_figures(given.json, "check.connections", described, asdict(options), figures, rest, arguments)
    if given.plot:
        draw(given.plot, _title(options), plot.of_run(runs[-1]))
    for line in unmet:
        print(f"NOT MET: {line}")
    return 1 if unmet else 0


async def _measure(options: Options, has_baseline: bool, console: Console) -> list[Run]:
    """The echo, unless it is not wanted, and after it the cell."""
    kinds = [ECHO, CELL] if has_baseline else [CELL]
    with stopping(), teller(console) as say:
        return [await measure(kind, options, say) for kind in kinds]


def _title(options: Options) -> str:
    shown = "Kafka and Cassandra" if options.engine == "kafka" else "embedded"
    shown += ", the cell in one process" if options.whole else ""
    return (
        f"{options.connections:,} streams, {options.messages} messages each, "
        f"{options.rate * options.connections:,g} a second in all, "
        f"recipients {options.recipients}, {shown}, {'TLS' if options.tls else 'no TLS'}"
    )


if __name__ == "__main__":
    sys.exit(main())
