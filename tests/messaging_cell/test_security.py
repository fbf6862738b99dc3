"""Access tokens: which hold, and what is said of those that do not."""

import base64
import hmac
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from messaging_cell import access_tokens
from messaging_cell.security import _CACHE_S, _CACHE_TOKENS, TokenRules, TokenVerifier
from messaging_cell.settings import Settings, SettingsRefused
from messaging_cell.token_keys import (
    FileKeySet,
    KeySet,
    KeysRefused,
    read_jwks_file,
    read_pem_file,
    secret_key,
)
from messaging_core.identity import Identity, TokenInvalid

SECRET = b"a secret of at least thirty-two bytes"
RSA = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
P256 = ec.generate_private_key(ec.SECP256R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()
EXPIRY = int(time.time()) + 3_600


def claims(**changes: Any) -> dict[str, Any]:
    made = {"sub": "ann", "exp": EXPIRY, **changes}
    return {name: value for name, value in made.items() if value is not ...}


def signed(key: Any = SECRET, algorithm: str = "HS256", kid: str | None = None, **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm, {"kid": kid} if kid else None)


def assembled(header: Any, payload: bytes, key: bytes = SECRET) -> str:
    """A token made by hand, signed by HS256: what no library would make."""
    parts = [base64.urlsafe_b64encode(part).rstrip(b"=") for part in (json.dumps(header).encode(), payload)]
    signature = hmac.digest(key, b".".join(parts), "sha256")
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def pem(private: Any) -> bytes:
    return bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def jwk(private: Any, **members: Any) -> dict[str, Any]:
    algorithm = {
        rsa.RSAPrivateKey: "RS256",
        ec.EllipticCurvePrivateKey: "ES256",
        ed25519.Ed25519PrivateKey: "EdDSA",
    }
    name = next(name for kind, name in algorithm.items() if isinstance(private, kind))
    made = jwt.get_algorithm_by_name(name).to_jwk(private.public_key(), as_dict=True)
    return {**made, **members}


def write_jwks(path: Path, *keys: Any) -> Path:
    path.write_text(json.dumps({"keys": list(keys)}))
    return path


def by_secret(**rules: Any) -> TokenVerifier:
    return TokenVerifier(KeySet([secret_key(SECRET)]), TokenRules(**rules))


def by_pem(folder: Path, *keys: Any, **rules: Any) -> TokenVerifier:
    path = folder / "keys.pem"
    path.write_bytes(b"".join(pem(key) for key in keys))
    return TokenVerifier(FileKeySet(path, read_pem_file), TokenRules(**rules))


def refusal(verifier: TokenVerifier, token: str) -> str:
    with pytest.raises(TokenInvalid) as refused:
        verifier.verify(token)
    return str(refused.value)


def test_a_token_that_holds_gives_its_user_and_expiry() -> None:
    """The identity has the user claim, and the expiry with the leeway that a stream may use."""
    assert by_secret(leeway_s=5.0).verify(signed()) == Identity("ann", EXPIRY + 5.0)
    assert by_secret(user_claim="uid").verify(signed(sub=..., uid="bob")).user_id == "bob"


@pytest.mark.parametrize(
    ("rules", "changes", "said"),
    [
        ({}, {"exp": EXPIRY - 7_200}, "has expired"),
        ({}, {"exp": ...}, "has no `exp`"),
        ({}, {"exp": "soon"}, "malformed"),
        ({}, {"nbf": EXPIRY}, "not valid yet"),
        ({}, {"iat": "yesterday"}, "issued with something that is no time"),
        ({}, {"sub": ...}, "has no `sub`"),
        ({}, {"sub": 7}, "`sub` is not a user id"),
        ({}, {"sub": ""}, "`sub` is not a user id"),
        ({}, {"sub": "two words"}, "`sub` is not a user id"),
        ({}, {"sub": "é"}, "`sub` is not a user id"),
        ({}, {"sub": "x" * 256}, "`sub` is not a user id"),
        ({"user_claim": "uid"}, {}, "has no `uid`"),
        ({"user_claim": "uid"}, {"uid": ["ann"]}, "`uid` is not a user id"),
        ({"issuer": "us"}, {}, "has no `iss`"),
        ({"issuer": "us"}, {"iss": "them"}, "of another issuer"),
        ({"audience": "us"}, {}, "has no `aud`"),
        ({"audience": "us"}, {"aud": "them"}, "for another audience"),
        ({"audience": "us"}, {"aud": ["them", "others"]}, "for another audience"),
        ({}, {"aud": "them"}, "for another audience"),
    ],
)
def test_claims_that_do_not_hold_are_refused(
    rules: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    """Each claim at fault is told, and nothing of its value."""
    assert said in refusal(by_secret(**rules), signed(**changes))


def test_claims_that_hold_are_taken() -> None:
    """Issuer and audience as configured, an audience among several, a clock a little off."""
    verifier = by_secret(issuer="us", audience="cell", leeway_s=30.0)
    now_s = int(time.time())
    assert verifier.verify(signed(iss="us", aud="cell", nbf=now_s + 10, iat=now_s + 10)).user_id == "ann"
    assert verifier.verify(signed(iss="us", aud=["mail", "cell"], exp=now_s - 10)).user_id == "ann"


def test_a_token_signed_with_another_key_is_refused(tmp_path: Path) -> None:
    """A signature by a key that is not configured counts for nothing, whatever its sort."""
    assert "another key" in refusal(by_secret(), signed(b"x" * 32))
    assert "another key" in refusal(by_pem(tmp_path, RSA), signed(OTHER_RSA, "RS256"))


def test_a_changed_token_is_refused() -> None:
    """A payload under the signature of another is refused, even after the true one was taken."""
    verifier = by_secret()
    token = signed()
    verifier.verify(token)
    header, _, signature = token.split(".")
    assert "another key" in refusal(verifier, ".".join((header, signed(sub="bob").split(".")[1], signature)))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "HS1", None, 7, ["HS256"], {}])
def test_an_algorithm_that_is_none_or_nothing_is_refused(algorithm: object) -> None:
    """`alg: none` never holds, signed or not, and neither does what is no name of an algorithm."""
    payload = json.dumps(claims()).encode()
    token = assembled({"typ": "JWT", "alg": algorithm}, payload)
    assert "not taken here" in refusal(by_secret(), token)
    assert refusal(by_secret(), token.rpartition(".")[0] + ".")


def test_a_public_key_is_never_a_secret(tmp_path: Path) -> None:
    """HS256 with the public key's text as its secret, the classic confusion, is refused."""
    forged = assembled({"alg": "HS256"}, json.dumps(claims()).encode(), pem(RSA))
    assert "not taken here" in refusal(by_pem(tmp_path, RSA), forged)
    path = write_jwks(tmp_path / "keys.json", jwk(RSA, kid="a"))
    jwks = TokenVerifier(FileKeySet(path, read_jwks_file), TokenRules())
    forged = assembled({"alg": "HS256", "kid": "a"}, json.dumps(claims()).encode(), pem(RSA))
    assert "not taken here" in refusal(jwks, forged)


def test_an_algorithm_of_another_sort_of_key_is_refused(tmp_path: Path) -> None:
    """RS256 for a secret, ES256 for an RSA key, and an algorithm that was not configured."""
    assert "not taken here" in refusal(by_secret(), signed(RSA, "RS256"))
    assert "not taken here" in refusal(by_pem(tmp_path, RSA), signed(P256, "ES256"))
    assert "not taken here" in refusal(by_pem(tmp_path, RSA, algorithms=("RS512",)), signed(RSA, "RS256"))
    assert by_pem(tmp_path, RSA, algorithms=("RS512",)).verify(signed(RSA, "RS512")).user_id == "ann"


@pytest.mark.parametrize("key", [(RSA, "RS256"), (RSA, "PS384"), (P256, "ES256"), (ED25519, "EdDSA")])
def test_public_keys_of_each_sort_are_taken(tmp_path: Path, key: tuple[Any, str]) -> None:
    """RSA, elliptic curves and Ed25519 from one PEM file and from one JWK Set."""
    private, algorithm = key
    assert by_pem(tmp_path, RSA, P256, ED25519).verify(signed(private, algorithm)).user_id == "ann"
    path = write_jwks(
        tmp_path / "keys.json", *(jwk(one, kid=str(n)) for n, one in enumerate((RSA, P256, ED25519)))
    )
    assert TokenVerifier(FileKeySet(path, read_jwks_file), TokenRules()).verify(signed(private, algorithm))


def test_kid_selects_a_key(tmp_path: Path) -> None:
    """A token's kid must be known; with another's kid it is refused although the key is there."""
    path = write_jwks(tmp_path / "keys.json", jwk(RSA, kid="a"), jwk(OTHER_RSA, kid="b"))
    verifier = TokenVerifier(FileKeySet(path, read_jwks_file), TokenRules())
    assert verifier.verify(signed(OTHER_RSA, "RS256", kid="b")).user_id == "ann"
    assert verifier.verify(signed(OTHER_RSA, "RS256")).user_id == "ann"
    assert "another key" in refusal(verifier, signed(OTHER_RSA, "RS256", kid="a"))
    assert "key that is not known" in refusal(verifier, signed(OTHER_RSA, "RS256", kid="c"))


def test_keys_are_rotated_by_changing_the_file(tmp_path: Path) -> None:
    """A new key counts when the file has it; an old one no longer when it has not, even for a token that held before."""
    now_s = 0.0
    path = write_jwks(tmp_path / "keys.json", jwk(RSA, kid="a"))
    verifier = TokenVerifier(FileKeySet(path, read_jwks_file), TokenRules(), monotonic_s=lambda: now_s)
    old, new = signed(RSA, "RS256", kid="a"), signed(OTHER_RSA, "RS256", kid="b")
    verifier.verify(old)
    refusal(verifier, new)

    write_jwks(path, jwk(RSA, kid="a"), jwk(OTHER_RSA, kid="b"))
    now_s += 2
    verifier.verify(old)
    verifier.verify(new)

    write_jwks(path, jwk(OTHER_RSA, kid="b"))
    now_s += 2
    assert "not known" in refusal(verifier, old)
    verifier.verify(new)


def test_a_broken_key_file_leaves_the_earlier_keys_in_force(tmp_path: Path) -> None:
    """Half a file, or none, in the middle of a rotation refuses nobody, and the next good one counts."""
    now_s = 0.0
    path = write_jwks(tmp_path / "keys.json", jwk(RSA, kid="a"))
    verifier = TokenVerifier(FileKeySet(path, read_jwks_file), TokenRules(), monotonic_s=lambda: now_s)
    changes: list[Callable[[], object]] = [
        lambda: path.write_text('{"keys": ['),
        path.unlink,
        lambda: path.write_text('{"keys": []}'),
    ]
    for change in changes:
        change()
        now_s += 2
        assert verifier.verify(signed(RSA, "RS256", kid="a")).user_id == "ann"
    write_jwks(path, jwk(OTHER_RSA, kid="b"))
    now_s += 2
    assert verifier.verify(signed(OTHER_RSA, "RS256", kid="b")).user_id == "ann"


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "a.b.c",
        "...",
        "é" * 10,
        "x" * 8_193,
        "\0",
        assembled([], b"{}"),
        assembled({"alg": "HS256"}, b"not json"),
        assembled({"alg": "HS256"}, b"[1]"),
        assembled({"alg": "HS256"}, b"\xff\xfe"),
        assembled({"alg": "HS256"}, b"[" * 3_000),
        assembled({"alg": "HS256"}, b'{"sub": "ann", "exp": 1e999}'),
        assembled({"alg": "HS256"}, b'{"sub": "ann", "exp": NaN}'),
        assembled({"alg": "HS256"}, b'{"sub": "ann", "exp": {}}'),
        assembled({"alg": "HS256", "crit": ["x"]}, json.dumps(claims()).encode()),
        assembled({"alg": "HS256", "kid": []}, json.dumps(claims()).encode()),
    ],
)
def test_what_is_no_token_is_refused(token: str) -> None:
    """Anything at all is answered by TokenInvalid, never by another exception."""
    assert "access token" in refusal(by_secret(), token)


def test_no_token_is_told_apart() -> None:
    """Who forgot the token hears just that."""
    assert refusal(by_secret(), "") == "an access token is required"


def test_a_checked_token_is_remembered_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls with the same token are not checked again until some time has passed, and never after its expiry."""
    checks = 0
    decode = jwt.decode

    def counting(*given: Any, **options: Any) -> Any:
        nonlocal checks
        checks += 1
        return decode(*given, **options)

    monkeypatch.setattr(jwt, "decode", counting)
    now_s = time.time()
    verifier = TokenVerifier(KeySet([secret_key(SECRET)]), TokenRules(), wall_s=lambda: now_s)
    token = signed()
    assert verifier.verify(token) == verifier.verify(token)
    assert checks == 1
    now_s += _CACHE_S + 1
    verifier.verify(token)
    assert checks == 2
    now_s = EXPIRY + 6
    verifier.verify(
        token
    )  # by this test's clock it has expired, by PyJWT's it has not: so it was checked again
    assert checks == 3


def test_the_memory_of_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tokens come, a bounded number is remembered, the latest ones."""
    monkeypatch.setattr(TokenVerifier, "_check", lambda self, token: Identity(token, None))
    verifier = by_secret()
    for number in range(_CACHE_TOKENS + 10):
        verifier.verify(str(number))
    assert len(verifier._verified) == _CACHE_TOKENS


def test_refusals_tell_nothing_secret() -> None:
    """No refusal repeats any part of the token or of the key."""
    token = signed(b"y" * 40, sub="a-secret-name")
    said = refusal(by_secret(), token)
    assert not any(part in said for part in (*token.split("."), SECRET.decode(), "a-secret-name"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no key in PEM"),
        (b"hello", "holds no key in PEM"),
        (RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "holds a private key"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no public key in PEM"),
        (pem(rsa.generate_private_key(public_exponent=65_537, key_size=1_024)), "1024 bits"),
        (pem(ec.generate_private_key(ec.SECP256K1())), "of a sort that the cell does not know"),
    ],
)
def test_pem_files_that_cannot_be_used_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    """A key file is read at start, and its fault told with its path."""
    path = tmp_path / "keys.pem"
    path.write_bytes(content)
    with pytest.raises(KeysRefused, match=said) as refused:
        FileKeySet(path, read_pem_file)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not a JWK Set"),
        ("[]", "not a JWK Set"),
        ('{"keys": {}}', "not a list"),
        ('{"keys": []}', "holds no public key"),
        ('{"keys": [7, {"kty": "new"}]}', "holds no public key"),
        (json.dumps({"keys": [jwk(RSA, use="enc")]}), "holds no public key"),
        (json.dumps({"keys": [jwk(RSA, alg="ES256")]}), "holds no public key"),
        (json.dumps({"keys": [{"kty": "oct", "k": "AAAA"}]}), "jwt_secret_file"),
        (json.dumps({"keys": [jwk(RSA, d="AAAA")]}), "private key"),
    ],
)
def test_jwks_files_that_cannot_be_used_are_refused(tmp_path: Path, content: str, said: str) -> None:
    """The same for JWK Sets; keys of unknown sorts beside a known one are passed over."""
    path = tmp_path / "keys.json"
    path.write_text(content)
    with pytest.raises(KeysRefused, match=said):
        FileKeySet(path, read_jwks_file)


def test_unknown_keys_beside_known_ones_are_passed_over(tmp_path: Path) -> None:
    """A JWK Set of tomorrow still works for what is known today (RFC 7517, 5)."""
    path = write_jwks(tmp_path / "keys.json", {"kty": "new", "kid": "n"}, jwk(P256, kid="a", alg="ES256"))
    keys = read_jwks_file(path)
    assert [(key.key_id, key.algorithms) for key in keys] == [("a", ("ES256",))]


def settings(folder: Path, **given: Any) -> Settings:
    return Settings(data_folder=folder / "data", **given)


def test_development_mode_makes_one_key_and_keeps_it(tmp_path: Path) -> None:
    """Without keys the cell makes a secret once, readable by its owner only, and tokens made beside it hold."""
    development = settings(tmp_path)
    with pytest.raises(access_tokens.CannotMakeToken, match="cell run"):
        access_tokens.make_token(development, "ann", 60)
    verifier = access_tokens.verifier(development)
    path = tmp_path / "data" / access_tokens.DEVELOPMENT_KEY_FILE
    key = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(key) >= 32
    assert verifier.verify(access_tokens.make_token(development, "ann", 60)).user_id == "ann"
    access_tokens.verifier(development)
    assert path.read_bytes() == key
    assert os.listdir(path.parent) == [path.name]


def test_only_development_mode_takes_tokens_without_expiry(tmp_path: Path) -> None:
    """A token without `exp` holds for ever, so it is taken in development mode only."""
    verifier = access_tokens.verifier(settings(tmp_path))
    key = (tmp_path / "data" / access_tokens.DEVELOPMENT_KEY_FILE).read_bytes()
    assert verifier.verify(signed(key, exp=...)) == Identity("ann", None)
    configured = access_tokens.verifier(settings(tmp_path, jwt_secret=SECRET.decode()))
    assert "has no `exp`" in refusal(configured, signed(exp=...))


def test_tokens_can_be_made_with_a_configured_secret(tmp_path: Path) -> None:
    """`cell token` serves a cell with a secret too, with the claims that it wants."""
    path = tmp_path / "secret"
    path.write_bytes(SECRET + b"\n")
    for key in ({"jwt_secret": SECRET.decode()}, {"jwt_secret_file": path}):
        made = settings(tmp_path, jwt_issuer="us", jwt_audience="cell", jwt_user_claim="uid", **key)
        assert access_tokens.verifier(made).verify(access_tokens.make_token(made, "bob", 60)).user_id == "bob"


def test_tokens_cannot_be_made_with_public_keys(tmp_path: Path) -> None:
    """Who asks for one is told where to get it."""
    path = write_jwks(tmp_path / "keys.json", jwk(RSA))
    with pytest.raises(access_tokens.CannotMakeToken, match="private key"):
        access_tokens.make_token(settings(tmp_path, jwt_jwks_file=path), "ann", 60)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"jwt_secret_file": Path("/nowhere/secret")}, "jwt_secret_file: /nowhere/secret: No such file"),
        ({"jwt_jwks_file": Path("/nowhere/keys")}, "jwt_jwks_file: /nowhere/keys: No such file"),
        (
            {"jwt_secret": "s" * 32, "jwt_algorithms": ("RS256",)},
            "jwt_algorithms: RS256 does not fit jwt_secret",
        ),
        ({"jwt_secret": "s" * 32, "jwt_algorithms": ("HS512",)}, "jwt_algorithms: HS512 does not fit"),
    ],
)
def test_keys_that_cannot_be_used_are_settings_that_are_refused(
    tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    """At start, with the name of the setting."""
    with pytest.raises(SettingsRefused, match=said):
        access_tokens.verifier(settings(tmp_path, **given))
