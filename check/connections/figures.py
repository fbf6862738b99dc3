"""The file of all figures of a run, which `check.compare` reads."""

import datetime
import json
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any


def write_figures(
    path: Path,
    program: str,
    machine: Mapping[str, object],
    options: Mapping[str, object],
    figures: Mapping[str, float],
    rest: Mapping[str, Any],
    arguments: Sequence[str] | None = None,
) -> None:
    """Write figures by name, with the command that found them, on what machine and when; `rest` goes beside them."""
    words = sys.argv[1:] if arguments is None else arguments
    known = {
        "program": program,
        "command": f"python -m {program} {' '.join(words)}".rstrip(),
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": dict(machine),
        "versions": {name: version(name) for name in ("grpcio", "uvloop")}
        | {"python": sys.version.split()[0]},
        "options": {
            name: value if isinstance(value, int | float | str | None) else str(value)
            for name, value in options.items()
        },
        "figures": dict(figures),
        **rest,
    }
    path.write_text(json.dumps(known, default=str) + "\n")
