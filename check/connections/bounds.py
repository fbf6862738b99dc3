"""What a run must find, given on the command line; where it does not, its exit code is 1."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bound:
    """A figure and what it may be at most, or at least."""

    flag: str
    figure: str
    is_most: bool
    help: str


BOUNDS = (
    Bound("--max-failed", "failed", True, "clients that were never live (default: 0)"),
    Bound("--max-p50-ms", "latency_p50_ms", True, "end to end"),
    Bound("--max-p95-ms", "latency_p95_ms", True, "end to end"),
    Bound("--max-p99-ms", "latency_p99_ms", True, "end to end"),
    Bound("--max-p99.9-ms", "latency_p99.9_ms", True, "end to end"),
    Bound("--max-accept-p99-ms", "accept_p99_ms", True, "until the sender knows"),
    Bound("--max-kb-per-stream", "kb_per_stream", True, "of the processes that hold the streams"),
    Bound("--max-stream-over-echo", "kb_per_stream_over_echo", True, "the same by that of the raw echo"),
    Bound("--max-cpu-us", "cpu_us_per_delivery", True, "a message delivered, of all but the clients"),
    Bound("--min-connects-per-s", "connects_per_s", False, "clients live"),
    Bound("--min-delivered-per-s", "delivered_per_s", False, "messages"),
)


def add_to(parser: argparse.ArgumentParser) -> None:
    """A flag for each bound."""
    group = parser.add_argument_group("bounds: beyond one the exit code is 1")
    for bound in BOUNDS:
        default = 0.0 if bound.figure == "failed" else None
        group.add_argument(bound.flag, type=float, dest=bound.flag, default=default, help=bound.help)


def given_in(arguments: argparse.Namespace) -> Mapping[str, float]:
    """The bounds that were given, by flag."""
    values = {bound.flag: getattr(arguments, bound.flag) for bound in BOUNDS}
    return {flag: value for flag, value in values.items() if value is not None}


def unmet(given: Mapping[str, float], figures: Mapping[str, float]) -> Sequence[str]:
    """What is beyond its bound, or could not be told, each in words."""
    found = []
    for bound in BOUNDS:
        if bound.flag not in given:
            continue
        limit, value = given[bound.flag], figures.get(bound.figure)
        if value is None:
            found.append(f"{bound.figure} is not known, but {bound.flag} {limit:g} was given")
        elif (value > limit) if bound.is_most else (value < limit):
            found.append(f"{bound.figure} is {value:,g}, beyond {bound.flag} {limit:g}")
    return found
