"""The client an application holds: sends, reacts, marks, asks, and is told what happens."""

from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import grpc

from messaging_client import commands, history
from messaging_client.commands import AnyMessage, Users
from messaging_client.connection import Connection
from messaging_client.events import CellEvent, Event
from messaging_client.history import Page, Place
from messaging_client.kept import Store
from messaging_client.settings import ClientSettings
from messaging_client.store import MemoryStore
from messaging_client.tokens import Tokens, TokenSource
from messaging_client.trace_context import TraceContext, opentelemetry_context
from messaging_client.values import (
    Content,
    Conversation,
    HistoryMessage,
    Message,
    NotifyLevel,
)

SEND_TIMEOUT_S = 30.0
"""How long a command may take, unless the caller says otherwise."""
ASK_TIMEOUT_S = 30.0
"""How long an answer of history may take, unless the caller says otherwise."""
CLOSE_TIMEOUT_S = 5.0
"""How long `async with` waits at its end for what was posted."""


class Client:
    """One user's connection to a cell. Use it with `async with`, in one event loop.

    It connects in the background and comes back by itself after any break; nothing of an application's has to wait for
    that. What cannot be cured by trying again ends it: then every call raises the same ClientFailed.

    Every command has one of three outcomes (rule R4): it is *accepted*, and the call returns; it is *not done*, and the call
    raises NotDone; or it is *unknown* when the caller's time ran out, and the call raises OutcomeUnknown. Until then the
    client tries again, so that a command happens once however often it was tried.
    """

    def __init__(
        self,
        address: str,
        token: str | TokenSource,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        store: Store | None = None,
        settings: ClientSettings | None = None,
        channel_options: Iterable[tuple[str, Any]] = (),
        trace_context: TraceContext = opentelemetry_context,
    ) -> None:
        """Make a client; `async with` starts it.

        `address` is host:port, or a name that gRPC resolves. `token` is an access token, or an async function that gives a
        fresh one. `credentials` are for TLS (`grpc.ssl_channel_credentials()`); without them the connection is plain.
        `store` keeps outbox and cursor, by default in memory only; see FileStore. `channel_options` go to gRPC as they are.
        `trace_context` gives the W3C traceparent that commands carry: by default that of the current OpenTelemetry span,
        where the application has loaded OpenTelemetry.
        Raises TypeError or ValueError for what cannot be a token; whether it holds, the cell tells later.
        """
        self._connection = Connection(
            address,
            Tokens(token),
            credentials,
            channel_options,
            settings or ClientSettings(),
            store or MemoryStore(),
            trace_context,
        )

    # Life.

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.flush(CLOSE_TIMEOUT_S)
        await self.close()

    async def start(self) -> None:
        """Open the store and begin to connect. Raises StoreInUse, StoreFailed."""
        await self._connection.start()

    async def close(self) -> None:
        """End at once. Calls that wait raise NotDone, or OutcomeUnknown where that is all that can be said.

        Raises StoreFailed if the last changes could not be kept: events are given again that were taken, for example.
        """
        await self._connection.close()

    async def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until every command has its outcome, those of `post` too. False if that took too long, or cannot be."""
        return await self._connection.flushed(timeout_s)

    async def online(self) -> None:
        """Wait until the client has everything that it missed. Raises ClientFailed."""
        await self._connection.until(lambda: self._connection.protocol.is_online)

    async def offline(self) -> str:
        """Wait until a stream breaks or cannot be had, and say why, for people. The client is trying again already.

        Returns at once while that is so; `online` waits for the end of it. Raises ClientFailed.
        """
        await self._connection.until(lambda: bool(self._connection.protocol.trouble))
        return self._connection.protocol.trouble

    async def caught_up(self) -> None:
        """Wait until the client is online and `events` has given everything that was missed. Raises ClientFailed."""
        protocol = self._connection.protocol
        await self._connection.until(lambda: protocol.is_online and not protocol.inbox.has_events)

    @property
    def is_online(self) -> bool:
        """Whether there is a stream, and it has told everything that was missed."""
        return self._connection.protocol.is_online

    @property
    def user_id(self) -> str:
        """The user that the access token names; empty until the first stream, or the store, has told."""
        return self._connection.protocol.user_id

    @property
    def pending(self) -> int:
        """Commands without an outcome yet."""
        return len(self._connection.protocol.outbox)

    # Commands.

    async def send(
        self,
        content: str | Content,
        *,
        to: Users = (),
        conversation_id: str = "",
        reply_to: AnyMessage | None = None,
        notify: NotifyLevel = NotifyLevel.NORMAL,
        message_id: str = "",
        timeout_s: float | None = SEND_TIMEOUT_S,
    ) -> str:
        """Send a message to users, or to a conversation, and return its id once the cell has it for good.

        A message to the same place is sent after those sent there before. `message_id` is made here unless the application
        has an id of its own for what it says, 1 to 64 of [A-Za-z0-9_-]: the same id again is the same message.

        Cancelled, it is not tried again; if a stream had it by then, it may be there.

        Raises NotDone, OutcomeUnknown, ClientFailed; ValueError unless there is exactly one of `to` and `conversation_id`.
        """
        outgoing = commands.send_message(content, to, conversation_id, reply_to, notify, message_id)
        await self._connection.perform(outgoing, timeout_s)
        return outgoing.id

    async def reply(
        self,
        message: Message | HistoryMessage,
        content: str | Content,
        *,
        notify: NotifyLevel = NotifyLevel.NORMAL,
        message_id: str = "",
        timeout_s: float | None = SEND_TIMEOUT_S,
    ) -> str:
        """Answer a message in its conversation; as `send`."""
        ref = commands.ref_of(message)
        return await self.send(
            content,
            conversation_id=ref.conversation_id,
            reply_to=ref,
            notify=notify,
            message_id=message_id,
            timeout_s=timeout_s,
        )

    async def post(
        self,
        content: str | Content,
        *,
        to: Users = (),
        conversation_id: str = "",
        reply_to: AnyMessage | None = None,
        notify: NotifyLevel = NotifyLevel.NORMAL,
        message_id: str = "",
        taking: bool = False,
    ) -> str:
        """Put a message into the outbox, and return its id without waiting for the cell.

        It is sent as soon as may be; with a FileStore also by the next process, exactly once. If the cell refuses it,
        `events` gives a NotSent. With `taking` the event that `events` gave last is taken in the same step: a process that
        is killed has done both or neither. Raises NotDone (OUTBOX_FULL, MESSAGE_ID_CONFLICT), ClientFailed, ValueError.
        """
        outgoing = commands.send_message(content, to, conversation_id, reply_to, notify, message_id)
        await self._connection.post(outgoing, taking=taking)
        return outgoing.id

    async def react(
        self,
        message: AnyMessage,
        key: str,
        *,
        participants: Users = (),
        timeout_s: float | None = SEND_TIMEOUT_S,
    ) -> None:
        """Add a reaction (an emoji, say) to a message. `participants`, everyone else there, saves the cell a look-up.

        A reaction is state: after OutcomeUnknown, just call again. Raises as `send`.
        """
        await self._connection.perform(commands.react(message, key, participants, removed=False), timeout_s)

    async def unreact(
        self,
        message: AnyMessage,
        key: str,
        *,
        participants: Users = (),
        timeout_s: float | None = SEND_TIMEOUT_S,
    ) -> None:
        """Take a reaction back; no error if it is not there. As `react`."""
        await self._connection.perform(commands.react(message, key, participants, removed=True), timeout_s)

    async def mark_read(
        self,
        message: AnyMessage,
        *,
        participants: Users = (),
        timeout_s: float | None = SEND_TIMEOUT_S,
    ) -> None:
        """Say that the user has read a conversation through this message; implies received, never goes back. As `react`."""
        await self._connection.perform(commands.mark_read(message, participants), timeout_s)

    def acknowledge(self, event: CellEvent) -> None:
        """Say that everything through this event, which `events` gave, was received; its senders are told soon.

        Not needed by default: with `ClientSettings.acknowledges` the client says it itself, as the application takes events.
        """
        self._connection.acknowledge(event.cursor)

    # Events.

    def events(self) -> AsyncIterator[Event]:
        """What happens to this user, in the order of its events, until the client is closed; for one task at a time.

        An event is *taken* when the next one is asked for, or by `confirm`. With a FileStore an event that was not taken
        when the process ended is given again by the next one. Asking may be cancelled, by a timeout for example, and done
        again: no event is lost. Raises ClientFailed when the client cannot go on.
        """
        return _Events(self._connection)

    async def confirm(self) -> None:
        """Take the event that `events` gave last, without asking for the next: before the application ends, say."""
        await self._connection.confirm()

    # History.

    async def conversations(self, *, timeout_s: float = ASK_TIMEOUT_S) -> AsyncIterator[Conversation]:
        """All conversations, the latest active first, with their unread counts. `timeout_s` is for each page.

        Raises CallFailed, ClientFailed.
        """
        async for conversation in history.conversations(self._connection, timeout_s):
            yield conversation

    async def conversation(
        self, *, to: Users = (), conversation_id: str = "", timeout_s: float = ASK_TIMEOUT_S
    ) -> Conversation:
        """One conversation. Raises CallFailed (NOT_FOUND if there is none), ClientFailed."""
        place = Place(commands.users(to), conversation_id)
        return await history.conversation(self._connection, place, timeout_s)

    async def history(
        self,
        *,
        to: Users = (),
        conversation_id: str = "",
        before: AnyMessage | datetime | None = None,
        after: AnyMessage | datetime | None = None,
        timeout_s: float = ASK_TIMEOUT_S,
    ) -> AsyncIterator[HistoryMessage]:
        """The messages of a conversation: the newest first and backwards, or with `after` forwards from there.

        `before` a message or a time goes backwards from it, without it. `after` a message goes forwards from the next one;
        after a time, from that time on. `timeout_s` is for each page. Raises CallFailed, ClientFailed, ValueError.
        """
        place = Place(commands.users(to), conversation_id)
        async for message in history.messages(self._connection, place, before, after, timeout_s):
            yield message

    async def history_page(
        self,
        *,
        to: Users = (),
        conversation_id: str = "",
        around: AnyMessage | datetime | None = None,
        token: str = "",
        size: int = 50,
        timeout_s: float = ASK_TIMEOUT_S,
    ) -> Page:
        """A page of messages in their order: the newest, those around a message or a time, or the page of a token.

        Raises CallFailed, ClientFailed, ValueError.
        """
        place = Place(commands.users(to), conversation_id)
        return await history.page(self._connection, place, around, token, size, timeout_s)

    async def messages(
        self, named: Iterable[AnyMessage], *, timeout_s: float = ASK_TIMEOUT_S
    ) -> list[HistoryMessage]:
        """Messages by name, at most 100: those that exist and this user may see. Raises CallFailed, ClientFailed."""
        return await history.named(self._connection, [commands.ref_of(each) for each in named], timeout_s)


class _Events:
    """Not a generator, which would be over once asking it is cancelled."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self._connection.next_event()
        if event is None:
            raise StopAsyncIteration
        return event
