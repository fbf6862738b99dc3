"""How streams end, against what clients are told of it."""

from pathlib import Path

import pytest
from grpc import StatusCode

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core.refusals import Refused
from messaging_server import endings
from messaging_server.content import too_large
from messaging_server.endings import Ending
from tests.support.errors_document import answer_told, rows_of

ROOT = Path(__file__).resolve().parents[2]
ALL = [
    *(value for value in vars(endings).values() if isinstance(value, Ending)),
    endings.too_many_commands(1),
    endings.frame_too_large(1),
    endings.too_many_streams(1),
    endings.by(Refused(messaging.REJECTED_REASON_CURSOR_INVALID, "bad")),
    endings.token_invalid("bad"),
    endings.by(too_large("hello.client_id", "bytes", 1)),
]


def test_the_documentation_has_every_ending() -> None:
    """docs/errors.md says of each end of a stream what the code says, in its order, and names no others."""
    rows = [row[:5] for row in rows_of("reason") if row[2:3] == ["ends"]]
    assert rows == [answer_told(ending.status.name, ending.refused) for ending in ALL]


def test_the_contract_names_every_status() -> None:
    """The statuses that end streams are those that the contract names, and no others."""
    text = (ROOT / "protos/cell/messaging/v1/messaging.proto").read_text()
    written = " ".join(text.replace("//", " ").split())
    part = written.split("Ends with:")[1].split("rpc Connect")[0]
    named = {status for status in StatusCode if f"{status.name} (" in part}
    assert named == {ending.status for ending in ALL}


@pytest.mark.parametrize(
    "ending", [ending for ending in ALL if ending.refused], ids=lambda e: e.refused.detail
)
def test_an_end_says_what_may_have_happened(ending: Ending) -> None:
    """R4: UNKNOWN where commands may be in flight, so on every end that a stream with a welcome can have."""
    assert ending.refused is not None
    after_welcome = (endings.HELLO_TWICE, endings.PAST_END)
    before_welcome = ending.refused.field.startswith("hello") and ending not in after_welcome
    refused_at_once = "streams" in ending.refused.detail or ending.refused.detail == "bad"
    certain = ending.refused.outcome == messaging.REJECTED_OUTCOME_NOT_DONE
    assert certain is (before_welcome or refused_at_once)


def test_the_documentation_has_every_reason_to_go_away() -> None:
    """docs/errors.md has each reason, and tells apart those that the server gives from those that it does not yet."""
    server = "".join(path.read_text() for path in (ROOT / "messaging_server").glob("*.py"))
    rows = {row[0]: row[1] for row in rows_of("reason") if len(row) == 2}
    values = messaging.GoAwayReason.values()[1:]
    assert list(rows) == [messaging.GoAwayReason.Name(v).removeprefix("GO_AWAY_REASON_") for v in values]
    for name, when in rows.items():
        assert (f"GO_AWAY_REASON_{name}" in server) is ("none says so yet" not in when)
