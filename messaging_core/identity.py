"""Who is calling."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from messaging_core.ids import is_user_id

_BEARER = "bearer "


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
        """The identity that a token (without "Bearer") stands for. Never blocks.

        Raises TokenInvalid; Refused (UNAVAILABLE) where that cannot be told yet.
        """
        ...


def identify(metadata: Iterable[tuple[str, str | bytes]] | None, authenticator: Authenticator) -> Identity:
    """Who makes a call, by its metadata `authorization: Bearer TOKEN`. Raises as Authenticator.verify."""
    for key, value in metadata or ():
        if key == "authorization":
            text = value if isinstance(value, str) else value.decode("ascii", "replace")
            if text[: len(_BEARER)].lower() == _BEARER:
                identity = authenticator.verify(text[len(_BEARER) :].strip())
                if not is_user_id(identity.user_id):
                    raise TokenInvalid("the token names no user: an id is 1 to 255 visible ASCII bytes")
                return identity
    raise TokenInvalid("no access token: send metadata `authorization: Bearer <token>`")
