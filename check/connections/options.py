"""What a run is told on its command line."""

import argparse
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from check.charts import chart_file
from check.connections.recipients import SHAPES, Shape

MAX_MESSAGES = 1_000_000
"""Of one client, which keeps a bit for each."""
_CLIENTS_A_PROCESS = 16_000
"""Below the 20,000 descriptors that a process has where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure, and with what."""

    connections: int
    messages: int
    rate: float
    """Messages a second of each client."""
    recipients: str
    engine: str
    tls: bool
    workers: int
    """Processes that hold the streams."""
    client_processes: int
    opening: int
    """Clients that connect at a time, in each process."""
    open_timeout_s: float
    settle_s: float
    """How long nothing must come before what has not come counts as lost."""
    idle_s: float
    """How long the streams are watched before anything is sent."""
    seed: int
    folder: Path | None = None
    """Where logs and data stay; without one they are gone afterwards."""
    comes_back: bool = False
    """Whether a client whose stream ends connects again, from where it was."""
    verify_every: int = 1
    """Of so many clients one looks into what comes, the others count it."""
    whole: bool = False
    """Whether a cell on Kafka and Cassandra is one process, instead of one for each service."""


def parser(description: str) -> argparse.ArgumentParser:
    """Options of a run, bounds on what it finds, and where to put that."""
    made = argparse.ArgumentParser(
        prog="python -m check.connections",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("--connections", type=int, default=1_000, help="streams, each of a user and a connection of its own")
    add("--messages", type=int, default=20, help="that each client sends")
    add("--rate", type=float, default=1.0, help="messages a second of each client")
    add("--total-rate", type=float, help="messages a second of all clients together, instead of --rate")
    add("--recipients", choices=SHAPES, default="1", help="of each message")
    add("--engine", choices=("embedded", "kafka"), default="embedded", help="kafka: with Cassandra")
    add("--whole", action="store_true", help="with kafka: the cell in one process, not one for each service")
    add("--tls", action=argparse.BooleanOptionalAction, default=False, help="between clients and servers")
    add("--workers", type=int, help="processes that hold streams (default: one for 16,000)")
    add("--client-processes", type=int, help="processes that are clients (default: one for 16,000)")
    add("--opening", type=int, default=32, help="clients of a process that connect at a time")
    add("--open-timeout-s", type=float, default=30.0, help="for one client to be live")
    add("--settle-s", type=float, default=10.0, help="of silence until what has not come is lost")
    add("--idle-s", type=float, default=5.0, help="for which the streams are watched before anything is sent")
    add("--verify-every", type=int, default=1, help="of so many clients one looks into what comes")
    add("--seed", type=int, default=1, help="of all that is left to chance")
    add("--baseline", action=argparse.BooleanOptionalAction, default=True, help="measure the raw echo first")
    add("--anyway", action="store_true", help="start even where the machine allows too little")
    add("--folder", type=Path, help="new folder in which the cell's logs and data stay")
    add("--json", type=Path, help="file for all figures")
    add("--plot", type=chart_file, help="PNG or SVG file for rate, latency, CPU and memory over time")
    return made


def options_of(given: argparse.Namespace) -> Options:
    """What was given, with what follows from it. Raises ValueError for what cannot be measured."""
    few = {name: getattr(given, name) for name in ("connections", "messages", "opening", "rate")}
    for name, value in few.items():
        if value <= 0:
            raise ValueError(f"--{name} must be above 0, not {value}")
    if given.messages > MAX_MESSAGES:
        raise ValueError(f"--messages is at most {MAX_MESSAGES:,}, not {given.messages:,}")
    Shape(given.recipients, given.connections)
    workers = given.workers or math.ceil(given.connections / _CLIENTS_A_PROCESS)
    if given.engine == "embedded" and given.workers and given.workers > 1:
        raise ValueError("--workers is 1 on the embedded engine, which belongs to one process")
    if given.whole and given.engine == "embedded":
        raise ValueError(
            "--whole goes with --engine kafka: on the embedded engine a cell always is one process"
        )
    if given.whole and given.workers and given.workers > 1:
        raise ValueError("--whole is one process, which has no --workers")
    is_one_process = given.whole or given.engine == "embedded"
    return Options(
        connections=given.connections,
        messages=given.messages,
        rate=given.total_rate / given.connections if given.total_rate else given.rate,
        recipients=given.recipients,
        engine=given.engine,
        tls=given.tls,
        workers=1 if is_one_process else workers,
        client_processes=given.client_processes or math.ceil(given.connections / _CLIENTS_A_PROCESS),
        opening=given.opening,
        open_timeout_s=given.open_timeout_s,
        settle_s=given.settle_s,
        idle_s=given.idle_s,
        seed=given.seed,
        verify_every=given.verify_every,
        folder=given.folder,
        whole=given.whole,
    )


def shares(total: int, parts: int) -> Sequence[tuple[int, int]]:
    """First and count of each part of so many, as even as can be."""
    bounds = [total * part // parts for part in range(parts + 1)]
    return [(first, until - first) for first, until in itertools.pairwise(bounds)]
