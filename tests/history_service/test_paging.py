"""Page tokens: what was given comes back, and nothing else is taken."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from history_service import paging
from history_service.paging import (
    ConversationsPlace,
    MessagesPlace,
    conversations_token,
    fitting,
    messages_token,
    read_conversations_token,
    read_messages_token,
)
from history_service.port import BEGINNING, END, Cut, MessageKey
from messaging_core.refusals import Refused

ids = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=255)
keys = st.builds(MessageKey, st.integers(-(2**63), 2**63 - 1), ids, ids)
places = st.builds(MessagesPlace, st.builds(Cut, keys, st.booleans()), st.booleans())


@given(place=places, user=ids)
def test_a_place_comes_back(place: MessagesPlace, user: str) -> None:
    """Any place of a conversation survives its token."""
    assert read_messages_token(messages_token(place, user, "c"), user, "c") == place


@pytest.mark.parametrize("cut", [BEGINNING, END])
def test_the_ends_come_back(cut: Cut) -> None:
    """So do the ends."""
    place = MessagesPlace(cut, True)
    assert read_messages_token(messages_token(place, "ann", "c"), "ann", "c") == place


@given(last_at_us=st.integers(0, 2**63 - 1), user=ids)
def test_a_place_among_conversations_comes_back(last_at_us: int, user: str) -> None:
    """With the cursor of the listing's first page."""
    place = ConversationsPlace(last_at_us, "c" * 22, "x" * 36)
    assert read_conversations_token(conversations_token(place, user), user) == place


@given(token=st.one_of(st.text(), st.binary().map(lambda b: b.hex()), st.text("ABab01_-=", min_size=8)))
def test_anything_else_is_refused(token: str) -> None:
    """Whatever a client sends as a token, it is taken only if it was given."""
    for read in (
        lambda: read_messages_token(token, "ann", "c"),
        lambda: read_conversations_token(token, "ann"),
    ):
        with pytest.raises(Refused) as caught:
            read()
        assert caught.value.field == "page_token"


@given(place=places, at=st.integers(0, 10_000), bit=st.integers(0, 5))
def test_a_changed_token_is_refused_or_the_same(place: MessagesPlace, at: int, bit: int) -> None:
    """Changing a token gives no other place."""
    token = bytearray(messages_token(place, "ann", "c").encode())
    token[at % len(token)] ^= 1 << bit
    with suppress(Refused):
        assert read_messages_token(token.decode(), "ann", "c") == place


@given(payload=st.binary(max_size=64))
def test_a_seal_of_the_callers_own_is_no_way_in(payload: bytes) -> None:
    """The seal is no secret: whatever stands under a right one is a place, or refused as any other token."""
    with suppress(Refused):
        read_messages_token(paging._sealed(payload, "ann", "c"), "ann", "c")
    with suppress(Refused):
        read_conversations_token(paging._sealed(payload, "ann", ""), "ann")


def test_fitting() -> None:
    """Items until they are too large together, at least one."""
    assert fitting([], 10) == []
    assert fitting([("a", 99), ("b", 1)], 10) == ["a"]
    assert fitting([("a", 4), ("b", 6), ("c", 1)], 10) == ["a", "b"]
