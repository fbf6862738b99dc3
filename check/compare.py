"""Has something become worse? Figures of two runs of the same program, side by side.

    .venv/bin/python -m check.compare OLD.json NEW.json [--tolerance 20] [--only TEXT]

Reads what the programs of `check` write with --json. The exit code is 1 where a figure is
worse by more than the tolerance, or is missing; 2 where the two cannot be compared. Figures of two machines, or of one that
was busy with something else, say little: those "over echo" are the ones to trust, since both halves were measured at once.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

_MORE_IS_BETTER = ("_per_s", "per_second", "connected")
_LESS_IS_BETTER = ("_ms", "_us", "_kb", "kb_per_stream", "_over_echo", "cores", "lost", "doubled", "failed")
_OF_THE_CLIENTS = ("client", "late_")
"""Their cost is no figure of what is measured."""
_NOISE = 1e-9
_WIDTH = 120


@dataclass(frozen=True, slots=True)
class Change:
    """One figure, before and after."""

    name: str
    old: float | None
    new: float | None

    @property
    def percent_worse(self) -> float:
        """By how many percent it is worse, negative where it is better; 0 for what is neither."""
        if self.old is None or self.new is None or not (direction := _direction(self.name)):
            return 0.0
        return direction * (self.new - self.old) / max(abs(self.old), _NOISE) * 100 + 0.0

    def is_worse(self, tolerance_percent: float) -> bool:
        """Whether it is worse by more than this, or was there and is not any more."""
        return self.new is None or self.percent_worse > tolerance_percent


def figures_of(known: Mapping[str, Any]) -> dict[str, float]:
    """All figures in what one of the programs wrote, by name. Raises ValueError where there are none."""
    found = {
        name: float(value) for name, value in known.get("figures", {}).items() if not isinstance(value, str)
    }
    for load, measured in known.get("loads", {}).items():
        for name, value in measured.items():
            if not isinstance(value, bool | str):
                found[f"{load}: {name}"] = float(value)
    if not found:
        raise ValueError("there are no figures in it")
    return found


def changes(old: Mapping[str, float], new: Mapping[str, float]) -> Sequence[Change]:
    """Each figure of the old run, and after them those that only the new one has."""
    return [Change(name, old.get(name), new.get(name)) for name in [*old, *(set(new) - set(old))]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument(
        "--tolerance", type=float, default=20.0, help="percent by which a figure may be worse"
    )
    parser.add_argument("--only", default="", help="figures with this text in their names")
    given = parser.parse_args(arguments)
    try:
        known = [json.loads(path.read_text()) for path in (given.old, given.new)]
        old, new = (figures_of(one) for one in known)
    except (OSError, ValueError) as error:
        parser.error(f"cannot be compared: {error}")
    differences = _unlike(known[0], known[1])
    for difference in differences:
        print(f"unlike: {difference}")
    found = [change for change in changes(old, new) if given.only in change.name]
    Console(width=_WIDTH).print(_table(found, given.tolerance))
    worse = [change for change in found if change.is_worse(given.tolerance)]
    print(f"{len(worse)} of {len(found)} figures are worse by more than {given.tolerance:g} %.")
    return 1 if worse else 0


def _direction(name: str) -> int:
    """1 where less is better, -1 where more is, 0 for what is not judged."""
    last = name.rpartition(": ")[2]
    if any(word in last for word in _OF_THE_CLIENTS):
        return 0
    if any(word in last for word in _MORE_IS_BETTER):
        return -1
    return 1 if any(word in last for word in _LESS_IS_BETTER) else 0


def _unlike(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """In which options and machines the two runs differ."""
    found = []
    for part in ("options", "machine", "versions"):
        before, after = old.get(part, {}), new.get(part, {})
        for name in sorted(set(before) | set(after)):
            if before.get(name) != after.get(name) and name != "load_before":
                found.append(f"{part} {name}: {before.get(name)} and {after.get(name)}")
    return found


def _table(found: Sequence[Change], tolerance: float) -> Table:
    table = Table("figure", "old", "new", "worse by", "")
    for change in found:
        table.add_row(
            change.name,
            _shown(change.old),
            _shown(change.new),
            f"{change.percent_worse:+,.1f} %" if _direction(change.name) else "",
            "WORSE" if change.is_worse(tolerance) else "",
        )
    return table


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:,.3g}" if abs(value) < 1_000 else f"{value:,.0f}"


if __name__ == "__main__":
    sys.exit(main())
