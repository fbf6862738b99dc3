"""Forwarding: what one source partition sends to others, whatever becomes of owners and of single appends.

Real code: `delivery_service.forwarding.Forwarder` of every owner; `event_log.reader.PartitionReader` with the commits it
makes (`event_log.commit_metadata`), for whoever reads a target.

Modelled: a source with a few origins; its owner; a former owner that does not know of it and goes on (a zombie); owners
that die with appends under way, of which some land; a log that takes an append, refuses it, takes it and does not say so, or
takes it at any time later, while later appends land; a reader of each target that commits and starts again from any place.
Appends settle in order within their target, as event_log/port.py promises. Of two things the order does not matter, so they
take no step of their own: an owner reads and sends what it has room for at once (who dies before it has sent anything dies
with nothing landed), and what it has committed is settled when it loses the source: anything it might have.

Not modelled: the source's own reader (every origin counts here), bounds in bytes and waits before sending again (R6).

- I1: a reader that starts from any commit takes what one takes that never stopped. So does one that starts from a commit of
  all there was, when the log has dropped all there was.
- I2: what a target's readers take are the origins that name it, in order, without a hole.
- I3: what may be committed is durable in all its targets. Here also: faults over, everything comes to be.
- I4: a commit's tail starts at or below its offset.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import product
from typing import NamedTuple

from cell.log.v1 import record_pb2 as log
from check.model.explore import Model, Step, Violation
from check.model.real import Shelf
from delivery_service.forwarding import Forwarder, ForwardingSettings, Parcel
from event_log.commit_metadata import decode, tail_start_of
from event_log.port import Assignment, Commit, Fate, LogRecord
from event_log.reader import WINDOW_US, PartitionReader, Verdict

SOURCE = 0
_SETTINGS = ForwardingSettings(backoff_s=0.0, max_backoff_s=0.0)
_LONG_US = WINDOW_US + 1
"""From record to record, so that a tail starts at its commit: what a reader knows then comes from the metadata."""

Log = tuple[bytes, ...]
Naming = tuple[tuple[int, ...], ...]
"""For each origin the targets that it names, from 1 on."""


@dataclass(slots=True)
class Owner:
    """One instance's hold of the source."""

    forwarder: Forwarder
    position: int
    """The next origin to read."""
    under_way: dict[int, list[Parcel]] = field(default_factory=dict)
    """Appends that have not settled, by target, in order."""


class State(NamedTuple):
    """Of everything."""

    owner: int | None
    """On the shelf; None while there is none."""
    zombie: int | None
    committed: int
    """By those who own the source no longer."""
    targets: tuple[Log, ...]
    late: tuple[tuple[int, bytes], ...]
    """Appends that may land yet: target, value."""
    readers: tuple[Commit | None, ...]
    """From where each target's reader starts again."""
    left: int
    """So many faults there may be yet."""
    restarts: int
    """And so many restarts of targets' readers."""


class Forwarding(Model[State]):
    """The model. Unless readers start again, targets are without what readers do not take, which changes nothing."""

    stuck = "I3"

    def __init__(self, naming: Naming, faults: int, restarts: int = 0, under_way: int = 2) -> None:
        self._naming = naming
        self._faults = faults
        self._restarts_allowed = restarts
        self._under_way = under_way
        self._targets = range(1, max(map(max, naming)) + 1)
        self._due = {t: [o for o, targets in enumerate(naming) if t in targets] for t in self._targets}
        self._owners: Shelf[Owner] = Shelf()
        self._taken = cache(self._read)

    def initial(self) -> State:
        """One owner, and nothing sent."""
        empty: tuple[Log, ...] = ((),) * len(self._targets)
        readers = (None,) * len(self._targets)
        return State(self._new_owner(0), None, 0, empty, (), readers, self._faults, self._restarts_allowed)

    def is_done(self, state: State) -> bool:
        """Everything may be committed."""
        return state.owner is not None and self._committable(state.owner) == len(self._naming)

    def check(self, state: State) -> None:
        """I1 to I4 of every target."""
        committable = state.committed if state.owner is None else self._committable(state.owner)
        for target, values, commit in zip(self._targets, state.targets, state.readers, strict=True):
            taken = self._taken(target, values, None)
            origins, due = [origin for _, origin in taken], self._due[target]
            if origins != due[: len(origins)]:
                raise Violation("I2", f"target {target} takes {origins} of {due}")
            if any(origin < committable for origin in due[len(origins) :]):
                raise Violation(
                    "I3", f"{committable} may be committed, target {target} has {origins} of {due}"
                )
            if commit is not None:
                left = tuple(each for each in taken if each[0] >= commit.offset)
                for start in {0, _dropped(commit)}:
                    again = self._taken(target, values, commit, start)
                    if again != left:
                        raise Violation("I1", f"from {commit.offset} on a reader takes {again}, not {left}")
                if tail_start_of(commit) > commit.offset:
                    raise Violation("I4", "a tail starts above its commit")

    def steps(self, state: State) -> Iterator[Step[State]]:
        """What owners, the log and readers may do."""
        if state.owner is None:
            yield Step("a new owner", state._replace(owner=self._new_owner(state.committed)))
        else:
            yield from self._appends(state, state.owner, "owner")
            for committed in range(state.committed, self._committable(state.owner) + 1):
                at = state._replace(committed=committed)
                if state.left:
                    yield from self._dies(at, state.owner, "owner")
                if state.left and state.zombie is None:
                    new = self._new_owner(committed)
                    moved = at._replace(owner=new, zombie=state.owner, left=state.left - 1)
                    yield Step(f"another owner takes over from {committed}", moved, True)
        if state.zombie is not None:
            yield from self._appends(state, state.zombie, "zombie")
            yield from self._dies(state, state.zombie, "zombie")
        for index, (target, value) in enumerate(state.late):
            rest = state.late[:index] + state.late[index + 1 :]
            landed = self._landed(state, target, (value,))._replace(late=rest)
            yield Step(f"{_said(value)} to {target} lands late", landed, True)
        if state.restarts:
            yield from self._restarts(state)

    def _appends(self, state: State, number: int, who: str) -> Iterator[Step[State]]:
        """What may become of the oldest append to each target."""
        left = state.left - 1
        for target, values in self._owners.do(number, _under_way)[1]:
            value = values[0]
            said = f"{who}'s {_said(value)} to {target}"
            landed = self._landed(state, target, (value,))
            settled = partial(self._settled, number=number, who=who, target=target)
            yield Step(f"{said} lands", settled(landed, fate=Fate.APPENDED))
            if state.left:
                failed = settled(state, fate=Fate.NOT_APPENDED)._replace(left=left)
                yield Step(f"{said} fails", failed, True)
                unsaid = settled(landed, fate=Fate.UNKNOWN)._replace(left=left)
                yield Step(f"{said} lands, and nobody says so", unsaid, True)
                late = tuple(sorted((*state.late, (target, value))))
                unsaid = settled(state, fate=Fate.UNKNOWN)._replace(late=late, left=left)
                yield Step(f"{said} may land later", unsaid, True)

    def _settled(self, state: State, number: int, who: str, target: int, fate: Fate) -> State:
        after, _ = self._owners.do(number, _settle, target, fate, self._naming, self._under_way)
        return _now(state, who, after)

    def _dies(self, state: State, number: int, who: str) -> Iterator[Step[State]]:
        """Of the appends under way to each target the first few land."""
        state = _now(state, who, None)._replace(left=state.left - (who == "owner"))
        under_way = self._owners.do(number, _under_way)[1]
        for counts in product(*(range(len(values) + 1) for _, values in under_way)):
            at = state
            for (target, values), count in zip(under_way, counts, strict=True):
                at = self._landed(at, target, values[:count])
            yield Step(
                f"{who} dies, {state.committed} committed, {sum(counts)} more land", at, who == "owner"
            )

    def _restarts(self, state: State) -> Iterator[Step[State]]:
        for at, (target, values, before) in enumerate(
            zip(self._targets, state.targets, state.readers, strict=True)
        ):
            reader = self._reader(target, values, before)
            for offset in range(reader.tail_start, len(values)):
                reader.read(_record(values, offset))
            for offset in range(reader.acts_from, len(values) + 1):
                if before is None or offset > before.offset:
                    readers = (*state.readers[:at], reader.commit_at(offset), *state.readers[at + 1 :])
                    name = f"the reader of {target} starts again from {offset}"
                    yield Step(name, state._replace(readers=readers, restarts=state.restarts - 1), True)

    def _new_owner(self, position: int) -> int:
        owner = Owner(Forwarder(SOURCE, _SETTINGS), position)
        _send(owner, self._naming, self._under_way)
        return self._owners.put(owner)

    def _committable(self, number: int) -> int:
        return self._owners.do(number, _first_unforwarded)[1]

    def _landed(self, state: State, target: int, values: Log) -> State:
        after = state.targets[target - 1]
        for value in values:
            grown = (*after, value)
            if self._restarts_allowed or self._taken(target, grown, None) != self._taken(target, after, None):
                after = grown
        return state._replace(targets=(*state.targets[: target - 1], after, *state.targets[target:]))

    def _reader(self, target: int, values: Log, commit: Commit | None, start: int = 0) -> PartitionReader:
        assignment = Assignment(target, 1, commit, start, len(values))
        return PartitionReader(target, "log", len(self._targets) + 1, assignment)

    def _read(
        self, target: int, values: Log, commit: Commit | None, start: int = 0
    ) -> tuple[tuple[int, int], ...]:
        """(offset, origin) of the copies that a reader takes which starts from this commit, in a log from `start` on."""
        reader = self._reader(target, values, commit, start)
        readings = [reader.read(_record(values, at)) for at in range(reader.tail_start, len(values))]
        return tuple(
            (reading.offset, reading.copy.source_offset)
            for reading in readings
            if reading.verdict is Verdict.EFFECTIVE and reading.copy and reading.offset >= reader.acts_from
        )


def _now(state: State, who: str, number: int | None) -> State:
    return state._replace(owner=number) if who == "owner" else state._replace(zombie=number)


@cache
def _said(value: bytes) -> str:
    return f"copy of {log.Record.FromString(value).copy.source_offset}"


def _dropped(commit: Commit) -> int:
    """Where a log may start that has dropped all that was read; 0 if not all was read that was there."""
    return commit.offset if decode(commit.metadata).at_commit is not None else 0


def _record(values: Log, at: int) -> LogRecord:
    return LogRecord(at, (at + 1) * _LONG_US, values[at])


_EVENT = log.LoggedEvent(kind=log.EVENT_KIND_MESSAGE, sender_id="ann", event=b"\x12\x00")


def _send(owner: Owner, naming: Naming, at_once: int) -> None:
    """Read and send what there is room for."""
    while True:
        for record in owner.forwarder.take(0.0):
            owner.under_way.setdefault(record.partition, []).append(record.tag)
        if owner.position == len(naming) or sum(map(len, owner.under_way.values())) >= at_once:
            return
        targets = naming[owner.position]
        owner.forwarder.forward(owner.position, _EVENT, {target: (f"user{target}",) for target in targets})
        owner.position += 1


def _settle(owner: Owner, target: int, fate: Fate, naming: Naming, at_once: int) -> None:
    owner.forwarder.settled(owner.under_way[target].pop(0), fate, 0.0)
    _send(owner, naming, at_once)


def _under_way(owner: Owner) -> tuple[tuple[int, Log], ...]:
    return tuple(
        (target, tuple(p.value for p in parcels)) for target, parcels in owner.under_way.items() if parcels
    )


def _first_unforwarded(owner: Owner) -> int:
    return owner.forwarder.first_unforwarded(owner.position)
