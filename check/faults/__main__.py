"""`python -m check.faults --engine embedded --minutes 5 --seed 1`: break a cell under traffic and check what it promised.

The exit code is 0 where every promise was kept and the run shows it, 1 where not, 2 where the run could not be made.
"""

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from check.faults import embedded, kafka, report, run, schedule, trial
from check.faults.checker import violations
from check.faults.history_reader import HistoryNotWhole
from check.faults.parts import CellDown
from check.faults.proxy import Network
from check.faults.trial import ClientsFailed
from engines.artifacts import EnginesMissing
from engines.server import ServerFailed

ENGINES = {"embedded": embedded.cell, "kafka": kafka.cell}


def main() -> int:
    """Run, check, report."""
    arguments = _arguments()
    if arguments.check:
        return _report(arguments.check, arguments, {"folder": str(arguments.check)})
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="check-faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        print(f"--folder: {folder} is not empty", file=sys.stderr)
        return 2
    start_s = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - start_s:7.1f}  {line}", flush=True)

    with Network() as network, ENGINES[arguments.engine](folder, network) as parts:
        kinds = schedule.choose(parts.kinds, arguments.only)
        faults = schedule.make(arguments.seed, arguments.minutes, kinds, arguments.apart)
        say(f"seed {arguments.seed}, {len(faults)} faults; ledgers in {folder}")
        for line in [*parts.notes, *map(str, faults)]:
            print(f"         {line}")
        plan = trial.make_plan(
            arguments.seed, parts, arguments.users, arguments.pause, arguments.restless, arguments.patience
        )
        try:
            asyncio.run(trial.run(folder, plan, parts, faults, arguments.minutes, say))
        except (ClientsFailed, CellDown, HistoryNotWhole) as error:
            say(f"{type(error).__name__}: {error}")
            about = {"engine": arguments.engine, "failed": f"{type(error).__name__}: {error}"}
            _report(folder, arguments, about)
            return 1
    code = _report(folder, arguments, {"engine": arguments.engine, "minutes": arguments.minutes})
    if code == 0 and arguments.folder is None:
        shutil.rmtree(folder)
    return code


def _report(folder: Path, arguments: argparse.Namespace, about: dict[str, object]) -> int:
    made = run.load(folder)
    # Of a run that was not brought to its end nobody knows what history would have said.
    found = [] if "failed" in about else violations(made)
    for line in report.for_people(made, found, about):
        print(line)
    if arguments.json:
        arguments.json.write_text(json.dumps(report.as_json(made, found, about), indent=1))
    return 1 if found or "failed" in about else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m check.faults", description=__doc__)
    parser.add_argument("--engine", choices=sorted(ENGINES), default="embedded")
    parser.add_argument("--minutes", type=float, default=5.0, help="of traffic (default: 5)")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(1_000_000), help="the same makes the same faults"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there, too")
    parser.add_argument("--users", type=int, default=8, choices=range(5, 9), help="5 to 8 (default: 8)")
    parser.add_argument(
        "--pause",
        type=float,
        default=0.7,
        help="seconds between a client's commands, on average (default: 0.7)",
    )
    parser.add_argument(
        "--restless",
        type=float,
        default=1.0,
        help="how much more often than usual clients come and go (default: 1)",
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="KIND", help="only such faults; repeatable"
    )
    parser.add_argument(
        "--apart",
        type=float,
        metavar="SECONDS",
        help="between one fault and the next (default: what its kind takes, and some together)",
    )
    parser.add_argument(
        "--folder", type=Path, help="keep ledgers there (default: a new one, kept on violations)"
    )
    parser.add_argument(
        "--check", type=Path, metavar="FOLDER", help="only check the ledgers of an earlier run"
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=6.0,
        help="seconds of quiet in which live streams are told (default: 6)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (EnginesMissing, ServerFailed) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
