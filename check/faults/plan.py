"""Who takes part in a run, from its seed: users, their clients with their habits, and the places they write to."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

SDK, PLAIN = "sdk", "plain"
STEADY, SHORT, LONG, STALLS = "steady", "short", "long", "stalls"
"""Habits: always there; leaves for moments; leaves for long; takes nothing for moments."""
NAMES = ("ann", "bob", "cy", "dee", "eve", "fay", "gus", "hal")
EVERYBODY = "everybody"
FENCE = "fence"
"""How the id ends of the message that each client sends to everybody when all else is done."""
BAD = "bad"
"""How the id ends of a message that no cell may take."""
_HABITS = (STEADY, SHORT, LONG, STALLS, STEADY)
_GHOSTS = tuple(f"ghost{n}" for n in range(12))
"""Users without a client, who make a place wide."""


@dataclass(frozen=True, slots=True)
class ClientPlan:
    """One client."""

    name: str
    user: str
    software: str
    """SDK or PLAIN."""
    habit: str
    transport: str
    """Of a plain one: connect or subscribe."""
    keeps_on_disk: bool
    """Whether an SDK's client has a store of its own on disk."""
    first_address: int
    """Which address it takes first."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that client processes and the checker need to know."""

    seed: int
    clients: Sequence[ClientPlan]
    places: Mapping[str, Sequence[str]]
    """Everyone in it, by the name of the place."""
    addresses: Sequence[str]
    tokens: Mapping[str, str] = field(repr=False)
    """By user."""
    pause_s: float
    """Between what a client does, on average."""
    restless: float = 1.0
    """How much more often than usual clients come and go, or stall."""
    patience_s: float = 6.0
    """Of quiet time: within it a client whose stream is live is told of what was accepted."""

    @property
    def users(self) -> list[str]:
        """Those with clients."""
        return sorted({client.user for client in self.clients})

    def save(self, path: Path) -> None:
        """For `load`."""
        path.write_text(json.dumps(asdict(self), indent=1))


def load(path: Path) -> Plan:
    """What `save` wrote."""
    data = json.loads(path.read_text())
    data["clients"] = [ClientPlan(**client) for client in data["clients"]]
    return Plan(**data)


def make(
    seed: int,
    addresses: Sequence[str],
    tokens: Mapping[str, str],
    users: int,
    pause_s: float,
    restless: float = 1.0,
    patience_s: float = 6.0,
) -> Plan:
    """A plan of so many users, each with two or three clients, of which half are the SDK's."""
    chance = random.Random(f"plan {seed}")
    names = list(NAMES[:users])
    return Plan(
        seed,
        _clients(chance, names),
        _places(chance, names),
        addresses,
        tokens,
        pause_s,
        restless,
        patience_s,
    )


def _clients(chance: random.Random, users: Sequence[str]) -> list[ClientPlan]:
    clients: list[ClientPlan] = []
    for at, user in enumerate(users):
        for number in range(2 + at % 2):
            software = (SDK, PLAIN)[(at + number) % 2]
            habit = _HABITS[len(clients) % len(_HABITS)]
            browser = software == PLAIN and chance.random() < 0.25
            clients.append(
                ClientPlan(
                    f"{user}-{number}-{software}",
                    user,
                    software,
                    habit,
                    "subscribe" if browser else "connect",
                    software == SDK and habit != STEADY,
                    len(clients),
                )
            )
    return clients


def _places(chance: random.Random, users: Sequence[str]) -> dict[str, Sequence[str]]:
    places: dict[str, Sequence[str]] = {}
    for at, user in enumerate(users):
        for step in (1, 2):
            pair = sorted({user, users[(at + step) % len(users)]})
            places["with".join(pair)] = pair
    for size in (3, 5):
        some = sorted(chance.sample(users, min(size, len(users))))
        places[f"group{size}"] = some
    places["notes"] = users[:1]
    places["wide"] = [*users[:6], *_GHOSTS]
    places[EVERYBODY] = list(users)
    return places
