"""The cell with one rule broken: what a model must notice.

A variant changes the real code for as long as it is tried. Those of tests/simulation, which the random histories of a whole
cell must notice as well, are taken from there; others stand with the model that notices them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from check.model.explore import Model

Patch = Callable[[Any, str, Any], None]
"""setattr, but undone later."""


@dataclass(frozen=True, slots=True)
class Case:
    """A model with its bounds."""

    name: str
    make: Callable[[], Model[Any]]
    max_states: int
    """After so many states it is given up: bounded, no longer exhaustive."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One rule broken."""

    name: str
    rule: str
    """What is dropped, by the number it has in docs/architecture.md."""
    break_it: Callable[[Patch], None]
    caught_by: str
    """The invariant that is not kept then."""
    case: Case
    """What it is tried on."""


@dataclass(frozen=True, slots=True)
class Suite:
    """All that is asked of one model."""

    name: str
    short: tuple[Case, ...]
    """For every run of the tests."""
    deep: tuple[Case, ...]
    """For once in a while."""
    variants: tuple[Variant, ...]


@contextmanager
def broken(break_it: Callable[[Patch], None]) -> Iterator[None]:
    """Break the code within."""
    before: list[tuple[Any, str, Any]] = []

    def patch(thing: Any, name: str, value: Any) -> None:
        before.append((thing, name, vars(thing)[name]))
        setattr(thing, name, value)

    try:
        break_it(patch)
        yield
    finally:
        for thing, name, value in reversed(before):
            setattr(thing, name, value)
