"""Attaching: how a stream gets exactly its user's events, whatever becomes of it, of owners and of their links (R7 to R12).

Real code: `messaging_server.subscription.Subscription` of every stream, `messaging_server.router.Router` with `Ownership`
between them and the links, `delivery_service.partition.OwnedPartition` with its window and reader in every owner.

Modelled: one partition with a few records, of which some are the user's, some others', some unreadable; a log that grows; a
history that lags behind; two delivery instances, of which one owns the partition, or nobody does, or a former owner does not
know of it yet (a zombie) and goes on; instances that die; a link of each to one server, whose messages arrive in order and
late, which breaks, and of whose messages some are lost then; clients that read or do not, and break and come back with
their cursor. A page of history reads the position first and the rows later. Nobody counts on a zombie to do anything, nor on
history to get on. How far the log and history have come is settled where somebody looks, or reads on.

Not modelled: several servers (a server is alone on its links), forwarding (model `forwarding`), commands, cursors of another
log, expired inboxes.

- I6: after its cursor a client gets the user's events in order, each once; a gap stands for an unreadable record only.
- I7, I8: a cursor told by `checkpoint` or `resumed` passes over nothing that concerns the client.
- R11: by `resumed` a client has been shown all that was durable when its stream was opened.
- I10: faults over, every client can come to be live and to have everything.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from cell.delivery.v1 import session_link_pb2 as link
from cell.messaging.v1 import messaging_pb2 as messaging
from check.model.explore import Model, Step, Violation
from check.model.real import Shelf
from check.model.variants import Case, Patch, Suite, Variant
from delivery_service.outbox import Outbox
from delivery_service.partition import OwnedPartition
from delivery_service.settings import DeliverySettings
from delivery_service.window import Window
from event_log.port import Assignment, Commit, LogRecord
from event_log.reader import WINDOW_US
from messaging_core.clock import HybridClock
from messaging_core.cursor import Cursor, decode_cursor, incarnation_bytes
from messaging_core.events import EventsPage, PositionedEvent
from messaging_server import endings
from messaging_server.hello import Start
from messaging_server.ownership import Ownership
from messaging_server.presence import Agenda
from messaging_server.router import Router
from messaging_server.settings import ServerSettings
from messaging_server.subscription import ATTACHING, Subscription
from session_link.routed import Routed
from tests.simulation import faults
from tests.support.log_records import origin_record

LOG = "log"
_INCARNATION = incarnation_bytes(LOG)
NAMES = ("A", "B")
OFF, OWNS, ZOMBIE = "off", "owns", "zombie"
END = "end"
"""Of a link."""
Said = bytes | Routed | str
"""A message of an owner, on its way to the server."""


def wall() -> int:
    """A clock that stands still."""
    return 1_000_000


def partition_of(user: str) -> int:
    """There is one."""
    return 0


@dataclass(slots=True, eq=False)
class Link:
    """The server's end of a link."""

    name: str
    said: list[bytes] = field(default_factory=list)

    def send(self, messages: Sequence[link.ServerMessage]) -> None:
        """Queue these for the owner."""
        self.said += [message.SerializeToString(deterministic=True) for message in messages]


class Stream(Subscription):
    """A stream without commands."""

    __slots__ = ("waits",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.waits = False

    def was_sent(self, sender_id: str, offset: int, direct_ref: bytes) -> None:
        """Nothing is acknowledged here."""

    def _wake(self) -> None:
        self.waits = True


@dataclass(slots=True, eq=False)
class Server:
    """A messaging server's decisions."""

    router: Router
    agenda: Agenda
    settings: ServerSettings
    links: dict[str, Link] = field(default_factory=dict)
    streams: dict[int, Stream] = field(default_factory=dict)
    """By device."""
    opened: int = 0


@dataclass(slots=True, eq=False)
class Owner:
    """An instance's hold of the partition."""

    partition: OwnedPartition
    outbox: Outbox
    is_claimed: bool = False


class Instance(NamedTuple):
    """A delivery instance, and its link."""

    role: str
    owner: int
    """On the shelf; -1 while it owns nothing."""
    up: tuple[bytes, ...] = ()
    down: tuple[Said, ...] = ()


class Device(NamedTuple):
    """A client."""

    cursor: int
    """Everything of its user at or before this it has, or was told that it is gone."""
    is_open: bool = False
    durable: int = 0
    """The log's end, read after its stream was opened."""
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
    cursors: tuple[int, ...] = (-1,)
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
        self._servers: Shelf[Server] = Shelf()
        self._owners: Shelf[Owner] = Shelf()
        self._settings = DeliverySettings(instance_id="x", window_bytes=bounds.window_bytes)

    # The world.

    def initial(self) -> State:
        """Both instances have their links, the first one is about to own the partition, and nobody is here."""
        agenda = Agenda()
        router = Router(partition_count=1, incarnation=LOG, agenda=agenda, clock=HybridClock(wall))
        settings = ServerSettings(server_id="s", event_buffer_bytes=self._bounds.buffer_bytes, retry_s=0.0)
        server = Server(router, agenda, settings)
        for name in NAMES:
            _link_opened(server, name)
        off = Instance(OFF, -1)
        devices = tuple(Device(cursor) for cursor in self._bounds.cursors)
        state = State(
            self._bounds.durable,
            0,
            None,
            0,
            (off, off),
            self._servers.put(server),
            devices,
            self._bounds.faults,
        )
        return self._taken_over(state, 0)

    def is_done(self, state: State) -> bool:
        """Every record is there, and every client has been told all of it."""
        last = self._concerns[-1]
        return state.end == len(self._records) and all(
            device.is_open and device.is_resumed and device.cursor >= last for device in state.devices
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
        name = NAMES[at]
        has_room = len(instance.down) < self._bounds.on_links
        if instance.up and has_room:
            rest = instance._replace(up=instance.up[1:])
            if instance.role == OFF:
                answer = _not_owner(instance.up[0])
                said = instance.down if answer is None else (*instance.down, answer)
                yield Step(f"{name}: not mine", _with(state, at, rest._replace(down=said)))
            else:
                yield Step(f"{name} hears", self._owner_does(state, at, rest, _hears, instance.up[0]))
        if instance.role == OFF:
            return
        position, wants_end, rereads, persisted, says = self._owners.do(instance.owner, _owner_wishes)[1]
        if position < len(self._records) and has_room:
            record = self._records[position]
            grown = state._replace(end=max(state.end, position + 1))
            yield Step(f"{name} reads {position}", self._owner_does(grown, at, instance, _reads, record))
        if says and self._bounds.throughs and has_room:
            yield Step(f"{name} says how far it is", self._owner_does(state, at, instance, _says_through))
        if wants_end and has_room:
            for end in self._ends(state):
                judged = self._owner_does(state._replace(end=end), at, instance, _judges, end)
                yield Step(f"{name} is told that the log ends at {end}", judged)
        if rereads and has_room:
            records = tuple(self._records[: state.end])
            yield Step(f"{name} reads again", self._owner_does(state, at, instance, _reads_again, records))
        if rereads or self._bounds.window_bytes == 0:
            for stored in range(max(state.stored, persisted + 1), state.end + 1):
                learns = self._owner_does(state._replace(stored=stored), at, instance, _learns, stored)
                yield Step(f"{name} learns that history has {stored}", learns, stored > state.stored)

    def _owner_does(self, state: State, at: int, instance: Instance, act: Any, *args: Any) -> State:
        owner, said = self._owners.do(instance.owner, act, *args)
        return _with(state, at, instance._replace(owner=owner, down=(*instance.down, *said)))

    def _of_group(self, state: State) -> Iterator[Step[State]]:
        roles = [instance.role for instance in state.instances]
        owns = roles.index(OWNS) if OWNS in roles else None
        for at, instance in enumerate(state.instances):
            if instance.role == ZOMBIE:
                yield Step(
                    f"{NAMES[at]} learns that it has lost the partition", self._released(state, at), True
                )
            if instance.role == OFF and owns is None:
                yield Step(f"{NAMES[at]} takes over", self._taken_over(state, at))
            elif instance.role == OFF and owns is not None and state.left and self._bounds.moves:
                for committed in self._commits(state, owns):
                    moved = _with(state, owns, state.instances[owns]._replace(role=ZOMBIE))
                    moved = moved._replace(committed=committed, left=state.left - 1)
                    name = f"{NAMES[at]} takes over from {committed.offset if committed else 0}"
                    yield Step(name, self._taken_over(moved, at), True)
            elif state.left and self._bounds.crashes:
                yield from self._dies(state, at)
            if instance.role != OFF and state.left and self._bounds.links:
                for kept in {0, len(instance.down)}:
                    owner, said = self._owners.do(instance.owner, _has_a_new_link)
                    down = (*instance.down[:kept], END, *said)
                    anew = _with(state, at, Instance(instance.role, owner, (), down))
                    name = f"the link of {NAMES[at]} breaks, {kept} of its messages arrive"
                    yield Step(name, anew._replace(left=state.left - 1), True)

    def _commits(self, state: State, at: int) -> set[Commit | None]:
        """Where the next owner may have to begin."""
        owner = state.instances[at].owner
        _, committed = self._owners.do(owner, _commits)
        return {state.committed, committed or state.committed}

    def _taken_over(self, state: State, at: int) -> State:
        assignment = Assignment(0, state.generation + 1, state.committed, 0, state.end)
        partition = OwnedPartition(
            assignment,
            incarnation=LOG,
            partition_count=1,
            partition_of=partition_of,
            settings=self._settings,
        )
        number = self._owners.put(Owner(partition, Outbox("s")))
        state = state._replace(generation=state.generation + 1)
        instance = state.instances[at]._replace(role=OWNS, owner=number)
        return self._owner_does(state, at, instance, _claims_if_active)

    def _released(self, state: State, at: int) -> State:
        instance = state.instances[at]
        _, said = self._owners.do(instance.owner, _lets_go)
        return _with(state, at, Instance(OFF, -1, instance.up, (*instance.down, *said)))

    def _dies(self, state: State, at: int) -> Iterator[Step[State]]:
        """What it has said arrives or is lost with its link; then it is there again, with another one."""
        instance = state.instances[at]
        commits = self._commits(state, at) if instance.role == OWNS else {state.committed}
        for committed in commits:
            for kept in {0, len(instance.down)}:
                dead = Instance(OFF, -1, (), (*instance.down[:kept], END))
                after = _with(state, at, dead)._replace(committed=committed, left=state.left - 1)
                yield Step(f"{NAMES[at]} dies, {kept} of its messages arrive", after, True)

    # Links.

    def _of_link(self, state: State, at: int, instance: Instance) -> Iterator[Step[State]]:
        if instance.down:
            said = instance.down[0]
            taken = _with(state, at, instance._replace(down=instance.down[1:]))
            act = _link_anew if said == END else _takes
            yield Step(
                f"server takes {_told(said)} of {NAMES[at]}", self._server_does(taken, act, NAMES[at], said)
            )

    def _server_does(self, state: State, act: Any, *args: Any) -> State:
        server, said = self._servers.do(state.server, _then_turn, act, *args)
        instances = tuple(
            instance._replace(up=(*instance.up, *messages))
            for instance, messages in zip(state.instances, said, strict=True)
        )
        return state._replace(server=server, instances=instances)

    # Devices.

    def _of_device(self, state: State, at: int, device: Device) -> Iterator[Step[State]]:
        if not device.is_open:
            opened = _device(state, at, Device(device.cursor, True))
            yield Step(
                f"device {at} comes with {device.cursor}",
                self._server_does(opened, _opens, at, device.cursor),
            )
            return
        wishes = self._servers.do(state.server, _wishes, at)[1]
        if wishes.attempt > self._bounds.attempts:
            raise Violation("I10", f"it attaches for the {wishes.attempt}th time")
        if wishes.end:
            for end in self._ends(state):
                told = _device(state._replace(end=end), at, device._replace(durable=end))
                yield Step(
                    f"the log's end is read for {at}: {end}", self._server_does(told, _end_read, at, end)
                )
        if wishes.page and device.page is None:
            for stored in range(state.stored, state.end + 1):
                asked = self._asked(state._replace(stored=stored), at, device)
                yield Step(f"history is asked for {at}, it has {stored}", asked, stored > state.stored)
        elif wishes.page:
            yield Step(f"history answers {at}", self._answered(state, at, device, wishes.position))
        if wishes.waits:
            yield Step(f"{at} tries again", self._server_does(state, _retries, at))
        if wishes.can_checkpoint and self._bounds.throughs:
            yield Step(f"{at} is told its position", self._server_does(state, _checkpoints, at))
        if wishes.frame:
            written = self._server_does(state, _written, at)
            yield Step(f"device {at} reads", _device(written, at, self._shown(device, wishes.frame)))
        if state.left and self._bounds.breaks:
            gone = self._server_does(state, _breaks, at)
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
        return self._server_does(paged, _page_read, at, tuple(events), through)

    # What clients are shown.

    def _shown(self, device: Device, frame: bytes) -> Device:
        for kind, offset in _updates(frame):
            due = next((at for at in self._concerns if at > device.cursor), len(self._records))
            if kind in ("event", "gap"):
                if offset != due or (kind == "gap") != (self._bounds.records[offset] == "x"):
                    raise Violation("I6", f"after {device.cursor} a client gets {kind} {offset}, not {due}")
            elif offset >= due:
                raise Violation("I7", f"{kind} {offset} passes over {due}")
            if kind == "resumed" and offset < device.durable - 1:
                raise Violation("R11", f"resumed at {offset}, {device.durable} were durable")
            is_resumed = device.is_resumed or kind == "resumed"
            device = device._replace(cursor=max(device.cursor, offset), is_resumed=is_resumed)
        return device

    def _as_shown(self) -> list[PositionedEvent]:
        """The records that concern the user, as history shows them, like the window."""
        owner = OwnedPartition(
            Assignment(0, 1, None, 0, len(self._records)),
            incarnation=LOG,
            partition_count=1,
            partition_of=partition_of,
            settings=DeliverySettings(),
        )
        owner.take(self._records)
        missed = owner._window.since("ann", -1)
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


# What owners do: each returns what it says on its link.


def _drained(owner: Owner) -> tuple[Said, ...]:
    return tuple(
        said._replace(user_numbers=None if said.user_numbers is None else tuple(said.user_numbers))
        if isinstance(said, Routed)
        else said.SerializeToString(deterministic=True)
        for said in owner.outbox.drain()
    )


def _claims_if_active(owner: Owner) -> tuple[Said, ...]:
    if owner.partition.active and not owner.is_claimed:
        owner.is_claimed = True
        owner.outbox.claim(0, owner.partition.generation)
    return _drained(owner)


def _reads(owner: Owner, record: LogRecord) -> tuple[Said, ...]:
    owner.partition.take([record])
    return _claims_if_active(owner)


def _says_through(owner: Owner) -> tuple[Said, ...]:
    owner.partition.tell_through()
    return _drained(owner)


def _hears(owner: Owner, said: bytes) -> tuple[Said, ...]:
    message = link.ServerMessage.FromString(said)
    if message.HasField("attach"):
        owner.partition.attach(owner.outbox, message.attach)
    else:
        owner.partition.detach(owner.outbox, message.detach.user_number)
    return _drained(owner)


def _judges(owner: Owner, end: int) -> tuple[Said, ...]:
    owner.partition.judge(owner.partition.past_known_end(), end)
    return _drained(owner)


def _reads_again(owner: Owner, records: tuple[LogRecord, ...]) -> tuple[Said, ...]:
    start = owner.partition.reread_from()
    owner.partition.reread(start, records[start:])
    return _drained(owner)


def _learns(owner: Owner, stored: int) -> tuple[Said, ...]:
    owner.partition.history_has(stored)
    return ()


def _commits(owner: Owner) -> Commit | None:
    return owner.partition.commit()


def _lets_go(owner: Owner) -> tuple[Said, ...]:
    for asked in owner.partition.give_up():
        asked.outbox.reply(asked.attach, link.ATTACH_OUTCOME_NOT_OWNER)
    if owner.is_claimed:
        owner.outbox.release(0)
    return _drained(owner)


def _has_a_new_link(owner: Owner) -> tuple[Said, ...]:
    owner.partition.unlink(owner.outbox)
    owner.outbox = Outbox("s")
    if owner.is_claimed:
        owner.outbox.claim(0, owner.partition.generation)
    return _drained(owner)


def _owner_wishes(owner: Owner) -> tuple[int, bool, bool, int, bool]:
    """Position; whether it must know the log's end, or read again; what it knows of history; whether it has moved."""
    partition = owner.partition
    position, through = partition.position, partition._through_sent
    says = partition.active and position - 1 > through and bool(partition._interest.links)
    wants_end = bool(partition.past_known_end())
    return position, wants_end, bool(partition.rereads), partition._window.persisted, says


def _not_owner(said: bytes) -> bytes | None:
    message = link.ServerMessage.FromString(said)
    if not message.HasField("attach"):
        return None
    outbox = Outbox("s")
    outbox.reply(message.attach, link.ATTACH_OUTCOME_NOT_OWNER)
    [reply] = outbox.drain()
    assert not isinstance(reply, Routed)
    return reply.SerializeToString(deterministic=True)


# What the server does.


class Wishes(NamedTuple):
    """Of one stream."""

    end: bool = False
    page: bool = False
    waits: bool = False
    can_checkpoint: bool = False
    frame: bytes = b""
    position: int = -1
    attempt: int = 0


def _then_turn(server: Server, act: Any, *args: Any) -> tuple[tuple[bytes, ...], ...]:
    """Do something, and then what sessions wish of links: what is said to each instance."""
    act(server, *args)
    for to, messages in server.router.messages().items():
        to.send(messages)
    server.agenda.write.clear()
    said = []
    for name in NAMES:
        end = server.links[name]
        said.append(tuple(end.said))
        end.said.clear()
    return tuple(said)


def _wishes(server: Server, at: int) -> Wishes:
    stream = server.streams[at]
    frame = b"".join((*stream.outbound._outcomes, *stream.outbound._events))
    can_checkpoint = stream.state.value == "live" and stream.effective_position > stream._cursor_offset
    agenda = server.agenda
    return Wishes(
        stream in agenda.seek_end,
        stream in agenda.page,
        stream.waits,
        can_checkpoint,
        frame,
        stream.position,
        stream.attempt,
    )


def _link_opened(server: Server, name: str) -> None:
    end = server.links[name] = Link(name)
    server.router.opened(end, link.LinkHello(instance_id=name, log_incarnation=LOG, partition_count=1))


def _link_anew(server: Server, name: str, said: Said) -> None:
    server.router.ended(server.links[name])
    _link_opened(server, name)


def _takes(server: Server, name: str, said: Said) -> None:
    assert not isinstance(said, str)
    message = said if isinstance(said, Routed) else link.OwnerMessage.FromString(said)
    server.router.take(server.links[name], message, 0.0)


def _opens(server: Server, at: int, cursor: int) -> None:
    user = server.router.user("ann", 0)
    server.opened += 1
    stream = Stream(user, server.opened, server.agenda, server.settings, _INCARNATION)
    user.sessions.append(stream)
    server.streams[at] = stream
    stream.start(Start(messaging.RESUME_OUTCOME_RESUMED, Cursor(_INCARNATION, 0, cursor, 0), 0))


def _end_read(server: Server, at: int, end: int) -> None:
    stream = server.streams[at]
    server.agenda.seek_end.remove(stream)
    stream.log_end(end, 0.0)


def _page_read(server: Server, at: int, events: tuple[PositionedEvent, ...], through: int) -> None:
    stream = server.streams[at]
    server.agenda.page.remove(stream)
    stream.page_read(EventsPage(list(events), through, 0, through), 0.0)


def _retries(server: Server, at: int) -> None:
    server.streams[at].waits = False
    server.streams[at].retry(0.0)


def _checkpoints(server: Server, at: int) -> None:
    server.streams[at].checkpoint()


def _written(server: Server, at: int) -> None:
    stream = server.streams[at]
    stream.outbound.take_frame(1_000_000)
    stream.write_wanted = False
    stream.drained()


def _breaks(server: Server, at: int) -> None:
    stream = server.streams.pop(at)
    stream.end(endings.LEAVING)
    server.router.remove(stream)
    for wishes in (server.agenda.seek_end, server.agenda.page):
        if stream in wishes:
            wishes.remove(stream)


# What clients read.


@cache
def _updates(frame: bytes) -> tuple[tuple[str, int], ...]:
    """Kind and offset of each update; of a gap where it ends."""
    updates = []
    for update in messaging.ConnectResponse.FromString(frame).updates:
        kind = update.WhichOneof("update")
        told = getattr(update, kind)
        updates.append((kind, decode_cursor(told.until if kind == "gap" else told.cursor).offset))
    return tuple(updates)


@cache
def _told(said: Said) -> str:
    if isinstance(said, Routed):
        return f"event {said.event.offset}"
    if isinstance(said, str):
        return "the end"
    message = link.OwnerMessage.FromString(said)
    kind = message.WhichOneof("message")
    if kind == "attach_reply":
        outcome = (
            link.AttachOutcome.Name(message.attach_reply.outcome).removeprefix("ATTACH_OUTCOME_").lower()
        )
        return f"{outcome} {[event.offset for event in message.attach_reply.events]}"
    return f"{kind} {message.through.offset}" if kind == "through" else str(kind)


def _replies_of_any_attempt(patch: Patch) -> None:
    opens = _opens

    def with_an_old_number(server: Server, at: int, cursor: int) -> None:
        server.opened = at
        opens(server, at, cursor)

    patch(Subscription, "_is_latest", lambda self, reply: self.state is ATTACHING)
    patch(sys.modules[__name__], "_opens", with_an_old_number)


def _newest_claim_owns(patch: Patch) -> None:
    claim = Ownership.claim

    def newest(self: "Ownership[Any]", which: Any, partition: int, generation: int) -> list[int]:
        return claim(self, which, partition, 1 + max(self._claims[partition].values(), default=0))

    patch(Ownership, "claim", newest)


def _rows_before_position(patch: Patch) -> None:
    def rows(self: Attaching, state: State) -> tuple[int, ...]:
        return tuple(event.offset for event in self._positioned if event.offset < state.stored)

    def page(
        self: Attaching, state: State, read: tuple[int, ...], position: int
    ) -> tuple[int, list[PositionedEvent]]:
        return state.end, [
            event for event in self._positioned if event.offset in read and event.offset > position
        ]

    patch(Attaching, "_first_half", rows)
    patch(Attaching, "_page", page)


def _resumed_at_once(patch: Patch) -> None:
    log_end = Subscription.log_end

    def hasty(self: Subscription, end: int | None, now_s: float) -> None:
        log_end(self, end, now_s)
        self._end = 0

    patch(Subscription, "log_end", hasty)


def _credit_cuts(patch: Patch) -> None:
    def cut(self: OwnedPartition, asked: Any, events: Any, through_offset: int) -> None:
        self._interest.add(asked.outbox, asked.attach.user_number, asked.attach.user_id)
        asked.outbox.reply(asked.attach, link.ATTACH_OUTCOME_ATTACHED, events, self.position - 1, 0)

    patch(OwnedPartition, "_reply_partial", cut)


def _unreadable_are_skipped(patch: Patch) -> None:
    patch(OwnedPartition, "_take_other", lambda self, reading: self._window.skip(reading.offset))


def _evicted_before_history(patch: Patch) -> None:
    patch(Window, "floor", property(lambda self: self.start))


_N = 400_000
_MOVES = Case("2 events, the owner moves", lambda: Attaching(Bounds("uu", breaks=False, throughs=False)), _N)
_BREAKS = Case(
    "an event behind others', a stream or a link breaks",
    lambda: Attaching(Bounds("ou", moves=False, links=True, on_links=1)),
    _N,
)
_DIES = Case(
    "an event, the owner dies",
    lambda: Attaching(Bounds("u", moves=False, breaks=False, crashes=True, on_links=1)),
    _N,
)
_TWICE = Case(
    "an event, streams and links break twice",
    lambda: Attaching(Bounds("u", faults=2, moves=False, links=True, on_links=2)),
    _N,
)
_NO_WINDOW = Case(
    "2 events, no window, a stream breaks", lambda: Attaching(Bounds("uu", moves=False, window_bytes=0)), _N
)
_NO_BUFFER = Case(
    "3 events, a buffer for one", lambda: Attaching(Bounds("uuu", faults=0, buffer_bytes=1)), _N
)
_DEVICES = Case(
    "2 events, 2 devices",
    lambda: Attaching(Bounds("uu", durable=1, faults=0, cursors=(-1, 0), throughs=False, on_links=1)),
    _N,
)
_UNREADABLE = Case("one is unreadable, a stream breaks", lambda: Attaching(Bounds("xu", moves=False)), _N)


def _deep(name: str, bounds: Bounds) -> Case:
    return Case(name, lambda: Attaching(bounds._replace(attempts=20)), 1_000_000)


SUITE = Suite(
    "attaching",
    short=(_MOVES, _BREAKS, _DIES, _TWICE, _NO_WINDOW, _NO_BUFFER, _DEVICES, _UNREADABLE),
    deep=(
        _deep("others' and 2 events, 2 faults of any kind", Bounds("ou", faults=2, crashes=True, links=True)),
        _deep(
            "an event, the owner moves, its link breaks",
            Bounds("u", faults=2, breaks=False, links=True, throughs=False, on_links=1),
        ),
        _deep("2 events, the owner moves twice", Bounds("uu", faults=2, breaks=False, throughs=False)),
        _deep("2 events, no window, moves and breaks", Bounds("uu", faults=2, window_bytes=0, on_links=1)),
        _deep("3 events, a buffer for one, a fault", Bounds("uuu", faults=1, buffer_bytes=1, on_links=1)),
        _deep("2 events, 2 devices, a fault", Bounds("uu", durable=1, cursors=(-1, 0), on_links=1)),
    ),
    variants=tuple(
        Variant(name, rule, break_it, caught_by, case)
        for name, rule, break_it, caught_by, case in (
            (
                "stale-links-are-heard",
                "R7: a former owner's events are taken",
                faults.stale_links_are_heard,
                "I6",
                _MOVES,
            ),
            (
                "a-release-is-anyones",
                "R7: a former owner's release unseats the present one",
                faults.a_release_is_anyones,
                "I10",
                _MOVES,
            ),
            (
                "newest-claim-owns",
                "R7: the newest claim wins, whatever its generation",
                _newest_claim_owns,
                "I10",
                _MOVES,
            ),
            (
                "replies-of-any-attempt",
                "R8: a reply to an earlier attach is taken",
                _replies_of_any_attempt,
                "I7",
                _BREAKS,
            ),
            (
                "live-events-to-all",
                "R8: live events go to sessions that are catching up",
                faults.live_events_to_all,
                "I6",
                _DEVICES,
            ),
            (
                "never-behind",
                "R8: an attach older than the window is answered as if it were not",
                faults.never_behind,
                "I7",
                _NO_WINDOW,
            ),
            (
                "evicted-before-history",
                "R8: what left memory is taken for history's, which does not have it",
                _evicted_before_history,
                "I10",
                _NO_WINDOW,
            ),
            (
                "rows-before-position",
                "R9: a page reads its rows before the position",
                _rows_before_position,
                "I7",
                _NO_WINDOW,
            ),
            (
                "through-raises-all",
                "R10: a link's position raises sessions that are not live",
                faults.through_raises_all,
                "I7",
                _TWICE,
            ),
            (
                "checkpoint-ahead",
                "R10: a checkpoint overtakes events",
                faults.checkpoint_ahead,
                "I7",
                _BREAKS,
            ),
            (
                "resumed-at-once",
                "R11: `resumed` does not wait for what was durable",
                _resumed_at_once,
                "R11",
                _BREAKS,
            ),
            (
                "overflow-drops",
                "R12: a full buffer drops an event and goes on",
                faults.overflow_drops,
                "I7",
                _NO_BUFFER,
            ),
            (
                "credit-cuts",
                "R12: what is beyond an attach's credit is left out",
                _credit_cuts,
                "I7",
                _NO_BUFFER,
            ),
            (
                "unreadable-are-skipped",
                "R5: an unreadable record is no gap",
                _unreadable_are_skipped,
                "I7",
                _UNREADABLE,
            ),
        )
    ),
)
