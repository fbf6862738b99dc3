"""`python -m check.conformance [--only NAME] [--list] [--json FILE] -- COMMAND [ARGS...]`: try an SDK against the rules.

COMMAND is the SDK's driver; docs/sdk_authors.md tells how to write one. Exits with 0 when every scenario passed, 1 when one
did not, 2 when it was called wrongly.
"""

import argparse
import asyncio
import json
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path

from check.conformance.runner import Result, run_all
from check.conformance.scenarios import ALL, Scenario


def main(arguments: list[str]) -> int:
    """Run, and return the exit code."""
    options, command = _parse(arguments)
    chosen = [scenario for scenario in ALL if not options.only or scenario.name in options.only]
    if options.subscribe:
        chosen = [scenario for scenario in chosen if not scenario.needs_connect]
    if options.list:
        for scenario in chosen:
            print(f"{scenario.name}\n{textwrap.indent(scenario.rule, '    ')}")
        return 0
    results = asyncio.run(
        run_all(
            chosen,
            command,
            patience_s=options.patience,
            jobs=options.jobs,
            has_connect=not options.subscribe,
            tell=_tell,
        )
    )
    passed = sum(result.passed for result in results)
    print(f"{passed} of {len(results)} scenarios passed")
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")
    return 0 if passed == len(results) else 1


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog="python -m check.conformance", usage="%(prog)s [options] -- COMMAND [ARGS...]"
    )
    parser.add_argument("--only", action="append", metavar="NAME", help="this scenario; may be repeated")
    parser.add_argument(
        "--list", action="store_true", help="tell the scenarios and their rules, and run none"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, too")
    parser.add_argument(
        "--subscribe", action="store_true", help="for clients without Connect: they Subscribe and Execute"
    )
    parser.add_argument("--jobs", type=int, default=4, metavar="N", help="scenarios at the same time (4)")
    parser.add_argument(
        "--patience", type=float, default=20.0, metavar="S", help="seconds to wait for what must come (20)"
    )
    own, _, command = _split(arguments)
    options = parser.parse_args(own)
    unknown = set(options.only or ()) - {scenario.name for scenario in ALL}
    if unknown:
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}: --list tells them")
    if options.jobs < 1 or options.patience <= 0:
        parser.error("--jobs and --patience must be above 0")
    if not command and not options.list:
        parser.error("the command that starts the driver is missing: it comes after --")
    return options, command


def _split(arguments: list[str]) -> tuple[list[str], list[str], list[str]]:
    place = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:place], arguments[place : place + 1], arguments[place + 1 :]


def _tell(result: Result) -> None:
    print(f"{'ok  ' if result.passed else 'FAIL'}  {result.name}  ({result.took_s:.1f} s)", flush=True)
    if not result.passed:
        said = [f"rule: {' '.join(result.rule.split())}", result.message, *result.transcript]
        said += [f"stderr: {line}" for line in result.stderr]
        print("\n".join(f"      {line}" for line in said), flush=True)


__all__ = ["Scenario", "main"]

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
