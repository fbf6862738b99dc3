"""The invariants over random histories of a whole cell, and that the simulation notices a cell that breaks a rule."""

import pytest

from tests.simulation.faults import FAULTS
from tests.simulation.world import World

CHUNKS, SEEDS, STEPS = 8, 60, 400
FAULT_SEEDS, FAULT_STEPS = 1_000, 900
"""At most so many are tried for a fault; most are noticed within a few."""
FIRST_SEED = {"stale-links-are-heard": 260}
"""Where to begin for a fault that shows rarely; without it the test only takes longer."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_cell_keeps_its_invariants(chunk: int) -> None:
    """I1 to I13 hold whatever fails, lags, moves, breaks and comes back; `python -m tests.simulation` shows a seed."""
    for seed in range(chunk * SEEDS, (chunk + 1) * SEEDS):
        try:
            World(seed).run(STEPS)
        except BaseException as error:
            error.add_note(f"python -m tests.simulation --seeds 1 --start {seed} --steps {STEPS}")
            raise


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell with one rule broken fails the same simulation within a bounded number of seeds."""
    FAULTS[fault](monkeypatch.setattr)
    first = FIRST_SEED.get(fault, 0)
    for seed in range(first, first + FAULT_SEEDS):
        try:
            World(seed).run(FAULT_STEPS)
        except Exception:
            return
    pytest.fail("not noticed")


def test_a_seed_can_be_replayed() -> None:
    """The same seed gives the same history, step by step."""
    traces: list[list[str]] = [[], []]
    for trace in traces:
        World(1, trace.append).run(STEPS)
    assert len(traces[0]) > 50
    assert traces[0] == traces[1]
