"""The explorer itself: it finds what is wrong by a shortest way, what is stuck, and knows its bound."""

from collections.abc import Iterator

import pytest

from check.model.__main__ import run
from check.model.explore import Model, Step, Violation, explore
from check.model.variants import Case, Patch, Suite, Variant, broken


class Counter(Model[int]):
    """Counts to `end` by ones and threes."""

    stuck = "I10"

    def __init__(self, *, end: int = 10, bad: int = -1, trap: int = -1, breakable: bool = False) -> None:
        self.end, self.bad, self.trap, self.breakable = end, bad, trap, breakable

    def initial(self) -> int:
        return 0

    def steps(self, state: int) -> Iterator[Step[int]]:
        if state == self.trap:
            yield Step("turn", state)
        elif state < self.end:
            yield Step("one", state + 1)
            yield Step("three", min(state + 3, self.end))
        if self.breakable and 0 < state < self.end:
            yield Step("falls", 0, is_fault=True)

    def check(self, state: int) -> None:
        if state == self.bad:
            raise Violation("I2", f"{state}")

    def is_done(self, state: int) -> bool:
        return state == self.end


def test_all_states_are_looked_at() -> None:
    """A world without fault is gone through to its end."""
    found = explore(Counter(), 100)
    assert (found.states, found.depth, found.is_exhaustive, found.violation) == (11, 4, True, None)


def test_a_violation_comes_with_a_shortest_way_to_it() -> None:
    """Of the many ways to 7 one with two threes and a one is told."""
    found = explore(Counter(bad=7), 100)
    assert found.violation is not None
    assert found.violation.invariant == "I2"
    assert sorted(found.trace) == ["one", "three", "three"]


def test_what_goes_round_in_circles_is_stuck() -> None:
    """A state with a way on, but none to the end, is told as well as one without any."""
    found = explore(Counter(trap=5), 100)
    assert found.violation is not None
    assert found.violation.invariant == "I10"
    assert len(found.trace) == 3


def test_a_fault_is_no_way_out() -> None:
    """Nothing may depend on a fault to go on: only the steps that are none lead to where all is done."""

    class NeedsFault(Counter):
        def steps(self, state: int) -> Iterator[Step[int]]:
            for step in super().steps(state):
                yield step._replace(is_fault=step.state == self.end)

    assert explore(NeedsFault(), 100).violation is not None
    assert explore(Counter(breakable=True), 100).violation is None


def test_beyond_its_bound_it_says_so() -> None:
    """What lies behind the bound counts neither as wrong nor as stuck."""
    found = explore(Counter(end=1_000, bad=900), 50)
    assert not found.is_exhaustive
    assert found.violation is None
    assert found.states <= 53


def test_a_wrong_step_is_told_from_where_it_begins() -> None:
    """A violation may be raised while steps are made."""

    class Wrong(Counter):
        def steps(self, state: int) -> Iterator[Step[int]]:
            if state == 2:
                raise Violation("I5", "twice")
            yield from super().steps(state)

    found = explore(Wrong(), 100)
    assert found.violation is not None
    assert found.trace == ["one", "one"]


CASE = Case("counter", Counter, 100)


def ruin(patch: Patch) -> None:
    def check(self: Counter, state: int) -> None:
        raise Violation("I2", "broken")

    patch(Counter, "check", check)


def test_a_break_ends() -> None:
    """What a variant changes is as before afterwards."""
    check = Counter.check
    with broken(ruin):
        assert explore(Counter(), 100).violation is not None
    assert Counter.check is check


@pytest.mark.parametrize(
    ("suite", "said"),
    [
        (Suite("s", (Case("bad", lambda: Counter(bad=2), 100),), (), ()), "I2: 2"),
        (Suite("s", (), (), (Variant("v", "R1: x", lambda patch: None, "I2", CASE),)), "NOT CAUGHT"),
        (Suite("s", (), (), (Variant("v", "R1: x", ruin, "I5", CASE),)), "EXPECTED I5"),
    ],
)
def test_a_failure_is_told(suite: Suite, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A model that fails, a variant that nobody notices, and one noticed by something else are each told, and fail."""
    assert not run(suite, is_deep=False)
    assert said in capsys.readouterr().out
