"""A client under test that is an application on the SDK."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from check.faults import tasks
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
from messaging_client import (
    Client,
    ClientSettings,
    FileStore,
    MessageRef,
    NewMessage,
    NotDone,
    NotSent,
    OutcomeUnknown,
    ReactionChanged,
    ReadMark,
    ReceivedMark,
    Snapshot,
)
from messaging_client import Event as SdkEvent


class SdkClientUnderTest:
    """See ClientUnderTest. Everything is as an application has it by default, also the 30 s for a command."""

    def __init__(self, plan: Plan, client: ClientPlan, ledger: LedgerFile, folder: Path) -> None:
        self.ledger = ledger
        self.on_event: Callable[[Event], None] = lambda event: None
        self._token = plan.tokens[client.user]
        first = client.first_address % len(plan.addresses)
        self._target = "ipv4:" + ",".join([*plan.addresses[first:], *plan.addresses[:first]])
        self._store = folder / f"{client.name}.db" if client.keeps_on_disk else None
        self._cursor = ""
        self._takes = asyncio.Event()
        self._takes.set()
        self._client: Client | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """ClientUnderTest.open."""
        self.ledger.write("opened", after=self._cursor)
        self._client = Client(
            self._target,
            self._fresh_token,
            store=FileStore(self._store) if self._store else None,
            settings=ClientSettings(resume_after=self._cursor),
        )
        await self._client.start()
        self._tasks = [
            asyncio.create_task(self._take_events(self._client)),
            asyncio.create_task(self._watch(self._client)),
        ]

    async def leave(self) -> None:
        """ClientUnderTest.leave."""
        client = self._open_client
        await tasks.end(self._tasks)
        await client.confirm()
        await client.close()
        self._client = None

    async def live(self) -> None:
        """ClientUnderTest.live."""
        await self._open_client.caught_up()

    def stall(self) -> None:
        """ClientUnderTest.stall."""
        self._takes.clear()

    def go_on(self) -> None:
        """ClientUnderTest.go_on."""
        self._takes.set()

    async def send(self, id_: str, text: str, to: Sequence[str], reply_to: Ref | None) -> Outcome:
        """ClientUnderTest.send."""
        answered = MessageRef(*reply_to) if reply_to else None
        return await _outcome(self._open_client.send(text, to=list(to), reply_to=answered, message_id=id_))

    async def react(self, id_: str, ref: Ref, key: str, removed: bool) -> Outcome:
        """ClientUnderTest.react."""
        client = self._open_client
        change = client.unreact if removed else client.react
        return await _outcome(change(MessageRef(*ref), key))

    async def read(self, ref: Ref) -> Outcome:
        """ClientUnderTest.read."""
        return await _outcome(self._open_client.mark_read(MessageRef(*ref)))

    @property
    def _open_client(self) -> Client:
        assert self._client is not None
        return self._client

    async def _fresh_token(self) -> str:
        return self._token

    async def _take_events(self, client: Client) -> None:
        async for event in client.events():
            self._write_down(event)
            await self._takes.wait()

    def _write_down(self, event: SdkEvent) -> None:
        if isinstance(event, NotSent):
            self.ledger.write("not_sent", id=event.message_id, why=str(event.error.reason))
        elif isinstance(event, Snapshot):
            self._cursor = event.cursor
            self.ledger.write("gap", until=event.cursor, why=type(event).__name__)
        else:
            self._cursor = event.cursor
            told = _event_of(event)
            self.ledger.write("event", **told.to_json())
            self.on_event(told)

    async def _watch(self, client: Client) -> None:
        while True:
            await client.online()
            self.ledger.write("live")
            self.ledger.write("lost", why=await client.offline())


async def _outcome(command: Awaitable[object]) -> Outcome:
    try:
        await command
    except NotDone as refused:
        return Outcome(REFUSED, str(refused.reason))
    except OutcomeUnknown as unknown:
        return Outcome(UNKNOWN, unknown.detail)
    return Outcome(ACCEPTED)


def _event_of(event: NewMessage | ReactionChanged | ReceivedMark | ReadMark) -> Event:
    match event:
        case NewMessage(message=message):
            reply_to = _ref(message.reply_to) if message.reply_to else None
            return Event(
                event.cursor, MESSAGE, _ref(message.ref), message.sender_id, message.text, reply_to=reply_to
            )
        case ReactionChanged():
            return Event(
                event.cursor,
                REACTION,
                _ref(event.message),
                event.user_id,
                event.key,
                event.removed,
                at_us=event.changed_at_us,
            )
        case ReceivedMark():
            return Event(event.cursor, RECEIVED, _ref(event.through), event.user_id)
        case ReadMark():
            return Event(event.cursor, READ, _ref(event.through), event.user_id)


def _ref(ref: MessageRef) -> Ref:
    return Ref(ref.conversation_id, ref.sender_id, ref.message_id, ref.sent_at_us)
