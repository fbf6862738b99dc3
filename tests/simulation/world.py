"""A whole cell, one random step at a time: everything that never awaits is real, everything else takes its time.

Messaging servers with clocks that differ, delivery instances that take over from each other (a former one may not know),
links that break, a log that fails and forgets to answer, a history that lags. `run` ends the faults after its steps, and
asks that all becomes complete: every client has everything, every outcome is known, and then nothing happens any more. Nor
does it hurt that the log then drops all there was.
"""

from collections.abc import Callable
from random import Random

from cell.log.v1 import record_pb2 as log
from event_log import commit_metadata
from event_log.port import LogRecord
from tests.simulation.clients import Device
from tests.simulation.deliveries import GROUP, Instance
from tests.simulation.history import SimHistory
from tests.simulation.log import CLOCK_ERROR_US, Producer, SimLog
from tests.simulation.servers import Pipe, SimServer, Stream
from tests.simulation.truth import W_US, Truth, Violation, fold_of

PARTITIONS = 3
USERS = ["ann", "bob", "cem", "dot", "eva"]
SWEEPS = 1_500


def partition_of(user: str) -> int:
    """Two users in each of two partitions, one in the third."""
    return USERS.index(user) % PARTITIONS


class World:
    """Everything of one seed."""

    def __init__(self, seed: int, trace: Callable[[str], None] | None = None) -> None:
        self.random = random = Random(seed)
        self.trace = trace
        self.steps = 0
        self._ids = 0
        self.truth = Truth(PARTITIONS, partition_of)
        self.log = SimLog(random, PARTITIONS, self._landed)
        self.registered: dict[str, tuple[str, ...]] = {}
        self.history = SimHistory(random, self.log, self.truth)
        self.generation = 0
        self.owners: dict[int, Instance | None] = dict.fromkeys(range(PARTITIONS))
        self.history_keeps_up = random.random() < 0.6
        self.window_bytes = random.choice([0, 3_000, 20_000, 1_000_000])
        self.instances: list[Instance] = []
        self.servers: list[SimServer] = []
        for _ in range(random.choice([1, 2, 3])):
            self._new_server()
        for _ in range(2):
            self._new_instance()
        for partition in range(PARTITIONS):
            self._assign(partition, random.choice(self.instances))
        users = random.sample(USERS, random.randint(2, len(USERS)))
        self.devices = [
            Device(user, random, self.log, self.truth, users, self)
            for user in users
            for _ in range(random.choice([1, 1, 2, 3]))
        ]
        self._actions = self._weighed(random)

    def next_id(self) -> int:
        self._ids += 1
        return self._ids

    def say(self, text: str) -> None:
        if self.trace is not None:
            self.trace(f"{self.steps:5} {(self.log.now_us - 1_700_000_000_000_000) / 1e6:8.2f} s  {text}")

    def _landed(self, partition: int, record: LogRecord) -> None:
        if self.trace is not None:
            self.say(f"    log {partition}@{record.offset}: {described(record.value)}")
        self.truth.landed(partition, record)

    # The run.

    def run(self, steps: int) -> None:
        """Random steps, then no more faults. Raises Violation."""
        kinds, weights = zip(*self._actions, strict=True)
        for action in self.random.choices(kinds, weights, k=steps):
            self.steps += 1
            action()
            for server in self.servers:
                if self.random.random() < 0.7:
                    server.turn()
        self.settle()
        self.outlive_the_log()
        self.settle()

    def outlive_the_log(self) -> None:
        """Nobody sends until the log has dropped all there was, as Kafka's does. Then others take over, and users send."""
        self.say("---- a silence")
        self.advance(W_US + 2 * CLOCK_ERROR_US)
        for number in self.log.partitions:
            if self._is_old(number):
                self.log.starts[number] = self.log.end(number)
        self.history.restart()
        for number in self.log.partitions:
            self._assign(number, self.random.choice(self.instances))
        for _ in range(10):
            self.wish()

    def _weighed(self, random: Random) -> list[tuple[Callable[[], None], float]]:
        """What may happen and how often; a seed has its own mixture of faults."""
        rare = [random.choice([0.0, 0.5, 4.0]) for _ in range(12)]
        return [
            (self.tick, 12),
            (self._everything_once, random.choice([1, 4, 8])),
            (self.wait, random.choice([0.3, 1, 3])),
            (self.land, 14),
            (self.answer, 12),
            (self.land_late, 2),
            (self.poll, 20),
            (self.sweep, 5),
            (self.hear_down, 26),
            (self.hear_up, 12),
            (self.ask_log, 4),
            (self.log_answers, 4),
            (self.commit, 4),
            (self.learn_history, 3),
            (self.store, random.choice([0.3, 4, 10])),
            (self.commit_history, 3),
            (self.write, 18),
            (self.take, random.choice([8, 18])),
            (self.seek, 8),
            (self.page, 8),
            (self.answer_registry, 5),
            (self.connect, 8),
            (self.wish, 16),
            (self.retry, 14),
            (self.dial, 3),
            (self.notice, 3),
            (self.learn, 1.5),
            (self.lose, rare[0]),
            (self.cut, rare[1]),
            (self.move, rare[2]),
            (self.crash_instance, rare[3] / 3),
            (self.crash_server, rare[4] / 4),
            (self.restart_history, rare[5] / 2),
            (self.poison, rare[6] / 4),
            (self.trim, rare[7]),
            (self.drain, rare[8] / 6),
            (self.step_clock, rare[9]),
            (self.forget_conversations, rare[10] / 2),
            (self.long_wait, rare[11]),
        ]

    def settle(self) -> None:
        """No more faults: all becomes complete (I10), and then quiet (I13)."""
        self.say("---- no more faults")
        self.log.faulty = False
        self.log.clock_error_us = 0
        for _ in range(SWEEPS):
            self.steps += 1
            self._everything_once()
            if self.complete():
                break
        else:
            raise Violation(f"I10: not complete: {self.incomplete()}")
        self.check_end()
        before = [self.log.end(partition) for partition in self.log.partitions]
        for _ in range(10):
            self._everything_once()
        if before != [self.log.end(partition) for partition in self.log.partitions]:
            raise Violation("I13: a complete cell appends")

    def _everything_once(self) -> None:
        for instance in list(self.instances):
            for number in list(instance.holdings):
                if self.owners[number] is not instance and (
                    not self.log.faulty or self.random.random() < 0.2
                ):
                    self._fence(instance, number)
        for partition, owner in self.owners.items():
            if owner is None:
                self._assign(partition, self.instances[0])
        for append in list(self.log.late):
            self.log.land_late(append)
        for producer in list(self.log.producers):
            for number in self.log.partitions:
                while producer.lanes[number]:
                    producer.land(producer.lanes[number])
                producer.answer(number, 1_000)
        for instance in self.instances:
            self._instance_once(instance)
        for number in self.log.partitions if self.history_keeps_up or not self.log.faulty else ():
            self.history.store_some(number, 20)
            self.history.commit(number)
        for server in list(self.servers):
            self._server_once(server)
        for device in self.devices:
            if device.stream is None:
                device.connect(self.random.choice(self.servers))
            elif device.wants_new_stream and device.resumed:
                device.lose()
            device.retry(alter=False)
            device.take()
        self.advance(400_000)

    def _instance_once(self, instance: Instance) -> None:
        for server in self.servers:
            if server not in instance.pipes:
                instance.dial(server)
        for pipe in list(instance.pipes.values()):
            for _ in range(len(pipe.up)):
                instance.hear(pipe)
        for number in list(instance.holdings):
            self._poll(instance, number, 20)
            if self.owners[number] is instance:
                instance.commit(number, self.truth)
        instance.learn_history()
        instance.sweep()
        instance.ask_log()
        while instance.from_log:
            instance.log_answers()

    def _server_once(self, server: SimServer) -> None:
        for pipe in list(server.pipes):
            for _ in range(len(pipe.down)):
                server.hear(pipe)
        while server.registry.asked:
            server.registry.answer(well=True)
        while server.seeking:
            server.seek()
        while server.paging:
            server.page()
        for stream in list(server.streams):
            if stream.device is None:
                server.close(stream)
            else:
                server.write(stream)
        server.turn()

    def incomplete(self) -> list[str]:
        """What is not as it is to be."""
        found = []
        if self.log.late or any(producer.busy for producer in self.log.producers):
            found.append("appends are under way")
        if missing := self.truth.missing_copies():
            found.append(f"copies are missing: {missing}")
        if not self.history.complete:
            found.append("history is behind")
        for instance in self.instances:
            for number, holding in instance.holdings.items():
                if holding.reading < self.log.end(number) or holding.partition.forwarder.queued_bytes:
                    found.append(f"{instance.name} is behind in {number}")
        for device in self.devices:
            if why := self._device_lacks(device):
                found.append(f"{device.user}: {why}")
        return found

    def complete(self) -> bool:
        return not self.incomplete()

    def _device_lacks(self, device: Device) -> str:
        stream = device.stream
        if stream is None or not device.resumed or stream.state.value != "live":
            return f"not live: {stream and stream.state}"
        if stream.wire or stream.outbound:
            return "frames are under way"
        if device.in_flight or device.acks:
            return "outcomes are missing"
        if undone := [wish.id for wish in device.wishes if not wish.done]:
            return f"commands are not done: {undone}"
        missed = self.truth.concerning(device.user, device.offset, self.log.end(device.partition))
        if any(not self.truth.may_skip(device.user, offset) for offset in missed):
            return f"events are missing: {missed}"
        receipts = stream._receipts
        return "marks are due" if receipts is not None and receipts.next_due_s() is not None else ""

    def check_end(self) -> None:
        """I5, R4 and I11 of what has come about."""
        for device in self.devices:
            device.check_outcomes()
            due = fold_of(self.truth, device.user)
            if not device.live_only and (device.fold.reactions, device.fold.marks) != (
                due.reactions,
                due.marks,
            ):
                raise Violation(
                    f"I11: {device.user} has {device.fold.reactions} {device.fold.marks},"
                    f" due {due.reactions} {due.marks}"
                )
            if self.history.marks(device.user) != due.marks:
                raise Violation(f"I11: history has {self.history.marks(device.user)}, due {due.marks}")
        self._check_store()

    def _check_store(self) -> None:
        from tests.simulation.truth import Fold, ref_key

        stored = self.history.reactions()
        due: Fold = Fold()
        messages = set()
        for user in USERS:
            for entry in self.truth.entries(user):
                if entry.sender == user:
                    if entry.reaction() is not None:
                        due.add(entry)
                    elif entry.event is not None and entry.event.HasField("message"):
                        messages.add((entry.conversation_id, ref_key(entry.event.message.ref)))
        if stored != due.reactions:
            raise Violation(f"I11: history has the reactions {stored}, due {due.reactions}")
        if self.history.messages() != messages:
            raise Violation(
                f"I9: history has the messages {self.history.messages() ^ messages} too many or few"
            )

    # Time.

    def advance(self, by_us: int) -> None:
        until_us = self.log.now_us + by_us
        while self.log.now_us < until_us:
            self.log.now_us = min(until_us, self.log.now_us + 2_000_000)
            self.log.due_by(self.log.now_us + 2_000_000)
            for server in self.servers:
                server.tick()

    def tick(self) -> None:
        self.advance(self.random.choice([1_000, 50_000, 300_000]))

    def wait(self) -> None:
        self.advance(self.random.choice([1_000_000, 4_000_000]))

    def long_wait(self) -> None:
        """Beyond D, or beyond W."""
        self.say("a long time passes")
        self.advance(self.random.choice([16_000_000, 46_000_000, 70_000_000]))

    def step_clock(self) -> None:
        self.log.step_clock()

    # The log.

    def land(self) -> None:
        producer = self.random.choice(self.log.producers)
        lanes = [lane for lane in producer.lanes.values() if lane]
        if lanes:
            producer.land(self.random.choice(lanes))

    def answer(self) -> None:
        producer = self.random.choice(self.log.producers)
        producer.answer(self.random.choice(self.log.partitions), self.random.randint(1, 3))

    def land_late(self) -> None:
        if self.log.late:
            self.log.land_late(self.random.choice(self.log.late))

    def poison(self) -> None:
        """A record of a later version: it counts for its id, and nobody here can show it."""
        user = self.random.choice(USERS)
        record = log.Record()
        record.origin.command_id = f"p{self.next_id()}"
        record.origin.logged.kind = 99  # type: ignore[assignment]
        record.origin.logged.sender_id = user
        record.origin.participant_ids.append(user)
        self.log.put(partition_of(user), record.SerializeToString())

    def trim(self) -> None:
        """Retention: whatever no group needs goes, and what is old goes whether it is needed or not, as on Kafka."""
        number = self.random.choice(self.log.partitions)
        if self._is_old(number):
            self.log.starts[number] = self.log.end(number)
            return
        commits = [self.log.committed[group].get(number) for group in self.log.committed]
        tails = [commit_metadata.tail_start_of(commit) if commit else 0 for commit in commits]
        self.log.starts[number] = max(self.log.starts[number], min(tails))

    def _is_old(self, number: int) -> bool:
        """Whether all of a partition was done with, and is so old that it goes: more than W, by any clock."""
        end, records = self.log.end(number), self.log.records[number]
        newest_us = max((record.append_time_us for record in records), default=0)
        commits = [self.log.committed[group].get(number) for group in self.log.committed]
        owner = self.owners[number]
        holding = owner.holdings.get(number) if owner is not None else None
        return (
            newest_us < self.log.now_us - CLOCK_ERROR_US - W_US
            and all(commit is not None and commit.offset == end for commit in commits)
            and self.history.reading[number].reader.next_offset == end
            and holding is not None
            and holding.reading == end
        )

    # Delivery.

    def _new_instance(self) -> Instance:
        producer = Producer(self.log, partition_of, lambda _: None)
        instance = Instance(f"D{self.next_id()}", self.random, producer, self.window_bytes)
        self.instances.append(instance)
        for server in self.servers:
            instance.dial(server)
        return instance

    def _assign(self, partition: int, instance: Instance) -> None:
        self.generation += 1
        self.say(f"{instance.name} takes over {partition}, generation {self.generation}")
        if partition in instance.holdings:
            instance.drop(partition)
        self.owners[partition] = instance
        instance.take_over(self.log.assignment(GROUP, partition, self.generation))

    def _holding(self) -> tuple[Instance, int] | None:
        instance = self.random.choice(self.instances)
        number = self.random.choice(self.log.partitions)
        return (instance, number) if number in instance.holdings else None

    def poll(self) -> None:
        if (found := self._holding()) is not None:
            self._poll(*found, self.random.randint(1, 6))

    def _poll(self, instance: Instance, number: int, count: int) -> None:
        """A former owner may find that the log has dropped what the present one needs no more, and so learns of it."""
        reading, start = instance.holdings[number].reading, self.log.starts[number]
        if reading >= start:
            instance.poll(number, count)
        elif self.owners[number] is instance:
            raise Violation(f"I4: {instance.name} reads {reading}, the log starts at {start}")
        else:
            self._fence(instance, number)

    def sweep(self) -> None:
        self.random.choice(self.instances).sweep()

    def commit(self) -> None:
        if (found := self._holding()) is not None:
            instance, number = found
            if self.owners[number] is instance:
                instance.commit(number, self.truth)
            elif instance.holdings[number].partition.commit() is not None:
                self._fence(instance, number)

    def learn(self) -> None:
        if (found := self._holding()) is not None and self.owners[found[1]] is not found[0]:
            self._fence(*found)

    def _fence(self, instance: Instance, number: int) -> None:
        self.say(f"{instance.name} learns that {number} is not its own any more")
        instance.drop(number)

    def learn_history(self) -> None:
        self.random.choice(self.instances).learn_history()

    def ask_log(self) -> None:
        self.random.choice(self.instances).ask_log()

    def log_answers(self) -> None:
        instance = self.random.choice(self.instances)
        if instance.from_log:
            instance.log_answers()

    def move(self) -> None:
        """The group moves a partition; its owner is told first, or finds out later."""
        number = self.random.choice(self.log.partitions)
        owner = self.owners[number]
        to = self.random.choice(self.instances)
        if owner is not None and self.random.random() < 0.4:
            owner.commit(number, self.truth)
            owner.drop(number)
        self._assign(number, to)

    def crash_instance(self) -> None:
        instance = self.random.choice(self.instances)
        self.say(f"{instance.name} is killed")
        self.instances.remove(instance)
        instance.kill()
        self._new_instance()
        for number, owner in self.owners.items():
            if owner is instance:
                self.owners[number] = None
                self._assign(number, self.random.choice(self.instances))

    # Links.

    def dial(self) -> None:
        instance, server = self.random.choice(self.instances), self.random.choice(self.servers)
        if server not in instance.pipes:
            instance.dial(server)

    def _pipe(self) -> Pipe | None:
        pipes = list(self.random.choice(self.instances).pipes.values())
        return self.random.choice(pipes) if pipes else None

    def cut(self) -> None:
        if (pipe := self._pipe()) is not None:
            self.say(f"the link to {pipe.server.name} breaks")
            pipe.cut(self.random)

    def hear_down(self) -> None:
        server = self.random.choice(self.servers)
        if server.pipes:
            pipe = self.random.choice(server.pipes)
            for _ in range(min(len(pipe.down), self.random.randint(1, 4))):
                server.hear(pipe)

    def hear_up(self) -> None:
        instance = self.random.choice(self.instances)
        if instance.pipes:
            pipe = self.random.choice(list(instance.pipes.values()))
            for _ in range(min(len(pipe.up), self.random.randint(1, 3))):
                instance.hear(pipe)

    # Servers.

    def _new_server(self) -> None:
        name = f"S{self.next_id()}"
        producer = Producer(self.log, partition_of, lambda _: None)
        self.servers.append(SimServer(name, self.random, producer, self.history, self.registered))

    def crash_server(self) -> None:
        server = self.random.choice(self.servers)
        self.say(f"{server.name} is killed")
        self.servers.remove(server)
        server.kill()
        for instance in self.instances:
            if (pipe := instance.pipes.get(server)) is not None:
                pipe.cut(self.random)
        self._new_server()

    def _stream(self) -> tuple[SimServer, Stream] | None:
        server = self.random.choice(self.servers)
        return (server, self.random.choice(server.streams)) if server.streams else None

    def write(self) -> None:
        if (found := self._stream()) is not None:
            found[0].write(found[1])

    def seek(self) -> None:
        server = self.random.choice(self.servers)
        if server.seeking:
            server.seek()

    def page(self) -> None:
        server = self.random.choice(self.servers)
        if server.paging:
            server.page()

    def answer_registry(self) -> None:
        server = self.random.choice(self.servers)
        if server.registry.asked:
            server.registry.answer(well=self.random.random() < 0.9)

    def forget_conversations(self) -> None:
        self.random.choice(self.servers).registry.remembered.clear()

    def drain(self) -> None:
        server = self.random.choice(self.servers)
        self.say(f"{server.name} asks its streams to leave")
        server.drain()

    def notice(self) -> None:
        """A server finds out that a client has gone."""
        found = self._stream()
        if found is not None and found[1].device is None:
            found[0].close(found[1])

    # Clients.

    def connect(self) -> None:
        device = self.random.choice(self.devices)
        if device.stream is None:
            server = self.random.choice(self.servers)
            self.say(f"{device.user} opens a stream to {server.name} after {device.offset}")
            device.connect(server)

    def lose(self) -> None:
        device = self.random.choice(self.devices)
        if device.stream is not None:
            self.say(f"{device.user} loses its stream at {device.offset}")
            device.lose()

    def take(self) -> None:
        self.random.choice(self.devices).take()

    def wish(self) -> None:
        self.random.choice(self.devices).wish()

    def retry(self) -> None:
        device = self.random.choice(self.devices)
        if device.wants_new_stream and device.stream is not None and self.random.random() < 0.3:
            device.lose()
        device.retry(alter=self.random.random() < 0.3)

    # History.

    def store(self) -> None:
        self.history.store_some(self.random.choice(self.log.partitions), self.random.randint(1, 8))

    def commit_history(self) -> None:
        self.history.commit(self.random.choice(self.log.partitions))

    def restart_history(self) -> None:
        self.say("history starts again")
        self.history.restart()


def described(value: bytes) -> str:
    """A record, for traces."""
    record = log.Record.FromString(value)
    if record.HasField("origin"):
        origin = record.origin
        return f"origin {origin.logged.sender_id} {origin.command_id} kind {origin.logged.kind} for {origin.participant_ids}"
    copy = record.copy
    previous = copy.previous_offset if copy.HasField("previous_offset") else None
    return f"copy of {copy.source_partition}@{copy.source_offset} after {previous} for {list(copy.recipient_ids)}"
