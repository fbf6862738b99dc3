"""A client and its cell without I/O: what connection.py does, step by step, for an application that may be killed."""

import copy
import random
from collections.abc import Callable

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_client.commands import send_message
from messaging_client.errors import MessagingError, NotDone, OutcomeUnknown
from messaging_client.events import Event, NewMessage, NotSent, Snapshot
from messaging_client.kept import Drop, Kept, Moved, OfLog, OfUser, Put, Refused, Tried
from messaging_client.outgoing import Outgoing
from messaging_client.protocol import Protocol
from messaging_client.settings import ClientSettings
from messaging_client.steps import Connect, End, Load
from messaging_client.values import NotifyLevel
from tests.messaging_client.cell_model import CellModel

SETTINGS = ClientSettings(max_in_flight=6, acknowledges=False, max_event_bytes=20_000)


class ModelStore:
    """A store that survives the application. Commits are atomic."""

    def __init__(self) -> None:
        self.kept = Kept()

    def commit(self, changes: list[object]) -> None:
        kept = copy.deepcopy(self.kept)
        commands = {command.id: command for command in kept.commands}
        for change in changes:
            match change:
                case Put(command):
                    assert command.id not in commands, "an id is kept once"
                    commands[command.id] = copy.copy(command)
                case Tried(id_, at_us):
                    if id_ in commands:
                        commands[id_].tried_at_us = at_us
                case Refused(id_, refusal):
                    commands[id_].refusal = refusal
                case Drop(id_):
                    commands.pop(id_, None)
                case Moved(cursor):
                    kept.cursor = cursor
                case OfUser(user_id):
                    kept.user_id = user_id
                case OfLog(incarnation):
                    kept.log = incarnation
        kept.commands = list(commands.values())
        self.kept = kept


class Rig:
    """One application and its client; `cell` and `store` outlive both."""

    def __init__(self, settings: ClientSettings = SETTINGS) -> None:
        self.settings = settings
        self.cell = CellModel()
        self.store = ModelStore()
        self.history_is_up = True
        self.taken: list[Event] = []
        """What the application has taken, over all its lives."""
        self.handed: list[Event] = []
        """What it was handed in this life."""
        self.outcomes: dict[str, MessagingError | None] = {}
        self.awaited: set[str] = set()
        """Sent, and the application waits for the outcome."""
        self.posted: list[str] = []
        self.promised: set[str] = set()
        """Posted, and the store has it."""
        self.unsent: set[str] = set()
        self.sent = self.answers = 0
        self.texts: dict[str, str] = {}
        self.start()

    def start(self) -> None:
        """The application starts, on what the store holds."""
        self.handed = []
        self.holds: Event | None = None
        self.protocol = Protocol(self.settings, copy.deepcopy(self.store.kept), random.Random(1))
        self.cell.stream = None

    def kill(self) -> None:
        """Kill -9, and start again."""
        self.posted.clear()
        self.awaited.clear()
        self.start()

    @property
    def now_s(self) -> float:
        return self.cell.now_s

    # The application.

    def post(self, *, wait: bool = False, text: str = "") -> str:
        self.sent += 1
        message_id = f"ann-{self.sent}"
        self.texts[message_id] = text or f"text {self.sent}"
        outgoing = self._outgoing(message_id, self.sent)
        self.protocol.submit(outgoing, posted=not wait)
        if wait:
            self.awaited.add(message_id)
        else:
            self.posted.append(message_id)
        return message_id

    def _outgoing(self, message_id: str, number: int) -> Outgoing:
        text, peer = self.texts[message_id], f"peer{number % 3}"
        return send_message(text, peer, "", None, NotifyLevel.NORMAL, message_id)

    def send_again(self, message_id: str) -> None:
        """The caller was told that the outcome is unknown, and sends the same once more."""
        if message_id in self.awaited and isinstance(self.outcomes.get(message_id), OutcomeUnknown):
            del self.outcomes[message_id]
            self.protocol.submit(
                self._outgoing(message_id, int(message_id.removeprefix("ann-"))), posted=False
            )
            self.after()

    def withdraw(self, message_id: str) -> None:
        """The caller's time runs out."""
        if message_id in self.awaited and message_id not in self.outcomes:
            error = self.protocol.withdraw(message_id)
            self.commit()
            self.outcomes[message_id] = error

    def take(self) -> Event | None:
        """The application comes back for the next event."""
        if self.holds is not None:
            self.taken.append(self.holds)
            if isinstance(self.holds, NotSent):
                self.unsent.add(self.holds.message_id)
        if isinstance(self.holds, Snapshot):
            self.protocol.take(self.now_s)
            self.commit()  # before anything behind it is handed over
        self.holds = self.protocol.hand_over(self.now_s)
        if self.holds is not None:
            self.handed.append(self.holds)
        self.after()
        return self.holds

    def answer(self) -> None:
        """The application answers the message it holds, and takes it in the same step."""
        if isinstance(self.holds, NewMessage) and not self.holds.mine:
            name = f"answer-{self.holds.message.ref.message_id}-{self.answers}"
            self.answers += 1
            outgoing = send_message("answer", "bob", "", None, NotifyLevel.NORMAL, name)
            self.protocol.submit(outgoing, posted=True)
            self.protocol.take(self.now_s)
            self.taken.append(self.holds)
            self.holds = None

    # The shell.

    def commit(self) -> None:
        self.store.commit(list(self.protocol.take_journal()))
        self.promised.update(self.posted)
        self.posted.clear()

    def after(self) -> None:
        """What connection.py does after any change."""
        settled, self.protocol.outbox.settled = self.protocol.outbox.settled, []
        for outgoing, error in settled:
            assert outgoing.id not in self.outcomes, "settled twice"
            if isinstance(error, NotDone):
                self.commit()  # before the application is told
            self.outcomes[outgoing.id] = error
        if self.protocol.wants_end(self.now_s):
            self.break_stream("CANCELLED")

    def step(self) -> None:
        """Connect or load, if it is time."""
        if self.protocol.stream is not None:
            return
        step = self.protocol.next_step(self.now_s)
        match step:
            case Load():
                self._load(step)
            case Connect():
                hello = self.protocol.connect(self.now_s).commands[0].hello
                self.cell.connect(hello.resume_after)
        self.after()

    def _load(self, load: Load) -> None:
        if not self.history_is_up:
            self.protocol.load_failed(End("UNAVAILABLE"), self.now_s)
            return
        cursor = self.cell.snapshot()
        found = {
            each.id
            for each in load.sought
            if self.cell.has_message(each.id, each.command.send_message.content)
        }
        self.protocol.loaded(cursor, (), True, found, self.now_s)

    def write(self, held_up_s: float = 0.0) -> list[messaging.Command]:
        """The next frame, once what it needs is kept; `held_up_s` is how long that takes."""
        self.protocol.on_time(self.now_s)
        self.after()
        frame = self.protocol.next_frame(self.now_s)
        self.after()
        if frame is None or self.protocol.stream is None:
            return []
        self.commit()
        self.cell.pass_time(held_up_s)
        may_write = self.protocol.may_write(self.now_s)
        self.after()
        if not may_write:
            return []
        return [c for c in frame.commands if self._is_of_application(c)]

    def _is_of_application(self, command: messaging.Command) -> bool:
        if command.HasField("ping") and self.cell.stream is not None:
            pong = messaging.Update(pong=messaging.Pong(command_id=command.command_id))
            self.cell.stream.down.append(pong)
        return command.HasField("send_message")

    def read(self, count: int = 1_000) -> None:
        """The next updates."""
        if self.protocol.stream is not None and self.protocol.reads:
            self.protocol.received(self.cell.take(count), self.now_s)
            self.after()

    def break_stream(self, code: str = "UNAVAILABLE") -> None:
        self.cell.stream = None
        self.protocol.stream_ended(End(code), self.now_s)

    def pass_time(self, seconds: float) -> None:
        self.cell.pass_time(seconds)
        self.protocol.on_time(self.now_s)
        self.after()

    def settle(self, take: Callable[[], Event | None] | None = None, rounds: int = 400) -> None:
        """Everything works from here on, until nothing is left to do."""
        self.history_is_up = True
        for _ in range(rounds):
            self.pass_time(1.0)
            self.cell.persist(1_000)
            self.step()
            for command in self.write():
                self.cell.accept(command)
            self.cell.push(1_000)
            self.read()
            while (take or self.take)() is not None:
                pass
            if self.is_quiet:
                return
        raise AssertionError("it never comes to rest")

    @property
    def is_quiet(self) -> bool:
        stream = self.cell.stream
        return (
            not len(self.protocol.outbox)
            and not self.cell.zombies
            and stream is not None
            and stream.resumed
            and not stream.down
            and stream.position == len(self.cell.log) - 1
            and self.protocol.is_online
        )

    def messages(self, events: list[Event]) -> list[NewMessage]:
        return [event for event in events if isinstance(event, NewMessage)]
