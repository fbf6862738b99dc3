"""Cursors as opaque strings."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging_core.cursor import Cursor, CursorInvalid, decode_cursor, incarnation_bytes

CURSORS = st.builds(
    Cursor,
    st.binary(min_size=8, max_size=8),
    st.integers(0, 2**16 - 1),
    st.integers(-1, 2**63 - 1),
    st.integers(0, 2**63 - 1),
)


@given(CURSORS)
def test_what_is_encoded_is_decoded(cursor: Cursor) -> None:
    """Every position comes back; the text is 36 ASCII characters, within the 64 bytes that the contract allows."""
    text = cursor.encode()
    assert len(text) == 36
    assert text.isascii()
    assert decode_cursor(text) == cursor


@given(st.text(max_size=60))
def test_other_text_is_refused(text: str) -> None:
    """Whatever a client sends is a cursor or CursorInvalid."""
    with pytest.raises(CursorInvalid):
        decode_cursor(text)


@given(CURSORS, st.integers(0, 35), st.characters(max_codepoint=0x2FF))
def test_a_changed_cursor_is_refused_or_another_one(cursor: Cursor, at: int, character: str) -> None:
    """No two texts stand for one position."""
    text = cursor.encode()
    changed = text[:at] + character + text[at + 1 :]
    if changed != text:
        with suppress(CursorInvalid):
            assert decode_cursor(changed) != cursor


@pytest.mark.parametrize(
    "cursor",
    [Cursor(bytes(8), 0, -2, 0), Cursor(bytes(8), 0, 0, -1)],
)
def test_impossible_positions_are_refused(cursor: Cursor) -> None:
    """An offset below -1 or a time below 0 was never given out."""
    with pytest.raises(CursorInvalid):
        decode_cursor(cursor.encode())


def test_incarnations_differ_in_their_bytes() -> None:
    """Eight bytes, the same for the same log, others for another."""
    assert len(incarnation_bytes("a")) == 8
    assert incarnation_bytes("a") == incarnation_bytes("a") != incarnation_bytes("b")
