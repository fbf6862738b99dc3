"""`python -m check.model [--deep] [--only NAME] [--list]`: go through models of the protocol, and break its rules.

For each model: how many states it has, how deep they lie, and whether that is all of them; then each variant, by the
invariant that showed it. Exits with 1 where a model breaks an invariant, or a variant breaks none.
"""

import argparse
import sys

from check.model.explore import Explored, explore
from check.model.suites import SUITES
from check.model.variants import Case, Suite, Variant, broken


def main(arguments: list[str]) -> int:
    """Run, and return the exit code."""
    options = _parse(arguments)
    suites = [suite for suite in SUITES if options.only in (None, suite.name)]
    if options.list:
        for suite in suites:
            print(suite.name, *(f"    {each.name:28} {each.rule}" for each in suite.variants), sep="\n")
        return 0
    results = [run(suite, is_deep=options.deep) for suite in suites]
    return 0 if all(results) else 1


def run(suite: Suite, *, is_deep: bool) -> bool:
    """Go through one model and its variants, and print what was found. Whether all is as it should be."""
    print(suite.name, flush=True)
    held = [_try_case(case) for case in (suite.deep if is_deep else suite.short)]
    caught = [_try_variant(variant) for variant in suite.variants]
    print(f"    {sum(caught)} of {len(caught)} variants caught", flush=True)
    return all(held) and all(caught)


def _try_case(case: Case) -> bool:
    found = explore(case.make(), case.max_states)
    print(f"    {case.name}: {_said(found)}", flush=True)
    _print_violation(found)
    return found.violation is None


def _try_variant(variant: Variant) -> bool:
    found = try_variant(variant)
    what = f"caught by {found.violation.invariant}" if found.violation else "NOT CAUGHT"
    is_right = found.violation is not None and found.violation.invariant == variant.caught_by
    expected = "" if is_right else f", EXPECTED {variant.caught_by}"
    steps = len(found.trace)
    print(
        f"    without {variant.rule}: {what}{expected} after {steps} steps, {found.seconds:.1f} s", flush=True
    )
    if not is_right:
        _print_violation(found)
    return is_right


def try_variant(variant: Variant) -> Explored:
    """What a model finds with one rule broken."""
    with broken(variant.break_it):
        return explore(variant.case.make(), variant.case.max_states)


def _said(found: Explored) -> str:
    bound = "exhaustive" if found.is_exhaustive else "bounded"
    return (
        f"{found.states:,} states, {found.steps:,} steps, depth {found.depth}, {bound}, {found.seconds:.1f} s"
    )


def _print_violation(found: Explored) -> None:
    if found.violation is not None:
        print(f"        {found.violation}", *(f"            {step}" for step in found.trace), sep="\n")


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m check.model", description="Models of the protocol.")
    parser.add_argument(
        "--deep", action="store_true", help="larger bounds: minutes, where it is seconds else"
    )
    parser.add_argument("--only", choices=[suite.name for suite in SUITES], help="this model")
    parser.add_argument(
        "--list", action="store_true", help="tell the models and their variants, and run none"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
