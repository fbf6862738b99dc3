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
    needs_connect: bool
    """Whether it is about what only a Connect stream has, so that it says nothing of clients that Subscribe and Execute."""


def needs_connect(play: Play) -> Play:
    """Mark a scenario so."""
    _NEED_CONNECT.add(play)
    return play


_NEED_CONNECT: set[Play] = set()


def scenarios_of(module: ModuleType) -> Iterator[Scenario]:
    """The public coroutine functions of a module, in their order."""
    for name, found in vars(module).items():
        if inspect.iscoroutinefunction(found) and found.__module__ == module.__name__ and name[0] != "_":
            yield Scenario(name, inspect.getdoc(found) or "", found, found in _NEED_CONNECT)
