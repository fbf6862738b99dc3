"""The commands that have no outcome yet, and how each gets the right one: rules R3 and R4, without any I/O.

A command is *uncertain* while some try of it may have landed in the cell's log. Such a command is tried again blindly, with
the same id, until the cell's retry window has passed since its first try. After that the client looks first: a stream that
was opened after the last try, and that has been told everything up to its opening (`resumed`), has shown the command's own
event, or the command never was. Then it is sent anew, and its window starts where that stream was opened.

Commands of one *lane* go one after the other, so that retries cannot change their order.
"""

import heapq
import random
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from itertools import chain

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_client.errors import MessagingError, NotDone, OutcomeUnknown, Reason
from messaging_client.kept import Change, Drop, KeptCommand, Put, Refused, Tried
from messaging_client.outgoing import FRAMING_BYTES, NEVER_S, Outgoing, State, View, beyond

_OVERHEAD_BYTES = 512
"""Counted for each command beside its encoding."""
_RETRY_CAP_S = 5.0
_LEAVES_S = 5.0
"""From when a try is made until it is written, at most: a store may be slow, and a machine sleep."""
_LANDED_S = 1.0
"""After the time by which a try has landed: enough to be after it."""
_GIVEN_UP = 256
"""Commands that ended as unknown and are remembered. Beyond: the oldest is sent as a new one if it comes again."""
_SETTLED = 64
"""Commands that may stay in the queue although they are settled, beside as many as there are others."""


class Outbox:
    """All commands without an outcome. Results are put on `settled`, and what a store must know on `journal`."""

    def __init__(
        self, max_commands: int, max_bytes: int, journal: list[Change], rng: random.Random, *, in_order: bool
    ) -> None:
        self.settled: list[tuple[Outgoing, MessagingError | None]] = []
        """Outcomes somebody waits for; None = done."""
        self.unsent: list[tuple[str, NotDone]] = []
        """Refused, and nobody waits for it: to be told as an event. Answer: `told`."""
        self.abandoned = 0
        """Commands that had no outcome when the client ended."""
        self._max_commands = max_commands
        self._max_bytes = max_bytes
        self._journal = journal
        self._rng = rng
        self._in_order = in_order
        self._bytes = 0
        self._all: dict[str, Outgoing] = {}
        self._lanes: dict[str, deque[Outgoing]] = {}
        self._ready: deque[Outgoing] = deque()
        self._held: list[tuple[float, int, Outgoing]] = []
        self._held_count = 0
        self._looking: dict[str, Outgoing] = {}
        self._given_up: dict[str, Outgoing] = {}
        """Commands that ended as unknown, for callers who send them once more."""
        self._untold: dict[str, NotDone] = {}
        """What the store keeps of commands that were refused: until that was told, or the id is used anew."""

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._all

    # In.

    def load(self, kept: Iterable[KeptCommand]) -> None:
        """Take what an earlier process left. What it had tried is looked for first: no clock outlives a process."""
        for each in kept:
            if each.refusal is not None:
                self._tell(each.id, each.refusal)
                continue
            command = messaging.Command.FromString(each.command)
            traceparent = command.traceparent
            command.ClearField("traceparent")
            outgoing = Outgoing(each.id, each.lane, command)
            outgoing.traceparent = traceparent
            outgoing.is_posted = True
            if each.tried_at_us is not None:
                outgoing.uncertain = outgoing.is_marked = True
                outgoing.tried_at_us = each.tried_at_us
            self._enter(outgoing)

    def add(self, outgoing: Outgoing, *, posted: bool) -> None:
        """Take a command. The same one again is joined. Raises NotDone: OUTBOX_FULL, MESSAGE_ID_CONFLICT."""
        known = self._all.get(outgoing.id)
        if known is not None:
            if known.command != outgoing.command:
                detail = "a command with this id and another payload is under way"
                raise NotDone(Reason.MESSAGE_ID_CONFLICT, detail, message_id=outgoing.id)
            outgoing = known
        elif len(self._all) >= self._max_commands or self._bytes + outgoing.size > self._max_bytes:
            raise self._full(outgoing.id)
        else:
            self._go_on(outgoing)
            tried_at_us = outgoing.tried_at_us if outgoing.uncertain else None
            traced = messaging.Command(traceparent=outgoing.traceparent)
            command = outgoing.command.SerializeToString() + traced.SerializeToString()
            if self._untold.pop(outgoing.id, None) is not None:
                self._journal.append(Drop(outgoing.id))  # the new command takes its place
            self._journal.append(Put(KeptCommand(outgoing.id, outgoing.lane, command, tried_at_us)))
            self._enter(outgoing)
        outgoing.is_posted |= posted
        outgoing.waiters += not posted
        if outgoing.is_found:
            self._settle(outgoing, None)

    def told(self, id_: str, refusal: NotDone) -> None:
        """The application knows of this refusal: nothing of that command is kept any more."""
        if self._untold.get(id_) is refusal:
            del self._untold[id_]
            self._journal.append(Drop(id_))

    def withdraw(self, id_: str, trouble: str = "") -> MessagingError | None:
        """One who waits does so no longer: what is to be told to it. None if it is settled already.

        `trouble` is why there is no stream now.
        """
        outgoing = self._all.get(id_)
        if outgoing is None:
            return None
        outgoing.waiters -= 1
        if outgoing.is_posted or outgoing.waiters:
            return OutcomeUnknown("the client goes on trying", message_id=id_)
        unknown = outgoing.uncertain
        refusal = outgoing.refusal
        why = f"; there is no stream to the cell: {trouble}" if trouble else ""
        self._remove(outgoing)
        self._journal.append(Drop(id_))
        if unknown:
            self._given_up[id_] = outgoing
            if len(self._given_up) > _GIVEN_UP:
                del self._given_up[next(iter(self._given_up))]
            said = f"; the last refusal was {refusal}" if refusal else why
            return OutcomeUnknown(f"no outcome in time{said}", message_id=id_)
        detail = f"it could not be sent in time{why}"
        return refusal or NotDone(Reason.DEADLINE, detail, retry_after_s=0.0, message_id=id_)

    def abandon(self, why: str, *, kept: bool) -> int:
        """The client ends: everyone who waits is told what can be said. How many commands are given up thereby.

        `kept`: the store has them for the next one.
        """
        given_up = list(self._all.values())
        for outgoing in given_up:
            if outgoing.waiters:
                self.settled.append((outgoing, _abandoned(outgoing, why, kept)))
            self._remove(outgoing)
        self.abandoned += len(given_up)
        return len(given_up)

    # Out.

    def take(
        self, view: View, room: int, now_s: float, now_us: int, *, frame_bytes: int = 0
    ) -> list[Outgoing]:
        """At most `room` commands to send on this stream now, in order. They are then in flight.

        They go into a frame that has `frame_bytes` already.
        """
        taken: list[Outgoing] = []
        size = frame_bytes
        while self._ready and len(taken) < room:
            outgoing = self._ready[0]
            added = outgoing.size + FRAMING_BYTES
            if outgoing.state is State.READY and size and size + added > view.frame_bytes:
                break  # alone it has room, or is refused as too large
            self._ready.popleft()
            if outgoing.state is not State.READY or self._has_no_use(outgoing, view, now_s):
                continue
            self._try(outgoing, view, now_s, now_us)
            size += added
            taken.append(outgoing)
        return taken

    @property
    def is_looking(self) -> bool:
        """Whether something is looked for."""
        return bool(self._looking)

    def has_ready(self) -> bool:
        """Whether `take` may have something to give."""
        return bool(self._ready)

    def wants_stream_after(self, number: int) -> bool:
        """Whether something must be looked for on a stream later than this one."""
        return any(outgoing.stream >= number for outgoing in self._looking.values())

    def uncertain(self) -> Iterator[Outgoing]:
        """Commands of which some try may have landed."""
        everything = chain(self._all.values(), self._given_up.values())
        return (each for each in everything if each.uncertain and not each.is_repeatable)

    # What became of a try.

    def accepted(self, outgoing: Outgoing) -> None:
        """It is durable."""
        self._happened(outgoing.id, outgoing.command)

    def rejected(self, outgoing: Outgoing, refusal: NotDone, *, unknown: bool, now_s: float) -> None:
        """A try was refused, or its outcome is unknown."""
        if outgoing.state is not State.IN_FLIGHT:
            return  # it was seen to have happened, or given up
        if not unknown:
            outgoing.uncertain = outgoing.was_uncertain
        outgoing.refusal = refusal
        outgoing.refusals += 1
        if refusal.reason is Reason.RETRY_TOO_OLD:
            outgoing.uncertain = True
            outgoing.blind_until_s = -NEVER_S
            self._hold(outgoing, now_s)
        elif unknown or refusal.retry_after_s is not None:
            self._hold(outgoing, now_s + (refusal.retry_after_s or 0.0))
        else:
            self._refuse(outgoing, refusal)

    def broken(self, in_flight: Iterable[Outgoing]) -> None:
        """A stream ended before these had an outcome."""
        for outgoing in in_flight:
            if outgoing.state is State.IN_FLIGHT:
                self._make_ready(outgoing)

    def seen(self, event: messaging.Event, user_id: str) -> None:
        """An event of this user: what it shows to have happened needs no outcome any more."""
        kind = event.WhichOneof("event")
        if kind == "message" and event.message.ref.sender_id == user_id:
            self._seen_message(event.message)
        elif kind == "reaction_changed" and event.reaction_changed.user_id == user_id:
            self._seen_reaction(event.reaction_changed)

    def resumed(self, view: View, now_s: float) -> None:
        """This stream has been told everything up to its opening: what was looked for and not seen never was."""
        for outgoing in list(self._looking.values()):
            self._judge(outgoing, view, now_s)

    def found(self, ids: Collection[str]) -> None:
        """History has these."""
        for id_ in ids:
            self._happened(id_)

    def forget_windows(self) -> None:
        """The cell has another log: its memory of ids is gone, so nothing may be tried again blindly."""
        for outgoing in self.uncertain():
            outgoing.blind_until_s = -NEVER_S

    # Time.

    def due_s(self) -> float:
        """When `on_time` has something to do."""
        return self._held[0][0] if self._held else NEVER_S

    def on_time(self, now_s: float) -> None:
        """What was held may be ready."""
        while self._held and self._held[0][0] <= now_s:
            _, _, outgoing = heapq.heappop(self._held)
            if outgoing.state is State.HELD and outgoing.not_before_s <= now_s:
                self._make_ready(outgoing)

    # Inside.

    def _go_on(self, outgoing: Outgoing) -> None:
        """A command that was given up before goes on from where it was: it is as uncertain as then."""
        former = self._given_up.pop(outgoing.id, None)
        if former is not None and former.command == outgoing.command:
            outgoing.uncertain = outgoing.is_marked = True
            outgoing.blind_until_s = former.blind_until_s
            outgoing.stream = former.stream
            outgoing.sent_s = former.sent_s
            outgoing.tried_at_us = former.tried_at_us
            outgoing.is_found = former.is_found

    def _happened(self, id_: str, command: messaging.Command | None = None) -> None:
        """A command is known to be done, by whichever of its tries."""
        outgoing = self._all.get(id_)
        if outgoing is not None and command in (None, outgoing.command):
            self._settle(outgoing, None)
        given_up = self._given_up.get(id_)
        if given_up is not None and command in (None, given_up.command):
            given_up.is_found = True

    def _full(self, id_: str) -> NotDone:
        by_count = len(self._all) >= self._max_commands
        what, limit = ("commands", self._max_commands) if by_count else ("bytes of commands", self._max_bytes)
        detail = f"{what} without an outcome yet: at most {limit}"
        return NotDone(Reason.OUTBOX_FULL, detail, limit=limit, retry_after_s=1.0, message_id=id_)

    def _enter(self, outgoing: Outgoing) -> None:
        self._all[outgoing.id] = outgoing
        self._bytes += outgoing.size + _OVERHEAD_BYTES
        if not self._in_order:
            outgoing.lane = outgoing.id
        lane = self._lanes.setdefault(outgoing.lane, deque())
        lane.append(outgoing)
        if len(lane) == 1:
            self._make_ready(outgoing)

    def _make_ready(self, outgoing: Outgoing) -> None:
        outgoing.state = State.READY
        self._ready.append(outgoing)

    def _has_no_use(self, outgoing: Outgoing, view: View, now_s: float) -> bool:
        """Whether it must not be tried now: it is looked for first, or the cell would certainly refuse it."""
        if outgoing.uncertain and not outgoing.is_repeatable:
            if outgoing.sent_s == -NEVER_S:  # by an earlier process
                outgoing.sent_s = now_s
            if outgoing.is_final or now_s >= outgoing.blind_until_s:
                self._look(outgoing, view, now_s)
                return True
        elif (refusal := beyond(outgoing, view)) is not None:
            self._settle(outgoing, refusal)
            return True
        return False

    def _try(self, outgoing: Outgoing, view: View, now_s: float, now_us: int) -> None:
        if not outgoing.uncertain:
            outgoing.blind_until_s = now_s + view.window_s
        if not outgoing.is_marked:
            outgoing.is_marked = True
            outgoing.tried_at_us = now_us
            self._journal.append(Tried(outgoing.id, now_us))
        outgoing.was_uncertain = outgoing.uncertain
        outgoing.uncertain = True
        outgoing.lands_by_s = outgoing.sent_s + _LEAVES_S + view.window_s
        outgoing.sent_s = now_s
        outgoing.leaves_by_s = now_s + _LEAVES_S
        if outgoing.was_uncertain and not outgoing.is_repeatable:
            outgoing.leaves_by_s = min(outgoing.leaves_by_s, outgoing.blind_until_s)
        outgoing.stream = view.number
        outgoing.state = State.IN_FLIGHT

    def _hold(self, outgoing: Outgoing, until_s: float) -> None:
        spread_s = min(_RETRY_CAP_S, 0.05 * 2 ** min(outgoing.refusals, 10))
        outgoing.not_before_s = until_s + self._rng.uniform(0.0, spread_s)
        outgoing.state = State.HELD
        self._held_count += 1
        heapq.heappush(self._held, (outgoing.not_before_s, self._held_count, outgoing))

    def _refuse(self, outgoing: Outgoing, refusal: NotDone) -> None:
        """Trying it again will not help. If an earlier try may have landed, it is looked for before that is told."""
        outgoing.refusal = refusal
        if outgoing.uncertain and not outgoing.is_repeatable:
            outgoing.is_final = True
            self._make_ready(outgoing)
        else:
            self._settle(outgoing, refusal)

    def _look(self, outgoing: Outgoing, view: View, now_s: float) -> None:
        outgoing.state = State.LOOKING
        self._looking[outgoing.id] = outgoing
        if view.resumed:
            self._judge(outgoing, view, now_s)

    def _judge(self, outgoing: Outgoing, view: View, now_s: float) -> None:
        """Its event was not seen, on a stream that is `resumed`. That says something if its last try was before."""
        if outgoing.stream >= view.number:
            return
        if outgoing.is_final and view.opened_s > outgoing.lands_by_s:
            self._settle(outgoing, outgoing.refusal)
            return
        outgoing.stream = view.number
        if outgoing.is_final:  # an earlier try may happen yet: once it no longer can, a later stream tells
            if now_s <= outgoing.lands_by_s:
                del self._looking[outgoing.id]
                self._hold(outgoing, outgoing.lands_by_s + _LANDED_S)
            return
        outgoing.blind_until_s = view.opened_s + view.window_s
        if now_s < outgoing.blind_until_s:
            del self._looking[outgoing.id]
            self._make_ready(outgoing)

    def _seen_message(self, message: messaging.Message) -> None:
        id_ = message.ref.message_id
        if id_ in self._given_up and message.content == self._given_up[id_].command.send_message.content:
            self._given_up[id_].is_found = True
        outgoing = self._all.get(id_)
        if outgoing is None or outgoing.kind != "send_message" or not outgoing.uncertain:
            return
        if message.content == outgoing.command.send_message.content:
            self._settle(outgoing, None)
        elif outgoing.state is not State.IN_FLIGHT:
            detail = "this id was used for another payload, which stands"
            outgoing.refusal = NotDone(Reason.MESSAGE_ID_CONFLICT, detail, message_id=outgoing.id)
            outgoing.is_final = True

    def _seen_reaction(self, changed: messaging.ReactionChanged) -> None:
        """A reaction is state: one like it does as well, unless ours is under way."""
        wanted = "unreact" if changed.removed else "react"
        for outgoing in self.uncertain():
            if outgoing.kind != wanted or outgoing.state is State.IN_FLIGHT:
                continue
            asked = getattr(outgoing.command, wanted)
            if asked.message == changed.message and asked.key == changed.key:
                self._happened(outgoing.id)
                return

    def _settle(self, outgoing: Outgoing, error: MessagingError | None) -> None:
        if outgoing.state is State.SETTLED:
            return
        waits = outgoing.waiters > 0
        self._remove(outgoing)
        if isinstance(error, NotDone) and not waits:
            self._journal.append(Refused(outgoing.id, error))
            self._tell(outgoing.id, error)
        else:
            self._journal.append(Drop(outgoing.id))
            if waits:
                self.settled.append((outgoing, error))

    def _tell(self, id_: str, refusal: NotDone) -> None:
        self._untold[id_] = refusal
        self.unsent.append((id_, refusal))

    def _remove(self, outgoing: Outgoing) -> None:
        outgoing.state = State.SETTLED
        del self._all[outgoing.id]
        self._looking.pop(outgoing.id, None)
        self._bytes -= outgoing.size + _OVERHEAD_BYTES
        lane = self._lanes[outgoing.lane]
        was_first = lane[0] is outgoing
        lane.remove(outgoing)
        if not lane:
            del self._lanes[outgoing.lane]
        elif was_first:
            self._make_ready(lane[0])
        if len(self._ready) > 2 * len(self._all) + _SETTLED:  # while there is no stream nobody takes them
            self._ready = deque(each for each in self._ready if each.state is State.READY)


def _abandoned(outgoing: Outgoing, why: str, kept: bool) -> MessagingError:
    if kept:
        return OutcomeUnknown(f"{why}; the store has it for the next client", message_id=outgoing.id)
    if outgoing.uncertain:
        return OutcomeUnknown(f"{why}, and the outcome had not come", message_id=outgoing.id)
    return NotDone(Reason.CLOSED, f"{why}, and it was not sent yet", message_id=outgoing.id)
