"""Access tokens: JSON Web Tokens (RFC 7519), checked by PyJWT against the keys that the settings name."""

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jwt

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_cell.token_keys import KeySet, KeysRefused, TokenKey
from messaging_core.identity import Identity, TokenInvalid
from messaging_core.ids import is_user_id
from messaging_core.refusals import Refused

_MAX_TOKEN_CHARS = 8_192
"""As much as gRPC takes in metadata unless set higher."""
_CACHE_S = 30.0
"""How long a token that held is not checked again."""
_CACHE_TOKENS = 20_000
"""Tokens remembered, some 300 bytes each; beyond, the oldest is checked again."""
_LAST_S = 253_402_300_799
"""The end of the year 9999, seconds since 1970: JSON may hold a later time, of which nothing else here could speak."""
_REFRESH_S = 1.0
"""How often keys are looked at: one stat of a file, and of keys at a URL whether it is time to fetch them."""
_REFUSALS: dict[type[jwt.PyJWTError], str] = {
    jwt.ExpiredSignatureError: "the access token has expired",
    jwt.ImmatureSignatureError: "the access token is not valid yet",
    jwt.InvalidIssuedAtError: "the access token was issued with something that is no time",
    jwt.InvalidAudienceError: "the access token is for another audience",
    jwt.InvalidIssuerError: "the access token is of another issuer",
    jwt.InvalidSignatureError: "the access token is signed with another key",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRules:
    """What a token must say."""

    algorithms: tuple[str, ...] = ()
    """Taken; none = all that fit the keys."""
    issuer: str = ""
    audience: str = ""
    user_claim: str = "sub"
    leeway_s: float = 5.0
    needs_expiry: bool = True


class _Verified(NamedTuple):
    identity: Identity
    until_s: float


class TokenVerifier:
    """Checks access tokens; implements messaging_core.identity.Authenticator.

    A token that held is remembered by its hash for a short time, because a check costs tens of microseconds and clients
    bring the same token with every call. It is forgotten when it expires, and all are when the keys change.
    """

    def __init__(
        self,
        keys: KeySet,
        rules: TokenRules,
        wall_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._rules = rules
        self._wall_s = wall_s
        self._monotonic_s = monotonic_s
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        self._look_at_s = monotonic_s() + _REFRESH_S

    def verify(self, token: str) -> Identity:
        """The identity that a token stands for. Raises TokenInvalid; Refused while its key is looked for."""
        if not token:
            raise TokenInvalid("an access token is required")
        if len(token) > _MAX_TOKEN_CHARS or not token.isascii():
            raise TokenInvalid(
                f"the access token is not a JSON Web Token of at most {_MAX_TOKEN_CHARS:,} characters"
            )
        self._refresh_keys()
        digest = hashlib.blake2b(token.encode("ascii"), digest_size=16).digest()
        known = self._verified.get(digest)
        if known is not None and self._wall_s() < known.until_s:
            return known.identity
        identity = self._check(token)
        self._remember(digest, identity)
        return identity

    async def watch_keys(self) -> None:
        """Take up changed keys though no token comes, until cancelled: the next one may be of a key that was taken out."""
        while True:
            await asyncio.sleep(_REFRESH_S)
            try:
                self._refresh_keys()
            except Exception:  # or nobody would look any more
                _log.exception("keys of access tokens cannot be looked at")

    def _refresh_keys(self) -> None:
        if (now_s := self._monotonic_s()) < self._look_at_s:
            return
        self._look_at_s = now_s + _REFRESH_S
        try:
            if self._keys.refresh():
                self._verified.clear()
                _log.info("keys of access tokens were read again")
        except KeysRefused as error:
            _log.error(
                "changed keys of access tokens cannot be used; the earlier ones stay in force: %s", error
            )

    def _remember(self, digest: bytes, identity: Identity) -> None:
        self._verified.pop(digest, None)
        if len(self._verified) >= _CACHE_TOKENS:
            self._verified.popitem(last=False)
        until_s = self._wall_s() + _CACHE_S
        if identity.expires_at_s is not None:
            until_s = min(until_s, identity.expires_at_s)
        self._verified[digest] = _Verified(identity, until_s)

    def _check(self, token: str) -> Identity:
        try:
            claims = self._claims(token)
        except (TokenInvalid, Refused):
            raise
        except jwt.MissingRequiredClaimError as error:
            raise TokenInvalid(f"the access token has no `{error.claim}`") from error
        except jwt.PyJWTError as error:
            raise TokenInvalid(_REFUSALS.get(type(error), "the access token is malformed")) from error
        except (
            ValueError,
            TypeError,
            OverflowError,
            RecursionError,
        ) as error:  # what hostile JSON raises inside PyJWT
            raise TokenInvalid("the access token is malformed") from error
        return self._identity(claims)

    def _claims(self, token: str) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        algorithm, key_id = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in (
            self._rules.algorithms or self._keys.algorithms
        ):
            raise TokenInvalid("the access token is signed with an algorithm that is not taken here")
        keys = self._keys.fitting(algorithm, key_id)
        if not keys and isinstance(key_id, str) and self._keys.may_have(key_id):
            detail = "the access token is signed with a key that is not known yet; it is looked for"
            raise Refused(messaging.REJECTED_REASON_UNAVAILABLE, detail)
        if not keys:
            raise TokenInvalid("the access token is signed with a key that is not known here")
        for key in keys[:-1]:
            try:
                return self._decode(token, key, algorithm)
            except jwt.InvalidSignatureError:
                continue
        return self._decode(token, keys[-1], algorithm)

    def _decode(self, token: str, key: TokenKey, algorithm: str) -> dict[str, Any]:
        rules = self._rules
        required = [rules.user_claim]
        required += ["exp"] if rules.needs_expiry else []
        required += ["iss"] if rules.issuer else []
        return jwt.decode(
            token,
            key.material,
            algorithms=[algorithm],
            audience=rules.audience or None,
            issuer=rules.issuer or None,
            leeway=rules.leeway_s,
            options={"require": required, "verify_sub": False, "verify_jti": False},
        )

    def _identity(self, claims: dict[str, Any]) -> Identity:
        claim = self._rules.user_claim
        user_id = claims[claim]
        if not isinstance(user_id, str) or not is_user_id(user_id):
            raise TokenInvalid(
                f"the access token's `{claim}` is not a user id: 1 to 255 visible ASCII characters"
            )
        expiry = claims.get("exp")
        if expiry is None:
            return Identity(user_id, None)
        return Identity(user_id, min(int(expiry), _LAST_S) + self._rules.leeway_s)
