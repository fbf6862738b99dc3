"""Clients of a simulated cell. Each checks what it is told against the truth, and retries by R3."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Protocol

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core.cursor import decode_cursor, incarnation_bytes
from messaging_core.limits import RETRY_WINDOW_S
from tests.simulation.log import INCARNATION, SimLog
from tests.simulation.truth import RUDE, Entry, Fold, Truth, Violation

if TYPE_CHECKING:
    from tests.simulation.servers import SimServer, Stream

NOT_DONE = messaging.REJECTED_OUTCOME_NOT_DONE
KEYS = ("+1", "+1", "heart")
Fill = Callable[[messaging.Command, str], None]
"""Puts what is asked into a command; the text tells payloads apart."""


@dataclass(eq=False)
class Attempt:
    """One try of a command; its number is in the trace context, so that the log tells whose record is whose."""

    name: str
    wish: "Wish"
    accepted: bool = False
    not_done: bool = False
    altered: bool = False


@dataclass(eq=False)
class Wish:
    """A command with its own id, tried until its outcome is known."""

    id: str
    fill: Fill
    first_us: int = 0
    last_us: int = 0
    not_before_us: int = 0
    attempts: list[Attempt] = field(default_factory=list)
    done: bool = False
    uncertain: bool = False


class Ids(Protocol):
    def next_id(self) -> int: ...


class Device:
    """One installation of a client of a user."""

    def __init__(
        self, user: str, random: Random, log: SimLog, truth: Truth, users: list[str], ids: Ids
    ) -> None:
        self.user = user
        self.random = random
        self.log = log
        self.truth = truth
        self.users = users
        self.ids = ids
        self.partition = truth.partition_of(user)
        self.live_only = random.random() < 0.15
        self.cursor: str | None = None if self.live_only else ""
        self.offset = -1
        self.fold = Fold()
        self.number = ids.next_id()
        self.refs: list[messaging.MessageRef] = []
        self.stream: Stream | None = None
        self.server: SimServer | None = None
        self.opened_us = 0
        self.opened_end = 0
        self.resumed = False
        self.welcome = False
        self.rude = random.random() < 0.15
        """Tries again whenever it likes, against R3: its ids may count more than once, and all readers agree on that."""
        self.placed = not self.live_only
        """Whether it knows its position: a live-only client does once it has resumed."""
        self.command_id = 0
        self.in_flight: dict[int, Attempt] = {}
        self.acks: set[int] = set()
        self.wishes: list[Wish] = []
        self.attempts: list[Attempt] = []
        self.endings: list[str] = []

    # Streams.

    def connect(self, server: "SimServer") -> None:
        self.server = server
        self.stream = stream = server.open(self, self.ids.next_id())
        self.resumed = self.welcome = False
        self.opened_us, self.opened_end = self.log.now_us, self.log.end(self.partition)
        self.command_id = 0
        hello = (
            messaging.Hello(resume_after=self.cursor)
            if self.cursor is not None
            else messaging.Hello(live_only=True)
        )
        if self.cursor:
            server.shown(self.user, decode_cursor(self.cursor).time_us)
        self._give(stream, messaging.Command(command_id=self._next(), hello=hello))

    def lose(self) -> None:
        """The connection breaks; the server finds out later."""
        if self.stream is not None:
            self.stream.device = None
            self.take_rest(self.stream)

    def take_rest(self, stream: "Stream") -> None:
        """What was under way arrives or not."""
        if stream.wire and self.random.random() < 0.5:
            self._see_frame(stream.wire)
        self.stream_ended()

    def stream_ended(self) -> None:
        self.stream = None
        for attempt in self.in_flight.values():
            self._uncertain(attempt)
        self.in_flight.clear()
        self.acks.clear()

    def _next(self) -> int:
        self.command_id += 1
        return self.command_id

    @staticmethod
    def _give(stream: "Stream", command: messaging.Command) -> None:
        stream.frame(messaging.ConnectRequest(commands=[command]).SerializeToString())

    # Commands.

    def wish(self) -> None:
        """Want something new."""
        if not self.placed:
            return
        what = self.random.random()
        if what < 0.45 or not self.refs:
            self._wish_message()
        elif what < 0.75:
            self._wish_reaction()
        else:
            self._mark()

    def _wish_message(self) -> None:
        others = self.random.sample(self.users, self.random.choice([1, 1, 1, 2, len(self.users)]))
        ref = self.random.choice(self.refs) if self.refs and self.random.random() < 0.5 else None
        by_id = self.random.random() < 0.3

        def fill(command: messaging.Command, text: str) -> None:
            send = command.send_message
            send.message_id = wish.id
            if ref is not None:
                send.conversation_id = ref.conversation_id
                if not by_id:
                    send.reply_to.CopyFrom(ref)
            else:
                send.recipients.user_ids.extend(others)
            send.content.text = text

        wish = Wish(self._new_id("m"), fill)
        self.wishes.append(wish)
        self.attempt(wish)

    def _wish_reaction(self) -> None:
        ref, key = self.random.choice(self.refs[-2:]), self.random.choice(KEYS)
        removed = self.random.random() < 0.4

        def fill(command: messaging.Command, text: str) -> None:
            react = command.unreact if removed else command.react
            react.reaction_id = wish.id
            react.message.CopyFrom(ref)
            react.key = key if text == "text" else "altered"

        wish = Wish(self._new_id("r"), fill)
        self.wishes.append(wish)
        self.attempt(wish)

    def _new_id(self, kind: str) -> str:
        return f"{RUDE if self.rude else ''}{kind}{self.ids.next_id()}"

    def _mark(self) -> None:
        stream = self.stream
        if stream is None or not self.welcome:
            return
        command = messaging.Command(command_id=self._next(), traceparent=f"k{self.ids.next_id()}")
        what = self.random.random()
        ref = self.random.choice(self.refs)
        if what < 0.4:
            command.mark_read.through.CopyFrom(ref)
        elif what < 0.5:
            command.mark_received.through.CopyFrom(ref)
        elif self.cursor:
            command.acknowledge.cursor = self.cursor
        else:
            return
        self.acks.add(command.command_id)
        self._give(stream, command)

    def attempt(self, wish: Wish, *, alter: bool = False) -> None:
        stream = self.stream
        if stream is None or not self.welcome:
            return
        now_us = self.log.now_us
        if not wish.uncertain:
            wish.first_us = now_us
        wish.last_us = now_us
        wish.uncertain = True
        attempt = Attempt(f"a{self.ids.next_id()}", wish, altered=alter)
        wish.attempts.append(attempt)
        self.attempts.append(attempt)
        command = messaging.Command(command_id=self._next(), traceparent=attempt.name)
        wish.fill(command, "another" if alter else "text")
        self.in_flight[command.command_id] = attempt
        self._give(stream, command)

    def retry(self, *, alter: bool) -> None:
        """R3: blindly within the window of the first try; later only after looking."""
        if self.rude and self.log.faulty and self.wishes:
            self.attempt(self.random.choice(self.wishes), alter=alter)
            return
        waiting = [wish for wish in self.wishes if not wish.done]
        if not waiting or self.stream is None:
            return
        wish = self.random.choice(waiting)
        now_us = self.log.now_us
        if any(attempt.wish is wish for attempt in self.in_flight.values()) or now_us < wish.not_before_us:
            return
        blind = now_us - wish.first_us < RETRY_WINDOW_S * 1e6
        if wish.uncertain and not blind:
            if not self.resumed or self.opened_us <= wish.last_us:
                return  # looks first, on a stream that was opened since
            wish.first_us = self.opened_us
            if now_us - wish.first_us >= RETRY_WINDOW_S * 1e6:
                return  # that was too long ago: another stream is needed
        wish.not_before_us = now_us + 500_000
        self.attempt(wish, alter=alter and wish.uncertain)

    @property
    def wants_new_stream(self) -> bool:
        """Whether something is looked for that this stream cannot tell."""
        now_us = self.log.now_us
        return any(
            not wish.done
            and wish.uncertain
            and now_us - max(wish.first_us, self.opened_us) > RETRY_WINDOW_S * 1e6
            for wish in self.wishes
        )

    def _uncertain(self, attempt: Attempt) -> None:
        attempt.wish.uncertain = True

    # What it is told.

    def take(self) -> None:
        stream, server = self.stream, self.server
        if stream is None or not stream.wire or server is None:
            return
        frame, stream.wire = stream.wire, b""
        stream.written()
        self._see_frame(frame)

    def _see_frame(self, frame: bytes) -> None:
        for update in messaging.ConnectResponse.FromString(frame).updates:
            self._see(update)

    def _see(self, update: messaging.Update) -> None:
        kind = update.WhichOneof("update")
        if kind == "event":
            self._event(update.event)
        elif kind == "gap":
            self._gap(update.gap)
        elif kind == "resumed":
            self._resumed(update.resumed)
        elif kind == "checkpoint":
            self._position(update.checkpoint.cursor, "I7, I8")
        elif kind == "accepted":
            self._accepted(update.accepted.command_id)
        elif kind == "rejected":
            self._rejected(update.rejected)
        elif kind == "welcome":
            self.welcome = True

    def _event(self, event: messaging.Event) -> None:
        offset = self._offset(event.cursor)
        self._place(offset - 1)
        entry = self.truth.entry_of(self.user, offset)
        if offset <= self.offset or entry is None or entry.event is None:
            raise Violation(f"I6: {self.user} after {self.offset} is told {offset}, which is {entry}")
        self.truth.check_passed("I6", self.user, self.offset, offset)
        told = messaging.Event.FromString(event.SerializeToString())
        told.ClearField("cursor")
        if told != entry.event:
            raise Violation(f"I6: {self.user} is told something else at {offset}")
        if decode_cursor(event.cursor).time_us != self.truth.partitions[self.partition].newest[offset]:
            raise Violation(f"I12: {self.user} is told another time at {offset} than the log has come to")
        self._move(event.cursor, offset)
        assert self.server is not None
        self.server.shown(self.user, decode_cursor(event.cursor).time_us)
        self._keep(entry)

    def _keep(self, entry: Entry) -> None:
        self.fold.add(entry)
        assert entry.event is not None
        if entry.event.HasField("message"):
            self.refs = [*self.refs[-7:], entry.event.message.ref]
        for wish in self.wishes:
            if any(attempt.name == entry.event.traceparent for attempt in wish.attempts):
                wish.done = True

    def _gap(self, gap: messaging.Gap) -> None:
        after, until = self._offset(gap.after), self._offset(gap.until)
        self._place(after)
        entry = self.truth.entry_of(self.user, until)
        if until <= self.offset or entry is None or entry.event is not None or after != until - 1:
            raise Violation(
                f"I6: {self.user} after {self.offset} is told a gap {after} to {until}, there is {entry}"
            )
        self.truth.check_passed("I6", self.user, self.offset, until)
        self._move(gap.until, until)

    def _resumed(self, resumed: messaging.Resumed) -> None:
        offset = self._offset(resumed.cursor)
        if self.resumed or offset < self.opened_end - 1:
            raise Violation(f"R11: {self.user} resumed at {offset}, {self.opened_end} were durable before")
        self._place(offset)
        self.resumed = True
        self._position(resumed.cursor, "I7")

    def _position(self, cursor: str, rule: str) -> None:
        offset = self._offset(cursor)
        if offset < self.offset or offset >= self.log.end(self.partition):
            raise Violation(f"I7: {self.user} goes from {self.offset} to {offset}")
        self.truth.check_passed(rule, self.user, self.offset, offset + 1)
        if self.cursor and decode_cursor(self.cursor).time_us > decode_cursor(cursor).time_us:
            raise Violation(f"I12: the time of {self.user} goes back at {offset}")
        self._move(cursor, offset)

    def _place(self, offset: int) -> None:
        """Live only: it starts where the log ended some time after it asked, so nothing from before is told."""
        if not self.placed:
            if offset < self.opened_end - 1:
                raise Violation(f"I6: {self.user} asked for live events only and starts at {offset}")
            self.placed, self.offset = True, offset

    def _move(self, cursor: str, offset: int) -> None:
        self.cursor, self.offset = cursor, offset

    def _offset(self, text: str) -> int:
        cursor = decode_cursor(text)
        if cursor.partition != self.partition or cursor.incarnation != incarnation_bytes(INCARNATION):
            raise Violation(f"I7: {self.user} is given the cursor {cursor}")
        return cursor.offset

    def _accepted(self, command_id: int) -> None:
        attempt = self.in_flight.pop(command_id, None)
        if attempt is not None:
            attempt.accepted = attempt.wish.done = True
            if attempt.name not in self.truth.landed_attempts:
                raise Violation(f"I5: {attempt.name} of {attempt.wish.id} is accepted and not in the log")
        self.acks.discard(command_id)

    def _rejected(self, rejected: messaging.Rejected) -> None:
        if rejected.command_id == 0:
            if (self.user, rejected.message_id) not in self.truth.conflicts:
                raise Violation(f"R3: {rejected.message_id} of {self.user} is no conflict")
            return
        attempt = self.in_flight.pop(rejected.command_id, None)
        self.acks.discard(rejected.command_id)
        if attempt is None:
            return
        wish = attempt.wish
        if rejected.outcome == NOT_DONE:
            attempt.not_done = True
            if attempt is wish.attempts[0] and len(wish.attempts) == 1:
                wish.uncertain = False
                wish.done = self.random.random() < 0.3  # it certainly did not happen: some leave it at that
            if rejected.reason == messaging.REJECTED_REASON_MESSAGE_ID_CONFLICT and not attempt.altered:
                wish.done = True  # an altered try stands
        else:
            self._uncertain(attempt)

    # The end.

    def check_outcomes(self) -> None:
        """I5 and R4, when everything has landed that ever will."""
        for attempt in self.attempts:
            if attempt.not_done and attempt.name in self.truth.landed_attempts:
                raise Violation(f"R4: {attempt.name} was not done, and is in the log")
        for wish in self.wishes:
            count = self.truth.effective_ids.get((self.user, wish.id), 0)
            tried = [attempt for attempt in wish.attempts if not attempt.not_done]
            if (
                any(attempt.accepted for attempt in wish.attempts)
                and count != 1
                and not (self.rude and count)
            ):
                raise Violation(f"I5: {wish.id} was accepted and is effective {count} times")
            if count and not tried:
                raise Violation(f"R4: {wish.id} was refused each time, and is effective")
