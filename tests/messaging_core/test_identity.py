"""Who makes a call, from its metadata."""

import pytest

from messaging_core.identity import Identity, TokenInvalid, identify


class Named:
    """Takes every token for the user it names."""

    def verify(self, token: str) -> Identity:
        return Identity(token, None)


@pytest.mark.parametrize("value", ["Bearer ann", "bearer ann", "BEARER   ann ", b"Bearer ann"])
def test_a_bearer_token_names_the_caller(value: str | bytes) -> None:
    """The scheme's case does not matter (RFC 9110, 11.1), and other metadata is passed over."""
    metadata = (("user-agent", "x"), ("authorization", "Basic eA=="), ("authorization", value))
    assert identify(metadata, Named()).user_id == "ann"


@pytest.mark.parametrize(
    "metadata", [None, (), (("authorization", "ann"),), (("authorization", "Basic ann"),)]
)
def test_a_call_without_a_token_is_refused(metadata: tuple[tuple[str, str], ...] | None) -> None:
    """It is told where the token belongs."""
    with pytest.raises(TokenInvalid, match="authorization: Bearer"):
        identify(metadata, Named())


@pytest.mark.parametrize("user_id", ["", "ann bob", "\u00e4nn", "a" * 256])
def test_a_user_id_out_of_bounds_is_refused(user_id: str) -> None:
    """Whatever the authenticator makes of its tokens, no call is made by what cannot be a user."""
    with pytest.raises(TokenInvalid, match="names no user"):
        identify((("authorization", f"Bearer {user_id}"),), Named())
