"""What clients keep for the cell as text: cursors and page tokens; and what the cell keeps for itself in a commit."""

from contextlib import suppress

import pytest
from hypothesis import assume, example
from hypothesis import strategies as st

from cell.messaging.v1 import messaging_pb2 as messaging
from event_log.commit_metadata import (
    MAX_OFFSET,
    CommitState,
    CommitUnreadable,
    TailState,
    decode,
    encode,
    tail_start_of,
)
from event_log.port import MAX_METADATA_CHARS, MAX_PARTITIONS, Assignment, Commit, LogError
from event_log.reader import PartitionReader
from history_service.paging import (
    MAX_TOKEN_CHARS,
    ConversationsPlace,
    MessagesPlace,
    _sealed,
    conversations_token,
    messages_token,
    read_conversations_token,
    read_messages_token,
)
from history_service.port import Cut, MessageKey
from messaging_core.cursor import Cursor, CursorInvalid, decode_cursor
from messaging_core.refusals import Refused
from tests.fuzz.strategies import INT64, TEXT, ints
from tests.fuzz.subjects import subject

_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_="
SIMILAR = st.text(_BASE64 + "+/ \n.", max_size=80)
ANY_TEXT = st.one_of(st.text(max_size=80), SIMILAR, st.text(_BASE64, min_size=36, max_size=36), TEXT)
EDITS = st.lists(st.tuples(st.integers(0, 2_000), st.text(_BASE64, max_size=2), st.booleans()), max_size=3)


def edited(text: str, edits: list[tuple[int, str, bool]]) -> str:
    for where, new, over in edits:
        at = where % (len(text) + 1)
        text = text[:at] + new + text[at + (len(new) if over else 0) :]
    return text


CURSORS = st.builds(
    Cursor,
    st.binary(min_size=8, max_size=8),
    st.integers(0, 2**16 - 1),
    ints(-1, 2**63 - 1),
    ints(0, 2**63 - 1),
)


@subject(share=90, cursor=CURSORS, edits=EDITS)
def test_cursors(cursor: Cursor, edits: list[tuple[int, str, bool]]) -> None:
    """Each position is one text and each text at most one position, however the text is changed."""
    text = cursor.encode()
    assert decode_cursor(text) == cursor
    changed = edited(text, edits)
    with suppress(CursorInvalid):
        found = decode_cursor(changed)
        assert found.encode() == changed
        assert (found == cursor) is (changed == text)


@subject(share=90, text=ANY_TEXT)
def test_cursor_text(text: str) -> None:
    """Any text is CursorInvalid, or a cursor that is that very text again."""
    with suppress(CursorInvalid):
        assert decode_cursor(text).encode() == text


# Ids do not hold zero bytes: the cell refuses them before anything is listed.
NAMES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20)
PLACES = st.builds(
    MessagesPlace, st.builds(Cut, st.builds(MessageKey, INT64, NAMES, NAMES), st.booleans()), st.booleans()
)


@subject(share=80, place=PLACES, user=NAMES, conversation=NAMES, other=NAMES, edits=EDITS)
def test_page_tokens(
    place: MessagesPlace, user: str, conversation: str, other: str, edits: list[tuple[int, str, bool]]
) -> None:
    """A token gives its place to its user and conversation, and to others the one refusal; changed, it is no other place."""
    token = messages_token(place, user, conversation)
    assert len(token) <= MAX_TOKEN_CHARS
    assert read_messages_token(token, user, conversation) == place
    with suppress(Refused):
        assert read_messages_token(edited(token, edits), user, conversation) == place
    for asked in ((other, conversation), (user, other), (other, other)):
        if asked != (user, conversation):
            with pytest.raises(Refused, match="INVALID_FIELD"):
                read_messages_token(token, *asked)
    with pytest.raises(Refused, match="INVALID_FIELD"):
        read_conversations_token(token, user)


@subject(
    share=50,
    place=st.builds(ConversationsPlace, INT64, NAMES, CURSORS.map(Cursor.encode)),
    user=NAMES,
    other=NAMES,
)
def test_conversation_tokens(place: ConversationsPlace, user: str, other: str) -> None:
    """The same for a listing of conversations."""
    token = conversations_token(place, user)
    assert read_conversations_token(token, user) == place
    assume(other != user)
    with pytest.raises(Refused, match="INVALID_FIELD"):
        read_conversations_token(token, other)


@subject(share=110, text=ANY_TEXT, payload=st.binary(max_size=60) | TEXT.map(str.encode), user=NAMES)
def test_forged_tokens(text: str, payload: bytes, user: str) -> None:
    """Any text, and anything sealed by someone who knows how, is a place or the one refusal, which names the field."""
    readers = (
        lambda token: read_messages_token(token, user, ""),
        lambda token: read_conversations_token(token, user),
    )
    for token in (text, _sealed(payload, user, "")):
        for read in readers:
            try:
                read(token)
            except Refused as refused:
                assert refused.reason == messaging.REJECTED_REASON_INVALID_FIELD
                assert refused.field == "page_token"


STATES = st.builds(
    TailState,
    st.text(st.characters(codec="ascii", exclude_characters="."), min_size=1, max_size=36),
    ints(0, MAX_OFFSET),
    ints(0, MAX_OFFSET),
    ints(0, 2**63 - 1),
    ints(0, 2**63 - 1),
    st.one_of(
        st.lists(ints(0, 2 * MAX_OFFSET + 1), max_size=20),
        st.builds(
            lambda chain, count: [chain] * count, ints(0, 2 * MAX_OFFSET + 1), st.integers(0, MAX_PARTITIONS)
        ),
    ),
    st.none(),
)
LARGEST = TailState(
    "x" * 36, MAX_OFFSET, MAX_OFFSET, 2**63 - 1, 2**63 - 1, [2 * MAX_OFFSET + 1] * MAX_PARTITIONS
)


@subject(share=60, state=STATES, rise=st.none() | ints(0, 2 * MAX_OFFSET), edits=EDITS)
@example(LARGEST, None, [])
@example(LARGEST, 0, [])
def test_commit_metadata(state: TailState, rise: int | None, edits: list[tuple[int, str, bool]]) -> None:
    """Every state that a log of 512 partitions can come to fits its 4,096 characters, and comes back; cut, it does not."""
    if rise is not None:
        chains = [chain + rise for chain in state.chains]
        at_commit = CommitState(state.running_time_us + rise, state.newest_us + rise, chains)
        state = state._replace(at_commit=at_commit)
    text = encode(state)
    assert text.isascii()
    assert len(text) <= MAX_METADATA_CHARS
    decoded = decode(text)
    assert decoded == state or (decoded == state._replace(at_commit=None) and len(state.chains) > 256)
    assert tail_start_of(Commit(MAX_OFFSET, text)) == state.tail_start
    _start_from(edited(text, edits), len(state.chains), state.incarnation)


@subject(
    share=100,
    rest=st.text(max_size=60),
    head=st.sampled_from(("", "1.log-1.", "1.", "2.log-1.", "2.log-1..", "3.log-1.")),
)
def test_commit_text(rest: str, head: str) -> None:
    """Any text is a state or CommitUnreadable, retention keeps no less for it, and a reader starts or says LogError."""
    _start_from(head + rest, 4, "log-1")


def _start_from(text: str, partitions: int, incarnation: str) -> None:
    commit = Commit(7, text)
    kept_from = tail_start_of(commit)
    assert 0 <= kept_from <= commit.offset
    with suppress(CommitUnreadable):
        state = decode(text)
        assert kept_from <= state.tail_start
    with suppress(LogError):
        PartitionReader(0, incarnation, partitions, Assignment(0, 1, commit, 0, 1_000))
