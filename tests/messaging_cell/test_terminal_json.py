"""Lines of JSON: what they say is what the contract's own JSON says."""

import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict, ParseDict

from cell.history.v1 import history_pb2 as history
from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_cell import terminal_json
from messaging_client import wire

REF = {
    "conversation_id": "C" * 22,
    "sender_id": "ann",
    "message_id": "id-1",
    "sent_at": "2026-11-20T14:00:00.123456Z",
}
MESSAGE = {
    "ref": REF,
    "content": {
        "text": "hello 🎉",
        "content_type": "text/markdown",
        "attributes": {"a": "b"},
        "attachments": [
            {
                "uri": "urn:x",
                "content_type": "image/png",
                "size_bytes": "12345678901",
                "sha256": "AAEC",
                "name": "x",
            }
        ],
    },
    "reply_to": {**REF, "message_id": "id-0"},
    "notify": "NOTIFY_LEVEL_URGENT",
}


@pytest.mark.parametrize(
    "told",
    [
        {"message": MESSAGE},
        {"message": {"ref": REF, "content": {"data": "AP8=", "content_type": "a/b"}}},
        {
            "reaction_changed": {
                "message": REF,
                "user_id": "bob",
                "key": "👍",
                "removed": True,
                "changed_at": "2026-11-20T14:00:01.000001Z",
            }
        },
        {"received_mark": {"user_id": "bob", "through": REF}},
        {"read_mark": {"user_id": "bob", "through": REF}},
    ],
    ids=lambda told: next(iter(told)),
)
def test_events(told: dict[str, Any]) -> None:
    """Each kind, with its cursor; it can be read back into the contract's message."""
    event = ParseDict({"cursor": "c1", **told}, messaging.Event())
    shown = wire.event_from(event, "ann")
    assert shown is not None
    line = terminal_json.line(terminal_json.event(shown))
    assert "\n" not in line
    assert ParseDict(json.loads(line), messaging.Event()) == event


def test_messages_of_history() -> None:
    """With their reactions."""
    reactions = [{"key": "👍", "count": 2, "user_ids": ["ann", "bob"], "mine": True}]
    told = ParseDict({"message": MESSAGE, "reactions": reactions}, history.HistoryMessage())
    line = terminal_json.line(terminal_json.history_message(wire.history_message_from(told)))
    assert ParseDict(json.loads(line), history.HistoryMessage()) == told
    assert json.loads(line)["message"]["ref"] == REF


def test_conversations() -> None:
    """With last message, counts and marks; a count of nothing is there too."""
    told = history.Conversation(
        conversation_id="C" * 22,
        kind=history.CONVERSATION_KIND_DIRECT,
        participant_ids=["ann", "bob"],
    )
    ParseDict({"message": MESSAGE}, told.last_message)
    ParseDict(REF, told.read_through)
    told.peer_marks.add(user_id="bob").read_through.CopyFrom(told.read_through)
    shown = terminal_json.conversation(wire.conversation_from(told))
    assert shown["unread_count"] == 0
    assert ParseDict(json.loads(terminal_json.line(shown)), history.Conversation()) == told
    assert MessageToDict(told, preserving_proto_field_name=True)["kind"] == shown["kind"]
