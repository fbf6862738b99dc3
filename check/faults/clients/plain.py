"""A client under test made of the generated code alone."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

from cell.messaging.v1 import messaging_pb2 as messaging
from check.faults.clients.client import Outcome
from check.faults.ledger import (
    ACCEPTED,
    MESSAGE,
    REACTION,
    READ,
    RECEIVED,
    REFUSED,
    UNKNOWN,
    Event,
    LedgerFile,
    Ref,
)
from check.faults.plan import ClientPlan, Plan
from check.ledger import Ledger, Moved, Opened, Skipped, Step, Told, microseconds
from check.plain_client import PlainClient
from check.plain_outbox import text_message

COMMAND_S = 90.0
"""How long a command is tried."""
_OPEN_S = 8.0
_PING_EVERY_S = 3.0
_PONG_S = 6.0
_PAUSE_S, _MOST_PAUSE_S = 0.5, 4.0
"""The longest pause after one stream, and after many that told nothing."""
_LEAVE_S = 1.0


class PlainClientUnderTest:
    """See ClientUnderTest."""

    def __init__(self, plan: Plan, client: ClientPlan, ledger: LedgerFile) -> None:
        self.ledger = ledger
        self.on_event: Callable[[Event], None] = lambda event: None
        self._plan = client
        self._token = plan.tokens[client.user]
        first = client.first_address % len(plan.addresses)
        self._addresses = [*plan.addresses[first:], *plan.addresses[:first]]
        self._cursor = ""
        self._unshown = ""
        self._told = _LedgerOnDisk(client.user, ledger, self._take)
        self._client: _WatchedClient | None = None

    async def open(self) -> None:
        """ClientUnderTest.open."""
        self._client = _WatchedClient(
            self._addresses,
            self._plan.user,
            lambda user: self._token,
            transport=self._plan.transport,
            resume_after=self._cursor,
            ledger=self._told,
            unshown=self._unshown,
        )
        self._client.start()

    async def leave(self) -> None:
        """ClientUnderTest.leave."""
        assert self._client is not None
        client, self._client = self._client, None
        await client.close()
        self._cursor, self._unshown = client.cursor or "", client.outbox.unshown

    async def live(self) -> None:
        """ClientUnderTest.live."""
        client = self._open_client
        await client.until(lambda: client.resumed is not None, "resumed")

    def stall(self) -> None:
        """ClientUnderTest.stall."""
        self._open_client.reads.clear()

    def go_on(self) -> None:
        """ClientUnderTest.go_on."""
        self._open_client.reads.set()

    async def send(self, id_: str, text: str, to: Sequence[str], reply_to: Ref | None) -> Outcome:
        """ClientUnderTest.send."""
        command = text_message(text, to, id_)
        if reply_to is not None:
            command.send_message.reply_to.CopyFrom(_ref(reply_to))
        return await self._do(command)

    async def react(self, id_: str, ref: Ref, key: str, removed: bool) -> Outcome:
        """ClientUnderTest.react."""
        if removed:
            return await self._do(
                messaging.Command(unreact=messaging.Unreact(reaction_id=id_, message=_ref(ref), key=key))
            )
        return await self._do(
            messaging.Command(react=messaging.React(reaction_id=id_, message=_ref(ref), key=key))
        )

    async def read(self, ref: Ref) -> Outcome:
        """ClientUnderTest.read."""
        return await self._do(messaging.Command(mark_read=messaging.MarkRead(through=_ref(ref))))

    @property
    def _open_client(self) -> "_WatchedClient":
        assert self._client is not None
        return self._client

    def _take(self, event: Event) -> None:
        self.on_event(event)

    async def _do(self, command: messaging.Command) -> Outcome:
        client = self._open_client
        submission = client.submit(command)
        try:
            await client.until(lambda: submission.settled, "an outcome", COMMAND_S)
        except TimeoutError:
            return Outcome(UNKNOWN, "no outcome in time", submission.tries)
        if submission.accepted:
            return Outcome(ACCEPTED, "found" if submission.found else "", submission.tries)
        assert submission.rejected is not None
        name = messaging.RejectedReason.Name(submission.rejected.reason)
        # That it was not done is certain only where no earlier try may have been.
        certain = all(
            each.outcome == messaging.REJECTED_OUTCOME_NOT_DONE for each in submission.rejections
        ) and submission.tries == len(submission.rejections)
        return Outcome(REFUSED if certain else UNKNOWN, name, submission.tries)


class _WatchedClient(PlainClient):
    """Leaves streams that do not open or answer no pings, and writes down when they are gone."""

    def __init__(
        self,
        addresses: Sequence[str],
        user_id: str,
        token: Callable[[str], str],
        *,
        transport: str,
        resume_after: str,
        ledger: "_LedgerOnDisk",
        unshown: str,
    ) -> None:
        super().__init__(
            addresses,
            user_id,
            token,
            transport=transport,
            resume_after=resume_after,
            ledger=ledger,
            unshown=unshown,
        )
        self.reads = asyncio.Event()
        self.reads.set()
        self._on_disk = ledger
        self.on_update = self._look_at
        self._failures = 0
        """Streams since the last that told everything."""
        self._not_before_s = 0.0
        self._leaving: asyncio.Task[None] | None = None
        self._watch = asyncio.ensure_future(self._watch_streams())

    async def close(self) -> None:
        self._watch.cancel()
        await super().close()

    async def _pause(self) -> None:
        bound_s = min(_MOST_PAUSE_S, _PAUSE_S * 2**self._failures)
        self._failures += 1
        await asyncio.sleep(max(random.uniform(0, bound_s), self._not_before_s - time.monotonic()))

    def _may_send(self) -> bool:
        return self._leaving is None and super()._may_send()

    async def _frames(self) -> AsyncIterator[Sequence[messaging.Update]]:
        async for frame in super()._frames():
            await self.reads.wait()
            yield frame

    def _look_at(self, update: messaging.Update) -> None:
        if update.HasField("go_away") and self._leaving is None:
            self._leaving = asyncio.ensure_future(self._leave_stream(update.go_away))
        elif update.HasField("resumed"):
            self._failures = 0
            self._on_disk.file.write("live")
            if update.resumed.outcome == messaging.RESUME_OUTCOME_RESET:
                self._on_disk.file.write("gap", until=update.resumed.cursor)

    async def _leave_stream(self, go_away: messaging.GoAway) -> None:
        """Send no more, wait for outcomes, leave, and come back when told to."""
        self._not_before_s = time.monotonic() + go_away.reconnect_after.ToMicroseconds() / 1e6
        with suppress(TimeoutError):
            await self.until(lambda: not self.outbox.in_flight, "outcomes", _LEAVE_S)
        self.drop_stream()

    def _end_stream(self) -> None:
        super()._end_stream()
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        self._on_disk.file.write(
            "lost", why=f"{self.endings[-1].name} {self.details[-1]}" if self.endings else ""
        )

    async def _watch_streams(self) -> None:
        while True:
            await self._watch_stream(self.streams)

    async def _watch_stream(self, stream: int) -> None:
        """Until a stream is over, or for a ping on it."""
        await self._in_time(lambda: self.welcome is not None or self.streams != stream, _OPEN_S)
        await asyncio.sleep(_PING_EVERY_S)
        if self.welcome is not None and self.reads.is_set() and self.streams == stream:
            pong = self.submit(messaging.Command(ping=messaging.Ping()))
            await self._in_time(lambda: pong.settled or self.streams != stream, _PONG_S)

    async def _in_time(self, condition: Callable[[], bool], seconds: float) -> None:
        """Leave the stream unless this becomes true."""
        try:
            await self.until(condition, "a sign of life", seconds)
        except TimeoutError:
            if self.reads.is_set():
                self.drop_stream()


class _LedgerOnDisk(Ledger):
    """What the plain client is told, line by line; in memory only what it needs to look for its own."""

    def __init__(self, user_id: str, file: LedgerFile, on_event: Callable[[Event], None]) -> None:
        super().__init__(user_id)
        self.file = file
        self._on_event = on_event

    def add(self, step: Step) -> None:
        match step:
            case Opened(resume_after=cursor):
                self.file.write("opened", after=cursor)
            case Moved(cursor=cursor):
                self.file.write("moved", cursor=cursor)
            case Skipped(until=until):
                self.file.write("gap", until=until)
            case Told(event=event):
                told = event_of(event)
                if told.kind == MESSAGE:
                    self.names.add((told.ref.sender, told.ref.id))
                self.file.write("event", **told.to_json())
                self._on_event(told)


def event_of(event: messaging.Event) -> Event:
    """An event of the contract, as ledgers have it."""
    match event.WhichOneof("event"):
        case "message":
            return message_of(event.message, event.cursor)
        case "reaction_changed":
            changed = event.reaction_changed
            at_us = changed.changed_at.ToMicroseconds()
            return Event(
                event.cursor,
                REACTION,
                ref_in(changed.message),
                changed.user_id,
                changed.key,
                changed.removed,
                at_us=at_us,
            )
        case "received_mark":
            return Event(
                event.cursor, RECEIVED, ref_in(event.received_mark.through), event.received_mark.user_id
            )
        case "read_mark":
            return Event(event.cursor, READ, ref_in(event.read_mark.through), event.read_mark.user_id)
        case other:
            raise ValueError(f"an event of a kind that nobody knows: {other}")


def message_of(message: messaging.Message, cursor: str) -> Event:
    """A message of the contract, as ledgers have it."""
    reply_to = ref_in(message.reply_to) if message.HasField("reply_to") else None
    return Event(
        cursor,
        MESSAGE,
        ref_in(message.ref),
        message.ref.sender_id,
        message.content.text,
        reply_to=reply_to,
    )


def ref_in(ref: messaging.MessageRef) -> Ref:
    """A ref of the contract, as ledgers have it."""
    return Ref(ref.conversation_id, ref.sender_id, ref.message_id, microseconds(ref))


def _ref(ref: Ref) -> messaging.MessageRef:
    made = messaging.MessageRef(conversation_id=ref.conversation, sender_id=ref.sender, message_id=ref.id)
    made.sent_at.FromMicroseconds(ref.sent_at_us)
    return made
