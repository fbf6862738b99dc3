"""Who is calling."""

from typing import NamedTuple, Protocol


class Identity(NamedTuple):
    """What an access token says."""

    user_id: str
    expires_at_s: float | None
    """Seconds since 1970 when the token runs out; None for never."""


class TokenInvalid(Exception):
    """The token does not hold. The text is safe to show to the caller."""


class Authenticator(Protocol):
    """Checks access tokens."""

    def verify(self, token: str) -> Identity:
        """The identity that a token (without "Bearer") stands for. Raises TokenInvalid. Never blocks."""
        ...
