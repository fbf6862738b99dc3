"""Access tokens: what a caller brings as metadata, what is signed but says anything, and what a key file holds."""

import base64
import hashlib
import hmac
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import example
from hypothesis import strategies as st

from messaging_cell.security import TokenRules, TokenVerifier
from messaging_cell.token_keys import (
    KeySet,
    KeysRefused,
    read_jwks_file,
    read_pem_file,
    read_secret_file,
    secret_key,
)
from messaging_client.tokens import expires_us
from messaging_core.identity import Identity, TokenInvalid, identify
from messaging_core.ids import is_user_id
from messaging_server.hello import welcome_piece
from messaging_server.settings import ServerSettings
from tests.fuzz.strategies import TEXT, ints
from tests.fuzz.subjects import subject

SECRET = b"s" * 32
SETTINGS = ServerSettings(server_id="s")
LATER_S = 4_000_000_000
JSON_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    ints(-(10**400), 10**400),
    st.floats(),
    TEXT,
    st.sampled_from((10**400, 1e308, "ann")),
)
JSON = st.recursive(
    JSON_SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
HEADERS = st.fixed_dictionaries(
    {"alg": st.sampled_from(("HS256", "HS256", "none", "None", "RS256", "HS512", "")) | JSON},
    optional={"kid": JSON, "typ": JSON, "crit": JSON, "b64": JSON, "jwk": JSON, "cty": JSON, "enc": JSON},
)
TIMES_S = st.sampled_from((LATER_S, LATER_S, 10**400, 1e308, 1e300, 2**63, 1, -1)) | JSON
CLAIMS = st.fixed_dictionaries(
    {"sub": st.sampled_from(("ann", "ann", "~" * 255, "~" * 256, "a b", "é")) | JSON, "exp": TIMES_S},
    optional={"iat": TIMES_S, "nbf": TIMES_S, "aud": JSON, "iss": JSON, "jti": JSON},
)


def part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header: Any, claims: Any, key: bytes = SECRET) -> str:
    """A token of these, whatever they are, signed with HMAC-SHA-256."""
    head = f"{part(json.dumps(header).encode())}.{part(json.dumps(claims).encode())}"
    return f"{head}.{part(hmac.digest(key, head.encode(), hashlib.sha256))}"


def verifier(**rules: Any) -> TokenVerifier:
    return TokenVerifier(KeySet([secret_key(SECRET)]), TokenRules(**rules))


def verified(token: str, **rules: Any) -> Identity | None:
    """Who the token names; None if it was refused. A stream of that user can be opened, and its welcome told."""
    checks = verifier(**rules)
    try:
        identity = checks.verify(token)
    except TokenInvalid as invalid:
        assert str(invalid).isprintable()
        return None
    assert is_user_id(identity.user_id)
    assert checks.verify(token) == identity
    assert welcome_piece(identity, "s-1", SETTINGS, bytes(8))
    return identity


@subject(share=8, header=HEADERS | JSON, claims=CLAIMS | JSON, expiring=st.booleans())
@example({"alg": "HS256"}, {"sub": "ann", "exp": 10**400}, True)  # more than a float holds
@example({"alg": "HS256"}, {"sub": "ann", "exp": 1e308}, True)  # more microseconds than a float holds
def test_signed_tokens(header: Any, claims: Any, expiring: bool) -> None:
    """A token that is signed well but says anything is an identity that can be welcomed, or TokenInvalid."""
    token = signed(header, claims)
    identity = verified(token, needs_expiry=expiring)
    if identity is not None:
        assert header["alg"] == "HS256"
        assert claims["sub"] == identity.user_id
    assert verified(signed(header, claims, b"t" * 32)) is None
    assert expires_us(token) is None or isinstance(expires_us(token), int)


GOOD = signed({"alg": "HS256", "typ": "JWT"}, {"sub": "ann", "exp": LATER_S})
PARTS = st.one_of(
    TEXT, st.binary(max_size=40).map(part), JSON.map(lambda value: part(json.dumps(value).encode()))
)
DEEP = part(b"[" * 3_000), part(b'{"alg":"HS256","a":' + b"[" * 3_000)


@subject(
    share=80,
    token=st.one_of(
        st.text(max_size=60),
        st.lists(PARTS | st.sampled_from((*GOOD.split("."), *DEEP)), max_size=5).map(".".join),
        st.builds(
            lambda at, new: GOOD[:at] + new + GOOD[at + 1 :], st.integers(0, len(GOOD)), st.text(max_size=2)
        ),
        st.sampled_from((GOOD, GOOD + "=", "a" * 9_000, "." * 3)),
    ),
)
def test_token_text(token: str) -> None:
    """Any text but the one that was signed is TokenInvalid; so is what precedes it in metadata, whatever that is."""
    identity = verified(token)
    if identity is not None:
        assert identity.user_id == "ann"
        assert token.split(".")[:2] == GOOD.split(".")[:2]
    expires_us(token)
    checks = verifier()
    for value in (token, f"Bearer {token}", f"bearer  {token} ", token.encode("utf-8", "surrogatepass")):
        try:
            assert identify((("x", b"\xff"), ("authorization", value)), checks).user_id == "ann"
        except TokenInvalid:
            assert value != f"Bearer {GOOD}"


JWKS = st.fixed_dictionaries(
    {
        "keys": st.lists(
            st.fixed_dictionaries(
                {"kty": st.sampled_from(("RSA", "EC", "OKP", "oct")) | JSON},
                optional=dict.fromkeys(
                    ("crv", "x", "y", "n", "e", "d", "k", "kid", "alg", "use", "key_ops"), PARTS | JSON
                ),
            )
            | JSON,
            max_size=3,
        )
        | JSON
    }
)
PEM = st.builds(
    lambda kind, body: b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (kind, body, kind),
    st.sampled_from((b"PUBLIC KEY", b"RSA PUBLIC KEY", b"PRIVATE KEY", b"CERTIFICATE")),
    st.binary(max_size=60).map(base64.b64encode) | st.binary(max_size=40),
)


@subject(
    share=1,
    short=50,
    content=st.one_of(st.binary(max_size=60), JWKS.map(lambda value: json.dumps(value).encode()), PEM),
)
@example(b'{"keys": [{"kty": "RSA", "key_ops": null}]}')
def test_key_files(content: bytes) -> None:
    """A key file with any content gives keys, or says KeysRefused."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "keys"
        path.write_bytes(content)
        for read in (read_jwks_file, read_pem_file, read_secret_file):
            try:
                assert all(key.algorithms for key in read(path))
            except KeysRefused as refused:
                assert str(refused)
