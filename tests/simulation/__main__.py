"""More seeds than the tests run: `python -m tests.simulation --seeds 1000 --start 0`."""

import argparse
import sys
import time
import traceback

from tests.simulation.faults import FAULTS
from tests.simulation.world import World


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first")
    parser.add_argument("--steps", type=int, default=400, help="random steps of each, before the faults end")
    parser.add_argument("--trace", action="store_true", help="show every seed's trace")
    parser.add_argument("--fault", choices=FAULTS, help="break the product in this way first")
    asked = parser.parse_args()
    if asked.fault:
        FAULTS[asked.fault](setattr)
    began, steps = time.monotonic(), 0
    for seed in range(asked.start, asked.start + asked.seeds):
        world = World(seed, print if asked.trace else None)
        error = _violation(world, asked.steps)
        if error is not None:
            print(f"seed {seed}, again with a trace:")
            print("".join(traceback.format_exception(_violation(World(seed, print), asked.steps))))
            return 1
        steps += world.steps
        if (seed + 1 - asked.start) % 1_000 == 0:
            print(f"{seed + 1 - asked.start} seeds, {steps} steps", flush=True)
    print(
        f"{asked.seeds} seeds from {asked.start}: {steps} steps in {time.monotonic() - began:.0f} s, no violation"
    )
    return 0


def _violation(world: World, steps: int) -> Exception | None:
    try:
        world.run(steps)
    except Exception as error:
        return error
    return None


if __name__ == "__main__":
    sys.exit(main())
