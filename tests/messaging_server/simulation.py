"""One partition and everything around it that never awaits, one random step at a time.

Two delivery services (one may be a zombie that does not know it), FIFO links that break, history that lags, windows that are
evicted, clients that break and come back, and the real sessions, router, ownership and command desk between them.

Each client checks for itself: after its cursor it gets exactly the events that name its user, in order (I6), and no cursor
it is given has an undelivered event at or before it (I7, I8). `settle` ends the faults and asks that everyone is live (I10).
"""

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from cell.delivery.v1 import session_link_pb2 as link
from cell.log.v1 import record_pb2 as log
from cell.messaging.v1 import messaging_pb2 as messaging
from event_log.port import Fate, Settled
from messaging_core.clock import HybridClock
from messaging_core.cursor import Cursor, decode_cursor, incarnation_bytes
from messaging_core.events import EventsPage, PositionedEvent, gap_piece, positioned
from messaging_core.identity import Identity
from messaging_core.limits import Limits
from messaging_server.ownership import Ownership
from messaging_server.pipeline import CommandDesk
from messaging_server.presence import Agenda
from messaging_server.recent import Rates, RecentCommands
from messaging_server.router import Router
from messaging_server.session import Session, Shared
from messaging_server.settings import ServerSettings
from messaging_server.subscription import LIVE
from session_link.routed import FromOwner, from_message
from tests.messaging_server.memory_cell import Tokens, routed_event

INCARNATION = incarnation_bytes("log-1")
POISON = b""
USERS = ("ann", "bob")
SETTINGS = ServerSettings(
    server_id="s",
    limits=Limits(hello_timeout_s=1e6),
    event_buffer_bytes=400,
    frame_bytes=250,
    checkpoint_s=1.0,
    retry_s=0.5,
    slow_consumer_s=1e9,
)


class Violation(AssertionError):
    """An invariant does not hold."""


class SimLog:
    """The part of the log that commands need: what is appended lands when the simulation says so."""

    incarnation = "log-1"
    partition_count = 1

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self.appending: deque[tuple[Any, Callable[[Sequence[Settled[Any]]], None]]] = deque()
        self.landed: deque[tuple[Any, int, Callable[[Sequence[Settled[Any]]], None]]] = deque()

    def partition_of(self, user_id: str) -> int:
        return 0

    def append(self, records: Sequence[Any], on_settled: Callable[[Sequence[Settled[Any]]], None]) -> None:
        self.appending.extend((record, on_settled) for record in records)

    def land(self) -> None:
        record, on_settled = self.appending.popleft()
        self.values.append(record.value)
        self.landed.append((record.tag, len(self.values) - 1, on_settled))

    def event(self, offset: int, user_id: str) -> PositionedEvent | None:
        value = self.values[offset]
        if value == POISON:
            until = Cursor(INCARNATION, 0, offset, 0)
            return PositionedEvent(offset, gap_piece(until._replace(offset=offset - 1), until), 0, b"", "")
        origin = log.Record.FromString(value).origin
        if user_id not in origin.participant_ids:
            return None
        return positioned(origin.logged, INCARNATION, 0, offset, origin.logged.event_time_us)


class AllKnown:
    """Every conversation is registered."""

    def known(self, prepared: Any) -> tuple[str, ...]:
        return tuple(prepared.participants)

    def find(self, prepared: Any, then: Any) -> None:
        raise AssertionError("known")


class SimLink:
    """A link: what is sent waits in its pipe, first in, first out."""

    def __init__(self, service: "Delivery") -> None:
        self.service = service
        self.up: deque[link.ServerMessage] = deque()
        self.down: deque[FromOwner | None] = deque()
        self.broken = False

    def send(self, messages: Sequence[link.ServerMessage]) -> None:
        if not self.broken:
            self.up.extend(messages)

    def put(self, **message: Any) -> None:
        self.down.append(from_message(link.OwnerMessage(**message)))


class Delivery:
    """A delivery service as the partition sees it: owner, zombie (owner that has not heard), or neither."""

    def __init__(self, name: str, memory: SimLog) -> None:
        self.name = name
        self.log = memory
        self.role = "off"
        self.generation = 0
        self.position = 0
        self.window_start = 0
        self.registered: dict[int, str] = {}
        self.link: SimLink

    def take_over(self, generation: int, committed: int) -> None:
        self.role, self.generation = "owner", generation
        self.position = self.window_start = committed
        self.registered = {}
        self.link.put(claim=link.Claim(partition=0, generation=generation))

    def learn(self) -> None:
        self.role = "off"
        self.registered = {}
        self.link.put(release=link.Release(partition=0))

    def read(self, say_through: bool) -> None:
        offset = self.position
        self.position += 1
        numbers = []
        event = None
        for number, user_id in self.registered.items():
            found = self.log.event(offset, user_id)
            if found is not None:
                event = found
                numbers.append(number)
        if event is not None:
            everyone = self.log.values[offset] == POISON
            routed = link.Routed(partition=0, event=routed_event(event), everyone=everyone)
            routed.user_numbers.extend([] if everyone else numbers)
            self.link.put(routed=routed)
        if say_through:
            self.link.put(through=link.Through(partition=0, offset=offset, time_us=offset + 1))

    def serve(self) -> None:
        message = self.link.up.popleft()
        if message.HasField("detach"):
            self.registered.pop(message.detach.user_number, None)
            return
        attach = message.attach
        reply = link.AttachReply(partition=0, session_number=attach.session_number, attempt=attach.attempt)
        if self.role == "off":
            reply.outcome = link.ATTACH_OUTCOME_NOT_OWNER
        elif attach.after_offset >= len(self.log.values):
            reply.outcome = link.ATTACH_OUTCOME_PAST_END
        elif attach.after_offset + 1 < self.window_start:
            reply.outcome = link.ATTACH_OUTCOME_BEHIND
        else:
            self._answer(attach, reply)
        self.link.put(attach_reply=reply)

    def _answer(self, attach: link.Attach, reply: link.AttachReply) -> None:
        reply.outcome = link.ATTACH_OUTCOME_ATTACHED
        reply.through_offset = self.position - 1
        size = 0
        for offset in range(attach.after_offset + 1, self.position):
            event = self.log.event(offset, attach.user_id)
            if event is None:
                continue
            if reply.events and size + len(event.piece) > attach.credit_bytes:
                reply.outcome = link.ATTACH_OUTCOME_PARTIAL
                reply.through_offset = offset - 1
                return
            size += len(event.piece)
            reply.events.append(routed_event(event))
        self.registered[attach.user_number] = attach.user_id


class Client:
    """A client that keeps its cursor, and knows what it must be sent."""

    def __init__(self, world: "World", user_id: str) -> None:
        self.world = world
        self.user_id = user_id
        self.cursor = ""
        self.offset = -1
        self.session: Session | None = None
        self.frame = b""
        self.resumed = False
        self.opened_at = 0
        self.sent = 0

    def connect(self) -> None:
        world = self.world
        user = world.router.user(self.user_id, 0)
        world.last_number += 1
        number = world.last_number if world.unique_numbers else world.clients.index(self) + 1
        session = world.session_kind(world.shared, user, number, Identity(self.user_id, None))
        user.sessions.append(session)
        self.session, self.frame, self.resumed = session, b"", False
        self.opened_at, self.sent = len(world.log.values), 0
        self._send(messaging.Command(command_id=1, hello=messaging.Hello(resume_after=self.cursor)))

    def send(self) -> None:
        self.sent += 1
        others = [name for name in USERS if name != self.user_id]
        self._send(
            messaging.Command(
                command_id=1 + self.sent,
                send_message=messaging.SendMessage(
                    message_id=f"{self.user_id}-{self.world.next_id()}",
                    recipients=messaging.Recipients(
                        user_ids=self.world.random.choice([others, [self.user_id]])
                    ),
                    content=messaging.Content(text="x"),
                ),
            )
        )

    def _send(self, command: messaging.Command) -> None:
        assert self.session
        self.session.frame(messaging.ConnectRequest(commands=[command]).SerializeToString())

    def lose(self) -> None:
        assert self.session
        self.session.close()
        self.world.router.remove(self.session)
        self.session = None

    def take(self) -> None:
        """The transport takes a frame, or has taken it."""
        session = self.session
        assert session
        if self.frame:
            frame, self.frame = self.frame, b""
            session.written()
            for update in messaging.ConnectResponse.FromString(frame).updates:
                self._see(update)
        else:
            self.frame = session.take_frame()
        if session.ending is not None:
            raise Violation(f"stream of {self.user_id} ended: {session.ending}")

    def _see(self, update: messaging.Update) -> None:
        kind = update.WhichOneof("update")
        if kind == "event" or kind == "gap":
            cursor = update.event.cursor if kind == "event" else update.gap.until
            offset = decode_cursor(cursor).offset
            expected = self._next()
            if offset != expected:
                raise Violation(f"{self.user_id} after {self.offset}: got {offset}, not {expected}")
            self._move(cursor)
        elif kind in ("resumed", "checkpoint"):
            cursor = update.resumed.cursor if kind == "resumed" else update.checkpoint.cursor
            offset, expected = decode_cursor(cursor).offset, self._next()
            if offset < self.offset or (expected is not None and expected <= offset):
                raise Violation(f"{self.user_id} after {self.offset}: {kind} {offset} passes {expected}")
            self._move(cursor)
            if kind == "resumed":
                self.resumed = True
                if offset < self.opened_at - 1:
                    raise Violation(f"resumed at {offset}, but {self.opened_at} were durable before")

    def _move(self, cursor: str) -> None:
        self.cursor, self.offset = cursor, decode_cursor(cursor).offset

    def _next(self) -> int | None:
        values = self.world.log.values
        return next(
            (n for n in range(self.offset + 1, len(values)) if self.world.log.event(n, self.user_id)), None
        )

    @property
    def is_done(self) -> bool:
        session = self.session
        return bool(
            session and session.state is LIVE and self.resumed and self._next() is None and not self.frame
        )


class World:
    """Everything, one step at a time."""

    def __init__(
        self,
        seed: int,
        *,
        session_kind: type[Session] = Session,
        router_kind: type[Router] = Router,
        ownership_kind: type[Ownership[Any]] = Ownership,
        unique_numbers: bool = True,
        accepted_moves: bool = False,
        devices: int = 2,
    ) -> None:
        self.random = random.Random(seed)
        self.session_kind = session_kind
        self.unique_numbers = unique_numbers
        self.accepted_moves = accepted_moves
        self.now_s = 0.0
        self.log = SimLog()
        self.persisted = 0
        self.committed = 0
        self.generation = 0
        self.last_number = 0
        self._ids = 0
        self.agenda = Agenda()
        clock = HybridClock(lambda: int(self.now_s * 1e6) + 1)
        self.desk = CommandDesk(
            log=self.log,  # type: ignore[arg-type]
            clock=clock,
            settings=SETTINGS,
            conversations=AllKnown(),  # type: ignore[arg-type]
            recent=RecentCommands(1_000),
            rates=Rates(100_000, 100),
            now_s=lambda: self.now_s,
            on_change=lambda: None,
        )
        self.shared = Shared(self.desk, self.agenda, Tokens(), INCARNATION)
        self.router = router_kind(partition_count=1, incarnation="log-1", agenda=self.agenda, clock=clock)
        self.router.ownership = ownership_kind(1)
        self.services = [Delivery("A", self.log), Delivery("B", self.log)]
        for service in self.services:
            self._dial(service)
        self.seeking: deque[tuple[Session, int]] = deque()
        self.pages: list[tuple[Session, int | None]] = []
        self.clients = [Client(self, user_id) for user_id in USERS for _ in range(devices)]
        self.budget = {"append": 12, "move": 3, "crash": 2, "break": 4, "evict": 4, "lose": 4, "poison": 1}

    def next_id(self) -> int:
        self._ids += 1
        return self._ids

    def run(self, steps: int) -> None:
        """Random steps, then the faults are over."""
        for _ in range(steps):
            self.step(self.possible())
        self.settle()

    def settle(self) -> None:
        """No more faults: within bounded steps everyone is live and has everything (I10)."""
        self.budget = dict.fromkeys(self.budget, 0)
        for client in self.clients:
            if client.session is None:
                client.connect()
        for _ in range(6_000):
            if not any(service.role == "owner" for service in self.services):
                self._take_over(self.services[0])
            if all(client.is_done for client in self.clients) and not self.log.appending:
                return
            self.step(self.possible())
        states = [(c.user_id, c.offset, c.session and c.session.state) for c in self.clients]
        raise Violation(f"not everyone is live: {states}, log of {len(self.log.values)}")

    def step(self, actions: list[Callable[[], None]]) -> None:
        self.random.choice(actions)()
        self._turn()

    def possible(self) -> list[Callable[[], None]]:
        """What may happen next."""
        actions: list[Callable[[], None]] = [self._tick]
        for client in self.clients:
            session = client.session
            if session is None:
                actions.append(client.connect)
                continue
            if client.frame or session.outbound:
                actions += [client.take] * 2
            if self.budget["append"]:
                actions.append(self._spend("append", client.send))
            if self.budget["lose"]:
                actions.append(self._spend("lose", client.lose))
        if self.log.appending:
            actions.append(self.log.land)
        if self.log.landed:
            actions.append(self._settle_append)
        if self.budget["poison"] and self.log.values:
            actions.append(self._spend("poison", lambda: self.log.values.append(POISON)))
        if self.persisted < len(self.log.values):
            actions.append(self._persist)
        if self.seeking:
            actions.append(self._find_end)
        if self.pages:
            actions.append(self._page)
        for service in self.services:
            actions += self._of_service(service)
        return actions

    def _of_service(self, service: Delivery) -> list[Callable[[], None]]:
        actions: list[Callable[[], None]] = []
        the_link = service.link
        if service.role != "off":
            if service.position < len(self.log.values):
                say = self.random.random() < 0.5
                actions += [lambda: service.read(say)] * 2
            if service.window_start < service.position and self.budget["evict"]:
                actions.append(self._spend("evict", lambda: self._evict(service)))
            if self.budget["crash"]:
                actions.append(self._spend("crash", lambda: self._crash(service)))
        if service.role == "zombie":
            actions.append(service.learn)
        if service.role == "owner" and self.committed < service.position:
            actions.append(lambda: self._commit(service))
        if service.role == "off":
            owned = any(other.role == "owner" for other in self.services)
            if not owned or self.budget["move"]:
                self_take = lambda: self._take_over(service)  # noqa: E731
                actions.append(self._spend("move", self_take) if owned else self_take)
        if the_link.up:
            actions += [service.serve] * 2
        if the_link.down:
            actions += [lambda: self._receive(service)] * 3
        if self.budget["break"]:
            actions.append(self._spend("break", lambda: self._break(service)))
        return actions

    def _spend(self, kind: str, action: Callable[[], None]) -> Callable[[], None]:
        def spend() -> None:
            self.budget[kind] -= 1
            action()

        return spend

    # Single steps.

    def _turn(self) -> None:
        """What the server's shell does at the end of a turn."""
        for the_link, messages in self.router.messages().items():
            the_link.send(messages)
        agenda: Any = self.agenda
        self.seeking.extend((session, len(self.log.values)) for session in agenda.seek_end)
        self.pages.extend((session, None) for session in agenda.page)
        for wishes in (agenda.seek_end, agenda.page, agenda.write, agenda.wake, agenda.force):
            wishes.clear()

    def _tick(self) -> None:
        self.now_s += 0.6
        for client in self.clients:
            if client.session and client.session.wake_s <= self.now_s:
                client.session.on_time()

    def _settle_append(self) -> None:
        pending, offset, on_settled = self.log.landed.popleft()
        if self.accepted_moves:
            session = pending.owner._outcomes
            if session is not None:
                session._pass(offset, 0)
        on_settled([Settled(pending, Fate.APPENDED, offset)])

    def _persist(self) -> None:
        self.persisted = self.random.randint(self.persisted + 1, len(self.log.values))

    def _find_end(self) -> None:
        session, asked_at = self.seeking.popleft()
        session.log_end(self.random.randint(asked_at, len(self.log.values)), self.now_s)

    def _page(self) -> None:
        """First the persisted position is read, then the rows (R9)."""
        index = self.random.randrange(len(self.pages))
        session, persisted = self.pages[index]
        if persisted is None:
            self.pages[index] = (session, self.persisted)
            return
        del self.pages[index]
        if self.random.random() < 0.1:
            session.page_read(None, self.now_s)
            return
        events = []
        through = max(persisted - 1, session.position)
        for offset in range(session.position + 1, persisted):
            event = self.log.event(offset, session.user.user_id)
            if event is not None:
                events.append(event)
            if len(events) == 2:
                through = offset
                break
        session.page_read(EventsPage(events, through, 0, max(persisted - 1, through)), self.now_s)

    def _dial(self, service: Delivery) -> None:
        service.link = SimLink(service)
        hello = link.LinkHello(instance_id=service.name, log_incarnation="log-1", partition_count=1)
        service.link.put(hello=hello)
        if service.role != "off":
            service.link.put(claim=link.Claim(partition=0, generation=service.generation))

    def _receive(self, service: Delivery) -> None:
        self._take(service.link)

    def _take(self, the_link: SimLink) -> None:
        message = the_link.down.popleft()
        if message is None:
            self.router.ended(the_link)
        elif isinstance(message, link.OwnerMessage) and message.HasField("hello"):
            self.router.opened(the_link, message.hello)
        else:
            self.router.take(the_link, message, self.now_s)

    def _break(self, service: Delivery) -> None:
        """The link ends, some of what is in the pipe still arrives; the service dials again."""
        old = service.link
        old.broken = True
        for _ in range(self.random.randint(0, len(old.down))):
            self._take(old)
        self.router.ended(old)
        service.registered = {}
        self._dial(service)

    def _crash(self, service: Delivery) -> None:
        service.role = "off"
        self._break(service)

    def _take_over(self, service: Delivery) -> None:
        for other in self.services:
            if other.role == "owner":
                other.role = "zombie"
        self.generation += 1
        service.take_over(self.generation, self.committed)

    def _commit(self, service: Delivery) -> None:
        self.committed = self.random.randint(self.committed + 1, service.position)

    def _evict(self, service: Delivery) -> None:
        service.window_start = self.random.randint(service.window_start + 1, service.position)
