"""What a commit carries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_log.commit_metadata import (
    MAX_OFFSET,
    CommitUnreadable,
    TailState,
    decode,
    encode,
    tail_start_of,
)
from event_log.port import MAX_METADATA_CHARS, MAX_PARTITIONS, Commit

STATES = st.builds(
    TailState,
    st.text(st.characters(codec="ascii", exclude_characters="."), min_size=1, max_size=36),
    st.integers(0, MAX_OFFSET),
    st.integers(0, MAX_OFFSET),
    st.integers(0, 2**53),
    st.integers(0, 2**53),
    st.lists(st.integers(0, 2 * MAX_OFFSET + 1), max_size=MAX_PARTITIONS),
)


@given(STATES)
def test_what_is_encoded_is_decoded(state: TailState) -> None:
    """Every state comes back as it was, in ASCII."""
    text = encode(state)
    assert text.isascii()
    assert decode(text) == state
    assert tail_start_of(Commit(MAX_OFFSET, text)) == state.tail_start


def test_the_largest_state_fits_what_brokers_keep() -> None:
    """512 partitions at the highest offsets fit 4,096 characters, with an incarnation of 36; beyond it is refused."""
    state = TailState("x" * 36, MAX_OFFSET, MAX_OFFSET, 2**53, 2**53, [2 * MAX_OFFSET + 1] * MAX_PARTITIONS)
    assert len(encode(state)) < MAX_METADATA_CHARS
    with pytest.raises(ValueError, match="limit 4096"):
        encode(state._replace(incarnation="x" * 300))


@pytest.mark.parametrize(
    "text", ["", "x", "2.log.abc", "1.log", "1.log.", "1.log.!!", "1.log.\x00", "1.log.000"]
)
def test_other_text_is_refused(text: str) -> None:
    """Text that is not of this version, or damaged, is refused by one error; retention then keeps all (but for none)."""
    with pytest.raises(CommitUnreadable):
        decode(text)
    assert tail_start_of(Commit(7, text)) == (0 if text else 7)


@given(STATES, st.integers(0, 4_096))
def test_cut_text_is_refused(state: TailState, length: int) -> None:
    """No part of an encoded state passes for one."""
    text = encode(state)
    if length < len(text):
        with pytest.raises(CommitUnreadable):
            decode(text[:length])
