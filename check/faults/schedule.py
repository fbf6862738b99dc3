"""Which faults are made when: a function of the seed, so that a run can be had again."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_TOGETHER = 0.25
"""Of all faults: those that begin while the one before lasts."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault."""

    number: int
    """From 1 on, in order of time."""
    at_s: float
    """From the start of the traffic."""
    kind: str
    target: str
    lasts_s: float

    def __str__(self) -> str:
        return f"#{self.number} at {self.at_s:.0f} s: {self.kind} of {self.target}, {self.lasts_s:.1f} s"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault."""

    targets: Sequence[str]
    least_s: float
    most_s: float
    """How long it lasts; a process that is killed is away for that long."""
    rest_s: float = 6.0
    """What it takes until all is well again, as a rule."""
    only_asked: bool = False
    """Whether it happens only where it was asked for by name."""


def choose(kinds: Mapping[str, Kind], only: Sequence[str]) -> dict[str, Kind]:
    """Those whose names begin so; if no beginnings are given, all but those that must be asked for."""
    return {
        name: kind
        for name, kind in kinds.items()
        if any(name.startswith(beginning) for beginning in only) or not (only or kind.only_asked)
    }


def make(seed: int, minutes: float, kinds: Mapping[str, Kind], apart_s: float | None = None) -> list[Fault]:
    """Faults one after the other, each kind as often as any other; some begin beside another one.

    With `apart_s` none does: there is that time between the end of each and the beginning of the next.
    """
    chance = random.Random(f"schedule {seed}")
    faults: list[Fault] = []
    deck: list[str] = []
    together = _TOGETHER if apart_s is None else 0.0
    at_s, end_s = 6.0, minutes * 60 - 12
    while kinds:
        deck = deck or chance.sample(sorted(kinds), len(kinds))
        name = deck.pop()
        kind = kinds[name]
        lasts_s = chance.uniform(kind.least_s, kind.most_s)
        rest_s = kind.rest_s if apart_s is None else apart_s
        if at_s + lasts_s + rest_s > end_s:
            break
        faults.append(
            Fault(len(faults) + 1, round(at_s, 2), name, chance.choice(kind.targets), round(lasts_s, 2))
        )
        if chance.random() < together:
            at_s += chance.uniform(0.0, lasts_s)
        else:
            at_s += lasts_s + rest_s + chance.uniform(0.0, 3.0)
    return faults
