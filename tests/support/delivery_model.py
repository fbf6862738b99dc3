"""One partition, its owners (also dead ones and zombies), links, a server with sessions, history with lag: at random.

The oracle is a reader that never stops: a session is to get exactly the effective records that name its user, in order.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from cell.delivery.v1 import session_link_pb2 as link
from cell.log.v1 import record_pb2 as log
from cell.messaging.v1 import messaging_pb2 as messaging
from delivery_service.forwarding import Parcel
from delivery_service.outbox import Outbox
from delivery_service.partition import OwnedPartition
from delivery_service.settings import DeliverySettings
from event_log.port import Assignment, Commit, Fate, LogRecord, NewRecord
from event_log.reader import PartitionReader, Verdict
from messaging_core.cursor import decode_cursor
from session_link.routed import to_message
from tests.support.link_server import LinkServer, ServerLink, Session, State
from tests.support.log_records import origin, origin_record

PARTITIONS = 3
USERS = ("ann", "bob", "cem")
"""Of partition 0, the one that is looked at; "xia" and "yan" are of others."""
OTHERS = ("xia", "yan")


class Violation(AssertionError):
    """An invariant does not hold."""


def partition_of(user: str) -> int:
    """Where users are in this model."""
    return 0 if user in USERS else 1 + OTHERS.index(user)


def time_in(piece: bytes) -> int:
    """The time that a piece's cursor carries."""
    [update] = messaging.ConnectResponse.FromString(piece).updates
    return decode_cursor(update.event.cursor or update.gap.until).time_us


Make = Callable[[Assignment, DeliverySettings], OwnedPartition]


def make_partition(assignment: Assignment, settings: DeliverySettings) -> OwnedPartition:
    """The real one."""
    return OwnedPartition(
        assignment,
        incarnation="log",
        partition_count=PARTITIONS,
        partition_of=partition_of,
        settings=settings,
    )


@dataclass(eq=False)
class Pipe:
    """A link: what is under way each way."""

    outbox: Outbox
    server_link: ServerLink
    up: deque[link.ServerMessage] = field(default_factory=deque)
    down: deque[link.OwnerMessage] = field(default_factory=deque)


@dataclass(eq=False)
class Instance:
    """A delivery instance that owns the partition, or believes to."""

    number: int
    partition: OwnedPartition | None
    reading_at: int
    pipe: Pipe | None = None
    claimed: bool = False
    in_flight: list[NewRecord[Parcel]] = field(default_factory=list)


class Simulation:
    """Steps at random; checks at each event and at each rise of a position (I6, I7, I8)."""

    def __init__(self, seed: int, make: Make = make_partition) -> None:
        self.random = Random(seed)
        self.make = make
        self.settings = DeliverySettings(window_bytes=self.random.choice([0, 2_000, 10_000, 1_000_000]))
        self.records: list[LogRecord] = []
        self.effective: dict[int, tuple[str, ...] | None] = {}
        self.oracle = PartitionReader(0, "log", PARTITIONS, Assignment(0, 1, None, 0, 0))
        self.time_us = 0
        self.times: list[int] = []
        """For each offset the newest event time through it."""
        self.sent: dict[int, list[int]] = {1: [], 2: []}
        self.persisted = 0
        self.committed: Commit | None = None
        self.generation = 0
        self.instances: list[Instance] = []
        self.server = LinkServer(
            partition_of,
            credit_bytes=self.random.choice([1, 400, 1_000_000]),
            on_event=self.on_event,
            on_position=self.on_position,
        )
        self.take_over()

    # --- the oracle ---

    def due(self, session: Session, through: int) -> list[int]:
        return [
            offset
            for offset, users in self.effective.items()
            if session.start < offset <= through and (users is None or session.user in users)
        ]

    def on_event(self, session: Session, offset: int, piece: bytes) -> None:
        if piece and (carried := time_in(piece)) != self.times[offset]:
            raise Violation(f"I12: the cursor of {offset} says {carried}, newest is {self.times[offset]}")
        if session.received != self.due(session, offset):
            raise Violation(f"I6: {session.user} has {session.received}, was due {self.due(session, offset)}")

    def on_position(self, session: Session) -> None:
        if session.received != self.due(session, session.last):
            raise Violation(f"I7, I8: {session.user} at {session.last} has {session.received}")
        if session.last >= len(self.records):
            raise Violation(f"a position past the log's end: {session.last}")

    # --- the log ---

    def append(self) -> None:
        self.time_us += self.random.choice([1, 1, 1, 20_000_000])
        offset = len(self.records)
        record = LogRecord(offset, self.time_us, self.value(offset))
        self.records.append(record)
        reading = self.oracle.read(record)
        self.times.append(reading.time_us)
        if reading.verdict is Verdict.UNREADABLE:
            self.effective[offset] = None
        elif reading.verdict is Verdict.EFFECTIVE:
            self.effective[offset] = tuple(reading.recipients)

    def value(self, offset: int) -> bytes:
        random = self.random
        match random.randrange(10):
            case 0:
                return b"\xff not a record"
            case 1 | 2 | 3:
                return self.copy(random.choice([1, 2]), offset)
            case _:
                sender = random.choice(USERS)
                users = random.sample(USERS + OTHERS, random.randint(1, 4))
                command_id = f"id{random.randrange(4)}" if random.random() < 0.3 else f"id-{offset}"
                digest = random.choice([1, 1, 2])
                text = f"text {offset}" * random.choice([1, 20])
                time_us = random.randint(1, 1_000)  # servers' clocks differ
                return origin_record(
                    sender, users, text, time_us=time_us, command_id=command_id, digest=digest
                )

    def copy(self, source: int, offset: int) -> bytes:
        """The next copy of a source, or an earlier one again, or one that leaves a hole."""
        sent = self.sent[source]
        if sent and self.random.random() < 0.3:
            at = self.random.randrange(len(sent))
        else:
            sent.append((sent[-1] if sent else 0) + self.random.randint(1, 3))
            at = len(sent) - 1
        users = sorted(self.random.sample(USERS, self.random.randint(1, 2)))
        made = log.Copy(
            logged=origin(OTHERS[source - 1], users, f"copy {offset}").logged,
            source_partition=source,
            source_offset=sent[at],
            recipient_ids=users,
        )
        if at:
            made.previous_offset = sent[at - 1]
        return log.Record(copy=made).SerializeToString()

    # --- steps ---

    def step(self) -> None:
        random = self.random
        instance = random.choice(self.instances)
        match random.randrange(24):
            case 0 | 1 | 2:
                self.append()
            case 3 | 4 | 5 | 6:
                self.read(instance)
            case 7 | 8 | 9:
                self.deliver_down(instance)
            case 10 | 11 | 12:
                self.deliver_up(instance)
            case 13:
                self.through(instance)
            case 14:
                self.commit(instance)
            case 15:
                self.persist()
            case 16:
                self.page()
            case 17 if len(self.server.sessions) < 5:
                self.server.connect(random.choice(USERS), random.randint(-1, len(self.records) - 1))
            case 18 if self.server.sessions and random.random() < 0.5:
                self.reconnect()
            case 19 if random.random() < 0.3:
                self.take_over()
            case 20 if random.random() < 0.3:
                self.end_link(instance)
            case 21:
                self.open_link(instance)
            case 22:
                self.serve_from_log(instance)
            case 23 if random.random() < 0.3:
                self.learn(instance)
            case _:
                pass

    def read(self, instance: Instance) -> None:
        """The instance takes some records, like one poll."""
        if (partition := instance.partition) is None:
            return
        count = self.random.randint(1, 6)
        records = self.records[instance.reading_at : instance.reading_at + count]
        instance.reading_at += partition.take(records)
        instance.in_flight += partition.forwarder.take(0.0)
        if self.random.random() < 0.7:
            self.settle(instance)
        self.claim_if_active(instance)
        self.flush(instance)

    def settle(self, instance: Instance) -> None:
        """Copies become durable; what becomes of them is not looked at here, only that commits wait for them."""
        for record in instance.in_flight:
            record.tag.forwarder.settled(record.tag, Fate.APPENDED, 0.0)
        instance.in_flight.clear()

    def claim_if_active(self, instance: Instance) -> None:
        partition = instance.partition
        if partition is not None and partition.active and not instance.claimed:
            instance.claimed = True
            if instance.pipe is not None:
                instance.pipe.outbox.claim(0, partition.generation)

    def flush(self, instance: Instance) -> None:
        if instance.pipe is not None:
            instance.pipe.down.extend(map(to_message, instance.pipe.outbox.drain()))

    def deliver_down(self, instance: Instance) -> None:
        if (pipe := instance.pipe) is not None:
            for _ in range(min(len(pipe.down), self.random.randint(1, 5))):
                self.server.hear(pipe.server_link, pipe.down.popleft())

    def deliver_up(self, instance: Instance) -> None:
        pipe, partition = instance.pipe, instance.partition
        if pipe is None or not pipe.up:
            return
        message = pipe.up.popleft()
        if message.HasField("detach"):
            if partition is not None:
                partition.detach(pipe.outbox, message.detach.user_number)
        elif partition is not None:
            partition.attach(pipe.outbox, message.attach)
        else:
            pipe.outbox.reply(message.attach, link.ATTACH_OUTCOME_NOT_OWNER)
        self.flush(instance)

    def through(self, instance: Instance) -> None:
        if instance.partition is not None:
            instance.partition.tell_through()
            self.flush(instance)

    def commit(self, instance: Instance) -> None:
        if instance.partition is not None and instance is self.instances[-1]:
            instance.partition.history_has(self.persisted)
            self.committed = instance.partition.commit() or self.committed

    def persist(self) -> None:
        self.persisted = self.random.randint(self.persisted, len(self.records))
        instance = self.random.choice(self.instances)
        if instance.partition is not None:
            instance.partition.history_has(self.persisted)

    def page(self) -> None:
        """History serves one session that is behind: everything below what it has stored, from anywhere."""
        behind = [s for s in self.server.sessions.values() if s.state is State.PAGING]
        if behind:
            session = self.random.choice(behind)
            due = [o for o in self.due(session, self.persisted - 1) if o > session.last]
            self.server.page(session, [(o, b"") for o in due], max(session.last, self.persisted - 1))

    def reconnect(self) -> None:
        """A client goes; it may come back with what it has, or with an older cursor."""
        session = self.random.choice(list(self.server.sessions.values()))
        self.server.disconnect(session)
        if self.random.random() < 0.7:
            self.server.connect(session.user, self.random.choice([session.last, session.start]))

    def take_over(self) -> None:
        """Another instance gets the partition; the former owner has died, or does not know yet."""
        for instance in self.instances:
            if self.random.random() < 0.5:
                self.end_link(instance)
                instance.partition = None
        self.generation += 1
        assignment = Assignment(0, self.generation, self.committed, 0, len(self.records))
        partition = self.make(assignment, self.settings)
        owner = Instance(self.generation, partition, partition.seek_to)
        self.instances = [*self.instances, owner][-3:]
        self.open_link(owner)
        self.claim_if_active(owner)
        self.flush(owner)

    def learn(self, instance: Instance) -> None:
        """A former owner learns that it is one."""
        if instance is self.instances[-1] or instance.partition is None:
            return
        asked = instance.partition.give_up()
        instance.partition = None
        if instance.pipe is not None:
            for one in asked:
                one.outbox.reply(one.attach, link.ATTACH_OUTCOME_NOT_OWNER)
            instance.pipe.outbox.release(0)
        self.flush(instance)

    def open_link(self, instance: Instance) -> None:
        if instance.pipe is not None:
            return
        up: deque[link.ServerMessage] = deque()
        pipe = Pipe(Outbox("server"), self.server.open(up.append), up)
        instance.pipe = pipe
        pipe.outbox.hello(f"instance {instance.number}", "log", PARTITIONS)
        if instance.partition is not None and instance.claimed:
            pipe.outbox.claim(0, instance.partition.generation)
        self.flush(instance)

    def end_link(self, instance: Instance) -> None:
        """What was under way arrives in part."""
        if (pipe := instance.pipe) is None:
            return
        for _ in range(self.random.randint(0, len(pipe.down))):
            self.server.hear(pipe.server_link, pipe.down.popleft())
        instance.pipe = None
        if instance.partition is not None:
            instance.partition.unlink(pipe.outbox)
        self.server.ended(pipe.server_link)

    def serve_from_log(self, instance: Instance, *, quiet: bool = False) -> None:
        """What needs the log is read, and something else happens before the answer is there."""
        partition = instance.partition
        if partition is None:
            return
        end, asked = len(self.records), partition.past_known_end()
        start = partition.reread_from() if partition.rereads else None
        if not quiet and self.random.random() < 0.5:
            self.append()
            self.persist()
            self.deliver_up(instance)
        partition.judge(asked, end)
        if start is not None:
            partition.reread(start, self.records[start : start + self.random.randint(1, 10)])
        self.flush(instance)

    def finish(self) -> None:
        """With the faults over every session becomes live and has everything."""
        owner = self.instances[-1]
        for instance in self.instances[:-1]:
            self.learn(instance)
            self.open_link(instance)
        self.open_link(owner)
        assert owner.partition is not None
        for _ in range(2_000):
            for instance in self.instances:
                self.read(instance)
                self.deliver_up(instance)
                self.deliver_down(instance)
            self.persisted = len(self.records)
            owner.partition.history_has(self.persisted)
            self.serve_from_log(owner, quiet=True)
            self.through(owner)
            self.page()
            under_way = any(i.pipe and (i.pipe.up or i.pipe.down) for i in self.instances)
            if owner.reading_at == len(self.records) and not under_way:
                break
        for session in self.server.sessions.values():
            if session.state is not State.LIVE or session.received != self.due(session, len(self.records)):
                raise Violation(
                    f"I10: {session.user} is {session.state} at {session.last} with {session.received}"
                )


def simulate(seed: int, make: Make = make_partition, steps: int = 300) -> None:
    """One random history. Raises Violation."""
    simulation = Simulation(seed, make)
    for _ in range(steps):
        simulation.step()
    simulation.finish()
