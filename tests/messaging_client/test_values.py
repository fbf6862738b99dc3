"""Values and what they are on the wire, ids, tokens, pauses: small things with exact promises."""

import base64
import copy
import json
import pickle
import random
import time
import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_client import wire
from messaging_client.backoff import Backoff
from messaging_client.commands import new_id
from messaging_client.errors import CallFailed, NotDone, OutcomeUnknown, Reason
from messaging_client.tokens import expires_us
from messaging_client.values import Attachment, Content, MessageRef, datetime_of, micros_of


@given(st.integers(0, 253_402_300_799_999_999))
def test_microseconds_are_kept_whole(time_us: int) -> None:
    """A name of a message there and back is the same name: a cut time would not match."""
    ref = MessageRef("c", "s", "m", time_us)
    assert wire.ref_from(wire.ref_to(ref)) == ref
    assert micros_of(ref.sent_at) == time_us


def test_times_may_be_in_any_zone() -> None:
    """The same instant is the same microseconds."""
    there = datetime(2026, 11, 20, 15, 0, tzinfo=timezone(timedelta(hours=9)))
    assert datetime_of(micros_of(there)) == there
    assert datetime_of(0) == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "content",
    [
        Content(text="hi"),
        Content(data=b"\0", content_type="application/x"),
        Content(attachments=(Attachment("https://x/y", "image/png", 5, b"\1" * 32, "y.png"),)),
        Content(text="hi", attributes={"a": "b"}, content_type="text/markdown"),
    ],
)
def test_content_goes_there_and_back(content: Content) -> None:
    """Nothing is lost or added."""
    assert wire.content_from(wire.content_to(content)) == content


def test_text_beside_data_is_wrong() -> None:
    """The contract has no place for both."""
    with pytest.raises(ValueError, match="not both"):
        wire.content_to(Content(text="a", data=b"b"))


def test_every_reason_of_the_contract_is_known() -> None:
    """And one of a later version is OTHER."""
    for name, number in messaging.RejectedReason.items():
        if number:
            assert wire.reason_from(number) == name.removeprefix("REJECTED_REASON_")
    assert wire.reason_from(9_999) is Reason.OTHER


def test_an_unknown_event_is_no_event() -> None:
    """A later version's event is left out; the protocol keeps its cursor."""
    assert wire.event_from(messaging.Event(cursor="c"), "ann") is None


def test_ids_are_uuids_of_version_7_that_sort_by_time() -> None:
    """RFC 9562, and none twice."""
    before = time.time_ns() // 1_000_000
    ids = [new_id() for _ in range(1_000)]
    after = time.time_ns() // 1_000_000
    assert len(set(ids)) == len(ids)
    for each in map(uuid.UUID, ids):
        assert (each.version, each.variant) == (7, uuid.RFC_4122)
        assert before <= each.int >> 80 <= after


def jwt(claims: object) -> str:
    return f"h.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.s"


def test_a_tokens_end_is_read_where_it_says_so() -> None:
    """Seconds of `exp` as microseconds; anything else is simply not known."""
    assert expires_us(jwt({"exp": 1_800_000_000})) == 1_800_000_000_000_000
    assert expires_us(jwt({"exp": 1.5})) == 1_500_000
    for token in ("", "opaque", "a.b.c", "a.é.c", jwt({}), jwt([]), jwt({"exp": "soon"}), jwt({"exp": None})):
        assert expires_us(token) is None
    assert expires_us(jwt({"exp": float("inf")})) is None


def test_pauses_are_anything_below_a_bound_that_doubles() -> None:
    """Full jitter, with a longest pause, and anew after a success."""
    backoff = Backoff(1.0, 8.0, random.Random(0))
    for bound in (1.0, 2.0, 4.0, 8.0, 8.0):
        assert 0.0 <= backoff.failed() <= bound
    backoff.succeeded()
    assert backoff.failed() <= 1.0
    backoff.failures = 10_000
    assert backoff.failed() <= 8.0


@pytest.mark.parametrize(
    "error",
    [
        NotDone(Reason.TOO_LARGE, "no", field="f", limit=1, retry_after_s=2.0, message_id="m"),
        CallFailed(Reason.NOT_FOUND, "no", field="f"),
        OutcomeUnknown("no", message_id="m"),
    ],
)
def test_errors_can_be_copied_and_pickled(error: Exception) -> None:
    """They cross processes whole."""
    for other in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert vars(other) == vars(error)
        assert str(other) == str(error)
