"""The table of refusals, whole and consistent with the contract."""

import grpc
import pytest

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core.refusals import RULES, Refused, reason_name
from tests.support.errors_document import hint_told, outcomes_told, rows_of

REASONS = [value for value in messaging.RejectedReason.values() if value]


def test_every_reason_has_a_rule() -> None:
    """Each reason of the proto but UNSPECIFIED is in the table, and nothing else is."""
    assert set(RULES) == set(REASONS)


@pytest.mark.parametrize("reason", REASONS, ids=reason_name)
def test_rules_make_sense(reason: int) -> None:
    """Never OK or INTERNAL, and statuses that invite a retry have a time for it."""
    rule = RULES[reason]
    assert rule.status not in (grpc.StatusCode.OK, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
    retryable = {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
    assert (rule.retry_after_s is not None) is (rule.status in retryable)
    assert reason_name(reason) == messaging.RejectedReason.Name(reason)[len("REJECTED_REASON_") :]


def test_a_refusal_says_when_to_try_again() -> None:
    """Its own time before the rule's; None where trying it unchanged does not help."""
    assert Refused(messaging.REJECTED_REASON_UNAVAILABLE, "away").retry_seconds() == 1.0
    assert Refused(messaging.REJECTED_REASON_UNAVAILABLE, "away", retry_after_s=7.5).retry_seconds() == 7.5
    assert Refused(messaging.REJECTED_REASON_UNAVAILABLE, "away", retry_after_s=0.0).retry_seconds() == 0.0
    assert Refused(messaging.REJECTED_REASON_NOT_FOUND, "no").retry_seconds() is None


def test_a_refusal_is_not_done_unless_it_says_so() -> None:
    """R4: the default is a plain refusal; text names the reason and the detail."""
    refused = Refused(messaging.REJECTED_REASON_TOO_LARGE, "too large", field="content", limit=65_536)
    assert refused.outcome == messaging.REJECTED_OUTCOME_NOT_DONE
    assert str(refused) == "REJECTED_REASON_TOO_LARGE: too large"


def test_the_documentation_has_every_reason() -> None:
    """docs/errors.md says of each reason what the table says, and that such a refusal leaves the stream alone."""
    rows = [row[:5] for row in rows_of("reason") if row[2:3] == ["goes on"]]
    assert rows == [
        [
            reason_name(reason),
            rule.status.name,
            "goes on",
            outcomes_told(rule.outcomes),
            hint_told(rule.retry_after_s),
        ]
        for reason, rule in RULES.items()
    ]
    assert list(RULES) == REASONS
