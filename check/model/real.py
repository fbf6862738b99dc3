"""Objects of the cell's own code as part of a model's states.

What never awaits can be stopped anywhere, kept, and gone on with in every way there is. A `Shelf` keeps such objects under
numbers, equal ones under the same: so a state holds a number, and what is done to an object in some state of it is really
done once, however many states of the model share it. A model made of them cannot drift from the code.
"""

import pickle
from array import array
from collections import deque
from collections.abc import Callable, Hashable
from enum import Enum
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from google.protobuf.message import Message

from delivery_service.figures import DeliveryFigures
from messaging_server.figures import ServerFigures

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R", bound=Hashable)

_PLAIN = str | bytes | int | float | bool | None

_COUNTS = DeliveryFigures | ServerFigures
"""Count what happened, and decide nothing: no part of a value."""


class Shelf(Generic[T]):
    """Objects that do not change any more."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._pickled: list[bytes] = []
        self._done: dict[Hashable, tuple[int, Any]] = {}

    def put(self, thing: T) -> int:
        """The number of what is equal to this in all its parts. Parts that are no data must be found by their name."""
        key = value_of(thing)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._pickled)
            self._pickled.append(pickle.dumps(thing, pickle.HIGHEST_PROTOCOL))
        return number

    def get(self, number: int) -> T:
        """A new one, equal to what was put."""
        thing: T = pickle.loads(self._pickled[number])
        return thing

    def do(
        self, number: int, act: Callable[Concatenate[T, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> tuple[int, R]:
        """Do something to the object: the number of what it is then, and what was returned.

        It is done once for each object and arguments, so it must depend on nothing else.
        """
        key = (number, act, args, *kwargs.items())
        done = self._done.get(key)
        if done is None:
            thing = self.get(number)
            result = act(thing, *args, **kwargs)
            done = self._done[key] = self.put(thing), result
        return done

    def __len__(self) -> int:
        return len(self._pickled)


def value_of(thing: object) -> Hashable:
    """All that makes up an object, as a value that is equal for equal ones; the order within dictionaries counts."""
    return _value(thing, {})


def _value(thing: Any, seen: dict[int, int]) -> Hashable:
    if isinstance(thing, _PLAIN | Enum):
        return thing
    if isinstance(thing, Message):
        return thing.SerializeToString(deterministic=True)
    if isinstance(thing, tuple):
        return (type(thing).__name__, *(_value(each, seen) for each in thing))
    if (before := seen.get(id(thing))) is not None:
        return "again", before
    if isinstance(thing, _COUNTS):
        return type(thing).__name__
    seen[id(thing)] = len(seen)
    if isinstance(thing, list | deque):
        return (type(thing).__name__, *(_value(each, seen) for each in thing))
    if isinstance(thing, array):
        return ("array", *thing)
    if isinstance(thing, dict):
        return ("dict", *((_value(key, seen), _value(each, seen)) for key, each in thing.items()))
    if isinstance(thing, set | frozenset):
        return ("set", *sorted((_value(each, seen) for each in thing), key=repr))
    if callable(thing) and hasattr(thing, "__qualname__"):
        return thing.__module__, thing.__qualname__
    return (type(thing).__name__, *(_value(each, seen) for each in _attributes(thing)))


def _attributes(thing: object) -> list[tuple[str, object]]:
    names = [name for kind in type(thing).__mro__ for name in _slots(kind)]
    slots = [(name, getattr(thing, name)) for name in names if hasattr(thing, name)]
    return slots + list(getattr(thing, "__dict__", {}).items())


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(f"_{kind.__name__}{name}" if _is_mangled(name) else name for name in names)


def _is_mangled(name: str) -> bool:
    return name.startswith("__") and not name.endswith("__")
