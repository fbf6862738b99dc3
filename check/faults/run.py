"""All ledgers of a run, read back; and what a violation is."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from check.faults import plan as plans
from check.faults.ledger import ACCEPTED, MESSAGE, UNKNOWN, Event, Line, Ref, read_lines, ref_of
from check.faults.plan import Plan

PLAN_FILE, FAULTS_FILE = "plan.json", "faults.jsonl"
AFTER_FAULT_S = 3.0
"""How long after everything serves again a fault still counts."""
HISTORY, FOLLOWER = "history-", "follower-"


class Violation(NamedTuple):
    """A promise that was not kept."""

    invariant: str
    what: str
    lines: Sequence[Line] = ()
    """Of ledgers: what shows it."""


class Told(NamedTuple):
    """An event, and the line that says that it was told."""

    event: Event
    line: Line


@dataclass(slots=True)
class Command:
    """What a client asked for, and what became of it."""

    client: str
    user: str
    line: Line
    outcome: Line | None = None

    @property
    def id(self) -> str:
        """The client's own id of it."""
        return str(self.line.data["id"])

    @property
    def result(self) -> str:
        """ACCEPTED, REFUSED or UNKNOWN; a client that died before the outcome does not know it."""
        return str(self.outcome.data["is"]) if self.outcome else UNKNOWN

    @property
    def is_accepted(self) -> bool:
        """Whether the cell has it for good."""
        return self.result == ACCEPTED

    @property
    def place(self) -> str:
        """Where a message went."""
        return str(self.line.data["place"])

    @property
    def ref(self) -> Ref:
        """What a reaction or a mark is about."""
        return Ref(*self.line.data["ref"])

    @property
    def reply_to(self) -> Ref | None:
        """What a message answers."""
        return ref_of(self.line.data["reply_to"])

    @property
    def lines(self) -> list[Line]:
        """Its own."""
        return [self.line, self.outcome] if self.outcome else [self.line]


class Shown(NamedTuple):
    """A message as history shows it."""

    event: Event
    reactions: frozenset[tuple[str, str]]
    """(key, user)."""
    line: Line


class Conversation(NamedTuple):
    """A conversation as history shows it to one user."""

    id: str
    read: Ref | None
    peers: Mapping[str, Ref | None]
    """Read marks of the others."""
    line: Line


@dataclass(slots=True)
class Injected:
    """A fault that was made, in seconds of the machine's monotonic clock."""

    number: int
    kind: str
    target: str
    begin_t: float
    mended_t: float = float("inf")
    """When what was done was undone: a process that was killed had been started again."""
    serving_t: float = float("inf")
    """When every part said that it serves."""

    def __str__(self) -> str:
        return f"#{self.number} {self.kind} of {self.target}"


@dataclass
class Run:
    """Ledgers by client, and by user what history says: at the end, and page by page while it went on."""

    plan: Plan
    clients: Mapping[str, Sequence[Line]]
    history: Mapping[str, Sequence[Line]]
    followers: Mapping[str, Sequence[Line]]
    faults: Sequence[Line] = field(default_factory=list)

    def user_of(self, client: str) -> str:
        """Whose client it is."""
        return next(each.user for each in self.plan.clients if each.name == client)

    @cached_property
    def commands(self) -> list[Command]:
        """Of all clients, each client's in order."""
        return [command for name, lines in self.clients.items() for command in self._commands(name, lines)]

    @cached_property
    def sends(self) -> Mapping[str, Command]:
        """Messages by id, which no two clients have in common."""
        return {command.id: command for command in self.commands if command.line.kind == "send"}

    @cached_property
    def told(self) -> Mapping[str, Sequence[Told]]:
        """What each client was told, by its name."""
        return {client: list(told(lines)) for client, lines in self.clients.items()}

    @cached_property
    def reference(self) -> Mapping[str, Sequence[Told]]:
        """Each user's events, as history has them at the end."""
        return {user: list(told(lines)) for user, lines in self.history.items()}

    @cached_property
    def shown(self) -> Mapping[str, Mapping[str, Sequence[Shown]]]:
        """By user and conversation: its messages, in the order of history."""
        by_user: dict[str, dict[str, list[Shown]]] = {}
        for user, lines in self.history.items():
            conversations = by_user.setdefault(user, {})
            for line in lines:
                if line.kind == "message":
                    event = Event.from_json(line.data["message"])
                    reactions = frozenset((key, user) for key, user in line.data["reactions"])
                    conversations.setdefault(event.ref.conversation, []).append(Shown(event, reactions, line))
        return by_user

    @cached_property
    def injected(self) -> list[Injected]:
        """The faults, in the order of their beginnings."""
        found: dict[int, Injected] = {}
        for line in self.faults:
            data = line.data
            if line.kind == "fault":
                found[data["number"]] = Injected(data["number"], data["kind"], data["target"], line.t)
            elif line.kind == "mended":
                found[data["number"]].mended_t = line.t
            elif line.kind == "serving":
                found[data["number"]].serving_t = line.t
        return sorted(found.values(), key=lambda fault: fault.begin_t)

    @cached_property
    def disturbed(self) -> list[tuple[float, float]]:
        """When faults were there, and for a moment after everything served again: (begin, end), rising, without overlaps."""
        merged: list[tuple[float, float]] = []
        for fault in self.injected:
            end = fault.serving_t + AFTER_FAULT_S
            if merged and fault.begin_t <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(merged[-1][1], end)
            else:
                merged.append((fault.begin_t, end))
        return merged

    def quiet_s(self, begin_t: float, end_t: float) -> float:
        """How long between these it was quiet."""
        noise_s = sum(
            max(0.0, min(end_t, end) - max(begin_t, begin)) for begin, end in self.disturbed if end > begin_t
        )
        return end_t - begin_t - noise_s

    def last_fault_before(self, t: float) -> Injected | None:
        """The one that had begun last."""
        return max(
            (fault for fault in self.injected if fault.begin_t <= t), key=lambda f: f.begin_t, default=None
        )

    def users_in(self, place: str) -> list[str]:
        """Who is in a place and has clients."""
        return [user for user in self.plan.places[place] if user in self.history]

    def _commands(self, client: str, lines: Sequence[Line]) -> Iterator[Command]:
        user = self.user_of(client)
        made: dict[str, Command] = {}
        for line in lines:
            if line.kind in ("send", "react", "read"):
                made[line.data["id"]] = Command(client, user, line)
            elif line.kind == "outcome":
                made[line.data["id"]].outcome = line
        yield from made.values()


def told(lines: Iterable[Line]) -> Iterator[Told]:
    """The events among the lines."""
    return (Told(Event.from_json(line.data), line) for line in lines if line.kind == "event")


def is_message(told_: Told) -> bool:
    """Whether a message was told."""
    return told_.event.kind == MESSAGE


def conversations(lines: Iterable[Line]) -> Iterator[Conversation]:
    """The conversations among the lines."""
    for line in lines:
        if line.kind == "conversation":
            data: Mapping[str, Any] = line.data
            peers = {user: ref_of(ref) for user, ref in data["peers"].items()}
            yield Conversation(data["id"], ref_of(data["read"]), peers, line)


def load(folder: Path) -> Run:
    """What the folder of a run holds."""
    plan = plans.load(folder / PLAN_FILE)

    def lines(name: str) -> list[Line]:
        path = folder / f"{name}.jsonl"
        return list(read_lines(path)) if path.exists() else []

    return Run(
        plan,
        {client.name: lines(client.name) for client in plan.clients},
        {user: lines(f"{HISTORY}{user}") for user in plan.users},
        {user: lines(f"{FOLLOWER}{user}") for user in plan.users},
        lines(FAULTS_FILE.removesuffix(".jsonl")),
    )
