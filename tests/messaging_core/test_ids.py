"""Names of users, commands and conversations."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging_core.ids import (
    CONVERSATION_ID_CHARS,
    MAX_COMMAND_ID_BYTES,
    MAX_USER_ID_BYTES,
    conversation_id,
    is_command_id,
    is_conversation_id,
    is_user_id,
)

USER_IDS = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=MAX_USER_ID_BYTES
)


@given(USER_IDS)
def test_visible_ascii_names_a_user(value: str) -> None:
    """1 to 255 bytes from 0x21 to 0x7e are a user id."""
    assert is_user_id(value)


@pytest.mark.parametrize("value", ["", "x" * 256, "a b", " a", "a\n", "\x7f", "\x00", "é", "名", "a\u0301"])
def test_anything_else_names_no_user(value: str) -> None:
    """Empty, too long, spaces, control characters and other scripts are not."""
    assert not is_user_id(value)


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        ("a", True),
        ("0190f8a1-7c3e-7b2a-8d4f-5e6a7b8c9d0e", True),
        ("A_z-9", True),
        ("x" * MAX_COMMAND_ID_BYTES, True),
        ("x" * (MAX_COMMAND_ID_BYTES + 1), False),
        ("", False),
        ("a.b", False),
        ("a\n", False),
        ("é", False),
        ("٣", False),
    ],
)
def test_command_ids(value: str, valid: bool) -> None:
    """1 to 64 of [A-Za-z0-9_-], ASCII only."""
    assert is_command_id(value) is valid


def test_the_id_of_a_conversation_is_what_is_written_down() -> None:
    """The id can be computed by anyone from its description: here step by step, once."""
    encoded = b"cell.conversation.v1\0" + b"\0\x03bob" + b"\0\x05alice"
    swapped = b"cell.conversation.v1\0" + b"\0\x05alice" + b"\0\x03bob"  # byte order: alice before bob
    expected = base64.urlsafe_b64encode(hashlib.sha256(swapped).digest()[:16]).decode().rstrip("=")
    assert conversation_id(["bob", "alice"]) == expected
    assert expected != base64.urlsafe_b64encode(hashlib.sha256(encoded).digest()[:16]).decode().rstrip("=")
    assert len(expected) == CONVERSATION_ID_CHARS


@given(st.lists(USER_IDS, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_a_conversation_is_its_set_of_users(users: list[str], random: object) -> None:
    """Order and repetition do not matter, and the id has its form."""
    shuffled = [*users, users[0]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert conversation_id(shuffled) == conversation_id(users)
    assert is_conversation_id(conversation_id(users))


@given(st.sets(USER_IDS, min_size=1, max_size=4), st.sets(USER_IDS, min_size=1, max_size=4))
def test_other_users_are_another_conversation(left: set[str], right: set[str]) -> None:
    """Two sets share an id only if they are equal, also where names joined would be."""
    assert (conversation_id(left) == conversation_id(right)) is (left == right)
    assert conversation_id(["ab", "c"]) != conversation_id(["a", "bc"])


@pytest.mark.parametrize("value", ["", "x" * 21, "x" * 23, "x" * 21 + "=", "x" * 21 + "\n", "x" * 21 + "+"])
def test_other_text_is_no_conversation(value: str) -> None:
    """22 characters of base64url without padding, nothing else."""
    assert not is_conversation_id(value)
