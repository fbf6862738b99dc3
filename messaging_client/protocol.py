"""The client's side of the contract as a state machine that never awaits.

In go frames, commands, answers to its wishes and the time; out come frames, events, outcomes, changes for the store, and
wishes: load, connect, refresh the token, end the stream. At any time there is one stream, or one load, or a pause. Rules
named R are those of docs/architecture.md.
"""

import logging
import random
from collections.abc import Collection, Sequence

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_client import wire
from messaging_client.backoff import Backoff
from messaging_client.errors import ClientFailed, MessagingError, NotDone, Reason, Unauthenticated, WrongUser
from messaging_client.events import CellEvent, Event, Gap, NotSent, Reloaded, Reset, Started
from messaging_client.inbox import Inbox, Waiting
from messaging_client.kept import Change, Kept, Moved, OfLog, OfUser
from messaging_client.outbox import Outbox
from messaging_client.outgoing import FRAMING_BYTES, NEVER_S, Outgoing, State
from messaging_client.receipts import Receipt, Receipts
from messaging_client.settings import ClientSettings
from messaging_client.steps import Connect, End, Failed, Load, Step, Wait
from messaging_client.stream import Slot, Stream
from messaging_client.values import Conversation

_log = logging.getLogger("messaging_client")
_OWN_REOPEN_S = 1.0
"""Between two streams that the client opens of its own accord, or because it was told to leave, at least."""
_SHOWN_WITHIN_S = 1.0
"""For how long at most nothing is sent on a new stream before `resumed`, where something accepted was not shown before."""
_REFUSED_TOKENS = 3
"""Fresh tokens that are refused in succession before the client gives up."""
_USELESS_STREAMS = 3
"""Streams in succession that end with a status which trying again does not cure, before the client gives up."""
_REFRESH_AHEAD_S = 60.0
_REFUSED = frozenset(("INVALID_ARGUMENT", "FAILED_PRECONDITION"))
"""How a cell ends a stream whose client does what it must not."""
_NO_CELL = frozenset(("UNIMPLEMENTED", "PERMISSION_DENIED", "NOT_FOUND"))
"""What something says that is not a cell. Where there was one before, a proxy says it while that is away."""


class Protocol:
    """One client. Times are seconds of a clock that never goes back; only differences count."""

    def __init__(
        self, settings: ClientSettings, kept: Kept, rng: random.Random, *, refreshes_token: bool = True
    ) -> None:
        self.journal: list[Change] = []
        """What the store must know before any frame taken later is written."""
        self.outbox = Outbox(
            settings.max_outbox_commands,
            settings.max_outbox_bytes,
            self.journal,
            rng,
            in_order=settings.in_order,
        )
        self.inbox = Inbox(settings.max_event_bytes)
        self.user_id = kept.user_id
        self.cursor = settings.resume_after if kept.cursor is None else kept.cursor
        """Everything up to here was put into the inbox."""
        self.stream: Stream | None = None
        self.failure: ClientFailed | None = None
        self.is_online = False
        """Whether the present stream has been told all that was missed."""
        self.trouble = ""
        """Why there is no stream, for people, until one has told all that was missed."""
        self.token_due_s = NEVER_S
        """When a new token is to be had for the present stream; answer with `new_token` or `no_token`."""
        self._settings = settings
        self._log = self._log_seen = kept.log
        """The incarnation in which commands may have been tried; and the one that the cell told last."""
        self._refreshes_token = refreshes_token
        self._backoff = Backoff(settings.backoff_s, settings.max_backoff_s, rng)
        self._load: type[Reloaded] | None = Started if self.cursor is None else None
        self._not_before_s = -NEVER_S
        self._streams = 0
        self._sends_from_s = -NEVER_S
        self._unshown: tuple[str, int] | None = None
        """The message that was accepted last and has not been shown by any stream: its id, and the stream's number."""
        self._shown_by_s = -NEVER_S
        self._refused_tokens = 0
        self._useless = 0
        self._has_worked = False
        """Whether this client ever had a whole stream."""
        self._token = ""
        self._token_expires_us: int | None = None
        self._receipts = Receipts()
        self.outbox.load(kept.commands)
        self._tell_refused()

    # What the application asks for.

    def submit(self, outgoing: Outgoing, *, posted: bool) -> None:
        """Take a command. Its outcome comes in `outbox.settled` if it is not posted. Raises NotDone, ClientFailed."""
        self.check()
        self.outbox.add(outgoing, posted=posted)

    def withdraw(self, id_: str) -> MessagingError | None:
        """Nobody waits any more; see Outbox.withdraw."""
        has_stream = self.stream is not None and self.stream.welcomed
        return self.outbox.withdraw(id_, "" if has_stream else self.trouble)

    def hand_over(self, now_s: float) -> Event | None:
        """The next event; the one before is taken thereby."""
        self.take(now_s)
        waiting = self.inbox.hand_over()
        if waiting is None:
            return None
        if isinstance(waiting.event, CellEvent):
            self._receipts.handed(waiting.event, waiting.stream, self.user_id)
        return waiting.event

    def take(self, now_s: float) -> None:
        """The application is done with the event it was handed last."""
        for waiting in self.inbox.take():
            self._taken(waiting)
        self._hear_again(now_s)

    def acknowledge(self, cursor: str) -> None:
        """Tell the cell, soon, that everything through the event that was handed over with this cursor was received."""
        self._receipts.received(cursor)

    def fail(self, error: ClientFailed) -> None:
        """The client ends: it was closed, or cannot go on."""
        if self.failure is None:
            self.failure = error

    def check(self) -> None:
        """Raise the failure, if there is one."""
        if self.failure is not None:
            # The same one each time: it must not collect where it was raised.
            raise self.failure.with_traceback(None)

    def take_journal(self) -> list[Change]:
        """The changes to make now. Of the cursors only the last counts."""
        changes: list[Change] = []
        has_moved = False
        for change in reversed(self.journal):
            if not isinstance(change, Moved):
                changes.append(change)
            elif not has_moved:
                changes.append(change)
                has_moved = True
        self.journal.clear()
        changes.reverse()
        return changes

    # What the shell is to do.

    def next_step(self, now_s: float) -> Step:
        """What to do while there is no stream and no load."""
        if self.failure is not None:
            return Failed(self.failure)
        if now_s < self._not_before_s:
            return Wait(self._not_before_s)
        if self._load is not None:
            return Load(self._load, tuple(self.outbox.uncertain()))
        return Connect()

    def connect(self, now_s: float) -> messaging.ConnectRequest:
        """The first frame of a new stream."""
        self._streams += 1
        self.stream = Stream(self._streams, self._settings, now_s)
        hello = messaging.Hello(
            resume_after=self.cursor or "",
            client_id=self._settings.client_id,
            client_info=self._settings.client_info,
        )
        return messaging.ConnectRequest(commands=[self.stream.numbered(messaging.Command(hello=hello), None)])

    def next_frame(self, now_s: float) -> messaging.ConnectRequest | None:
        """The next frame to write, once the journal of now is durable."""
        stream = self.stream
        if stream is None or not stream.welcomed or self.failure is not None:
            return None
        stream.frame_by_s = NEVER_S
        most = stream.view.limits.max_commands_per_frame or 1
        commands = self._own_commands(stream, now_s, most)
        room = min(stream.room(), most - len(commands))
        if room > 0 and now_s >= self._may_send_from_s:
            frame_bytes = sum(command.ByteSize() + FRAMING_BYTES for command in commands)
            now_us = stream.server_us(now_s)
            taken = self.outbox.take(stream.view, room, now_s, now_us, frame_bytes=frame_bytes)
            commands += [stream.numbered(outgoing.command, outgoing) for outgoing in taken]
            stream.frame_by_s = min((each.leaves_by_s for each in taken), default=NEVER_S)
            self._reopen_to_look(now_s)
            self._tell_refused()
        return messaging.ConnectRequest(commands=commands) if commands else None

    def may_write(self, now_s: float) -> bool:
        """Whether the frame that was taken last may be written now, or it has taken too long to be kept.

        If so, the stream is left, and its commands are judged anew: the cell must not get one later than the window of its
        first try allows (R3).
        """
        stream = self.stream
        if stream is None:
            return False
        if now_s < stream.frame_by_s:
            return True
        stream.leave(now_s, stream.view.opened_s + _OWN_REOPEN_S)
        return False

    def has_frame(self) -> bool:
        """Whether `next_frame` may have something that does not wait for a time."""
        stream = self.stream
        return stream is not None and stream.welcomed and (self.outbox.has_ready() or bool(self._token))

    def wants_end(self, now_s: float) -> bool:
        """Whether the stream must be ended now."""
        stream = self.stream
        return stream is not None and (self.failure is not None or stream.wants_end(now_s))

    @property
    def reads(self) -> bool:
        """Whether the stream is to be read: while there is room for events, or an answer is waited for."""
        stream = self.stream
        if stream is None or not self.inbox.is_full:
            return True
        looks = self.outbox.is_looking and not stream.view.resumed
        return not stream.welcomed or stream.is_deaf or looks or bool(stream.in_flight)

    def due_s(self, now_s: float) -> float:
        """When something is to be done although nothing happens."""
        stream = self.stream
        if stream is None:
            return self.outbox.due_s()
        due_s = min(stream.due_s(), self.outbox.due_s(), self.token_due_s)
        if stream.welcomed and not stream.is_leaving:
            if self.outbox.has_ready() and now_s < self._may_send_from_s:
                due_s = min(due_s, self._may_send_from_s)
            if stream.room():
                due_s = min(due_s, self._receipts.due_s())
        return due_s

    def on_time(self, now_s: float) -> None:
        """Do what is due."""
        self.outbox.on_time(now_s)
        if self.stream is not None:
            self.stream.on_time(now_s)

    # What the shell has done.

    def received(self, updates: Sequence[messaging.Update], now_s: float) -> None:
        """A frame of the present stream."""
        stream = self.stream
        if stream is None:
            return
        for update in updates:
            self._update(stream, update, now_s)
        self._reopen_to_look(now_s)
        self._tell_refused()

    def stream_ended(self, end: End, now_s: float) -> None:
        """The present stream is over: what had no outcome is uncertain (R4)."""
        stream, self.stream = self.stream, None
        if stream is None:
            return
        self.is_online = False
        self.token_due_s = NEVER_S
        self._token = ""
        for receipt in stream.receipts():
            self._receipts.untold(receipt)
        self._receipts.stream_ended()
        self.outbox.broken(stream.outgoing())
        if stream.is_broken:
            self._ended_by_cell(End("UNAVAILABLE", "the cell does not answer"), now_s)
        elif stream.is_leaving and stream.welcomed:
            self._not_before_s = max(now_s, stream.reconnect_s)
        else:
            self._ended_by_cell(end, now_s)

    def connect_failed(self, end: End, now_s: float) -> None:
        """There was no token to connect with, or the like."""
        self.stream = None
        self._ended_by_cell(end, now_s)

    def loaded(
        self,
        cursor: str,
        conversations: Sequence[Conversation],
        complete: bool,
        found: Collection[str],
        now_s: float,
    ) -> None:
        """Where the next stream starts, the first conversations there, and the sought messages that history had."""
        cause, self._load = self._load, None
        if cause is None:
            return
        self._refused_tokens = 0
        self.outbox.found(found)
        self._in_log(self._log_seen)
        self.cursor = cursor
        if self._settings.receives_events:
            self.inbox.put(cause(cursor, tuple(conversations), complete), cursor, 1_024 * len(conversations))
        else:
            self._pass_to(cursor)

    def load_failed(self, end: End, now_s: float) -> None:
        """It is tried again."""
        self._ended_by_cell(end, now_s)

    def new_token(self, token: str, expires_us: int | None) -> None:
        """A token to refresh the stream's with; and when it runs out, if that is known."""
        self.token_due_s = NEVER_S
        self._token = token
        self._token_expires_us = expires_us

    def no_token(self, now_s: float) -> None:
        """There is none now; ask again later."""
        if self.stream is not None:
            self.token_due_s = now_s + self._settings.backoff_s * 5

    # Updates.

    def _update(self, stream: Stream, update: messaging.Update, now_s: float) -> None:
        match update.WhichOneof("update"):
            case "event":
                self._event(stream, update.event)
            case "accepted":
                self._accepted(stream, update.accepted.command_id, now_s)
            case "rejected":
                self._rejected(stream, update.rejected, now_s)
            case "pong":
                stream.in_flight.pop(update.pong.command_id, None)
                stream.ponged()
            case "welcome":
                self._welcome(stream, update.welcome, now_s)
            case "resumed":
                self._resumed(stream, update.resumed, now_s)
            case "checkpoint":
                if not stream.is_deaf:
                    self._pass_to(update.checkpoint.cursor)
            case "gap":
                if not stream.is_deaf:
                    self._reload(stream, Gap, now_s)
            case "go_away":
                self._go_away(stream, update.go_away, now_s)

    @property
    def _may_send_from_s(self) -> float:
        return max(self._sends_from_s, self._shown_by_s)

    def _event(self, stream: Stream, event: messaging.Event) -> None:
        ref = event.message.ref
        if self._unshown is not None and (ref.sender_id, ref.message_id) == (self.user_id, self._unshown[0]):
            self._unshown = None
        self.outbox.seen(event, self.user_id)
        if stream.is_deaf:
            return
        if self.inbox.is_overfull:
            stream.is_deaf = True
            return
        told = wire.event_from(event, self.user_id) if self._settings.receives_events else None
        if told is None or self.inbox.is_repeat(event):
            self._pass_to(event.cursor)
        else:
            self.cursor = event.cursor
            self.inbox.put(told, event.cursor, event.ByteSize(), stream=stream.view.number)

    def _welcome(self, stream: Stream, welcome: messaging.Welcome, now_s: float) -> None:
        if self.user_id and self.user_id != welcome.user_id:
            self.fail(WrongUser(f"this store is of {self.user_id}, the token of {welcome.user_id}"))
            return
        if not self.user_id:
            self.user_id = welcome.user_id
            self.journal.append(OfUser(welcome.user_id))
        stream.opened(welcome, now_s)
        self._receipts.opened(stream.view.number)
        self._refused_tokens = 0
        self._log_seen = welcome.log_incarnation or self._log
        if self._log and self._log_seen != self._log:
            self._another_log(stream, now_s)  # before any command is given to this stream
        else:
            self._in_log(self._log_seen)
        if self._unshown is not None:  # this server may not know its time, and its clock may be behind (I12)
            self._shown_by_s = now_s + _SHOWN_WITHIN_S
        if welcome.HasField("token_expire_time"):
            self._token_runs_out(stream, wire.micros(welcome.token_expire_time), now_s)

    def _token_runs_out(self, stream: Stream, at_us: int, now_s: float) -> None:
        """By the cell's clock. A new one is wanted before."""
        if self._refreshes_token:
            left_s = max(0.0, (at_us - stream.server_us(now_s)) / 1e6)
            self.token_due_s = now_s + max(0.8 * left_s, left_s - _REFRESH_AHEAD_S)

    def _resumed(self, stream: Stream, resumed: messaging.Resumed, now_s: float) -> None:
        self._useless = 0
        self._has_worked = True
        if resumed.outcome == messaging.RESUME_OUTCOME_RESET:
            self._another_log(stream, now_s)
        if self._load is not None:
            return
        self._backoff.succeeded()
        stream.view.resumed = True
        self._shown_by_s = -NEVER_S
        if self._unshown is not None and self._unshown[1] < stream.view.number:
            self._unshown = None
        self.outbox.resumed(stream.view, now_s)
        if not stream.is_deaf:
            self.is_online = True
            self.trouble = ""
            self._pass_to(resumed.cursor)

    def _another_log(self, stream: Stream, now_s: float) -> None:
        """This one does not remember the ids of commands that were tried in the one before."""
        self.outbox.forget_windows()
        self._reload(stream, Reset, now_s)

    def _in_log(self, incarnation: str) -> None:
        """What was tried in another log has been looked for: commands are tried in this one from here on."""
        if incarnation != self._log:
            self._log = incarnation
            self.journal.append(OfLog(incarnation))

    def _reload(self, stream: Stream, cause: type[Reloaded], now_s: float) -> None:
        """Leave the stream, load, and go on from there, after a pause: history may be no further itself yet."""
        if self._load is None:
            stream.leave(now_s + self._settings.leave_s, now_s + self._backoff.failed())
        self._load = cause
        stream.is_deaf = True

    def _go_away(self, stream: Stream, go_away: messaging.GoAway, now_s: float) -> None:
        if go_away.reason == messaging.GO_AWAY_REASON_TOKEN_EXPIRING:
            if self._refreshes_token:
                self.token_due_s = min(self.token_due_s, now_s)
            else:
                _log.warning("the access token runs out, and the client was given no source of others")
            return
        left_s = (wire.micros(go_away.close_time) - stream.server_us(now_s)) / 1e6
        by_s = now_s + (left_s if go_away.HasField("close_time") else self._settings.leave_s)
        after_s = now_s + wire.seconds(go_away.reconnect_after)
        stream.leave(by_s, max(after_s, stream.view.opened_s + _OWN_REOPEN_S))

    # Outcomes.

    def _accepted(self, stream: Stream, command_id: int, now_s: float) -> None:
        slot = stream.in_flight.pop(command_id, None)
        if isinstance(slot, Outgoing):
            if slot.kind == "send_message" and slot.state is State.IN_FLIGHT:
                self._unshown = slot.id, stream.view.number
            self.outbox.accepted(slot)
        elif isinstance(slot, Receipt):
            self._receipts.told()
        elif slot is Slot.REFRESH and self._token_expires_us is not None:
            self._token_runs_out(stream, self._token_expires_us, now_s)

    def _rejected(self, stream: Stream, rejected: messaging.Rejected, now_s: float) -> None:
        refusal = wire.refusal_from(rejected)
        if rejected.command_id == 0:  # a conflict that was found after the message had been accepted
            self._tell_unsent(rejected.message_id, refusal)
            return
        slot = stream.in_flight.pop(rejected.command_id, None)
        if isinstance(slot, Outgoing):
            if refusal.reason in (Reason.RATE_LIMITED, Reason.TOO_MANY_IN_FLIGHT):
                self._sends_from_s = now_s + (refusal.retry_after_s or 0.0)
            unknown = rejected.outcome != messaging.REJECTED_OUTCOME_NOT_DONE
            self.outbox.rejected(slot, refusal, unknown=unknown, now_s=now_s)
        elif isinstance(slot, Receipt):
            if refusal.retry_after_s is None:
                self._receipts.told()
            else:
                self._receipts.untold(slot, now_s + refusal.retry_after_s)
        elif slot is Slot.REFRESH:
            self.no_token(now_s)

    def _tell_refused(self) -> None:
        unsent, self.outbox.unsent = self.outbox.unsent, []
        for command_id, refusal in unsent:
            self._tell_unsent(command_id, refusal)

    def _tell_unsent(self, command_id: str, refusal: NotDone) -> None:
        if self._settings.receives_events:
            self.inbox.put(NotSent(command_id, refusal), None)
        else:
            _log.error("%s was not sent: %s", command_id, refusal)
            self.outbox.told(command_id, refusal)

    # What is sent beside the application's commands.

    def _own_commands(self, stream: Stream, now_s: float, most: int) -> list[messaging.Command]:
        commands = []
        if self._token:
            refresh = messaging.RefreshToken(token=self._token)
            self._token = ""
            commands.append(stream.numbered(messaging.Command(refresh_token=refresh), Slot.REFRESH))
        if len(commands) < most and (ping := stream.ping(now_s)) is not None:
            commands.append(ping)
        for receipt in self._receipts.take(now_s, min(stream.room(), most - len(commands))):
            commands.append(stream.numbered(receipt.command, receipt))
        return commands

    # Cursors.

    def _pass_to(self, cursor: str) -> None:
        self.cursor = cursor
        for waiting in self.inbox.pass_to(cursor):
            self._taken(waiting)

    def _taken(self, waiting: Waiting) -> None:
        if isinstance(waiting.event, NotSent):
            self.outbox.told(waiting.event.message_id, waiting.event.error)
        if waiting.cursor is not None:
            self.journal.append(Moved(waiting.cursor))
        if self._settings.acknowledges and isinstance(waiting.event, CellEvent):
            self._receipts.received(waiting.event.cursor)

    # Leaving and failing.

    def _reopen_to_look(self, now_s: float) -> None:
        """Something can only be settled on a later stream (R3)."""
        stream = self.stream
        if stream is not None and not stream.is_leaving:
            if self.outbox.wants_stream_after(stream.view.number):
                stream.leave(now_s + self._settings.leave_s, stream.view.opened_s + _OWN_REOPEN_S)
            self._hear_again(now_s)

    def _hear_again(self, now_s: float) -> None:
        """There is room for the events that were left in the cell."""
        stream = self.stream
        if stream is not None and stream.is_deaf and not stream.is_leaving and self.inbox.has_room:
            stream.leave(now_s + self._settings.leave_s, stream.view.opened_s + _OWN_REOPEN_S)

    def _ended_by_cell(self, end: End, now_s: float) -> None:
        if self.failure is None:
            self.trouble = end.detail or end.code
            level = logging.INFO if self._backoff.failures else logging.WARNING
            _log.log(level, "there is no stream to the cell now, another is tried: %s", self.trouble)
        self._not_before_s = now_s + (end.retry_after_s or 0.0) + self._backoff.failed()
        if end.code == "UNAUTHENTICATED":
            self._refused_tokens += 1
            if not self._refreshes_token or self._refused_tokens >= _REFUSED_TOKENS:
                self.fail(Unauthenticated(end.detail or "the access token does not hold"))
        elif end.code == "OUT_OF_RANGE":  # the log ends before our cursor: it is not the log it was
            self.outbox.forget_windows()
            self._load = Reset
        elif end.reason is Reason.CURSOR_INVALID:
            self.fail(WrongUser(f"the cell does not take the cursor: {end.detail}"))
        elif end.code in _REFUSED or (end.code in _NO_CELL and not self._has_worked):
            self._useless += 1
            if self._useless >= _USELESS_STREAMS:
                self.fail(ClientFailed(f"{end.code}: {end.detail}"))
