"""A small client for the commands of the terminal: one user, updates by Subscribe, commands by unary calls.

It keeps the promises a client must: reconnects with backoff, resumes after its cursor, honours GoAway and retry hints, and
tries again with the same id, for no longer than R3 allows.
"""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from cell.history.v1 import history_pb2 as history
from cell.history.v1 import history_pb2_grpc as history_grpc
from cell.messaging.v1 import messaging_pb2 as messaging
from cell.messaging.v1 import messaging_pb2_grpc as messaging_grpc
from messaging_cell.setting_kinds import Address
from messaging_core.limits import RETRY_WINDOW_S

_CONNECT_TIMEOUT_S = 5.0
_CALL_TIMEOUT_S = 15.0
_STABLE_S = 10.0
"""A stream that held this long was no failed try."""
_OPTIONS = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)
_BROKEN = frozenset(
    (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.CANCELLED,
    )
)
"""How a call ends that broke on its way. Whether it was done is not known; with the same id it can be made again."""

Answer = TypeVar("Answer", bound=Message)


class ClientError(Exception):
    """It cannot be done. The text is for the user."""


class NotFound(ClientError):
    """There is no such conversation."""


class CursorRefused(ClientError):
    """The cell cannot go on from this cursor."""


class OutcomeUnknown(ClientError):
    """A command may or may not have been done (R4)."""


class Offline(NamedTuple):
    """Among the updates: the stream broke and is being opened again."""

    reason: str


class TerminalClient:
    """A connection of one user. Use it as an async context manager; ids of commands are made here."""

    def __init__(self, address: Address, token: Callable[[], str]) -> None:
        """`token` gives an access token whenever one is needed."""
        self._address = address
        self._token = token

    async def __aenter__(self) -> Self:
        """Raises ClientError where nobody answers."""
        self._channel = grpc.aio.insecure_channel(str(self._address), options=_OPTIONS)
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await self._reach()
        except BaseException as error:
            await self._channel.close()
            if isinstance(error, TimeoutError):
                raise ClientError(_nobody_answers(self._address)) from error
            raise
        self._messaging = messaging_grpc.MessagingServiceStub(self._channel)
        self._history = history_grpc.HistoryServiceStub(self._channel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def _reach(self) -> None:
        """Wait for a connection. One that is refused is told at once, not tried until the time is over."""
        while (state := self._channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
            if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                raise ClientError(_nobody_answers(self._address))
            await self._channel.wait_for_state_change(state)

    # --- commands ---

    async def send(self, recipients: Sequence[str], text: str, message_id: str = "") -> messaging.MessageRef:
        """Send a message; returns once it is accepted. Raises ClientError, OutcomeUnknown."""
        command = messaging.SendMessage(
            message_id=message_id or new_id(),
            recipients=messaging.Recipients(user_ids=recipients),
            content=messaging.Content(text=text),
        )
        request = messaging.SendMessageRequest(send_message=command)
        response: messaging.SendMessageResponse = await self._call(self._messaging.SendMessage, request)
        return response.message

    async def execute(self, command: messaging.Command) -> None:
        """Do one other command; returns once it is accepted. Raises ClientError, OutcomeUnknown."""
        command.command_id = 1
        request = messaging.ExecuteRequest(commands=[command])
        response: messaging.ExecuteResponse = await self._call(self._messaging.Execute, request)
        if not response.outcomes[0].HasField("rejected"):
            return
        rejected = response.outcomes[0].rejected
        if rejected.outcome == messaging.REJECTED_OUTCOME_NOT_DONE:
            raise ClientError(_with_field(rejected.detail, rejected.field))
        raise OutcomeUnknown(f"It is not known whether this was done: {rejected.detail}.")

    # --- history ---

    async def conversations(self, page_size: int = 50) -> history.ListConversationsResponse:
        """The latest conversations, and the cursor they are complete to."""
        request = history.ListConversationsRequest(page_size=page_size)
        return await self._read(self._history.ListConversations, request)

    async def conversation(self, conversation_id: str) -> history.Conversation:
        """One conversation. Raises NotFound."""
        name = history.ConversationName(conversation_id=conversation_id)
        request = history.GetConversationRequest(conversation=name)
        response: history.GetConversationResponse = await self._read(self._history.GetConversation, request)
        return response.conversation

    async def messages(self, request: history.ListMessagesRequest) -> history.ListMessagesResponse:
        """A page of messages. Raises NotFound."""
        return await self._read(self._history.ListMessages, request)

    # --- updates ---

    async def updates(self, after: str | None) -> AsyncIterator[messaging.Update | Offline]:
        """What happens after a cursor, or from now on for None, for ever: streams that break are opened again and resumed.

        Raises ClientError where trying again does not help.
        """
        tries, loop = 0, asyncio.get_running_loop()
        while True:
            began_s, wait_s, reason = loop.time(), None, "the stream ended"
            hello = messaging.Hello(live_only=True) if after is None else messaging.Hello(resume_after=after)
            call = self._messaging.Subscribe(
                messaging.SubscribeRequest(hello=hello), metadata=self._metadata()
            )
            try:
                async for frame in call:
                    for update in frame.updates:
                        after = cursor_of(update) or after
                        yield update
                        if update.HasField("go_away"):
                            wait_s, reason = _seconds(update.go_away.reconnect_after), "the cell is leaving"
                    if wait_s is not None:
                        break
            except grpc.aio.AioRpcError as error:
                if not _may_help_again(error):
                    raise _client_error(error, self._address) from error
                wait_s, reason = _retry_after(error), error.details() or error.code().name
            finally:
                call.cancel()
            yield Offline(reason)
            tries = 0 if loop.time() - began_s > _STABLE_S else tries + 1
            await asyncio.sleep(max(_backoff_s(tries), wait_s or 0.0))

    # --- calls ---

    async def _read(self, method: Callable[..., Awaitable[Answer]], request: Message) -> Answer:
        try:
            return await self._call(method, request)
        except OutcomeUnknown as error:
            raise ClientError(str(error)) from error

    async def _call(self, method: Callable[..., Awaitable[Answer]], request: Message) -> Answer:
        """One unary call, tried again, unchanged, while that is safe and may help."""
        loop = asyncio.get_running_loop()
        until_s, tries = loop.time() + RETRY_WINDOW_S - _CALL_TIMEOUT_S, 0
        while True:
            try:
                return await method(request, metadata=self._metadata(), timeout=_CALL_TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                if not _may_help_again(error):
                    raise _client_error(error, self._address) from error
                tries += 1
                wait_s = max(_backoff_s(tries), _retry_after(error) or 0.0)
                if loop.time() + wait_s > until_s:
                    raise OutcomeUnknown(f"The cell does not answer: {error.details()}") from error
            await asyncio.sleep(wait_s)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self._token()}"),)


def new_id() -> str:
    """An id for a command that appends."""
    return uuid.uuid4().hex


def with_users(user_ids: Sequence[str]) -> history.ConversationName:
    """The conversation of the caller with these users."""
    name = history.ConversationName()
    getattr(name, "with").user_ids.extend(user_ids)  # a word that Python keeps for itself
    return name


def cursor_of(update: messaging.Update) -> str:
    """Where an update moves the client's cursor; empty if it does not (R10)."""
    match update.WhichOneof("update"):
        case "event":
            return update.event.cursor
        case "gap":
            return update.gap.until
        case "resumed":
            return update.resumed.cursor
        case "checkpoint":
            return update.checkpoint.cursor
        case _:
            return ""


def _may_help_again(error: grpc.aio.AioRpcError) -> bool:
    return error.code() in _BROKEN or _retry_after(error) is not None


def _backoff_s(tries: int) -> float:
    return random.uniform(0.5, 1.0) * 0.2 * 2.0 ** min(tries, 5)


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9


def _details(error: grpc.aio.AioRpcError, kind: type[Answer]) -> Answer | None:
    """The first detail of a kind in a refusal (google.rpc.Status)."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            for packed in status_pb2.Status.FromString(value).details:
                detail = kind()
                if packed.Unpack(detail):
                    return detail
    return None


def _retry_after(error: grpc.aio.AioRpcError) -> float | None:
    info = _details(error, error_details_pb2.RetryInfo)
    return None if info is None else _seconds(info.retry_delay)


def _client_error(error: grpc.aio.AioRpcError, address: Address) -> ClientError:
    detail = error.details() or error.code().name
    match error.code():
        case grpc.StatusCode.NOT_FOUND:
            return NotFound(detail)
        case grpc.StatusCode.OUT_OF_RANGE:
            return CursorRefused(detail)
        case grpc.StatusCode.UNAUTHENTICATED:
            return ClientError(f"The cell at {address} does not take the access token: {detail}.")
        case grpc.StatusCode.UNIMPLEMENTED:
            return ClientError(
                f"What answers at {address} is no messaging cell, or a much older one: {detail}."
            )
        case _:
            info = _details(error, error_details_pb2.ErrorInfo)
            return ClientError(_with_field(detail, info.metadata.get("field", "") if info else ""))


def _with_field(detail: str, field: str) -> str:
    return f"The cell refused it: {detail}" + (f" ({field})." if field and field not in detail else ".")


def _nobody_answers(address: Address) -> str:
    return f"No cell answers at {address}. Start one with `cell run`, or say with --address or CELL_ADDRESS where one is."
