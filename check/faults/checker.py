"""All that a run must keep, in one list."""

from collections.abc import Callable, Iterable, Sequence

from check.faults.checks import history, live, once, order, session, state, victory
from check.faults.run import Run, Violation

CHECKS: Sequence[Callable[[Run], Iterable[Violation]]] = (
    once.check,
    session.check,
    history.check,
    state.check,
    order.check,
    live.check,
    victory.check,
)


def violations(run: Run) -> list[Violation]:
    """What was not kept, in the order of the checks."""
    return [found for check in CHECKS for found in check(run)]
