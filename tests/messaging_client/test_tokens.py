"""What may be given as a token, and what a source of tokens may do."""

from typing import Any

import pytest

from messaging_client import Client
from messaging_client.tokens import Tokens, expires_us


async def test_a_source_is_asked_each_time_and_remembered() -> None:
    """`fresh` asks, `present` gives the last one; white space around a token is not part of it."""
    given = iter(["one", " two\n"])

    async def source() -> str:
        return next(given)

    tokens = Tokens(source)
    assert await tokens.present() == "one"
    assert await tokens.present() == "one"
    assert await tokens.fresh() == "two"
    assert await tokens.present() == "two"


@pytest.mark.parametrize("token", ["", " \n", "Bearer abc", "töken", "a\nb", "a\x00b"])
async def test_what_cannot_be_a_token_is_refused_where_it_is_given(token: str) -> None:
    """A fixed one when the client is made, in words; one of a source when it is asked."""
    with pytest.raises(ValueError, match="access token"):
        Client("127.0.0.1:1", token)

    async def source() -> str:
        return token

    with pytest.raises(ValueError, match="access token"):
        await Tokens(source).fresh()


@pytest.mark.parametrize("token", [None, b"token", 5])
async def test_what_is_no_text_is_a_type_error(token: Any) -> None:
    """Bytes, nothing, a number; a source that is no async function."""
    with pytest.raises(TypeError, match="str"):
        Client("127.0.0.1:1", token)

    async def source() -> Any:
        return token

    with pytest.raises(TypeError, match="str"):
        await Tokens(source).fresh()
    plain: Any = lambda: "token"  # noqa: E731
    with pytest.raises(TypeError, match="async function"):
        await Tokens(plain).fresh()


def test_when_a_token_runs_out_is_read_from_it() -> None:
    """The claim `exp` of a JWT; whatever else it may be says nothing."""
    assert expires_us("e30.eyJleHAiOjE3MDB9.c2ln") == 1_700_000_000
    for other in ("", "a", "a.b.c", "a.!!.c", "a.eyJleHAiOiJ4In0.c", "a.W10.c", "a.eyJleHAiOjFlOTk5fQ.c"):
        assert expires_us(other) is None
