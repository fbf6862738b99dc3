"""More examples than the tests run: `python -m tests.fuzz --examples 1000000 [--only NAME ...] [--seed S]`."""

import argparse
import importlib
import logging
import random
import sys
import time
import traceback
from pathlib import Path

import structlog

from tests.fuzz.subjects import SUBJECTS


def main() -> int:
    logging.disable()  # what is refused is told there, again and again
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        importlib.import_module(f"tests.fuzz.{path.stem}")
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--examples", type=int, default=100_000, help="how many, of all subjects together")
    parser.add_argument("--only", nargs="+", choices=sorted(SUBJECTS), help="these subjects")
    parser.add_argument(
        "--seed", type=int, default=random.getrandbits(32), help="the same one, the same examples"
    )
    asked = parser.parse_args()
    chosen = [SUBJECTS[name] for name in asked.only or SUBJECTS]
    shares = sum(subject.share for subject in chosen)
    print(f"seed {asked.seed}", flush=True)
    began = time.monotonic()
    for subject in chosen:
        started = time.monotonic()
        try:
            subject.run(-(-asked.examples * subject.share // shares), asked.seed)
        except BaseException:
            traceback.print_exc(file=sys.stdout)
            print(
                f"{subject.name}: falsified by the example above, after {subject.examples:,}; seed {asked.seed}"
            )
            return 1
        print(f"{subject.name:32} {subject.examples:>9,} in {time.monotonic() - started:6.0f} s", flush=True)
    total = sum(subject.examples for subject in chosen)
    print(f"{'total':32} {total:>9,} in {time.monotonic() - began:6.0f} s, nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
