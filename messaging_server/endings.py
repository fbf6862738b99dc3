"""How streams end: the rows of docs/errors.md that end a stream, once."""

from typing import NamedTuple

from grpc import StatusCode

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core.refusals import RULES, Refused


class Ending(NamedTuple):
    """The status of a stream, and the refusal that says why; none where the client wanted the end."""

    status: StatusCode
    refused: Refused | None = None


_INVALID = messaging.REJECTED_REASON_INVALID_FIELD
_TOO_LARGE = messaging.REJECTED_REASON_TOO_LARGE
_TOO_MANY = messaging.REJECTED_REASON_TOO_MANY_IN_FLIGHT
_UNAVAILABLE = messaging.REJECTED_REASON_UNAVAILABLE
_NOT_DONE = messaging.REJECTED_OUTCOME_NOT_DONE
_RETRY_S = 1.0


def _ending(
    status: StatusCode,
    reason: "messaging.RejectedReason",
    detail: str,
    field: str = "",
    limit: int = 0,
    *,
    outcome: "messaging.RejectedOutcome" = messaging.REJECTED_OUTCOME_UNKNOWN,
    retry_after_s: float | None = None,
) -> Ending:
    """What a stream had in flight has no outcome when it ends (R4); NOT_DONE is for ends before its welcome."""
    return Ending(status, Refused(reason, detail, field, limit, outcome, retry_after_s))


CLIENT_DONE = Ending(StatusCode.OK)
HELLO_MISSING = _ending(
    StatusCode.FAILED_PRECONDITION,
    _INVALID,
    "the first command of a stream must be hello",
    "hello",
    outcome=_NOT_DONE,
)
HELLO_TWICE = _ending(StatusCode.FAILED_PRECONDITION, _INVALID, "a stream has one hello", "hello")
HELLO_LATE = _ending(
    StatusCode.DEADLINE_EXCEEDED,
    messaging.REJECTED_REASON_DEADLINE,
    "hello did not come in time",
    "hello",
    outcome=_NOT_DONE,
)
BAD_FRAME = _ending(StatusCode.INVALID_ARGUMENT, _INVALID, "the frame does not parse")
EMPTY_FRAME = _ending(StatusCode.INVALID_ARGUMENT, _INVALID, "the frame holds no command", "commands")
PAST_END = _ending(
    StatusCode.OUT_OF_RANGE,
    messaging.REJECTED_REASON_CURSOR_INVALID,
    "hello.resume_after is past the end of the log",
    "hello.resume_after",
)
TOKEN_RUN_OUT = _ending(
    StatusCode.UNAUTHENTICATED, messaging.REJECTED_REASON_TOKEN_INVALID, "the access token has run out"
)
SLOW_CONSUMER = _ending(
    StatusCode.RESOURCE_EXHAUSTED,
    _TOO_MANY,
    "the client took nothing for too long",
    retry_after_s=_RETRY_S,
)
SERVER_FULL = _ending(
    StatusCode.RESOURCE_EXHAUSTED,
    _TOO_MANY,
    "too many streams on this server",
    outcome=_NOT_DONE,
    retry_after_s=_RETRY_S,
)
# Without a time but the client's own backoff: one that a server's clients are all told would bring them back together.
LEAVING = _ending(
    StatusCode.UNAVAILABLE, _UNAVAILABLE, "the server is leaving: connect again", retry_after_s=0.0
)
PAUSED = _ending(
    StatusCode.UNAVAILABLE,
    _UNAVAILABLE,
    "the server stood still for too long to take this: connect again",
    retry_after_s=0.0,
)


def too_many_commands(limit: int) -> Ending:
    """A frame with more commands than it may have."""
    detail = f"commands in a frame: at most {limit}"
    return _ending(StatusCode.INVALID_ARGUMENT, _TOO_LARGE, detail, "commands", limit)


def frame_too_large(limit: int) -> Ending:
    """A frame with more bytes than it may have."""
    return _ending(StatusCode.INVALID_ARGUMENT, _TOO_LARGE, f"bytes of a frame: at most {limit}", limit=limit)


def too_many_streams(limit: int) -> Ending:
    """One more stream than a user may have here."""
    detail = f"streams of one user on a server: at most {limit}"
    status = StatusCode.RESOURCE_EXHAUSTED
    return _ending(status, _TOO_MANY, detail, limit=limit, outcome=_NOT_DONE, retry_after_s=_RETRY_S)


def call_refused(ending: Ending) -> Refused:
    """What ends streams refuses a unary call: it was certainly not done."""
    assert ending.refused is not None
    return Refused(ending.refused.reason, ending.refused.detail)


def by(refused: Refused) -> Ending:
    """A stream that is refused as a command would be, before its welcome."""
    return Ending(RULES[refused.reason].status, refused)


def token_invalid(detail: str) -> Ending:
    """No token, or a bad one."""
    return by(Refused(messaging.REJECTED_REASON_TOKEN_INVALID, detail))
