"""Access tokens that open nothing."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import jwt

from check.calls import bearer
from tests.system.cell_process import SECRET
from tests.system.raw_stream import Metadata
from tests.system.wrong_use.answers import TOKEN_INVALID, Answer

ISSUER, AUDIENCE = "https://id.example.org", "cell"


def signed(user_id: object, key: str = SECRET, algorithm: str = "HS256", **claims: object) -> str:
    """An access token that the cell takes, but for what is given; None leaves a claim out."""
    right = {"sub": user_id, "exp": int(time.time()) + 3_600, "iss": ISSUER, "aud": AUDIENCE}
    kept = {name: value for name, value in (right | claims).items() if value is not None}
    return jwt.encode(kept, key, algorithm=algorithm)


@dataclass(frozen=True, slots=True)
class WrongToken:
    """Metadata that opens nothing, whichever way."""

    what: str
    metadata: Callable[[str], Metadata]
    """For a user who may send, with a token that is right."""
    answer: Answer = field(default_factory=lambda: Answer(TOKEN_INVALID, ends=True))

    @property
    def ways(self) -> tuple[str, ...]:
        """How it can be said."""
        return ("Connect", "Subscribe", "Execute", "SendMessage", "history")


def _with(**claims: object) -> Callable[[str], Metadata]:
    return lambda user_id: bearer(signed(user_id, **claims))  # type: ignore[arg-type]


def _metadata(value: str) -> Callable[[str], Metadata]:
    return lambda user_id: (("authorization", value.replace("TOKEN", signed(user_id))),)


TOKENS = (
    WrongToken("No metadata", lambda _: ()),
    WrongToken("An empty `authorization`", _metadata("")),
    WrongToken("A token without `Bearer`", _metadata("TOKEN")),
    WrongToken("Another scheme", _metadata("Basic TOKEN")),
    WrongToken("`Bearer` without a token", _metadata("Bearer ")),
    WrongToken("Not a token at all", _metadata("Bearer garbage")),
    WrongToken("Three parts of garbage", _metadata("Bearer a.b.c")),
    WrongToken("7,000 bytes of garbage", _metadata("Bearer " + "x" * 7_000)),
    WrongToken("A token that is cut", lambda user_id: bearer(signed(user_id)[:-3])),
    WrongToken("Signed with another key", _with(key="another secret of at least 32 bytes, too")),
    WrongToken("`alg: none`", _with(key="", algorithm="none")),
    WrongToken("Another algorithm", _with(key="k" * 64, algorithm="HS512")),
    WrongToken("Expired", _with(exp=1_700_000_000)),
    WrongToken("Not valid yet", _with(nbf=32_503_680_000)),
    WrongToken("Without an expiry", _with(exp=None)),
    WrongToken("Of another issuer", _with(iss="https://other.example.org")),
    WrongToken("Without an issuer", _with(iss=None)),
    WrongToken("For another audience", _with(aud="another")),
    WrongToken("Without an audience", _with(aud=None)),
    WrongToken("Without a user", lambda _: bearer(signed(None))),
    WrongToken("For an empty user id", lambda _: bearer(signed(""))),
    WrongToken("For a user id with a space", lambda _: bearer(signed("ann and bob"))),
    WrongToken("For a user id beyond ASCII", lambda _: bearer(signed("änn"))),
    WrongToken("For a user id of 256 bytes", lambda _: bearer(signed("a" * 256))),
    WrongToken("For a user that is a number", lambda _: bearer(signed(7))),
)
