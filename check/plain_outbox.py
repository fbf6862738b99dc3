"""The commands of a plain client that have no outcome yet, and how each gets one (R3, R4, I12). It never awaits.

Times are seconds of a clock that never goes back.
"""

import heapq
import uuid
from collections import deque
from collections.abc import Iterable

from cell.messaging.v1 import messaging_pb2 as messaging
from check.ledger import Ledger

FRAME_BYTES = 1 << 19
"""A frame takes commands until it is this long: far below what gRPC servers take."""

_SHOWN_WITHIN_S = 1.0
"""For how long at most nothing is sent on a new stream before `resumed`, where something accepted was not shown before."""
_LEAST_PAUSE_S = 0.02
"""Before a command that was refused is tried again."""
_NEVER_S = float("inf")


def new_id() -> str:
    """A message_id or reaction_id."""
    return uuid.uuid4().hex


def text_message(text: str, to: Iterable[str], message_id: str = "") -> messaging.Command:
    """A command that sends text to users."""
    return messaging.Command(
        send_message=messaging.SendMessage(
            message_id=message_id or new_id(),
            recipients=messaging.Recipients(user_ids=to),
            content=messaging.Content(text=text),
        )
    )


class Submission:
    """A command on its way, over as many tries as it takes."""

    __slots__ = (
        "accepted",
        "blind_until_s",
        "command",
        "found",
        "pong",
        "rejected",
        "rejections",
        "stream",
        "tries",
    )

    def __init__(self, command: messaging.Command) -> None:
        self.command = command
        self.accepted = False
        self.found = False
        """Settled by looking, not by an outcome: its event was there after a resume."""
        self.pong: messaging.Pong | None = None
        self.rejected: messaging.Rejected | None = None
        """The refusal that settled it."""
        self.rejections: list[messaging.Rejected] = []
        """All refusals, those after which it was tried again too."""
        self.tries = 0
        self.blind_until_s = _NEVER_S
        """From here on it is not tried without a look."""
        self.stream = 0
        """Number of the stream it was last sent on."""

    @property
    def id(self) -> str:
        """The client's own id for it; empty if it has none."""
        name = self.command.WhichOneof("command")
        body = getattr(self.command, name) if name else None
        return getattr(body, "message_id", "") or getattr(body, "reaction_id", "")

    @property
    def settled(self) -> bool:
        """Whether its outcome is known."""
        return self.accepted or self.pong is not None or self.rejected is not None


class PlainOutbox:
    """What one client of `ledger`'s user wants done.

    `retry_window_s` is how long it tries again blindly, None for as long as Welcome allows. `unshown` is a message that an
    earlier client of the same program knows to be accepted and was not shown.
    """

    def __init__(
        self, ledger: Ledger, *, retry_window_s: float | None, first_command_id: int, unshown: str
    ) -> None:
        self.in_flight: dict[int, Submission] = {}
        """Without an outcome on the present stream, by command_id."""
        self.accepted_order: list[Submission] = []
        self.conflicts: list[messaging.Rejected] = []
        self.strays: list[messaging.Update] = []
        """Outcomes that belong to no command in flight; always a fault of the server."""
        self._ledger = ledger
        self._own_window_s = retry_window_s
        self._next_command_id = first_command_id
        self._waiting: deque[Submission] = deque()
        self._held: list[tuple[float, int, Submission]] = []
        self._to_look: list[Submission] = []
        self._limits = messaging.Limits()
        self._stream = 0
        self._opened_s = 0.0
        self._resumed = False
        self._unshown: tuple[str, int] | None = (unshown, 0) if unshown else None
        """The message that was accepted last, if no stream has shown it: its id, and the number of its stream."""
        self._shown_by_s = -_NEVER_S

    def __repr__(self) -> str:
        return (
            f"waiting {len(self._waiting) + len(self._held)}, in flight {len(self.in_flight)}, "
            f"to look {len(self._to_look)}"
        )

    # The life of streams.

    def opens(self, stream: int, now_s: float) -> None:
        """A stream is being opened."""
        self._stream, self._opened_s, self._resumed = stream, now_s, False

    def welcomed(self, limits: messaging.Limits, now_s: float) -> None:
        """The stream takes commands. Its server may not know the time of what it has not shown, and be behind (I12)."""
        self._limits = limits
        if self.unshown:
            self._shown_by_s = now_s + _SHOWN_WITHIN_S

    def resumed(self, now_s: float) -> None:
        """The stream has been told all that was durable when it opened."""
        self._resumed = True
        self._shown_by_s = -_NEVER_S
        if self._unshown is not None and self._unshown[1] < self._stream:
            self._unshown = None
        self._look(now_s)

    def stream_ended(self) -> None:
        """What is in flight is uncertain."""
        self._shown_by_s = -_NEVER_S
        self._waiting.extendleft(reversed(self.in_flight.values()))
        self.in_flight.clear()

    @property
    def wants_later_stream(self) -> bool:
        """Whether something must be looked for on a stream that is opened after the present one."""
        return any(submission.stream >= self._stream for submission in self._to_look)

    @property
    def unshown(self) -> str:
        """The id of the message that was accepted last and not shown; empty if there is none."""
        if self._unshown is None or (self._ledger.user_id, self._unshown[0]) in self._ledger.names:
            return ""
        return self._unshown[0]

    # What is sent.

    def add(self, submission: Submission) -> None:
        """A command to try until it is settled."""
        self._waiting.append(submission)

    def numbered(self, command: messaging.Command) -> messaging.Command:
        """The command, with the next number."""
        self._next_command_id += 1
        command.command_id = self._next_command_id
        return command

    def may_send(self, now_s: float) -> bool:
        """Whether `next_batch` may have something on a stream that is open."""
        self._release(now_s)
        has_room = len(self.in_flight) < (self._limits.max_in_flight or 1)
        return bool(self._waiting) and has_room and now_s >= self._shown_by_s

    def due_s(self, now_s: float) -> float:
        """When `may_send` may become true although nothing happens."""
        self._release(now_s)
        due_s = self._held[0][0] if self._held else _NEVER_S
        return min(due_s, self._shown_by_s) if self._shown_by_s > now_s else due_s

    def next_batch(self, now_s: float) -> list[Submission]:
        """What goes into the next frame, within the limits that Welcome named. It is then in flight."""
        in_frame = self._limits.max_commands_per_frame or 1
        room = min(in_frame, (self._limits.max_in_flight or 1) - len(self.in_flight))
        batch: list[Submission] = []
        size = 0
        while self._waiting and len(batch) < room and size < FRAME_BYTES:
            submission = self._waiting.popleft()
            if submission.id and now_s >= submission.blind_until_s:
                self._look_first(submission, now_s)
                continue
            size += submission.command.ByteSize()
            self._try(submission, now_s)
            batch.append(submission)
        return batch

    def _try(self, submission: Submission, now_s: float) -> None:
        own_s = self._window_s if self._own_window_s is None else self._own_window_s
        submission.blind_until_s = min(submission.blind_until_s, now_s + own_s)
        submission.tries += 1
        submission.stream = self._stream
        self.in_flight[self.numbered(submission.command).command_id] = submission

    @property
    def _window_s(self) -> float:
        return self._limits.retry_window.ToMicroseconds() / 1e6

    def _hold(self, submission: Submission, until_s: float) -> None:
        heapq.heappush(self._held, (until_s, id(submission), submission))

    def _release(self, now_s: float) -> None:
        while self._held and self._held[0][0] <= now_s:
            self._waiting.append(heapq.heappop(self._held)[2])

    # Looking.

    def _look_first(self, submission: Submission, now_s: float) -> None:
        """It may not be tried blindly (R3): settle it after a resume on a stream later than its last try."""
        self._to_look.append(submission)
        if self._resumed:
            self._look(now_s)

    def _look(self, now_s: float) -> None:
        looking, self._to_look = self._to_look, []
        for submission in looking:
            if submission.stream >= self._stream:
                self._to_look.append(submission)
            elif (self._ledger.user_id, submission.id) in self._ledger.names:
                submission.found = True
                self._accept(submission)
            else:
                self._send_anew(submission, now_s)

    def _send_anew(self, submission: Submission, now_s: float) -> None:
        """It never was, up to the opening of this stream: so its window starts there."""
        until_s = self._opened_s + self._window_s
        if now_s < until_s:
            submission.blind_until_s = until_s
            self._waiting.appendleft(submission)
        else:  # that is too long ago
            submission.stream = self._stream
            self._to_look.append(submission)

    # What became of a try.

    def outcome(self, update: messaging.Update, now_s: float) -> None:
        """`accepted`, `rejected` or `pong`."""
        if update.HasField("rejected") and update.rejected.command_id == 0:
            self.conflicts.append(update.rejected)
            return
        outcome = getattr(update, str(update.WhichOneof("update")))
        submission = self.in_flight.pop(outcome.command_id, None)
        if submission is None:
            self.strays.append(update)
        elif update.HasField("accepted"):
            if submission.command.HasField("send_message"):
                self._unshown = submission.id, submission.stream
            self._accept(submission)
        elif update.HasField("pong"):
            submission.pong = update.pong
        else:
            self._rejected(submission, update.rejected, now_s)

    def unanswered(self, commands: Iterable[messaging.Command], now_s: float, pause_s: float) -> None:
        """A call with these failed: they are tried again after a pause."""
        for command in commands:
            submission = self.in_flight.pop(command.command_id, None)
            if submission is not None:
                self._hold(submission, now_s + pause_s)

    def _accept(self, submission: Submission) -> None:
        submission.accepted = True
        self.accepted_order.append(submission)

    def _rejected(self, submission: Submission, rejected: messaging.Rejected, now_s: float) -> None:
        submission.rejections.append(rejected)
        certain = rejected.outcome == messaging.REJECTED_OUTCOME_NOT_DONE
        if rejected.reason == messaging.REJECTED_REASON_RETRY_TOO_OLD and submission.id:
            self._look_first(submission, now_s)
        elif rejected.HasField("retry_after") or not certain:
            delay_s = rejected.retry_after.ToMicroseconds() / 1e6
            self._hold(submission, now_s + max(delay_s, _LEAST_PAUSE_S))
        else:
            submission.rejected = rejected
