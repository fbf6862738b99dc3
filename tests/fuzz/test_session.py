"""A client's stream, whatever the client sends on it, through the server's own servicer, session, pipeline and link."""

from typing import Any

from hypothesis import example
from hypothesis import strategies as st

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core.ids import conversation_id
from tests.fuzz.cell import run
from tests.fuzz.commands import COMMANDS, ENDS, OPENINGS, STEPS, Client, Made
from tests.fuzz.strategies import (
    ENTRY,
    NOW_S,
    broken,
    encodings,
    field,
    groups,
    ints,
)
from tests.fuzz.stream import follow
from tests.fuzz.subjects import subject


def _deep(extra: bytes, where: int) -> tuple[str, Any]:
    """A command with a reply and an attachment: its parts are frame, command, message, recipients, content, ..."""
    send = messaging.SendMessage(message_id="m1", recipients=messaging.Recipients(user_ids=["bob"]))
    send.content.text = "x"
    send.content.attachments.add(uri="a:b", content_type="a/b")
    send.reply_to.CopyFrom(
        messaging.MessageRef(conversation_id=conversation_id(["ann", "bob"]), sender_id="bob", message_id="m")
    )
    send.reply_to.sent_at.seconds = NOW_S
    return "extended", ([(("send_message", send), 1, "")], extra, where)


def _long(size: int) -> list[Made]:
    return [(("send_message", messaging.SendMessage(message_id="m" * size)), 1, "")]


@subject(share=50, steps=STEPS, hello=OPENINGS, ends=ENDS)
# Parsers of ConnectResponse stop one level before those of ConnectRequest.
@example([_deep(groups(1_000, 97), 4)], messaging.Hello(), "live")
@example([_deep(field(4, ENTRY + groups(9, 96)), 4)], messaging.Hello(), "live")
@example([_deep(groups(1_000, 96), 5)], messaging.Hello(), "live")
@example([_deep(groups(1_000, 96), 7)], messaging.Hello(), "live")
@example(
    [("commands", _long(7_000))], messaging.Hello(), "live"
)  # not told back: a frame is no larger than it must be
@example(
    [("commands", [(("refresh_token", messaging.RefreshToken(token="ann:1e308")), 1, "")])],
    messaging.Hello(),
    "live",
)
def test_streams(steps: list[tuple[str, Any]], hello: messaging.Hello | None, ends: str) -> None:
    """Only by name does a stream end, a command's fault never ends it, and each command has one outcome that is true."""
    run(follow(steps, hello, ends))


FRAMES = st.lists(
    st.one_of(
        encodings(
            st.builds(
                lambda made: messaging.ConnectRequest(commands=map(Client().command, made)),
                st.lists(COMMANDS, max_size=3),
            )
        ),
        broken(st.lists(COMMANDS, min_size=1, max_size=2).map(lambda made: Client().frame(made))),
        ints(0, 9_000).map(bytes),
    ),
    max_size=4,
)


@subject(share=35, frames=FRAMES, hello=OPENINGS, ends=ENDS)
def test_raw_frames(frames: list[bytes], hello: messaging.Hello | None, ends: str) -> None:
    """The same for frames that are broken, or nothing at all."""
    run(follow([("raw", ([], frame, False)) for frame in frames], hello, ends))
