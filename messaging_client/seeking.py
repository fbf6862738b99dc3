"""Looking in history for messages whose outcome is not known, where the stream cannot show them (R3, after Gap and Reset).

History is asked after the snapshot was loaded, and a snapshot is complete to its cursor. So a message up to there is found
here, and a message behind it comes by the stream.
"""

from collections.abc import Iterable
from typing import Any

import grpc
import grpc.aio

from cell.history.v1 import history_pb2 as history
from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_client import wire
from messaging_client.outgoing import Outgoing

SNAPSHOT_CONVERSATIONS = 100
"""Conversations that a snapshot shows; `Client.conversations` gives all."""
_SLACK_US = 300_000_000
"""How far the clocks of the cell's servers may differ, generously."""
_PAGE = 500
_NOT_THERE = frozenset((grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT))


async def seek(
    stub: Any, metadata: Any, sought: Iterable[Outgoing], user_id: str, timeout_s: float
) -> set[str]:
    """The ids of those messages that history has. Raises AioRpcError where it does not answer."""
    found: set[str] = set()
    for outgoing in sought:
        if outgoing.kind == "send_message":
            try:
                if await _is_there(stub, metadata, outgoing, user_id, timeout_s):
                    found.add(outgoing.id)
            except grpc.aio.AioRpcError as error:
                if error.code() not in _NOT_THERE:
                    raise
    return found


async def _is_there(stub: Any, metadata: Any, outgoing: Outgoing, user_id: str, timeout_s: float) -> bool:
    send = outgoing.command.send_message
    request = history.ListMessagesRequest(
        conversation=wire.conversation_name(send.conversation_id, send.recipients.user_ids),
        page_size=_PAGE,
        direction=history.DIRECTION_NEWER,
    )
    if outgoing.tried_at_us > _SLACK_US:
        request.time.CopyFrom(wire.timestamp(outgoing.tried_at_us - _SLACK_US))
    while True:
        page = await stub.ListMessages(request, metadata=metadata, timeout=timeout_s)
        if any(_is(shown.message, user_id, send) for shown in page.messages):
            return True
        if not page.messages:
            return False
        request.page_token = page.newer_page_token


def _is(message: messaging.Message, user_id: str, send: messaging.SendMessage) -> bool:
    """The content tells ours from another one that has taken the id."""
    ref = message.ref
    return ref.message_id == send.message_id and ref.sender_id == user_id and message.content == send.content
