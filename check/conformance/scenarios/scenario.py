"""What a scenario is."""

import inspect
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from types import ModuleType

from check.conformance.app import App
from check.conformance.cell import Cell

Play = Callable[[Cell, App], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A conversation between a scripted cell and an application that uses the SDK."""

    name: str
    rule: str
    play: Play
    """Raises Broken where the SDK does something else."""


def scenarios_of(module: ModuleType) -> Iterator[Scenario]:
    """The public coroutine functions of a module, in their order."""
    for name, found in vars(module).items():
        if inspect.iscoroutinefunction(found) and found.__module__ == module.__name__ and name[0] != "_":
            yield Scenario(name, inspect.getdoc(found) or "", found)
