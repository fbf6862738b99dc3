"""Every reason for which the cell says no: one table from the reason to what a client sees; docs/errors.md says it.

A refused command leaves its stream alone. What ends a stream is in messaging_server/endings.py, by the same reasons.
"""

from dataclasses import dataclass
from typing import NamedTuple

import grpc

from cell.messaging.v1 import messaging_pb2 as messaging

Reason = messaging.RejectedReason
Outcome = messaging.RejectedOutcome
_NOT_DONE, _UNKNOWN = messaging.REJECTED_OUTCOME_NOT_DONE, messaging.REJECTED_OUTCOME_UNKNOWN


class Rule(NamedTuple):
    """What a reason means at the edge."""

    status: grpc.StatusCode
    """Of a unary call that fails for this reason."""
    retry_after_s: float | None
    """When to try again unless the refusal says otherwise; None = trying it unchanged does not help."""
    outcomes: "tuple[messaging.RejectedOutcome, ...]" = (_NOT_DONE,)
    """Of a command or call that is refused for it."""


RULES: dict[int, Rule] = {
    messaging.REJECTED_REASON_INVALID_FIELD: Rule(grpc.StatusCode.INVALID_ARGUMENT, None),
    messaging.REJECTED_REASON_TOO_LARGE: Rule(grpc.StatusCode.INVALID_ARGUMENT, None),
    messaging.REJECTED_REASON_TOO_MANY_RECIPIENTS: Rule(grpc.StatusCode.INVALID_ARGUMENT, None),
    messaging.REJECTED_REASON_RATE_LIMITED: Rule(grpc.StatusCode.RESOURCE_EXHAUSTED, 1.0),
    messaging.REJECTED_REASON_TOO_MANY_IN_FLIGHT: Rule(grpc.StatusCode.RESOURCE_EXHAUSTED, 0.1),
    messaging.REJECTED_REASON_NOT_FOUND: Rule(grpc.StatusCode.NOT_FOUND, None),
    messaging.REJECTED_REASON_NOT_ALLOWED: Rule(grpc.StatusCode.PERMISSION_DENIED, None),
    messaging.REJECTED_REASON_MESSAGE_ID_CONFLICT: Rule(grpc.StatusCode.ALREADY_EXISTS, None),
    messaging.REJECTED_REASON_RETRY_TOO_OLD: Rule(grpc.StatusCode.FAILED_PRECONDITION, None),
    messaging.REJECTED_REASON_CURSOR_INVALID: Rule(grpc.StatusCode.INVALID_ARGUMENT, None),
    messaging.REJECTED_REASON_TOKEN_INVALID: Rule(grpc.StatusCode.UNAUTHENTICATED, None),
    messaging.REJECTED_REASON_UNSUPPORTED: Rule(grpc.StatusCode.UNIMPLEMENTED, None),
    messaging.REJECTED_REASON_UNAVAILABLE: Rule(grpc.StatusCode.UNAVAILABLE, 1.0, (_NOT_DONE, _UNKNOWN)),
    messaging.REJECTED_REASON_DEADLINE: Rule(grpc.StatusCode.DEADLINE_EXCEEDED, 0.0, (_UNKNOWN,)),
}


@dataclass(eq=False)
class Refused(Exception):
    """One command or call is refused. Knows nothing of gRPC; the edge maps it by RULES."""

    reason: "messaging.RejectedReason"
    detail: str
    """For people, in English; never tells whether something exists that the caller may not see."""
    field: str = ""
    """Path of the field at fault, from the command."""
    limit: int = 0
    """The limit that was passed; 0 if none was."""
    outcome: "messaging.RejectedOutcome" = messaging.REJECTED_OUTCOME_NOT_DONE
    retry_after_s: float | None = None
    """Overrides the rule's."""

    def retry_seconds(self) -> float | None:
        """When to try again; None = trying it unchanged does not help."""
        return RULES[self.reason].retry_after_s if self.retry_after_s is None else self.retry_after_s

    def __str__(self) -> str:
        return f"{messaging.RejectedReason.Name(self.reason)}: {self.detail}"


def reason_name(reason: int) -> str:
    """A reason as it stands in ErrorInfo.reason: without its enum's prefix."""
    return messaging.RejectedReason.Name(reason).removeprefix("REJECTED_REASON_")
