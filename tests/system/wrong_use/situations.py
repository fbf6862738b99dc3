"""Commands and streams that are right, at a wrong time."""

from dataclasses import dataclass

from grpc import StatusCode

from tests.system.wrong_use.answers import (
    CONFLICT,
    INVALID,
    RATE_LIMITED,
    TOKEN_INVALID,
    TOO_MANY_IN_FLIGHT,
    UNAVAILABLE,
    Answer,
    ending,
)


@dataclass(frozen=True, slots=True)
class Situation:
    """Right, at a wrong time. Each has a test of its own: in test_situations.py, test_faults.py or test_servers.py."""

    what: str
    answer: Answer


COMMAND_ID = Situation("A command id that does not rise", Answer(INVALID, "command_id"))
RATE = Situation("More commands a second than the limit", Answer(RATE_LIMITED, limit="max_sends_per_second"))
OTHER_RATE = Situation(
    "More pings, acknowledgements or refreshes a second", Answer(RATE_LIMITED, limit="max_sends_per_second")
)
IN_FLIGHT = Situation(
    "More commands without an outcome than the limit", Answer(TOO_MANY_IN_FLIGHT, limit="max_in_flight")
)
ANOTHER_PAYLOAD = Situation("The id of another payload, through the same server", Answer(CONFLICT))
OTHER_SERVER = Situation(
    "The same through another server: accepted, and told when the log is read", Answer(CONFLICT)
)
STREAMS = Situation(
    "More streams of a user than the limit",
    Answer(TOO_MANY_IN_FLIGHT, limit="max_streams_per_user", status=StatusCode.RESOURCE_EXHAUSTED, ends=True),
)
TOKEN_RUN_OUT = Situation("The token runs out", ending(TOKEN_INVALID))
LOG_FULL = Situation("The disk of the log is full", Answer(UNAVAILABLE))
REGISTRY_AWAY = Situation(
    "The conversation must be looked up, and history is down or full", Answer(UNAVAILABLE)
)
FULL = Situation(
    "More streams than a server has room for",
    Answer(TOO_MANY_IN_FLIGHT, status=StatusCode.RESOURCE_EXHAUSTED, ends=True),
)
TAKES_NOTHING = Situation(
    "The client takes nothing for 30 s", ending(TOO_MANY_IN_FLIGHT, status=StatusCode.RESOURCE_EXHAUSTED)
)
LEAVING = Situation("The server is leaving", ending(UNAVAILABLE))
PAUSED = Situation("The server stood still for 15 s", ending(UNAVAILABLE))
SITUATIONS = (
    COMMAND_ID,
    RATE,
    OTHER_RATE,
    IN_FLIGHT,
    ANOTHER_PAYLOAD,
    OTHER_SERVER,
    STREAMS,
    FULL,
    TAKES_NOTHING,
    TOKEN_RUN_OUT,
    LEAVING,
    PAUSED,
    LOG_FULL,
    REGISTRY_AWAY,
)
