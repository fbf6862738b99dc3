"""How streams end, against what clients are told of it."""

from pathlib import Path

import pytest
from grpc import StatusCode

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core.refusals import Refused
from messaging_server import endings
from messaging_server.endings import Ending

ROOT = Path(__file__).resolve().parents[2]
ALL = [
    *(value for value in vars(endings).values() if isinstance(value, Ending)),
    endings.too_many_commands(1),
    endings.frame_too_large(1),
    endings.too_many_streams(1),
    endings.token_invalid("bad"),
    endings.by(Refused(messaging.REJECTED_REASON_CURSOR_INVALID, "bad")),
]


@pytest.mark.parametrize("text", ["docs/errors.md", "protos/cell/messaging/v1/messaging.proto"])
def test_every_status_is_documented(text: str) -> None:
    """The statuses that end streams are those that the contract and the documentation name, and no others."""
    written = " ".join((ROOT / text).read_text().replace("//", " ").split())
    part = written.split("## A stream ends")[1] if text.endswith(".md") else written.split("Ends with:")[1]
    part = part.split("rpc Connect")[0].split("Commands in flight")[0]
    named = {status for status in StatusCode if f"`{status.name}` |" in part or f"{status.name} (" in part}
    assert named == {ending.status for ending in ALL}
