"""A simulated delivery instance: real partitions behind a shell that polls, commits and answers at random times."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from cell.delivery.v1 import session_link_pb2 as link
from delivery_service.attaches import Asked
from delivery_service.forwarding import ForwardingSettings, Parcel
from delivery_service.outbox import Outbox
from delivery_service.partition import OwnedPartition
from delivery_service.settings import DeliverySettings
from event_log import commit_metadata
from event_log.port import Assignment, Fate, LogError, LogFull, NewRecord, Settled
from tests.simulation.log import INCARNATION, Producer, SimLog
from tests.simulation.servers import Pipe, SimServer
from tests.simulation.truth import Truth, Violation

GROUP = "delivery"


@dataclass(eq=False)
class FromLog:
    """What one partition asked of the log, and the answer under way."""

    partition: OwnedPartition
    asked: list[Asked]
    end: int
    start: int | None


@dataclass(eq=False)
class Holding:
    """A partition that this instance owns, or believes to."""

    partition: OwnedPartition
    reading: int
    claimed: bool = False


class Instance:
    """One process."""

    def __init__(self, name: str, random: Random, producer: Producer, window_bytes: int) -> None:
        self.name = name
        self.random = random
        self.producer = producer
        self.log: SimLog = producer.log
        self.settings = DeliverySettings(
            instance_id=name,
            window_bytes=window_bytes,
            reply_bytes=random.choice([300, 1_048_576]),
            forwarding=ForwardingSettings(
                queue_bytes=random.choice([2_000, 1_000_000]),
                in_flight_bytes=random.choice([1, 900, 100_000]),
                max_backoff_s=1.0,
            ),
        )
        self.slow = random.random() < 0.4
        """A former owner may be far ahead of the present one."""
        self.holdings: dict[int, Holding] = {}
        self.pipes: dict[SimServer, Pipe] = {}
        self.from_log: list[FromLog] = []

    @property
    def now_s(self) -> float:
        return self.log.now_us / 1e6

    # Owning.

    def take_over(self, assignment: Assignment) -> None:
        try:
            partition = OwnedPartition(
                assignment,
                incarnation=INCARNATION,
                partition_count=self.producer.partition_count,
                partition_of=self.producer.partition_of,
                settings=self.settings,
            )
        except LogError as error:
            raise Violation(f"I4: {self.name} cannot take over: {error}") from error
        holding = self.holdings[assignment.partition] = Holding(partition, partition.seek_to)
        self._claim_if_active(holding)
        self._flush()

    def drop(self, number: int) -> None:
        holding = self.holdings.pop(number)
        for asked in holding.partition.give_up():
            asked.outbox.reply(asked.attach, link.ATTACH_OUTCOME_NOT_OWNER)
        if holding.claimed:
            for pipe in self.pipes.values():
                pipe.outbox.release(number)
        self._flush()

    def _claim_if_active(self, holding: Holding) -> None:
        if holding.partition.active and not holding.claimed:
            holding.claimed = True
            for pipe in self.pipes.values():
                pipe.outbox.claim(holding.partition.number, holding.partition.generation)

    # Records.

    def poll(self, number: int, count: int) -> None:
        holding = self.holdings[number]
        if holding.partition.forwarder.full or (
            self.slow and self.log.faulty and self.random.random() < 0.85
        ):
            return
        records = self.log.read(number, holding.reading, count)
        holding.reading += holding.partition.take(records)
        self._claim_if_active(holding)
        self.forward(holding.partition)
        self._flush()

    def sweep(self) -> None:
        for holding in self.holdings.values():
            holding.partition.tell_through()
            self.forward(holding.partition)
        self._flush()

    def forward(self, partition: OwnedPartition) -> None:
        records: list[NewRecord[Parcel]] = partition.forwarder.take(self.now_s)
        if not records:
            return
        try:
            self.producer.append(records, self._on_settled)
        except LogFull:
            for record in records:
                record.tag.forwarder.settled(record.tag, Fate.NOT_APPENDED, self.now_s)

    def _on_settled(self, settled: Sequence[Settled[Parcel]]) -> None:
        for parcel, fate, _ in settled:
            parcel.forwarder.settled(parcel, fate, self.now_s)
            holding = self.holdings.get(parcel.forwarder.partition)
            if holding is not None:
                self.forward(holding.partition)

    def commit(self, number: int, truth: Truth) -> None:
        """As the current owner; a former one is fenced, see `World`."""
        partition = self.holdings[number].partition
        commit = partition.commit()
        if commit is None:
            return
        if self.log.faulty and self.random.random() < 0.1:
            partition.commit_failed()
            if self.random.random() < 0.5:
                return
        history = self.log.committed["history"].get(number)
        truth.check_commit(number, commit.offset)
        tail_start = commit_metadata.tail_start_of(commit)
        exact_from = commit_metadata.decode(commit.metadata).exact_from
        truth.check_tail(number, tail_start, commit.offset, exact_from)
        if exact_from > (history.offset if history else 0):
            raise Violation(f"I4: the window of {number} may start at {exact_from}, history has {history}")
        self.log.committed[GROUP][number] = commit

    def learn_history(self) -> None:
        for number, commit in self.log.committed["history"].items():
            if number in self.holdings:
                self.holdings[number].partition.history_has(commit.offset)

    # Links.

    def dial(self, server: SimServer) -> None:
        pipe = self.pipes[server] = Pipe(server, Outbox(server.name))
        server.pipes.append(pipe)
        pipe.outbox.hello(self.name, INCARNATION, self.producer.partition_count)
        for number, holding in self.holdings.items():
            if holding.claimed:
                pipe.outbox.claim(number, holding.partition.generation)
        pipe.flush()

    def hear(self, pipe: Pipe) -> None:
        message = pipe.up.popleft()
        if message is None:
            for holding in self.holdings.values():
                holding.partition.unlink(pipe.outbox)
            del self.pipes[pipe.server]
        elif message.HasField("attach"):
            self._attach(pipe.outbox, message.attach)
        elif message.detach.partition in self.holdings:
            partition = self.holdings[message.detach.partition].partition
            partition.detach(pipe.outbox, message.detach.user_number)
        self._flush()

    def _attach(self, outbox: Outbox, attach: link.Attach) -> None:
        if attach.partition in self.holdings:
            self.holdings[attach.partition].partition.attach(outbox, attach)
        else:
            outbox.reply(attach, link.ATTACH_OUTCOME_NOT_OWNER)

    def _flush(self) -> None:
        for pipe in self.pipes.values():
            pipe.flush()

    # What needs the log.

    def ask_log(self) -> None:
        if self.from_log:
            return
        for number, holding in self.holdings.items():
            partition = holding.partition
            asked = list(partition.past_known_end())
            if asked or partition.rereads:
                start = partition.reread_from() if partition.rereads else None
                self.from_log.append(FromLog(partition, asked, self.log.end(number), start))

    def log_answers(self) -> None:
        answer = self.from_log.pop(0)
        partition = answer.partition
        holding = self.holdings.get(partition.number)
        if holding is None or holding.partition is not partition:
            return
        if answer.asked:
            partition.judge(answer.asked, answer.end)
        if answer.start is not None:
            start = answer.start
            kept = start >= self.log.starts[partition.number]
            records = self.log.read(partition.number, start, self.random.randint(1, 8)) if kept else []
            partition.reread(start, records)
        self._flush()

    def kill(self) -> None:
        self.producer.kill()
        for pipe in self.pipes.values():
            pipe.cut(self.random)
            pipe.up.clear()
