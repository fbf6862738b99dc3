"""Attaching: how a stream gets exactly its user's events, whatever becomes of it, of owners and of their links (R7 to R12).

Real code: `messaging_server.subscription.Subscription` of every stream, `messaging_server.router.Router` with `Ownership`
between them and the links, `delivery_service.partition.OwnedPartition` with its window and reader in every owner.

Modelled: one partition with a few records, of which some are the user's, some others', some unreadable; a log that grows; a
history that lags behind; two delivery instances, of which one owns the partition, or nobody does, or a former owner does not
know of it yet (a zombie) and goes on; instances that die; a link of each to one server, whose messages arrive in order and
late, which breaks, and of whose messages some are lost then; clients that read or do not, and break and come back with
their cursor, or with one of another log, or past the end of this one. A page of history reads the position first and the
rows later. Nobody counts on a zombie to do anything, nor on history to get on. How far the log and history have come is
settled where somebody looks, or reads on.

Not modelled: several servers (a server is alone on its links), forwarding (model `forwarding`), commands, expired inboxes.

- I6: after its cursor a client gets the user's events in order, each once; a gap stands for an unreadable record only.
- I7, I8: a cursor told by `checkpoint` or `resumed` passes over nothing that concerns the client.
- R11: by `resumed` a client has been shown all that was durable when its stream was opened.
- I10: faults over, every client can come to be live and to have everything.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from check.model import attaching_owner as owner
from check.model import attaching_server as server
from check.model.explore import Model, Step, Violation
from check.model.real import Shelf
from delivery_service.settings import DeliverySettings
from event_log.port import Assignment, Commit, LogRecord
from event_log.reader import WINDOW_US
from messaging_core.events import PositionedEvent
from messaging_server.settings import ServerSettings
from tests.support.log_records import origin_record

OFF, OWNS, ZOMBIE = "off", "owns", "zombie"


class Instance(NamedTuple):
    """A delivery instance, and its link."""

    role: str
    owner: int
    """On the shelf; -1 while it owns nothing."""
    up: tuple[bytes, ...] = ()
    down: tuple[owner.Said, ...] = ()


class Device(NamedTuple):
    """A client."""

    cursor: int | None
    """Everything of its user at or before this it has, or was told that it is gone; None before it was told any."""
    is_open: bool = False
    durable: int = 0
    """The log's end, read after its stream was opened."""
    start: int = -1
    """Where its stream began, if it had no cursor."""
    is_resumed: bool = False
    page: tuple[int, ...] | None = None
    """What a page of history has read so far."""


class State(NamedTuple):
    """Of everything."""

    end: int
    stored: int
    """History has the records below this."""
    committed: Commit | None
    generation: int
    instances: tuple[Instance, ...]
    server: int
    devices: tuple[Device, ...]
    left: int
    """So many faults there may be yet."""


class Bounds(NamedTuple):
    """Of one world."""

    records: str
    """`u`: for the user, `o`: for others, `x`: unreadable."""
    durable: int = 0
    """So many of them are there from the beginning."""
    cursors: tuple[int | None, ...] = (-1,)
    """Of each device, at first."""
    faults: int = 1
    moves: bool = True
    crashes: bool = False
    links: bool = False
    """Whether links break while both of their ends live."""
    breaks: bool = True
    """Of streams."""
    throughs: bool = True
    window_bytes: int = 1_000_000
    """0: memory keeps nothing."""
    buffer_bytes: int = 262_144
    on_links: int = 2
    """Messages of owners on their way, at most."""
    attempts: int = 6
    """More attaches of one stream than records and faults explain: it goes round in circles."""


class Attaching(Model[State]):
    """The model."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._records = [_record(at, kind) for at, kind in enumerate(bounds.records)]
        self._concerns = [at for at, kind in enumerate(bounds.records) if kind != "o"]
        self._positioned = self._as_shown()
        self._servers: Shelf[server.Server] = Shelf()
        self._owners: Shelf[owner.Owner] = Shelf()
        self._settings = DeliverySettings(instance_id="x", window_bytes=bounds.window_bytes)

    # The world.

    def initial(self) -> State:
        """Both instances have their links, the first one is about to own the partition, and nobody is here."""
        settings = ServerSettings(server_id="s", event_buffer_bytes=self._bounds.buffer_bytes, retry_s=0.0)
        number = self._servers.put(server.new_server(settings))
        off = Instance(OFF, -1)
        devices = tuple(Device(cursor) for cursor in self._bounds.cursors)
        state = State(
            self._bounds.durable,
            0,
            None,
            0,
            (off, off),
            number,
            devices,
            self._bounds.faults,
        )
        return self._taken_over(state, 0)

    def is_done(self, state: State) -> bool:
        """Every record is there, and every client has been told all of it."""
        last = self._concerns[-1]
        return state.end == len(self._records) and all(
            device.is_resumed and device.cursor is not None and device.cursor >= last
            for device in state.devices
        )

    def check(self, state: State) -> None:
        """What must not be is noticed where it is done."""

    def steps(self, state: State) -> Iterator[Step[State]]:
        """Everything that may happen."""
        for at, instance in enumerate(state.instances):
            for step in self._of_owner(state, at, instance):
                yield step if instance.role != ZOMBIE else step._replace(is_fault=True)
            yield from self._of_link(state, at, instance)
        yield from self._of_group(state)
        for at, device in enumerate(state.devices):
            yield from self._of_device(state, at, device)

    def _ends(self, state: State) -> range:
        """Where the log may end by now: it grows when somebody looks."""
        return range(state.end, len(self._records) + 1)

    # Owners.

    def _of_owner(self, state: State, at: int, instance: Instance) -> Iterator[Step[State]]:
        name = server.NAMES[at]
        has_room = len(instance.down) < self._bounds.on_links
        if instance.up and has_room:
            rest = instance._replace(up=instance.up[1:])
            if instance.role == OFF:
                answer = owner.not_owner(instance.up[0])
                said = instance.down if answer is None else (*instance.down, answer)
                yield Step(f"{name}: not mine", _with(state, at, rest._replace(down=said)))
            else:
                yield Step(f"{name} hears", self._owner_does(state, at, rest, owner.hears, instance.up[0]))
        if instance.role == OFF:
            return
        position, wants_end, rereads, persisted, says = self._owners.do(instance.owner, owner.wishes)[1]
        if position < len(self._records) and has_room:
            record = self._records[position]
            grown = state._replace(end=max(state.end, position + 1))
            yield Step(f"{name} reads {position}", self._owner_does(grown, at, instance, owner.reads, record))
        if says and self._bounds.throughs and has_room:
            yield Step(
                f"{name} says how far it is", self._owner_does(state, at, instance, owner.says_through)
            )
        if wants_end and has_room:
            for end in self._ends(state):
                judged = self._owner_does(state._replace(end=end), at, instance, owner.judges, end)
                yield Step(f"{name} is told that the log ends at {end}", judged)
        if rereads and has_room:
            records = tuple(self._records[: state.end])
            yield Step(
                f"{name} reads again", self._owner_does(state, at, instance, owner.reads_again, records)
            )
        if rereads or self._bounds.window_bytes == 0:
            for stored in range(max(state.stored, persisted + 1), state.end + 1):
                learns = self._owner_does(state._replace(stored=stored), at, instance, owner.learns, stored)
                yield Step(f"{name} learns that history has {stored}", learns, stored > state.stored)

    def _owner_does(self, state: State, at: int, instance: Instance, act: Any, *args: Any) -> State:
        number, said = self._owners.do(instance.owner, act, *args)
        return _with(state, at, instance._replace(owner=number, down=(*instance.down, *said)))

    def _of_group(self, state: State) -> Iterator[Step[State]]:
        roles = [instance.role for instance in state.instances]
        owns = roles.index(OWNS) if OWNS in roles else None
        for at, instance in enumerate(state.instances):
            if instance.role == ZOMBIE:
                yield Step(
                    f"{server.NAMES[at]} learns that it has lost the partition",
                    self._released(state, at),
                    True,
                )
            if instance.role == OFF and owns is None:
                yield Step(f"{server.NAMES[at]} takes over", self._taken_over(state, at))
            elif instance.role == OFF and owns is not None and state.left and self._bounds.moves:
                for committed in self._commits(state, owns):
                    moved = _with(state, owns, state.instances[owns]._replace(role=ZOMBIE))
                    moved = moved._replace(committed=committed, left=state.left - 1)
                    name = f"{server.NAMES[at]} takes over from {committed.offset if committed else 0}"
                    yield Step(name, self._taken_over(moved, at), True)
            elif state.left and self._bounds.crashes:
                yield from self._dies(state, at)
            if instance.role != OFF and state.left and self._bounds.links:
                for kept in {0, len(instance.down)}:
                    number, said = self._owners.do(instance.owner, owner.has_a_new_link)
                    down = (*instance.down[:kept], owner.END, *said)
                    anew = _with(state, at, Instance(instance.role, number, (), down))
                    name = f"the link of {server.NAMES[at]} breaks, {kept} of its messages arrive"
                    yield Step(name, anew._replace(left=state.left - 1), True)

    def _commits(self, state: State, at: int) -> set[Commit | None]:
        """Where the next owner may have to begin."""
        _, committed = self._owners.do(state.instances[at].owner, owner.commits)
        return {state.committed, committed or state.committed}

    def _taken_over(self, state: State, at: int) -> State:
        assignment = Assignment(0, state.generation + 1, state.committed, 0, state.end)
        number = self._owners.put(owner.new_owner(assignment, self._settings))
        state = state._replace(generation=state.generation + 1)
        instance = state.instances[at]._replace(role=OWNS, owner=number)
        return self._owner_does(state, at, instance, owner.claims_if_active)

    def _released(self, state: State, at: int) -> State:
        instance = state.instances[at]
        _, said = self._owners.do(instance.owner, owner.lets_go)
        return _with(state, at, Instance(OFF, -1, instance.up, (*instance.down, *said)))

    def _dies(self, state: State, at: int) -> Iterator[Step[State]]:
        """What it has said arrives or is lost with its link; then it is there again, with another one."""
        instance = state.instances[at]
        commits = self._commits(state, at) if instance.role == OWNS else {state.committed}
        for committed in commits:
            for kept in {0, len(instance.down)}:
                dead = Instance(OFF, -1, (), (*instance.down[:kept], owner.END))
                after = _with(state, at, dead)._replace(committed=committed, left=state.left - 1)
                yield Step(f"{server.NAMES[at]} dies, {kept} of its messages arrive", after, True)

    # Links.

    def _of_link(self, state: State, at: int, instance: Instance) -> Iterator[Step[State]]:
        if instance.down:
            said = instance.down[0]
            taken = _with(state, at, instance._replace(down=instance.down[1:]))
            act = server.link_anew if said == owner.END else server.takes
            yield Step(
                f"server takes {server.told(said)} of {server.NAMES[at]}",
                self._server_does(taken, act, server.NAMES[at], said),
            )

    def _server_does(self, state: State, act: Any, *args: Any) -> State:
        number, said = self._servers.do(state.server, server.then_turn, act, *args)
        instances = tuple(
            instance._replace(up=(*instance.up, *messages))
            for instance, messages in zip(state.instances, said, strict=True)
        )
        return state._replace(server=number, instances=instances)

    # Devices.

    def _of_device(self, state: State, at: int, device: Device) -> Iterator[Step[State]]:
        if not device.is_open:
            opened = _device(state, at, Device(device.cursor, True))
            yield Step(
                f"device {at} comes with {device.cursor}",
                self._server_does(opened, server.opens, at, device.cursor),
            )
            return
        wishes = self._servers.do(state.server, server.wishes, at)[1]
        if wishes.attempt > self._bounds.attempts:
            raise Violation("I10", f"it attaches for the {wishes.attempt}th time")
        if wishes.is_past_end:
            gone = _device(self._server_does(state, server.breaks, at), at, Device(None))
            yield Step(f"{at} is told that its cursor is past the end, and loads anew", gone)
            return
        if wishes.end:
            for end in self._ends(state):
                told = _device(state._replace(end=end), at, device._replace(durable=end, start=end - 1))
                yield Step(
                    f"the log's end is read for {at}: {end}",
                    self._server_does(told, server.end_read, at, end),
                )
        if wishes.page and device.page is None:
            for stored in range(state.stored, state.end + 1):
                asked = self._asked(state._replace(stored=stored), at, device)
                yield Step(f"history is asked for {at}, it has {stored}", asked, stored > state.stored)
        elif wishes.page:
            yield Step(f"history answers {at}", self._answered(state, at, device, wishes.position))
        if wishes.waits:
            yield Step(f"{at} tries again", self._server_does(state, server.retries, at))
        if wishes.can_checkpoint and self._bounds.throughs:
            yield Step(f"{at} is told its position", self._server_does(state, server.checkpoints, at))
        if wishes.frame:
            written = self._server_does(state, server.written, at)
            yield Step(f"device {at} reads", _device(written, at, self._shown(device, wishes.frame)))
        if state.left and self._bounds.breaks:
            gone = self._server_does(state, server.breaks, at)
            gone = _device(gone, at, Device(device.cursor))._replace(left=state.left - 1)
            yield Step(f"the stream of {at} breaks", gone, True)

    def _asked(self, state: State, at: int, device: Device) -> State:
        return _device(state, at, device._replace(page=self._first_half(state)))

    def _first_half(self, state: State) -> tuple[int, ...]:
        """What a page reads first: the position (R9)."""
        return (state.stored,)

    def _page(self, state: State, read: tuple[int, ...], position: int) -> tuple[int, list[PositionedEvent]]:
        """How far a page goes, and its rows: read after what was read first."""
        stored = read[0]
        return stored, [event for event in self._positioned if position < event.offset < stored]

    def _answered(self, state: State, at: int, device: Device, position: int) -> State:
        assert device.page is not None
        stored, events = self._page(state, device.page, position)
        through = max(stored - 1, position)
        paged = _device(state, at, device._replace(page=None))
        return self._server_does(paged, server.page_read, at, tuple(events), through)

    # What clients are shown.

    def _shown(self, device: Device, frame: bytes) -> Device:
        for kind, offset in server.updates(frame):
            cursor = device.start if device.cursor is None else device.cursor
            due = next((at for at in self._concerns if at > cursor), len(self._records))
            if kind in ("event", "gap"):
                if offset != due or (kind == "gap") != (self._bounds.records[offset] == "x"):
                    raise Violation("I6", f"after {cursor} a client gets {kind} {offset}, not {due}")
            elif offset >= due:
                raise Violation("I7", f"{kind} {offset} passes over {due}")
            if kind == "resumed" and offset < device.durable - 1:
                raise Violation("R11", f"resumed at {offset}, {device.durable} were durable")
            is_resumed = device.is_resumed or kind == "resumed"
            device = device._replace(cursor=max(cursor, offset), is_resumed=is_resumed)
        return device

    def _as_shown(self) -> list[PositionedEvent]:
        """The records that concern the user, as history shows them, like the window."""
        everything = Assignment(0, 1, None, 0, len(self._records))
        partition = owner.new_owner(everything, DeliverySettings()).partition
        partition.take(self._records)
        missed = partition._window.since("ann", -1)
        assert isinstance(missed, list)
        return missed


def _with(state: State, at: int, instance: Instance) -> State:
    return state._replace(instances=(*state.instances[:at], instance, *state.instances[at + 1 :]))


def _device(state: State, at: int, device: Device) -> State:
    return state._replace(devices=(*state.devices[:at], device, *state.devices[at + 1 :]))


def _record(at: int, kind: str) -> LogRecord:
    users = ["ann"] if kind == "u" else ["bob"]
    value = b"\xff" if kind == "x" else origin_record(users[0], users, f"m{at}")
    return LogRecord(at, (at + 1) * (WINDOW_US + 1), value)
