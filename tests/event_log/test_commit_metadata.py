"""What a commit carries."""

from itertools import cycle
from operator import add

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_log.commit_metadata import (
    MAX_OFFSET,
    CommitState,
    CommitUnreadable,
    TailState,
    decode,
    encode,
    tail_start_of,
)
from event_log.port import MAX_METADATA_CHARS, MAX_PARTITIONS, Commit

CHAINS = st.lists(st.integers(0, 2 * MAX_OFFSET + 1), max_size=MAX_PARTITIONS)


def _risen(tail: TailState, rises: list[int]) -> TailState:
    """With a state at the commit that is higher by these, in turn."""
    running_us, newest_us, *chains = map(
        add, (tail.running_time_us, tail.newest_us, *tail.chains), cycle(rises)
    )
    return tail._replace(at_commit=CommitState(running_us, newest_us, chains))


TAILS = st.builds(
    TailState,
    st.text(st.characters(codec="ascii", exclude_characters="."), min_size=1, max_size=36),
    st.integers(0, MAX_OFFSET),
    st.integers(0, MAX_OFFSET),
    st.integers(0, 2**53),
    st.integers(0, 2**53),
    CHAINS,
    st.none(),
)
SMALL_TAILS = st.builds(
    TailState,
    st.just("log"),
    *[st.integers(0, MAX_OFFSET)] * 4,
    CHAINS.map(lambda chains: chains[:256]),
    st.none(),
)
STATES = TAILS | st.builds(_risen, SMALL_TAILS, st.lists(st.integers(0, 2**20), min_size=1, max_size=5))


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
    assert decode(encode(_risen(state, [0]))) == state
    lower = _risen(state._replace(chains=[2**34] * MAX_PARTITIONS), [0, 100, 0])
    assert decode(encode(lower)) == lower
    with pytest.raises(ValueError, match="limit 4096"):
        encode(state._replace(incarnation="x" * 300))


@pytest.mark.parametrize(
    "text",
    ["", "x", "3.log.abc", "1.log", "1.log.", "1.log.!!", "1.log.\x00", "1.log.000", "2.log.00aO41ONa400"],
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
