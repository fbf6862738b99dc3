"""Keys of access tokens: a shared secret, public keys in PEM, or a JWK Set; each with the algorithms that fit it."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import PyJWK
from jwt.exceptions import PyJWTError

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_MIN_SECRET_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
"""RFC 7518, 3.2: a key is at least as long as the hash."""
_MIN_RSA_BITS = 2_048
"""RFC 7518, 3.3."""
MAX_BYTES = 1 << 20
"""Of a file or an answer with keys."""
_MAX_KEYS = 100
_PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


class KeysRefused(Exception):
    """These keys cannot be used. The text names no part of a key."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenKey:
    """One key."""

    algorithms: tuple[str, ...]
    """Those that fit it, so that a public key never becomes the secret of an HMAC."""
    material: Any
    """As PyJWT takes it."""
    key_id: str | None = None

    def __repr__(self) -> str:
        return f"TokenKey({self.key_id!r}, {self.algorithms})"


def secret_key(secret: bytes) -> TokenKey:
    """The key of a shared secret. Raises KeysRefused."""
    fitting = tuple(name for name, least in _MIN_SECRET_BYTES.items() if len(secret) >= least)
    if not fitting:
        raise KeysRefused(f"the secret has {len(secret)} bytes; it must have at least 32")
    return TokenKey(fitting, secret)


def read_secret_file(path: Path) -> list[TokenKey]:
    """The key in a file, without the line end an editor leaves. Raises KeysRefused."""
    return [secret_key(_read(path).removesuffix(b"\n").removesuffix(b"\r"))]


def read_pem_file(path: Path) -> list[TokenKey]:
    """The public keys in a PEM file. Raises KeysRefused."""
    blocks = list(_PEM_BLOCK.finditer(_read(path)))
    if any(b"PRIVATE" in block[1] for block in blocks):
        raise KeysRefused("holds a private key; the cell takes only the public one")
    if not blocks:
        raise KeysRefused("holds no key in PEM")
    return _bounded([_public_key(_load_pem(block[0])) for block in blocks])


def read_jwks_file(path: Path) -> list[TokenKey]:
    """The signature keys in a file with a JWK Set. Raises KeysRefused."""
    return parse_jwks(_read(path))


def parse_jwks(content: bytes) -> list[TokenKey]:
    """The signature keys in a JWK Set; those of unknown sorts are passed over (RFC 7517, 5). Raises KeysRefused."""
    try:
        entries = json.loads(content)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise KeysRefused("is not a JWK Set: a JSON object with `keys`") from error
    if not isinstance(entries, list):
        raise KeysRefused("is not a JWK Set: its `keys` is not a list")
    keys = [key for entry in entries if isinstance(entry, dict) and (key := _jwk(entry))]
    if not keys:
        raise KeysRefused("holds no public key for signatures that the cell knows")
    return _bounded(keys)


def _jwk(entry: dict[str, Any]) -> TokenKey | None:
    if entry.get("kty") == "oct":
        raise KeysRefused("holds a secret (kty oct); set it as jwt_secret_file instead")
    if "d" in entry:
        raise KeysRefused("holds a private key; the cell takes only the public one")
    operations = entry.get("key_ops", ["verify"])
    if entry.get("use", "sig") != "sig" or not (isinstance(operations, list) and "verify" in operations):
        return None
    try:
        key = _public_key(PyJWK(entry).key, entry.get("kid"))
    except (PyJWTError, KeysRefused, ValueError, TypeError):
        return None
    stated = entry.get("alg")
    algorithms = (
        key.algorithms if stated is None else tuple(name for name in key.algorithms if name == stated)
    )
    return TokenKey(algorithms, key.material, key.key_id) if algorithms else None


def _load_pem(block: bytes) -> Any:
    try:
        return load_pem_public_key(block)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeysRefused("holds something that is no public key in PEM (BEGIN PUBLIC KEY)") from error


def _public_key(material: Any, key_id: Any = None) -> TokenKey:
    if key_id is not None and not isinstance(key_id, str):
        raise KeysRefused("holds a key whose `kid` is not a string")
    match material:
        case rsa.RSAPublicKey():
            if material.key_size < _MIN_RSA_BITS:
                raise KeysRefused(
                    f"holds an RSA key of {material.key_size} bits; at least {_MIN_RSA_BITS} are needed"
                )
            return TokenKey(_RSA, material, key_id)
        case ec.EllipticCurvePublicKey() if material.curve.name in _CURVES:
            return TokenKey((_CURVES[material.curve.name],), material, key_id)
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            return TokenKey(("EdDSA",), material, key_id)
        case _:
            raise KeysRefused(
                "holds a key of a sort that the cell does not know: RSA, P-256, P-384, P-521 or Ed25519 are"
            )


def _bounded(keys: Sequence[TokenKey]) -> list[TokenKey]:
    if len(keys) > _MAX_KEYS:
        raise KeysRefused(f"holds {len(keys)} keys; at most {_MAX_KEYS} are taken")
    return list(keys)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise KeysRefused(error.strerror or "cannot be read") from error
    if len(content) > MAX_BYTES:
        raise KeysRefused(f"is larger than {MAX_BYTES:,} bytes")
    return content


class KeySet:
    """The keys in force; those from a file are read again when it changes, so that keys can be rotated."""

    def __init__(self, keys: Iterable[TokenKey]) -> None:
        self._keys = list(keys)

    @property
    def algorithms(self) -> set[str]:
        """All that fit some key."""
        return {name for key in self._keys for name in key.algorithms}

    def fitting(self, algorithm: str, key_id: str | None) -> list[TokenKey]:
        """Keys for a token: of its algorithm, and of its `kid` where both have one."""
        return [
            key
            for key in self._keys
            if algorithm in key.algorithms and (key_id is None or key.key_id is None or key.key_id == key_id)
        ]

    def refresh(self) -> bool:
        """Read changed keys. Whether there are others now; if they cannot be used the old ones stay. Raises KeysRefused."""
        return False

    def may_have(self, key_id: str | None) -> bool:
        """Whether a key of this name, which `fitting` does not give, may be had soon."""
        return False


class FileKeySet(KeySet):
    """Keys from a file. Raises KeysRefused, with the path."""

    def __init__(self, path: Path, read: Callable[[Path], list[TokenKey]]) -> None:
        self._path = path
        self._read = read
        self._seen = _version(path)
        super().__init__(self._read_named())

    def refresh(self) -> bool:
        """As KeySet.refresh; one stat where nothing has changed. A fault is told once, and again when the file changes."""
        if (version := _version(self._path)) == self._seen:
            return False
        self._seen = version
        self._keys = self._read_named()
        return True

    def _read_named(self) -> list[TokenKey]:
        try:
            return self._read(self._path)
        except KeysRefused as error:
            raise KeysRefused(f"{self._path}: {error}") from error


def _version(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
