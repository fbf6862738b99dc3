"""A cell as one user's client sees it, without I/O: a log with the rule of retries (R3), a history behind it, streams.

Anything may go wrong that the design allows: appends land late, outcomes are lost, streams break, parts of the log are gone,
the log is replaced by another one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from cell.messaging.v1 import messaging_pb2 as messaging

W_S, D_S = 60.0, 15.0
USER = "ann"


@dataclass
class Record:
    """What was appended, and whether it counts."""

    sender_id: str
    message_id: str
    content: messaging.Content | None
    time_s: float
    effective: bool = True


@dataclass
class Zombie:
    """An append that its server has given up, and that lands all the same."""

    send: messaging.SendMessage
    lands_s: float


@dataclass
class ServerStream:
    """The server's side of one stream."""

    position: int
    end: int
    outcome: "messaging.ResumeOutcome"
    down: list[messaging.Update] = field(default_factory=list)
    resumed: bool = False


def cursor(incarnation: int, offset: int) -> str:
    return f"{incarnation}/{offset}"


class CellModel:
    """Offsets are positions in `log`; -1 is before the first."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.incarnation = 0
        self.logs: list[list[Record]] = [[]]
        self.persisted = -1
        self.zombies: list[Zombie] = []
        self.stream: ServerStream | None = None
        self.trimmed = -1
        """Up to here a stream can only say that there is a gap."""
        self.others = 0

    @property
    def log(self) -> list[Record]:
        return self.logs[-1]

    # The log.

    def append(self, record: Record) -> None:
        """R3: dropped iff any earlier record, dropped or not, has the same id within W."""
        record.time_s = self.now_s
        record.effective = not any(
            old.message_id == record.message_id
            and old.sender_id == record.sender_id
            and self.now_s - old.time_s <= W_S
            for old in self.log
        )
        self.log.append(record)

    def append_of_user(self, send: messaging.SendMessage) -> None:
        self.append(Record(USER, send.message_id, send.content, 0))

    def append_of_other(self) -> None:
        self.others += 1
        content = messaging.Content(text=f"other {self.others}")
        self.append(Record("bob", f"bob-{self.others}", content, 0))

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        landing = [zombie for zombie in self.zombies if zombie.lands_s <= self.now_s]
        self.zombies = [zombie for zombie in self.zombies if zombie.lands_s > self.now_s]
        for zombie in landing:
            self.append_of_user(zombie.send)

    def effective(self, message_id: str) -> int:
        """How many messages of the user have this id, in all logs that there were."""
        return sum(
            r.effective and r.message_id == message_id and r.sender_id == USER
            for log in self.logs
            for r in log
        )

    # History.

    def persist(self, count: int) -> None:
        self.persisted = min(len(self.log) - 1, self.persisted + count)

    def snapshot(self) -> str:
        return cursor(self.incarnation, self.persisted)

    def has_message(self, message_id: str, content: messaging.Content) -> bool:
        stored = [r for log in self.logs[:-1] for r in log] + self.log[: self.persisted + 1]
        return any(r.effective and r.message_id == message_id and r.content == content for r in stored)

    # Faults.

    def trim(self) -> None:
        """What is persisted is not to be had by a stream any more."""
        self.trimmed = self.persisted

    def replace_log(self) -> None:
        """Another log; history has all of the old one, and appends under way are gone."""
        self.logs.append([])
        self.incarnation += 1
        self.persisted = self.trimmed = -1
        self.zombies.clear()
        self.stream = None

    # Streams.

    def connect(self, resume_after: str) -> None:
        incarnation, offset = map(int, resume_after.split("/")) if resume_after else (self.incarnation, -1)
        outcome: messaging.ResumeOutcome = messaging.RESUME_OUTCOME_RESUMED
        if incarnation != self.incarnation:
            outcome, offset = messaging.RESUME_OUTCOME_RESET, len(self.log) - 1
        limits = messaging.Limits(max_in_flight=8, max_commands_per_frame=4)
        limits.retry_window.FromSeconds(int(W_S - D_S))
        welcome = messaging.Welcome(user_id=USER, limits=limits, log_incarnation=f"log {self.incarnation}")
        welcome.server_time.FromMicroseconds(int(self.now_s * 1e6))
        self.stream = ServerStream(offset, len(self.log), outcome)
        self.stream.down.append(messaging.Update(welcome=welcome))

    def push(self, count: int) -> None:
        """Put some more of the log into the stream."""
        stream = self.stream
        if stream is None:
            return
        if stream.position < self.trimmed:
            gap = messaging.Gap(
                after=cursor(self.incarnation, stream.position), until=cursor(self.incarnation, self.trimmed)
            )
            stream.down.append(messaging.Update(gap=gap))
            stream.position = self.trimmed
        for _ in range(count):
            if not stream.resumed and stream.position >= stream.end - 1:
                self._tell_resumed(stream)
            if stream.position + 1 < len(self.log):
                stream.position += 1
                self._tell(stream, self.log[stream.position])

    def checkpoint(self) -> None:
        if self.stream is not None and self.stream.resumed:
            told = messaging.Checkpoint(cursor=cursor(self.incarnation, self.stream.position))
            self.stream.down.append(messaging.Update(checkpoint=told))

    def take(self, count: int) -> list[messaging.Update]:
        """What the client reads next."""
        if self.stream is None:
            return []
        taken, self.stream.down = self.stream.down[:count], self.stream.down[count:]
        return taken

    def _tell_resumed(self, stream: ServerStream) -> None:
        stream.resumed = True
        told = messaging.Resumed(cursor=cursor(self.incarnation, stream.position), outcome=stream.outcome)
        stream.down.append(messaging.Update(resumed=told))

    def _tell(self, stream: ServerStream, record: Record) -> None:
        if not record.effective:
            return
        event = messaging.Event(cursor=cursor(self.incarnation, stream.position))
        event.message.ref.sender_id = record.sender_id
        event.message.ref.message_id = record.message_id
        if record.content is not None:
            event.message.content.CopyFrom(record.content)
        stream.down.append(messaging.Update(event=event))

    # Commands: each of these is one thing that may become of a command.

    def accept(self, command: messaging.Command) -> None:
        self.append_of_user(command.send_message)
        self.tell_accepted(command)

    def tell_accepted(self, command: messaging.Command) -> None:
        self._answer(messaging.Update(accepted=messaging.Accepted(command_id=command.command_id)))

    def land_later(self, command: messaging.Command, seconds: float) -> None:
        self.zombies.append(Zombie(command.send_message, self.now_s + min(seconds, D_S)))

    def reject(
        self, command: messaging.Command, *, unknown: bool = False, retry_after_s: float | None = None
    ) -> None:
        rejected = messaging.Rejected(
            command_id=command.command_id,
            reason=messaging.REJECTED_REASON_UNAVAILABLE,
            outcome=messaging.REJECTED_OUTCOME_UNKNOWN if unknown else messaging.REJECTED_OUTCOME_NOT_DONE,
        )
        if retry_after_s is not None:
            rejected.retry_after.FromMicroseconds(int(retry_after_s * 1e6))
        self._answer(messaging.Update(rejected=rejected))

    def _answer(self, update: messaging.Update) -> None:
        if self.stream is not None:
            self.stream.down.insert(
                0 if self.stream.down and self.stream.resumed else len(self.stream.down), update
            )

    def all_effective(self) -> Iterable[tuple[str, Record]]:
        """Every message that counts, with its cursor, in order."""
        for incarnation, log in enumerate(self.logs):
            for offset, record in enumerate(log):
                if record.effective:
                    yield cursor(incarnation, offset), record
