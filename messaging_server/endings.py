"""How streams end: the rows of messaging.proto's Connect, once."""

from typing import NamedTuple

from grpc import StatusCode

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core.refusals import RULES, Refused


class Ending(NamedTuple):
    """The status of a stream, with the refusal behind it if there is one."""

    status: StatusCode
    detail: str
    refused: Refused | None = None


CLIENT_DONE = Ending(StatusCode.OK, "")
HELLO_MISSING = Ending(StatusCode.FAILED_PRECONDITION, "the first command of a stream must be hello")
HELLO_TWICE = Ending(StatusCode.FAILED_PRECONDITION, "a stream has one hello")
HELLO_LATE = Ending(StatusCode.DEADLINE_EXCEEDED, "hello did not come in time")
BAD_FRAME = Ending(StatusCode.INVALID_ARGUMENT, "the frame does not parse")
EMPTY_FRAME = Ending(StatusCode.INVALID_ARGUMENT, "the frame holds no command")
PAST_END = Ending(StatusCode.OUT_OF_RANGE, "hello.resume_after is past the end of the log")
SLOW_CONSUMER = Ending(StatusCode.RESOURCE_EXHAUSTED, "the client took nothing for too long")
SERVER_FULL = Ending(StatusCode.RESOURCE_EXHAUSTED, "too many streams on this server")
LEAVING = Ending(StatusCode.UNAVAILABLE, "the server is leaving: connect again")

PAUSED = Ending(StatusCode.UNAVAILABLE, "the server stood still for too long to take this: connect again")


def too_many_commands(limit: int) -> Ending:
    """A frame with more commands than it may have."""
    return Ending(StatusCode.INVALID_ARGUMENT, f"commands in a frame: at most {limit}")


def frame_too_large(limit: int) -> Ending:
    """A frame with more bytes than it may have."""
    return Ending(StatusCode.INVALID_ARGUMENT, f"bytes of a frame: at most {limit}")


def too_many_streams(limit: int) -> Ending:
    """One more stream than a user may have here."""
    return Ending(StatusCode.RESOURCE_EXHAUSTED, f"streams of one user on a server: at most {limit}")


def by(refused: Refused) -> Ending:
    """A stream that ends for the reason a command of its kind is refused for."""
    return Ending(RULES[refused.reason].status, refused.detail, refused)


def token_invalid(detail: str) -> Ending:
    """No token, a bad one, or one that ran out."""
    return by(Refused(messaging.REJECTED_REASON_TOKEN_INVALID, detail))
