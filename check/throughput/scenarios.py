"""The loads, by name: those whose figures others have published, and one to choose oneself."""

from collections.abc import Sequence
from dataclasses import dataclass

from check.connections.recipients import ALL, RANDOM, SELF
from check.throughput.curve import Step


@dataclass(frozen=True, slots=True)
class Scenario:
    """One load on a cell of its own."""

    name: str
    what: str
    connections: int
    steps: Sequence[Step]
    verify_every: int = 1


def _steps(recipients: str, *rates: float) -> tuple[Step, ...]:
    return tuple(Step(recipients, rate) for rate in rates)


SCENARIOS = (
    Scenario(
        "self",
        "one user to itself over one stream",
        1,
        _steps(SELF, 1_000, 2_000, 5_000, 10_000, 15_000, 20_000, 30_000, 40_000),
    ),
    Scenario(
        "pairs",
        "1,000 clients who write to each other, two and two",
        1_000,
        _steps("1", 200, 500, 1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 8_000),
    ),
    Scenario(
        "streams",
        "5,000 clients who write to each other, two and two",
        5_000,
        _steps("1", 500, 1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 8_000),
    ),
    Scenario(
        "shapes",
        "100 clients with 100 messages a second, to 1, 2, 5, a random number of others, and all",
        100,
        tuple(
            Step(recipients, rate)
            for recipients, rate in (("1", 100), ("2", 100), ("5", 100), (RANDOM, 25), (ALL, 25))
        ),
    ),
    *(
        Scenario(
            f"room-{bots}",
            f"a room of {bots} who all hear each other, with 1 message a second each",
            bots,
            _steps(ALL, bots),
            verify_every=max(1, bots // 20),
        )
        for bots in (100, 200, 350, 500, 900)
    ),
)


def named(names: Sequence[str]) -> Sequence[Scenario]:
    """Those of these names; `room` is all rooms. Raises ValueError for a name that none has."""
    found = []
    for name in names:
        some = [one for one in SCENARIOS if one.name == name or one.name.startswith(f"{name}-")]
        if not some:
            raise ValueError(f"scenarios are {', '.join(one.name for one in SCENARIOS)}, not {name}")
        found += some
    return found
