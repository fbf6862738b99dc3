"""How fast a cell is, and what that costs, as curves of rate against latency and CPU.

    python -m check.throughput [SCENARIO ...] [--engine embedded|kafka] [--seconds 60] [--json FILE] [--plot FILE]
    python -m check.throughput --connections 200 --recipients 5 --rates 100,200,400

Each scenario has a cell of its own, with clients on the same machine; all of them connect, then send, at one rate after the
other. "Holds" is a rate whose p99 end to end is below a second, with nothing lost, doubled, out of order or refused.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from check.charts import chart_file, draw
from check.connections import machine
from check.connections.figures import write_figures
from check.connections.options import Options, options_of, parser
from check.connections.progress import stopping, teller
from check.connections.recipients import SHAPES
from check.throughput import plot
from check.throughput.curve import Curve, Point, Step, climb
from check.throughput.scenarios import SCENARIOS, Scenario, named

_WIDTH = 160


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure as the command line says; the exit code."""
    command_line = _parser()
    given = command_line.parse_args(arguments)
    try:
        scenarios = _chosen(given)
        options = [_options(given, scenario) for scenario in scenarios]
    except ValueError as error:
        command_line.error(str(error))
    console = Console(stderr=True, width=_WIDTH)
    described = machine.description()
    try:
        curves = uvloop.run(_measure(scenarios, options, given.seconds, console))
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("Stopped.")
        return 130
    for scenario, curve in curves.items():
        Console(width=_WIDTH).print(_table(scenario, curve))
    if given.json:
        known = {
            scenario.name: [point.as_json() for point in curve.points] for scenario, curve in curves.items()
        }
        figures = {
            name: value for scenario, curve in curves.items() for name, value in _figures(scenario, curve)
        }
        run = {name: getattr(given, name) for name in ("engine", "whole", "tls", "seconds")}
        write_figures(given.json, "check.throughput", described, run, figures, {"curves": known}, arguments)
    if given.plot:
        title = "Throughput" + (" on Kafka and Cassandra" if given.engine == "kafka" else ", embedded")
        title += ", the cell in one process" if given.whole else ""
        draw(given.plot, title, plot.of_curves(curves), beside=2)
    faulty = [
        point
        for curve in curves.values()
        for point in curve.points
        if point.sent.doubled or point.verdict.lost
    ]
    return 1 if faulty else 0


async def _measure(
    scenarios: Sequence[Scenario], options: Sequence[Options], seconds: float, console: Console
) -> dict[Scenario, Curve]:
    found = {}
    with stopping(), teller(console) as say:
        for scenario, option in zip(scenarios, options, strict=True):
            found[scenario] = await climb(option, scenario.steps, seconds, say)
    return found


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m check.throughput",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"{scenario.name:10} {scenario.what}" for scenario in SCENARIOS),
    )
    add = made.add_argument
    add("scenarios", nargs="*", help="of those below; `room` is all rooms")
    add("--connections", type=int, help="a load of one's own: clients")
    add("--recipients", choices=SHAPES, default="1", help="of each message of that")
    add("--rates", help="messages a second of all clients together, with commas")
    add("--seconds", type=float, default=60.0, help="for each rate")
    add("--idle-s", type=float, default=3.0, help="before the first rate")
    add("--engine", choices=("embedded", "kafka"), default="embedded", help="kafka: with Cassandra")
    add("--whole", action="store_true", help="with kafka: the cell in one process, not one for each service")
    add("--tls", action=argparse.BooleanOptionalAction, default=False)
    add("--workers", type=int, help="processes of the messaging server on kafka")
    add("--client-processes", type=int, default=1)
    add("--json", type=Path, help="file for all figures")
    add("--plot", type=chart_file, help="PNG or SVG file for the curves")
    return made


def _chosen(given: argparse.Namespace) -> Sequence[Scenario]:
    if given.connections is None:
        return named(given.scenarios or ["pairs"])
    if given.scenarios or not given.rates:
        raise ValueError("--connections goes with --rates, and without names of scenarios")
    steps = [Step(given.recipients, float(rate)) for rate in given.rates.split(",")]
    return [
        Scenario("own", f"{given.connections} clients to {given.recipients}", given.connections, tuple(steps))
    ]


def _options(given: argparse.Namespace, scenario: Scenario) -> Options:
    words = [
        "--connections",
        str(scenario.connections),
        "--engine",
        given.engine,
        "--idle-s",
        str(given.idle_s),
    ]
    words += ["--recipients", scenario.steps[0].recipients, "--client-processes", str(given.client_processes)]
    words += ["--tls"] if given.tls else []
    words += ["--whole"] if given.whole else []
    words += ["--workers", str(given.workers)] if given.workers else []
    words += ["--verify-every", str(scenario.verify_every)]
    return options_of(parser("").parse_args(words))


def _figures(scenario: Scenario, curve: Curve) -> list[tuple[str, float]]:
    """The highest rate that holds for each kind of recipients, and what is felt there."""
    found: list[tuple[str, float]] = []
    for recipients in dict.fromkeys(step.recipients for step in scenario.steps):
        point = curve.highest(recipients)
        name = f"{scenario.name} to {recipients}"
        found.append((f"{name}: highest_sent_per_s", point.step.total_rate if point else 0.0))
        if point:
            found += [(f"{name}: {figure}", round(value, 3)) for figure, value in point.figures().items()]
    return found


def _table(scenario: Scenario, curve: Curve) -> Table:
    columns = (
        "to",
        "asked/s",
        "sent/s",
        "come/s",
        "accepted p50, p95, p99 ms",
        "end to end p50, p95, p99, p99.9 ms",
    )
    table = Table(
        *columns,
        "server CPU",
        "µs a delivery",
        "come per server CPU s",
        "client cores",
        "holds",
        title=scenario.what,
    )
    for point in curve.points:
        table.add_row(*_row(point))
    return table


def _row(point: Point) -> Sequence[str]:
    figures = point.figures()
    latency, accept = point.sent.times["latency"], point.sent.times["accept"]
    return (
        point.step.recipients,
        f"{point.step.total_rate:,.0f}",
        f"{figures['sent_per_s']:,.0f}",
        f"{figures['come_per_s']:,.0f}",
        " ".join(f"{accept.percentile(percent) / 1e3:,.1f}" for percent in (50, 95, 99)),
        " ".join(f"{latency.percentile(percent) / 1e3:,.1f}" for percent in (50, 95, 99, 99.9)),
        ", ".join(f"{role} {cores:.2f}" for role, cores in point.server_cores.items()),
        f"{figures['cpu_us_per_delivery']:,.0f}",
        f"{figures['deliveries_per_s_of_server_cpu']:,.0f}",
        f"{figures['client_cores']:.2f}",
        "yes" if point.holds else "no",
    )


if __name__ == "__main__":
    sys.exit(main())
