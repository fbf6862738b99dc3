"""How one stream follows its user's events: R8 to R12, as a state machine that never awaits.

`position` is the offset of the last event that was put into the stream's lane, or that the stream was told does not exist.
Only `event`, `gap`, `checkpoint` and `resumed` carry it to the client (R10); an outcome never does.
"""

from enum import Enum

from cell.delivery.v1 import session_link_pb2 as link
from messaging_core.cursor import Cursor
from messaging_core.events import EventsPage
from messaging_server import endings, pieces
from messaging_server.endings import Ending
from messaging_server.hello import Start
from messaging_server.outbound import Outbound
from messaging_server.presence import Agenda, User
from messaging_server.settings import ServerSettings


class State(Enum):
    """Where a stream stands between its client and the owner of its partition."""

    OPENING = "opening"
    """Until hello came and the log's end is known."""
    WAITING = "waiting for an owner"
    ATTACHING = "attaching"
    """The owner has been asked, or will be at the end of this turn."""
    PAGING = "paging history"
    """The owner does not reach back far enough (Behind)."""
    DRAINING = "draining"
    """Takes no events until what it holds has been written: it overflowed (R12), or its credit was used up."""
    LIVE = "live"
    CLOSED = "closed"


OPENING, WAITING, ATTACHING, PAGING, DRAINING, LIVE, CLOSED = State
NEVER_S = float("inf")


class Subscription:
    """One stream's way through its user's events."""

    __slots__ = (
        "_after_drain",
        "_agenda",
        "_cursor_offset",
        "_end",
        "_incarnation",
        "_live_since",
        "_resumed",
        "_retry_s",
        "_settings",
        "_start",
        "attach_wanted",
        "attempt",
        "ending",
        "number",
        "outbound",
        "position",
        "position_time_us",
        "state",
        "user",
        "write_wanted",
    )

    def __init__(
        self, user: User, number: int, agenda: Agenda, settings: ServerSettings, incarnation: bytes
    ) -> None:
        self.user = user
        self.number = number
        self._agenda = agenda
        self._settings = settings
        self._incarnation = incarnation
        self.outbound = Outbound()
        self.state = OPENING
        self.ending: Ending | None = None
        self.position = -1
        self.position_time_us = 0
        self.attempt = 0
        self.attach_wanted = False
        self.write_wanted = False
        self._start: Start | None = None
        self._end = -1
        """The log's end, read after the stream was opened; -1 until then."""
        self._resumed = False
        self._live_since = 0
        """The partition's `through_count` when this went live."""
        self._cursor_offset = -1
        """The position that the client was told last."""
        self._after_drain = WAITING
        self._retry_s = NEVER_S

    # What the stream asks for.

    def start(self, start: Start) -> None:
        """Follow from here: the log's end is looked up first."""
        self._start = start
        self._agenda.seek_end.append(self)

    def log_end(self, end: int | None, now_s: float) -> None:
        """The partition's end was read after `start`; None if that failed."""
        start = self._start
        if self.state is not OPENING or start is None:
            return
        if end is None:
            self._retry_s = now_s + self._settings.retry_s
            self._wake()
            return
        if start.after is None:
            self.position = end - 1
        elif start.after.offset >= end:
            self.end(endings.PAST_END)
            return
        else:
            self.position, self.position_time_us = start.after.offset, start.after.time_us
        self._cursor_offset = self.position
        self._end = end
        self._attach()

    # What the owner of the partition says.

    def owner_changed(self) -> None:
        """The partition has another owner, none, or the same one anew: what was under way is void."""
        if self.state in (LIVE, ATTACHING, WAITING):
            self._leave_live()
            self._attach()

    def attach_message(self) -> link.Attach:
        """The latest attach."""
        return link.Attach(
            partition=self.user.view.partition,
            user_id=self.user.user_id,
            user_number=self.user.number,
            session_number=self.number,
            attempt=self.attempt,
            after_offset=self.position,
            credit_bytes=self._settings.event_buffer_bytes // 2,
        )

    def attach_replied(self, reply: link.AttachReply, now_s: float) -> None:
        """The current owner answers an attach; any but the latest is void (R8)."""
        if not self._is_latest(reply):
            return
        self.user.view.attaching.pop(self.number, None)
        outcome = reply.outcome
        if outcome in (link.ATTACH_OUTCOME_ATTACHED, link.ATTACH_OUTCOME_PARTIAL):
            self._catch_up(reply)
            if outcome == link.ATTACH_OUTCOME_ATTACHED:
                self._go_live()
            else:
                self._drain_then(WAITING)
        elif outcome == link.ATTACH_OUTCOME_BEHIND:
            self._page()
        elif outcome == link.ATTACH_OUTCOME_PAST_END:
            self._doubt_position(now_s)
        else:
            self._wait_to_attach(now_s)

    def push(self, offset: int, piece: bytes, time_us: int) -> bool:
        """A live event. False if the stream did not take it: it had it already, or overflowed (R12)."""
        if offset <= self.position:
            return False
        outbound = self.outbound
        if outbound.event_bytes and outbound.event_bytes + len(piece) > self._settings.event_buffer_bytes:
            self._overflow()
            return False
        outbound.put_event(piece)
        self._pass(offset, time_us)
        self._cursor_offset = offset
        if not self.write_wanted:
            self.want_write()
        if not self._resumed:
            self.check_resumed()
        return True

    def was_sent(self, sender_id: str, offset: int, direct_ref: bytes) -> int:
        """A message was put into the stream. Gives its sent_at in microseconds if it is a direct one of another; else 0."""
        raise NotImplementedError

    def conflict_found(self, name: str) -> None:
        """A command of this user that was accepted reused an id for another payload (R3)."""
        raise NotImplementedError

    def check_resumed(self) -> None:
        """Tell `resumed` once: attached, and past all that was durable when the stream opened (R11)."""
        if self.state is LIVE and not self._resumed and self.effective_position >= self._end - 1:
            assert self._start is not None
            self._resumed = True
            self._agenda.figures.resumes[self._start.outcome] += 1
            self.user.view.catching_up.discard(self)
            self._tell_position(pieces.resumed_piece(self.cursor(), self._start.outcome))

    # What history says.

    def page_read(self, page: EventsPage | None, now_s: float) -> None:
        """A page of history after the position, or None where history did not answer."""
        if self.state is not PAGING:
            return
        if page is None:
            self._retry_s = now_s + self._settings.retry_s
            self._wake()
            return
        before = self.position
        for event in page.events:
            if event.offset > self.position:
                self._queue(event.offset, event.piece, event.time_us)
                self.was_sent(event.sender_id, event.offset, event.direct_ref)
        self._pass(page.through_offset, page.through_time_us)
        if self.position == before:  # the window has moved on and history has not come there yet
            self._wait_to_attach(now_s)
        else:
            self._drain_then(PAGING if page.through_offset < page.persisted_offset else WAITING)

    # What the writer and the clock say.

    def drained(self) -> None:
        """Everything put into the stream so far was written."""
        if self.state is DRAINING and not self.outbound.event_bytes:
            if self._after_drain is PAGING:
                self._page()
            else:
                self._attach()

    def retry(self, now_s: float) -> None:
        """Ask again what could not be answered, if it is time."""
        if now_s < self._retry_s:
            return
        self._retry_s = NEVER_S
        if self.state is OPENING:
            self._agenda.seek_end.append(self)
        elif self.state is PAGING:
            self._agenda.page.append(self)
        elif self.state is WAITING:
            self._attach()

    def checkpoint(self) -> None:
        """Tell the position, if the client has not been told (R10)."""
        if self.state is LIVE and self.effective_position > self._cursor_offset:
            self._tell_position(pieces.checkpoint_piece(self.cursor()))

    def end(self, ending: Ending) -> None:
        """The stream ends, after what it holds has been written."""
        if self.ending is None:
            self.ending = ending
            self._close_subscription()
            self.want_write()

    # Where it stands.

    @property
    def effective_position(self) -> int:
        """The position, raised by what the owner said of the partition since this went live (I8)."""
        view = self.user.view
        if self.state is LIVE and view.through_count > self._live_since:
            return max(self.position, view.through_offset)
        return self.position

    def may_know(self, offset: int) -> bool:
        """Whether a client may have seen this offset: here, or on an earlier stream."""
        return self._end < 0 or offset <= max(self.effective_position, self._end - 1)

    def cursor(self) -> Cursor:
        """The effective position as a cursor."""
        self._fold_through()
        return Cursor(self._incarnation, self.user.view.partition, self.position, self.position_time_us)

    @property
    def takes_events(self) -> bool:
        """Whether the owner should send this user's events here."""
        return self.state is LIVE or self.state is ATTACHING

    def want_write(self) -> None:
        """Have the shell look at the outbound."""
        if not self.write_wanted:
            self.write_wanted = True
            self._agenda.write.append(self)

    def _is_latest(self, reply: link.AttachReply) -> bool:
        return self.state is ATTACHING and reply.attempt == self.attempt

    def _attach(self) -> None:
        """Ask the partition's owner, if there is one."""
        view = self.user.view
        self._retry_s = NEVER_S
        if view.owner is None:
            self.state = WAITING
            view.attaching.pop(self.number, None)
            return
        self.state = ATTACHING
        self.attempt += 1
        view.attaching[self.number] = self
        if not self.attach_wanted:
            self.attach_wanted = True
            self._agenda.attach.append(self)

    def _wait_to_attach(self, now_s: float) -> None:
        self.state = WAITING
        self._retry_s = now_s + self._settings.retry_s
        self._agenda.detach.append(self.user)
        self._wake()

    def _doubt_position(self, now_s: float) -> None:
        """An owner says that the position is past the end: look at the log itself before believing it."""
        self.state = OPENING
        assert self._start is not None
        self._start = self._start._replace(after=self.cursor())
        self._retry_s = now_s + self._settings.retry_s
        self._wake()

    def _catch_up(self, reply: link.AttachReply) -> None:
        for event in reply.events:
            if event.offset > self.position:
                self._queue(event.offset, event.piece, event.event_time_us)
                self.was_sent(event.sender_id, event.offset, event.direct_ref)
        self._pass(reply.through_offset, reply.through_time_us)

    def _go_live(self) -> None:
        view = self.user.view
        self.state = LIVE
        self._live_since = view.through_count
        if not self._resumed:
            view.catching_up.add(self)
            self.check_resumed()

    def _leave_live(self) -> None:
        self._fold_through()
        self.user.view.catching_up.discard(self)

    def _overflow(self) -> None:
        self._agenda.figures.overflows += 1
        self._leave_live()
        self._agenda.detach.append(self.user)
        self._drain_then(WAITING)

    def _drain_then(self, after: State) -> None:
        self.state = DRAINING
        self._after_drain = after
        if not self.outbound.event_bytes:
            self.drained()

    def _page(self) -> None:
        self.state = PAGING
        self._agenda.detach.append(self.user)
        self._agenda.page.append(self)

    def _queue(self, offset: int, piece: bytes, time_us: int) -> None:
        self.outbound.put_event(piece)
        self._pass(offset, time_us)
        self._cursor_offset = offset
        self.want_write()

    def _tell_position(self, piece: bytes) -> None:
        self._cursor_offset = self.position
        self.outbound.put_event(piece)
        self.want_write()

    def _pass(self, offset: int, time_us: int) -> None:
        if offset > self.position:
            self.position = offset
        if time_us > self.position_time_us:
            self.position_time_us = time_us

    def _fold_through(self) -> None:
        view = self.user.view
        if self.state is LIVE and view.through_count > self._live_since:
            self._pass(view.through_offset, view.through_time_us)

    def _close_subscription(self) -> None:
        self._leave_live()
        self.state = CLOSED
        self.user.view.attaching.pop(self.number, None)
        self._agenda.detach.append(self.user)

    def _wake(self) -> None:
        """Have `on_time` called soon."""
        raise NotImplementedError
