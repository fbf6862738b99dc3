"""One client stream as a state machine that never awaits: frames, fates, events and time in; frames and wishes out.

`Subscription` is its events half; here are its commands and its time. What the server must do for it is put on the shared
`Agenda`; what the client is to see is in `outbound`.

An idle stream costs this object, its Pipeline and its Outbound with two empty lists, its User with a list of one and an
entry each in two dictionaries, a place in the timer, and the handler's coroutine that gRPC needs: no task, no future, no
timer of its own. About 1.5 KB; a direct message not yet acknowledged adds 0.7 KB per peer.
"""

from dataclasses import dataclass

import structlog
from google.protobuf.message import DecodeError

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core.clock import wall_us
from messaging_core.identity import Authenticator, Identity, TokenInvalid
from messaging_core.ids import MAX_COMMAND_ID_BYTES
from messaging_core.refusals import Refused
from messaging_server import endings, pieces
from messaging_server.endings import Ending
from messaging_server.figures import kind_of
from messaging_server.hello import cursor_invalid, own_cursor, read_hello, welcome_piece
from messaging_server.marks import Delivered
from messaging_server.pipeline import CommandDesk, Pending, Pipeline
from messaging_server.presence import Agenda, User
from messaging_server.receipts import Receipts
from messaging_server.spans import Deliveries
from messaging_server.subscription import CLOSED, NEVER_S, Subscription

_log = structlog.get_logger(__name__)
APPENDING = frozenset(("send_message", "react", "unreact", "mark_read", "mark_received"))


@dataclass(slots=True, frozen=True)
class Shared:
    """What all sessions of a server have in common."""

    desk: CommandDesk
    agenda: Agenda
    authenticator: Authenticator
    incarnation: bytes
    """See messaging_core.cursor.incarnation_bytes."""
    deliveries: Deliveries | None = None
    """Where events are traced."""


class Session(Subscription):
    """One stream of one user."""

    __slots__ = (
        "_checkpoint_s",
        "_close_s",
        "_close_with",
        "_expires_s",
        "_half_closed",
        "_hello_by_s",
        "_identity",
        "_pipeline",
        "_progress_s",
        "_receipts",
        "_shared",
        "_warned",
        "wake_s",
        "writing",
    )

    def __init__(self, shared: Shared, user: User, number: int, identity: Identity) -> None:
        desk = shared.desk
        super().__init__(user, number, shared.agenda, desk.settings, shared.incarnation)
        self._shared = shared
        self._pipeline = Pipeline(desk, user.user_id, self)
        self.writing = False
        """Whether a frame is being written."""
        now_s = desk.now_s()
        self._progress_s = now_s
        self._hello_by_s = now_s + desk.settings.limits.hello_timeout_s
        self._checkpoint_s = now_s + desk.settings.checkpoint_s
        self._half_closed = False
        self._close_s = NEVER_S
        self._close_with = endings.LEAVING
        self._receipts: Receipts | None = None
        self.wake_s = NEVER_S
        """When `on_time` wants to be called next."""
        self._set_identity(identity)
        self._wake_by(self._next_wake_s(now_s))

    # From the client.

    def frame(self, data: bytes) -> None:
        """A frame of a Connect stream: its commands in order, or the stream ends and none of them is executed."""
        limits = self._settings.limits
        if self.ending is not None:
            return None
        if len(data) > limits.max_frame_bytes:
            return self.end(endings.frame_too_large(limits.max_frame_bytes))
        try:
            commands = messaging.ConnectRequest.FromString(data).commands
        except DecodeError:
            return self.end(endings.BAD_FRAME)
        if not commands:
            return self.end(endings.EMPTY_FRAME)
        if len(commands) > limits.max_commands_per_frame:
            return self.end(endings.too_many_commands(limits.max_commands_per_frame))
        for command in commands:
            self._execute(command)
        return self._shared.desk.submit()

    def open(self, hello: messaging.Hello) -> None:
        """The stream opens."""
        view = self.user.view
        try:
            start = read_hello(hello, view.partition, self._incarnation)
        except Refused as refused:
            return self.end(endings.by(refused))
        self._hello_by_s = NEVER_S
        self._shared.desk.clock.observe(start.time_us)
        welcome = welcome_piece(self._identity, self.session_id, self._settings, self._incarnation)
        self._put_outcome(welcome)
        _log.debug(
            "stream opened",
            session=self.session_id,
            client_id=hello.client_id,
            client_info=hello.client_info,
        )
        return self.start(start)

    def half_closed(self) -> None:
        """The client sends no more: the stream ends when everything in flight has its outcome."""
        self._half_closed = True
        if self._hello_by_s != NEVER_S:
            self.end(endings.HELLO_MISSING)
        else:
            self._end_if_done()

    def was_sent(self, sender_id: str, offset: int, direct_ref: bytes) -> int:
        """See Subscription.was_sent; one of a direct conversation may be acknowledged."""
        if direct_ref and sender_id != self.user.user_id:
            if self._receipts is None:
                self._receipts = Receipts(self._shared.desk, self.user.user_id, self)
            sent_at = messaging.MessageRef.FromString(direct_ref).sent_at
            sent_at_us = sent_at.seconds * 1_000_000 + sent_at.nanos // 1_000
            self._receipts.delivered(sender_id, Delivered(offset, sent_at_us, direct_ref))
            return sent_at_us
        return 0

    @property
    def session_id(self) -> str:
        """Names this stream in logs."""
        return f"{self._settings.server_id}-{self.number}"

    @property
    def reads_on(self) -> bool:
        """Whether more commands may be read: not while the client leaves its outcomes lying."""
        return self.outbound.outcome_bytes <= self._settings.outcome_buffer_bytes

    # Of commands.

    def accepted(self, pending: Pending) -> None:
        """A command is durable."""
        self._put_outcome(pieces.accepted_piece(pending.command_id))
        self._end_if_done()

    def refused(self, pending: Pending, refused: Refused) -> None:
        """A command was refused after it had been taken."""
        self._reject(pending.command_id, pending.name, refused)
        self._end_if_done()

    def conflict_found(self, name: str) -> None:
        """A command that was accepted turned out to reuse an id for another payload (R3)."""
        if self.state is CLOSED or not self.reads_on:
            return
        detail = "this id was used for another payload, which stands"
        self._reject(0, name, Refused(messaging.REJECTED_REASON_MESSAGE_ID_CONFLICT, detail))

    def ack_done(self, command_id: int) -> None:
        """An acknowledgement has told what it had to."""
        self._put_outcome(pieces.accepted_piece(command_id))
        self._end_if_done()

    def ack_refused(self, command_id: int, refused: Refused) -> None:
        """What an acknowledgement tells is not durable."""
        self._reject(command_id, "", refused)
        self._end_if_done()

    # From the clock and the writer.

    def on_time(self) -> None:
        """Do what is due, and say in `wake_s` when to call again."""
        now_s = self._shared.desk.now_s()
        if self._takes_nothing(now_s):
            self.end(endings.SLOW_CONSUMER)
            self.outbound.clear()  # gRPC may hold the call for long yet
            self._agenda.force.append(self)
            self._progress_s = NEVER_S
        if self.ending is None:
            self._end_if_due(now_s)
        if self.ending is None:
            self.retry(now_s)
            if self._receipts is not None:
                self._receipts.tell()
            if now_s >= self._checkpoint_s:
                self._checkpoint_s = now_s + self._settings.checkpoint_s
                self.checkpoint()
        self.wake_s = NEVER_S
        self._wake_by(self._next_wake_s(now_s))

    def take_frame(self) -> bytes:
        """The next frame to write; empty if there is none."""
        frame = self.outbound.take_frame(self._settings.frame_bytes)
        self.writing = bool(frame)
        if not frame:
            self.write_wanted = False
        return frame

    def written(self) -> None:
        """The frame was taken by the client's transport."""
        self.writing = False
        self._progress_s = self._shared.desk.now_s()
        if self._shared.deliveries:
            self._shared.deliveries.written(self)
        self.drained()

    def writing_starts(self) -> None:
        """The shell turns to this stream after a pause."""
        self._progress_s = self._shared.desk.now_s()
        self._wake_by(self._progress_s + self._settings.slow_consumer_s)

    def go_away(self, reason: "messaging.GoAwayReason", reconnect_after_s: float, close_in_s: float) -> None:
        """Tell the client to leave, with its position in front; the stream ends by itself then."""
        if self.ending is not None or self._hello_by_s != NEVER_S:
            return
        self.checkpoint()
        close_time_us = wall_us() + int(close_in_s * 1_000_000)
        self.outbound.put_event(pieces.go_away_piece(reason, reconnect_after_s, close_time_us))
        self.want_write()

    def leave(self, reconnect_after_s: float, close_in_s: float) -> None:
        """The server drains: the stream ends after `close_in_s`, and not before its commands have their outcomes."""
        if self._close_s == NEVER_S and self.ending is None:
            self.go_away(messaging.GO_AWAY_REASON_DRAIN, reconnect_after_s, close_in_s)
            self._close_s = self._shared.desk.now_s() + close_in_s
            self._wake_by(self._close_s)

    def close(self, ending: Ending = endings.LEAVING) -> None:
        """The stream is gone, or must go now: nobody reads what is left."""
        if self.ending is None:
            self.end(ending)
        if self._receipts is not None:
            self._receipts.tell()
            self._receipts = None
        self._pipeline.close()
        if self._shared.deliveries:
            self._shared.deliveries.ended(self)
        self.outbound.clear()
        self.wake_s = NEVER_S

    # Inside.

    def _execute(self, command: messaging.Command) -> None:
        if self.ending is not None:
            return None
        name = command.WhichOneof("command")
        if name == "hello" or self._hello_by_s != NEVER_S:
            return self._open_with(command, name)
        try:
            self._pipeline.check(command)
            if name in APPENDING:
                return self._pipeline.take(command)
            self._pipeline.count_other()
            if name == "ping":
                self._put_outcome(pieces.pong_piece(command.command_id, wall_us()))
            elif name == "acknowledge":
                self._acknowledge(command)
            elif name == "refresh_token":
                self._refresh(command)
            else:
                raise Refused(messaging.REJECTED_REASON_UNSUPPORTED, "this server does not know this command")
            self._agenda.figures.others[name] += 1
        except Refused as refused:
            self._agenda.figures.refused(kind_of(name), refused)
            self._reject(command.command_id, client_id_of(command, name), refused)
        return None

    def _open_with(self, command: messaging.Command, name: str | None) -> None:
        if name != "hello":
            return self.end(endings.HELLO_MISSING)
        if self._hello_by_s == NEVER_S:
            return self.end(endings.HELLO_TWICE)
        try:
            self._pipeline.check(command)
        except Refused as refused:
            return self.end(endings.by(refused))
        return self.open(command.hello)

    def _refresh(self, command: messaging.Command) -> None:
        try:
            identity = self._shared.authenticator.verify(command.refresh_token.token)
        except TokenInvalid as invalid:
            reason = messaging.REJECTED_REASON_TOKEN_INVALID
            raise Refused(reason, str(invalid), "refresh_token.token") from None
        if identity.user_id != self.user.user_id:
            detail = "the token names another user"
            raise Refused(messaging.REJECTED_REASON_TOKEN_INVALID, detail, "refresh_token.token")
        self._set_identity(identity)
        self._wake_by(self._next_wake_s(self._shared.desk.now_s()))
        self._put_outcome(pieces.accepted_piece(command.command_id))

    def _set_identity(self, identity: Identity) -> None:
        self._identity = identity
        self._warned = False
        self._expires_s = NEVER_S
        if identity.expires_at_s is not None:
            self._expires_s = self._shared.desk.now_s() + identity.expires_at_s - wall_us() / 1e6

    def _acknowledge(self, command: messaging.Command) -> None:
        field = "acknowledge.cursor"
        cursor = own_cursor(command.acknowledge.cursor, self.user.view.partition, self._incarnation, field)
        if cursor is None or not self.may_know(cursor.offset):
            raise cursor_invalid(field)
        if self._receipts is None:
            return self.ack_done(command.command_id)
        self._receipts.acknowledge(command.command_id, cursor.offset)
        return self._wake_by(self._receipts.next_due_s() or NEVER_S)

    # Endings and time.

    def _put_outcome(self, piece: bytes) -> None:
        if self.state is not CLOSED:
            self.outbound.put_outcome(piece)
            self.want_write()

    def _reject(self, command_id: int, name: str, refused: Refused) -> None:
        self._put_outcome(pieces.rejected_piece(command_id, name, refused))

    def _end_if_done(self) -> None:
        if self._half_closed and not self._pipeline.count and not (self._receipts and self._receipts.waiting):
            self.end(endings.CLIENT_DONE)

    def _end_if_due(self, now_s: float) -> None:
        if now_s >= self._hello_by_s:
            self.end(endings.HELLO_LATE)
        elif now_s >= self._expires_s:
            self.end(endings.TOKEN_RUN_OUT)
        elif now_s >= self._close_s and not self._pipeline.count:
            self.end(endings.LEAVING)
        elif now_s >= self._expires_s - self._settings.expiry_notice_s and not self._warned:
            self._warned = True
            self.go_away(messaging.GO_AWAY_REASON_TOKEN_EXPIRING, 0.0, self._expires_s - now_s)

    def _takes_nothing(self, now_s: float) -> bool:
        return self.writing and now_s - self._progress_s >= self._settings.slow_consumer_s

    def _next_wake_s(self, now_s: float) -> float:
        if self.ending is not None and not self.write_wanted:
            return NEVER_S
        settings = self._settings
        expiry_s = self._expires_s if self._warned else self._expires_s - settings.expiry_notice_s
        due_s = min(self._hello_by_s, expiry_s, max(self._close_s, now_s), self._checkpoint_s, self._retry_s)
        if self.writing:
            due_s = min(due_s, self._progress_s + settings.slow_consumer_s)
        if self._receipts is not None and (mark_s := self._receipts.next_due_s()) is not None:
            due_s = min(due_s, mark_s)
        return due_s

    def _wake(self) -> None:
        self._wake_by(self._retry_s)

    def _wake_by(self, at_s: float) -> None:
        """Have `on_time` called no later than this."""
        if at_s < self.wake_s:
            self.wake_s = at_s
            self._agenda.wake.append(self)


def client_id_of(command: messaging.Command, name: str | None) -> str:
    """The message_id or reaction_id of a command; empty if it has none that may be one by its length."""
    own_id = ""
    if name == "send_message":
        own_id = command.send_message.message_id
    elif name == "react":
        own_id = command.react.reaction_id
    elif name == "unreact":
        own_id = command.unreact.reaction_id
    return own_id if len(own_id) <= MAX_COMMAND_ID_BYTES else ""
