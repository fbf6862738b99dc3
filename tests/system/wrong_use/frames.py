"""Frames that end their stream."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from grpc import StatusCode

from cell.messaging.v1 import messaging_pb2 as messaging
from check.plain_outbox import text_message
from tests.system.raw_stream import frame, hello
from tests.system.wrong_use.answers import CURSOR_INVALID, DEADLINE, INVALID, TOO_LARGE, Answer, ending
from tests.system.wrong_use.commands import PEER, Caller, traced


@dataclass(frozen=True, slots=True)
class WrongFrame:
    """What ends a stream. Ways: Connect; a call where the same bytes can be a call's request."""

    what: str
    frames: Callable[[Caller], Sequence[bytes]]
    """All of a stream, from its start."""
    answer: Answer
    calls: tuple[str, ...] = ()
    """Calls of which the last frame is a wrong request too, with the same answer: by its bytes, or by its hello."""

    @property
    def ways(self) -> tuple[str, ...]:
        """How it can be said."""
        return ("Connect", *self.calls)


_ANY_CALL, _EXECUTE, _SUBSCRIBE = ("Execute", "SendMessage"), ("Execute",), ("Subscribe",)
_PING = messaging.Command(ping=messaging.Ping())


def _first(what: str, answer: Answer, *frames: bytes) -> WrongFrame:
    return WrongFrame(what, lambda _: frames, answer)


def _after(what: str, answer: Answer, wrong: bytes, calls: tuple[str, ...] = ()) -> WrongFrame:
    opening = frame(hello(live_only=True))
    return WrongFrame(what, lambda _: (opening, wrong), answer, calls)


def _opening(what: str, answer: Answer, **fields: object) -> WrongFrame:
    return WrongFrame(what, lambda _: (frame(hello(**fields)),), answer, _SUBSCRIBE)


def _resuming(what: str, answer: Answer, cursor: Callable[[Caller], str]) -> WrongFrame:
    return WrongFrame(what, lambda caller: (frame(hello(resume_after=cursor(caller))),), answer, _SUBSCRIBE)


_NOT_PARSED = ending(INVALID)
_NO_COMMAND = ending(INVALID, "commands")
_NO_HELLO = ending(INVALID, "hello", status=StatusCode.FAILED_PRECONDITION, opened=False)
_TWO_HELLOS = ending(INVALID, "hello", status=StatusCode.FAILED_PRECONDITION)
_BAD_START = ending(CURSOR_INVALID, "hello.resume_after", opened=False)
_RIGHT_AND = frame(text_message("not done", [PEER]))
"""A message that would be right, in a frame that is not: none of a frame is done that ends its stream."""

FRAMES = (
    _first("Garbage for a first frame", _NOT_PARSED, b"\xff\xff\xff\xff"),
    _after("A frame that does not parse", _NOT_PARSED, _RIGHT_AND + b"\x0a\xff", _ANY_CALL),
    _after("Another message's bytes", _NOT_PARSED, b"\x0a\x05hello", _ANY_CALL),
    _after(
        "Text that is no UTF-8",
        _NOT_PARSED,
        b"\x0a\x0f\x08\x02\x12\x0b\x0a\x02id\x22\x05\x0a\x03a\xff\xfe",
        _ANY_CALL,
    ),
    _first("An empty first frame", _NO_COMMAND, b""),
    _after("An empty frame", _NO_COMMAND, b"", _EXECUTE),
    _after(
        "65 commands in a frame",
        ending(TOO_LARGE, "commands", "max_commands_per_frame"),
        frame(*[text_message("not done", [PEER]) for _ in range(65)]),
        _EXECUTE,
    ),
    _after(
        "A frame of more than 1 MiB",
        ending(TOO_LARGE, "", "max_frame_bytes"),
        frame(*[text_message("x" * 60_000, [PEER]) for _ in range(20)]),
        _EXECUTE,
    ),
    WrongFrame("No hello", lambda _: (frame(_PING),), _NO_HELLO, _SUBSCRIBE),
    _first("A message before hello", _NO_HELLO, _RIGHT_AND),
    _first("Hello twice in a frame", _TWO_HELLOS, frame(hello(), hello())),
    _after("Hello again", _TWO_HELLOS, frame(hello())),
    _first(
        "No hello in time",
        ending(
            DEADLINE,
            "hello",
            status=StatusCode.DEADLINE_EXCEEDED,
            opened=False,
        ),
    ),
    _resuming("A cursor that is none", _BAD_START, lambda _: "nonsense"),
    _resuming("Garbage of a cursor's length", _BAD_START, lambda _: "A" * 36),
    _resuming("A cursor of 100,000 bytes", _BAD_START, lambda _: "A" * 100_000),
    _resuming("A cursor beyond ASCII", _BAD_START, lambda _: "ä" * 36),
    _resuming("A cursor of another user's partition", _BAD_START, lambda c: c.cursor(0, c.other_partition)),
    _resuming(
        "A cursor past the log's end",
        ending(CURSOR_INVALID, "hello.resume_after", status=StatusCode.OUT_OF_RANGE),
        lambda c: c.cursor(1 << 40),
    ),
    _opening(
        "A client id of 65 bytes",
        ending(TOO_LARGE, "hello.client_id", 64, opened=False),
        client_id="x" * 65,
    ),
    _opening(
        "Client info of 129 bytes",
        ending(TOO_LARGE, "hello.client_info", 128, opened=False),
        client_info="x" * 129,
    ),
    _opening("33 features", ending(TOO_LARGE, "hello.features", 32, opened=False), features=["x"] * 33),
    _opening(
        "A feature of 65 bytes",
        ending(TOO_LARGE, "hello.features", 64, opened=False),
        features=["x" * 65],
    ),
    WrongFrame(
        "A trace context of 65 bytes on hello",
        lambda _: (frame(traced(hello(), "0" * 65)),),
        ending(TOO_LARGE, "traceparent", 64, opened=False),
    ),
    WrongFrame(
        "A hello without a command id",
        lambda _: (messaging.ConnectRequest(commands=[hello()]).SerializeToString(),),
        ending(INVALID, "command_id", opened=False),
    ),
)
