"""Goes through every state that a model can come to, breadth first, and looks for one that must not be.

A state is any hashable value. Two questions are asked: does every reachable state keep the invariants (`Model.check`), and
can each of them, once nothing fails any more, come to a state in which all is done (`Model.is_done`)? The second finds
what is stuck, and what goes round in circles, too. A violation comes with a shortest way to it, step by step.
"""

import time
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

State = TypeVar("State")
NO_STEP = -1


class Violation(Exception):
    """An invariant does not hold."""

    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"{invariant}: {what}")
        self.invariant = invariant
        """Its number, as docs/architecture.md has it."""


class Step(NamedTuple, Generic[State]):
    """Something that may happen in a state, and the state after it."""

    name: str
    state: State
    is_fault: bool = False
    """Whether nobody may count on it, nor has to fear it once faults are over."""


class Model(ABC, Generic[State]):
    """A bounded world: what may happen in it, and what must always be true."""

    stuck = "I10"
    """The invariant that does not hold where nothing leads to a done state any more."""

    @abstractmethod
    def initial(self) -> State:
        """Where it begins."""

    @abstractmethod
    def steps(self, state: State) -> Iterable[Step[State]]:
        """Everything that may happen now. May raise Violation, too: where something wrong is done rather than reached."""

    @abstractmethod
    def check(self, state: State) -> None:
        """Raises Violation."""

    @abstractmethod
    def is_done(self, state: State) -> bool:
        """Whether everything that was promised has come about."""


@dataclass(frozen=True, slots=True)
class Explored:
    """What was found."""

    states: int
    steps: int
    depth: int
    """Steps from the first state to the farthest one that was looked at."""
    is_exhaustive: bool
    """Whether there are no states beyond; else every state of less than `depth` steps was looked at."""
    seconds: float
    violation: Violation | None = None
    trace: Sequence[str] = ()
    """The steps that lead to the violation."""


class _Graph(Generic[State]):
    """States by number, in the order in which they were found, and how each was found first."""

    def __init__(self, first: State) -> None:
        self.states = [first]
        self.numbers = {first: 0}
        self.found_from = array("q", [NO_STEP])
        self.found_by = [""]
        self.depths = array("q", [0])
        self.calm_from = array("q")
        """Where each step that is no fault begins, and where it leads to."""
        self.calm_to = array("q")

    def add(self, begin: int, step: Step[State]) -> None:
        number = self.numbers.get(step.state)
        if number is None:
            number = self.numbers[step.state] = len(self.states)
            self.states.append(step.state)
            self.found_from.append(begin)
            self.found_by.append(step.name)
            self.depths.append(self.depths[begin] + 1)
        if not step.is_fault:
            self.calm_from.append(begin)
            self.calm_to.append(number)

    def trace(self, number: int) -> list[str]:
        names = []
        while self.found_from[number] != NO_STEP:
            names.append(self.found_by[number])
            number = self.found_from[number]
        return names[::-1]


def explore(model: Model[State], max_states: int) -> Explored:
    """Look at every state, or at the nearest ones: no more are found once `max_states` were."""
    began = time.process_time()
    graph = _Graph(model.initial())
    looked_at = steps = 0
    violation: Violation | None = None
    while looked_at < len(graph.states) and len(graph.states) <= max_states and violation is None:
        state = graph.states[looked_at]
        try:
            model.check(state)
            for step in model.steps(state):
                graph.add(looked_at, step)
                steps += 1
        except Violation as found:
            violation = found
        else:
            looked_at += 1
    at = looked_at
    if violation is None and (stuck := _stuck(model, graph, looked_at)) is not None:
        violation, at = Violation(model.stuck, "from here nothing leads to where all is done"), stuck
    return Explored(
        len(graph.states),
        steps,
        graph.depths[min(at, len(graph.states) - 1)],
        looked_at == len(graph.states),
        time.process_time() - began,
        violation,
        graph.trace(at) if violation is not None else (),
    )


def _stuck(model: Model[State], graph: _Graph[State], looked_at: int) -> int | None:
    """The first state from which no way without faults leads to a done one. Those beyond the bound count as done."""
    done = bytearray(model.is_done(state) for state in graph.states[:looked_at])
    done += b"\1" * (len(graph.states) - looked_at)
    pairs = list(zip(reversed(graph.calm_from), reversed(graph.calm_to), strict=True))
    changed = True
    while changed:
        changed = False
        for begin, end in pairs:
            if done[end] and not done[begin]:
                done[begin] = changed = True
    at = done.find(0)
    return at if at >= 0 else None
