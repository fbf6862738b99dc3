"""A simulated messaging server: the real router, sessions and command desk, with a shell that takes its time."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, cast

from cell.delivery.v1 import session_link_pb2 as link
from cell.log.v1 import record_pb2 as log
from delivery_service.outbox import Outbox
from messaging_core.clock import HybridClock
from messaging_core.cursor import incarnation_bytes
from messaging_core.identity import Identity, TokenInvalid
from messaging_core.limits import Limits
from messaging_server.conversations import Found, not_found, unavailable
from messaging_server.pipeline import CommandDesk
from messaging_server.presence import Agenda
from messaging_server.recent import Rates, RecentCommands
from messaging_server.router import Router
from messaging_server.session import Session, Shared
from messaging_server.settings import ServerSettings
from messaging_server.timer import CoarseTimer
from session_link.routed import FromOwner
from tests.simulation.history import WIDE_ABOVE, Paging, SimHistory
from tests.simulation.log import INCARNATION, Producer
from tests.simulation.truth import Violation

if TYPE_CHECKING:
    from tests.simulation.clients import Device

HOLD_S = 2.0


def settings(name: str, random: Random) -> ServerSettings:
    """Small buffers, or none to speak of, or large ones."""
    return ServerSettings(
        server_id=name,
        limits=Limits(
            hello_timeout_s=1e9,
            max_sends_per_second=1_000_000,
            max_mark_participants=random.choice(WIDE_ABOVE),
        ),
        event_buffer_bytes=random.choice([300, 900, 262_144]),
        frame_bytes=random.choice([150, 600, 262_144]),
        hold_s=HOLD_S,
        checkpoint_s=random.choice([1.0, 30.0]),
        recent_commands=random.choice([2, 1_000]),
    )


class Tokens:
    """Nobody refreshes."""

    def verify(self, token: str) -> Identity:
        raise TokenInvalid("not here")


@dataclass(eq=False)
class Pipe:
    """A link: messages under way each way, in order; None is its end. `send` is the server's end of it."""

    server: "SimServer"
    outbox: Outbox
    up: deque[link.ServerMessage | None] = field(default_factory=deque)
    down: deque[FromOwner | None] = field(default_factory=deque)
    broken: bool = False

    def send(self, messages: Sequence[link.ServerMessage]) -> None:
        if not self.broken:
            self.up.extend(messages)

    def flush(self) -> None:
        messages = self.outbox.drain()
        if not self.broken:
            self.down.extend(messages)

    def cut(self, random: Random) -> None:
        """Some of what is under way arrives yet, then each end finds out in its own time."""
        if not self.broken:
            self.broken = True
            for way in (cast("deque[Any]", self.up), cast("deque[Any]", self.down)):
                while way and random.random() < 0.3:
                    way.pop()
                way.append(None)


class Stream(Session):
    """A session and the transport to its client, which holds one frame."""

    __slots__ = ("device", "opened_ends", "opened_us", "wants", "wire")

    def __init__(self, shared: Shared, user: Any, number: int, device: "Device") -> None:
        super().__init__(shared, user, number, Identity(user.user_id, None))
        user.sessions.append(self)
        self.device: Device | None = device
        self.wire = b""
        self.wants = False


class Registry:
    """What is registered, and how to ask for it: answers come when the simulation says so."""

    def __init__(self, registered: dict[str, tuple[str, ...]]) -> None:
        self._registered = registered
        self.remembered: dict[str, tuple[str, ...]] = {}
        self.asked: deque[tuple[Any, Callable[[Found], None]]] = deque()

    def known(self, prepared: Any) -> tuple[str, ...] | None:
        return self.remembered.get(prepared.conversation_id)

    def find(self, prepared: Any, then: Callable[[Found], None]) -> None:
        self.asked.append((prepared, then))

    def answer(self, *, well: bool) -> None:
        prepared, then = self.asked.popleft()
        name = prepared.conversation_id
        if not well:
            return then(unavailable())
        if prepared.participants is not None:
            self._registered[name] = prepared.participants
        found = self._registered.get(name)
        if found is None:
            return then(not_found())
        self.remembered[name] = found
        return then(found)


class SimServer:
    """One process."""

    def __init__(
        self,
        name: str,
        random: Random,
        producer: Producer,
        history: SimHistory,
        registered: dict[str, tuple[str, ...]],
    ) -> None:
        self.name = name
        self.random = random
        self.log = producer.log
        self.producer = producer
        self.history = history
        skew_us = random.randint(-2_000_000, 2_000_000)
        self.clock = HybridClock(lambda: self.log.now_us + skew_us)
        self.registry = Registry(registered)
        self.agenda = Agenda()
        chosen = settings(name, random)
        self.desk = CommandDesk(
            log=cast(Any, producer),
            clock=self.clock,
            settings=chosen,
            conversations=cast(Any, self.registry),
            recent=RecentCommands(chosen.recent_commands),
            rates=Rates(1_000_000, 100),
            now_s=lambda: self.now_s,
            on_change=lambda: None,
        )
        self.shared = Shared(self.desk, self.agenda, Tokens(), incarnation_bytes(INCARNATION))
        self.router = Router(
            partition_count=producer.partition_count,
            incarnation=INCARNATION,
            agenda=self.agenda,
            clock=self.clock,
        )
        self.timer: CoarseTimer[Session] = CoarseTimer(self.now_s)
        self.streams: list[Stream] = []
        self.seeking: list[tuple[Stream, int | None]] = []
        self.paging: list[Paging] = []
        self.shown_us: dict[str, int] = {}
        """For each user the newest event time shown to or accepted from it here, or in its cursor (I12)."""
        self.pipes: list[Pipe] = []
        producer.on_append = self.check_time

    @property
    def now_s(self) -> float:
        return (self.log.now_us - 1_700_000_000_000_000) / 1e6

    # I12

    def check_time(self, value: bytes) -> None:
        logged = log.Record.FromString(value).origin.logged
        user, stamp_us = logged.sender_id, logged.event_time_us
        if stamp_us <= self.shown_us.get(user, 0):
            raise Violation(f"I12: {self.name} stamps {stamp_us} for {user}, shown {self.shown_us[user]}")
        self.shown_us[user] = stamp_us

    def shown(self, user: str, time_us: int) -> None:
        self.shown_us[user] = max(self.shown_us.get(user, 0), time_us)

    # The shell.

    def open(self, device: "Device", number: int) -> Stream:
        user = self.router.user(device.user, self.producer.partition_of(device.user))
        stream = Stream(self.shared, user, number, device)
        self.streams.append(stream)
        return stream

    def close(self, stream: Stream) -> None:
        """The call is over."""
        self.streams.remove(stream)
        stream.close()
        self.router.remove(stream)
        if stream.device is not None:
            stream.device.stream_ended()
        stream.device = None

    def turn(self) -> None:
        agenda: Any = self.agenda
        for pipe, messages in self.router.messages().items():
            cast(Pipe, pipe).send(messages)
        for stream in agenda.write:
            if not stream.wants:
                stream.wants = True
                stream.writing_starts()
        for session in agenda.wake:
            self.timer.add(session.wake_s, session)
        self.seeking += [(stream, None) for stream in agenda.seek_end]
        self.paging += [Paging(stream) for stream in agenda.page]
        for stream in agenda.force:
            if stream in self.streams:
                self.close(stream)
        for wishes in (agenda.write, agenda.wake, agenda.seek_end, agenda.page, agenda.force):
            wishes.clear()

    def tick(self) -> None:
        now_s = self.now_s
        for session in self.timer.take_due(now_s):
            if session.wake_s <= now_s:
                session.on_time()
        self.desk.expire()
        self.turn()

    def write(self, stream: Stream) -> None:
        if stream.wire or not stream.wants:
            return
        stream.wire = stream.take_frame()
        if not stream.wire:
            stream.wants = False
            if stream.ending is not None:
                self.close(stream)
        elif stream.device is None:  # nobody is there any more, but the transport does not know
            stream.wire = b""
            stream.written()

    def seek(self) -> None:
        """First the end is read, later it is told."""
        at = self.random.randrange(len(self.seeking))
        stream, end = self.seeking[at]
        if end is None:
            self.seeking[at] = (stream, self.log.end(stream.user.view.partition))
            return
        del self.seeking[at]
        lost = self.log.faulty and self.random.random() < 0.05
        stream.log_end(None if lost else end, self.now_s)

    def page(self) -> None:
        at = self.random.randrange(len(self.paging))
        paging = self.paging[at]
        lost = self.log.faulty and self.random.random() < 0.05
        if not lost and not self.history.read_on(paging):
            return
        del self.paging[at]
        page = None if lost else paging.page
        if page is not None:
            for event in page.events:
                self.clock.observe(event.time_us)
            self.clock.observe(page.through_time_us)
        paging.stream.page_read(page, self.now_s)

    def hear(self, pipe: Pipe) -> None:
        message = pipe.down.popleft()
        if message is None:
            self.router.ended(pipe)
            self.pipes.remove(pipe)
        elif isinstance(message, link.OwnerMessage) and message.HasField("hello"):
            replaced = cast("Pipe | None", self.router.opened(pipe, message.hello))
            if replaced is not None:
                replaced.cut(self.random)
        else:
            self.router.take(pipe, message, self.now_s)

    def drain(self) -> None:
        for stream in self.streams:
            stream.leave(1.0, 2.0)

    def kill(self) -> None:
        for stream in list(self.streams):
            device, stream.device = stream.device, None
            if device is not None:
                device.take_rest(stream)
        self.streams.clear()
        self.producer.kill()
        for pipe in self.pipes:
            pipe.cut(self.random)
            pipe.down.clear()
