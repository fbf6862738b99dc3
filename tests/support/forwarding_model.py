"""A source partition, its owners and its targets, with everything that may go wrong between them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from delivery_service.forwarding import Forwarder, ForwardingSettings, Parcel
from event_log.port import Assignment, Commit, Fate, LogRecord, NewRecord
from event_log.reader import PartitionReader, Verdict
from tests.support.log_records import origin

SOURCE = 3
TARGETS = (0, 1, 2)
SETTINGS = ForwardingSettings(queue_bytes=10_000, in_flight_bytes=900, backoff_s=1.0, max_backoff_s=1.0)
ORIGINS = 12


class Violation(AssertionError):
    """An invariant does not hold."""


@dataclass
class Owner:
    """One instance that owns, or believes to own, the source."""

    forwarder: Forwarder
    position: int
    current: bool = True
    in_flight: dict[int, list[NewRecord[Parcel]]] = field(default_factory=lambda: {t: [] for t in TARGETS})


def effective(values: list[bytes], target: int) -> list[int]:
    """The origins that a reader who never stops takes from a target, in order."""
    reader = PartitionReader(target, "log", 4, Assignment(target, 1, None, 0, len(values)))
    readings = [reader.read(LogRecord(offset, 1, value)) for offset, value in enumerate(values)]
    return [r.copy.source_offset for r in readings if r.verdict is Verdict.EFFECTIVE and r.copy is not None]


class Simulation:
    """Steps at random; `check` holds after each, and `finish` ends all faults."""

    def __init__(self, seed: int, make: Callable[[int, ForwardingSettings], Forwarder]) -> None:
        self.random = Random(seed)
        self.make = make
        self.origins = [
            tuple(self.random.sample(TARGETS, self.random.randint(0, len(TARGETS)))) for _ in range(ORIGINS)
        ]
        self.targets: dict[int, list[bytes]] = {target: [] for target in TARGETS}
        self.late: list[tuple[int, bytes]] = []
        self.committed = 0
        self.owners = [self.new_owner()]
        self.now = 0.0
        self.readers: dict[int, Commit | None] = dict.fromkeys(TARGETS)

    def new_owner(self) -> Owner:
        return Owner(self.make(SOURCE, SETTINGS), self.committed)

    def step(self) -> None:
        owner = self.random.choice(self.owners)
        match self.random.randrange(12):
            case 0 | 1 | 2:
                self.read(owner)
            case 3 | 4:
                self.take(owner)
            case 5 | 6 | 7:
                self.settle(owner, self.random.choice(TARGETS))
            case 8:
                self.commit(owner)
            case 9 if self.random.random() < 0.4:
                self.take_over()
            case 10 if self.late:
                target, value = self.late.pop(self.random.randrange(len(self.late)))
                self.targets[target].append(value)
            case 11:
                self.restart_reader(self.random.choice(TARGETS))
            case _:
                self.now += 0.5

    def read(self, owner: Owner) -> None:
        if owner.position < ORIGINS:
            targets = self.origins[owner.position]
            made = origin("ann", [f"user{t}" for t in targets], f"m{owner.position}")
            owner.forwarder.forward(owner.position, made.logged, {t: (f"user{t}",) for t in targets})
            owner.position += 1

    def take(self, owner: Owner) -> None:
        for record in owner.forwarder.take(self.now):
            owner.in_flight[record.partition].append(record)

    def settle(self, owner: Owner, target: int, *, well: bool = False) -> None:
        """The log tells the fate of the oldest append under way: fates come in order, but a later one may land."""
        if not owner.in_flight[target]:
            return
        record = owner.in_flight[target].pop(0)
        outcome = (
            "appended"
            if well
            else self.random.choice(["appended"] * 4 + ["failed", "lost", "answer lost", "late"])
        )
        if outcome in ("appended", "answer lost"):
            self.targets[target].append(record.value)
        elif outcome == "late":
            self.late.append((target, record.value))
        fate = {"appended": Fate.APPENDED, "failed": Fate.NOT_APPENDED}.get(outcome, Fate.UNKNOWN)
        owner.forwarder.settled(record.tag, fate, self.now)

    def commit(self, owner: Owner) -> None:
        if owner.current:
            self.committed = owner.forwarder.first_unforwarded(owner.position)

    def take_over(self) -> None:
        """Another instance gets the partition; the old one is dead, or does not know yet."""
        old = next(owner for owner in self.owners if owner.current)
        old.current = False
        if self.random.random() < 0.5:
            self.owners.remove(old)
            for (
                target,
                records,
            ) in old.in_flight.items():  # what a dead one had under way may still land, in part
                self.late += [(target, r.value) for r in records[: self.random.randint(0, len(records))]]
        self.owners = [*self.owners, self.new_owner()][-2:]

    def restart_reader(self, target: int) -> None:
        """A reader of the target that starts from a commit agrees with one that never stopped (I1)."""
        values = self.targets[target]
        assignment = Assignment(target, 1, self.readers[target], 0, len(values))
        reader = PartitionReader(target, "log", 4, assignment)
        first = reader.tail_start
        taken = [reader.read(LogRecord(o, 1, value)) for o, value in enumerate(values[first:], first)]
        acted = [r for r in taken if r.offset >= reader.acts_from and r.verdict is Verdict.EFFECTIVE]
        whole = effective(values, target)
        if [r.copy.source_offset for r in acted if r.copy] != whole[len(whole) - len(acted) :]:
            raise Violation(f"a restarted reader of {target} disagrees")
        self.readers[target] = reader.commit_at(self.random.randint(reader.acts_from, len(values)))

    def check(self) -> None:
        for target, values in self.targets.items():
            due = [offset for offset, targets in enumerate(self.origins) if target in targets]
            got = effective(values, target)
            if got != due[: len(got)]:
                raise Violation(f"I2: target {target} has {got} of {due}")
            if any(offset < self.committed for offset in due[len(got) :]):
                raise Violation(f"I3: committed {self.committed}, but target {target} has {got} of {due}")

    def finish(self) -> None:
        """With the faults over, the current owner brings everything home."""
        owner = next(owner for owner in self.owners if owner.current)
        for _ in range(10 * ORIGINS):
            self.now += 1.0
            self.read(owner)
            self.take(owner)
            for target in TARGETS:
                while owner.in_flight[target]:
                    self.settle(owner, target, well=True)
        self.commit(owner)
        self.check()
        if self.committed != ORIGINS:
            raise Violation(f"committed {self.committed} of {ORIGINS}")
        if owner.forwarder.queued_bytes or owner.forwarder.in_flight:
            raise Violation("something is still queued")


def simulate(seed: int, make: Callable[[int, ForwardingSettings], Forwarder]) -> None:
    """One random history. Raises Violation."""
    simulation = Simulation(seed, make)
    for _ in range(150):
        simulation.step()
        simulation.check()
    simulation.finish()
