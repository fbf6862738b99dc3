"""cell.history.v1.HistoryService on grpc.aio: who calls, what is asked, what is read in which order, what is answered."""

import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from cell.history.v1 import history_pb2 as history
from cell.messaging.v1 import messaging_pb2 as messaging
from event_log.port import EventLog, LogUnavailable
from history_service import asking, views
from history_service.paging import (
    ConversationsPlace,
    MessagesPlace,
    conversations_token,
    fitting,
    messages_token,
    read_conversations_token,
    read_messages_token,
)
from history_service.port import (
    BEGINNING,
    END,
    Cut,
    HistoryStore,
    Persisted,
    StoredMessage,
    StoreUnavailable,
)
from history_service.readers import StoredEvents
from history_service.settings import HistorySettings
from messaging_core.cursor import Cursor, CursorInvalid, decode_cursor, incarnation_bytes
from messaging_core.events import HistoryUnavailable
from messaging_core.grpc_status import abort, status_name
from messaging_core.identity import Authenticator, TokenInvalid, identify
from messaging_core.refusals import Refused
from telemetry import catalogue
from telemetry.metrics import Calls, Figure
from telemetry.trace_context import traceparent_of
from telemetry.tracing import Span, SpanKind, Tracer

_log = logging.getLogger(__name__)
_SERVICE = history.DESCRIPTOR.services_by_name["HistoryService"]

Context = grpc.aio.ServicerContext[Any, Any]
Request = TypeVar("Request", bound=Message)


class _CursorRefused(Refused):
    """A cursor that cannot be gone on from, with the status that says how."""

    def __init__(self, detail: str, status: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT) -> None:
        super().__init__(messaging.REJECTED_REASON_CURSOR_INVALID, detail, field="after_cursor")
        self.status = status


class HistoryApi:
    """Answers the five calls of the History service. Only participants read; to others a conversation does not exist."""

    def __init__(
        self,
        store: HistoryStore,
        log: EventLog,
        authenticator: Authenticator,
        settings: HistorySettings,
        tracer: Tracer | None = None,
    ) -> None:
        """Answer from `store`, which holds what `log` says."""
        self._tracer = tracer
        self._calls = Calls(catalogue.CALLS)
        self._store = store
        self._log = log
        self._authenticator = authenticator
        self._settings = settings
        self.events = StoredEvents(store, log.incarnation)
        """How it reads what a user is told."""
        self._incarnation = incarnation_bytes(log.incarnation)

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve on this server's ports. Handlers take and give bytes, so that a malformed request has a clear answer."""
        handlers = {
            "ListMessages": self._handler(history.ListMessagesRequest, self._list_messages),
            "GetMessages": self._handler(history.GetMessagesRequest, self._get_messages),
            "ListConversations": self._handler(history.ListConversationsRequest, self._list_conversations),
            "GetConversation": self._handler(history.GetConversationRequest, self._get_conversation),
            "ListEvents": self._handler(history.ListEventsRequest, self._list_events),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE.full_name, handlers),))

    def figures(self) -> Iterator[Figure]:
        """What it counts."""
        yield from self._calls
        yield Figure(catalogue.GAPS, self.events.gaps)

    def _handler(
        self, parse: type[Request], answer: Callable[[Request, str], Awaitable[Message]]
    ) -> "grpc.RpcMethodHandler[bytes, bytes]":
        method = f"{_SERVICE.full_name}/{parse.DESCRIPTOR.name.removesuffix('Request')}"

        async def handle(encoded: bytes, context: Context) -> bytes:
            span = self._span(method, context) if self._tracer is not None else None
            began_s, status = time.monotonic(), "CANCELLED"
            try:
                answered = await self._answer(encoded, context, parse, answer)
                status = "OK"
            except grpc.aio.AbortError:
                status = status_name(context)
                raise
            finally:
                self._calls.add(method, status, time.monotonic() - began_s)
                if span is not None:
                    span.end("" if status == "OK" else status, {"rpc.response.status_code": status})
            return answered

        return grpc.unary_unary_rpc_method_handler(handle)

    async def _answer(
        self,
        encoded: bytes,
        context: Context,
        parse: type[Request],
        answer: Callable[[Request, str], Awaitable[Message]],
    ) -> bytes:
        try:
            user_id = self._caller(context)
            request = parse.FromString(encoded)
            return (await answer(request, user_id)).SerializeToString()
        except Exception as error:
            refused = error
        await _refuse(context, refused)

    def _span(self, method: str, context: Context) -> Span | None:
        """Of a call that is traced."""
        assert self._tracer is not None
        traceparent = traceparent_of(context.invocation_metadata())
        if not self._tracer.samples(traceparent):
            return None
        attributes = {"rpc.system.name": "grpc", "rpc.method": method}
        return self._tracer.start(method, SpanKind.SERVER, traceparent, attributes)

    def _caller(self, context: Context) -> str:
        """The user that the call's access token names."""
        return identify(context.invocation_metadata(), self._authenticator).user_id

    async def _list_messages(
        self, request: history.ListMessagesRequest, user_id: str
    ) -> history.ListMessagesResponse:
        conversation_id = self._named(request.conversation, user_id)
        window = self._window(request, user_id, conversation_id)
        await self._check_participant(conversation_id, user_id)
        persisted = await self._persisted(user_id)
        share = self._settings.max_page_bytes // (2 if window.older and window.newer else 1)
        older = await self._store.messages(conversation_id, window.cut, False, window.older, share, user_id)
        newer: Sequence[StoredMessage] = ()
        if window.newer:
            newer = (
                await self._store.messages(conversation_id, window.cut, True, window.newer, share, user_id)
            ).items
        before = _shown(older.items, share)
        after = _shown(newer, share)
        keys = [stored.key for stored, _ in (*reversed(before), *after)]
        response = history.ListMessagesResponse(
            messages=[shown for _, shown in (*reversed(before), *after)], persisted_cursor=persisted.encode()
        )
        if older.more or len(older.items) > len(before):
            cut = Cut(before[-1][0].key) if before else window.cut
            response.older_page_token = messages_token(MessagesPlace(cut, False), user_id, conversation_id)
        newest = Cut(keys[-1], after=True) if keys else BEGINNING if window.cut == END else window.cut
        response.newer_page_token = messages_token(MessagesPlace(newest, True), user_id, conversation_id)
        return response

    def _window(
        self, request: history.ListMessagesRequest, user_id: str, conversation_id: str
    ) -> asking.Window:
        if not request.page_token:
            return asking.window(request, conversation_id)
        size = asking.page_size(request.page_size)
        cut, newer = read_messages_token(request.page_token, user_id, conversation_id)
        return asking.Window(cut, 0, size) if newer else asking.Window(cut, size, 0)

    async def _get_messages(
        self, request: history.GetMessagesRequest, user_id: str
    ) -> history.GetMessagesResponse:
        names = asking.named_messages(request.messages)
        found = await self._store.named_messages(names, user_id)
        response = history.GetMessagesResponse(
            messages=[views.history_message(stored) for stored in found if stored is not None]
        )
        limit = self._settings.max_page_bytes
        if (size := response.ByteSize()) > limit and len(response.messages) > 1:
            detail = (
                f"these messages are {size} bytes, an answer has at most {limit}: ask for fewer at a time"
            )
            raise Refused(messaging.REJECTED_REASON_TOO_LARGE, detail, field="messages", limit=limit)
        return response

    async def _list_conversations(
        self, request: history.ListConversationsRequest, user_id: str
    ) -> history.ListConversationsResponse:
        size = asking.page_size(request.page_size)
        before = None
        if request.page_token:
            place = read_conversations_token(request.page_token, user_id)
            before, cursor = (place.last_at_us, place.conversation_id), place.cursor
        else:
            cursor = (await self._persisted(user_id)).encode()
        max_bytes = self._settings.max_page_bytes
        found, more = await self._store.overviews(user_id, before, size, max_bytes)
        shown = (views.conversation(overview, user_id) for overview in found)
        kept = fitting(((each, each.ByteSize()) for each in shown), max_bytes)
        response = history.ListConversationsResponse(conversations=kept, cursor=cursor)
        if more or len(found) > len(kept):
            last = found[len(kept) - 1]
            place = ConversationsPlace(last.last_at_us, last.conversation_id, cursor)
            response.next_page_token = conversations_token(place, user_id)
        return response

    async def _get_conversation(
        self, request: history.GetConversationRequest, user_id: str
    ) -> history.GetConversationResponse:
        conversation_id = self._named(request.conversation, user_id)
        persisted = await self._persisted(user_id)
        overview = await self._store.overview(user_id, conversation_id)
        if overview is None or user_id not in overview.participants:
            raise _not_found()
        return history.GetConversationResponse(
            conversation=views.conversation(overview, user_id), persisted_cursor=persisted.encode()
        )

    async def _list_events(
        self, request: history.ListEventsRequest, user_id: str
    ) -> history.ListEventsResponse:
        size = asking.page_size(request.page_size)
        partition = self._log.partition_of(user_id)
        persisted = await self.events.persisted(partition)
        after = await self._after(request.after_cursor, partition, persisted)
        page = await self.events.page(
            user_id, partition, after, persisted, size, self._settings.max_page_bytes
        )
        updates = messaging.ConnectResponse.FromString(b"".join(event.piece for event in page.events)).updates
        through = Cursor(self._incarnation, partition, page.through_offset, page.through_time_us)
        next_cursor = through.encode() if after <= persisted.offset else request.after_cursor
        return history.ListEventsResponse(
            events=[update.event for update in updates if update.HasField("event")],
            gaps=[update.gap for update in updates if update.HasField("gap")],
            next_cursor=next_cursor,
            persisted_cursor=Cursor(self._incarnation, partition, *persisted).encode(),
        )

    async def _after(self, cursor: str, partition: int, persisted: Persisted) -> int:
        """The offset that a cursor of the caller stands for."""
        if not cursor:
            return -1
        try:
            after = decode_cursor(cursor)
        except CursorInvalid as error:
            raise _CursorRefused("after_cursor is not a cursor") from error
        if after.incarnation != self._incarnation:
            detail = (
                "after_cursor is of another log, which this cell does not have: load ListConversations anew"
            )
            raise _CursorRefused(detail, grpc.StatusCode.FAILED_PRECONDITION)
        if after.partition != partition:
            raise _CursorRefused("after_cursor is not one of this user")
        if after.offset > persisted.offset:
            ends = await self._log.end_offsets((partition,))
            if after.offset >= ends[partition]:
                raise _CursorRefused("after_cursor is past the log's end", grpc.StatusCode.OUT_OF_RANGE)
        return after.offset

    def _named(self, name: history.ConversationName, user_id: str) -> str:
        return asking.named_conversation(name, user_id, self._settings.limits.max_recipients)

    async def _check_participant(self, conversation_id: str, user_id: str) -> None:
        known = await self._store.participants((conversation_id,))
        if user_id not in known.get(conversation_id, ()):
            raise _not_found()

    async def _persisted(self, user_id: str) -> Cursor:
        """How far history has come for the user; read it before what it is to be complete to."""
        partition = self._log.partition_of(user_id)
        offset, time_us = await self._store.persisted(self._log.incarnation, partition)
        return Cursor(self._incarnation, partition, offset, time_us)


def _shown(
    stored: Sequence[StoredMessage], max_bytes: int
) -> list[tuple[StoredMessage, history.HistoryMessage]]:
    pairs = ((each, views.history_message(each)) for each in stored)
    return fitting(((pair, pair[1].ByteSize()) for pair in pairs), max_bytes)


def _not_found() -> Refused:
    detail = "there is no such conversation with you in it"
    return Refused(messaging.REJECTED_REASON_NOT_FOUND, detail, field="conversation")


async def _refuse(context: Context, error: Exception) -> NoReturn:
    """End a call for what went wrong in it."""
    match error:
        case _CursorRefused():
            await abort(context, error, error.status)
        case Refused():
            await abort(context, error)
        case TokenInvalid():
            await abort(context, Refused(messaging.REJECTED_REASON_TOKEN_INVALID, str(error)))
        case DecodeError():
            await abort(context, asking.invalid("", "the request does not parse"))
        case StoreUnavailable() | HistoryUnavailable() | LogUnavailable():
            _log.warning("history is unavailable: %s", error)
            detail = "history cannot answer now; try again"
            await abort(context, Refused(messaging.REJECTED_REASON_UNAVAILABLE, detail))
        case _:
            _log.error("a history call failed", exc_info=error)
            await context.abort(grpc.StatusCode.INTERNAL, "internal error")
    raise AssertionError("abort raises")
