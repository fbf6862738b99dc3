"""Who checks access tokens, and who can make them. Without configured keys a cell has one of its own: development mode."""

import os
import secrets
import time
from pathlib import Path
from typing import Any

import jwt

from messaging_cell.fetched_keys import FetchedKeySet
from messaging_cell.files import write_draft
from messaging_cell.security import TokenRules, TokenVerifier
from messaging_cell.settings import Settings, SettingsRefused
from messaging_cell.token_keys import (
    FileKeySet,
    KeySet,
    KeysRefused,
    read_jwks_file,
    read_pem_file,
    read_secret_file,
    secret_key,
)

DEVELOPMENT_KEY_FILE = "development.key"
"""In the data folder: what signs tokens in development mode."""
FETCHED_KEYS_FILE = "token_keys.json"
"""In the data folder: the public keys that were fetched last, for starts while their provider is away."""


class CannotMakeToken(Exception):
    """There is no key here to sign with. The text says what to do."""


def is_development(settings: Settings) -> bool:
    """Whether no keys are set, so that the cell makes its own and serves this machine only."""
    return not settings.key_settings


def verifier(settings: Settings) -> TokenVerifier:
    """What checks the tokens of these settings. Raises SettingsRefused for keys and algorithms that cannot be used.

    Waits for files, and where keys are at a URL for the network.
    """
    keys = _keys(settings)
    unfit = [name for name in settings.jwt_algorithms if name not in keys.algorithms]
    if unfit:
        fitting = ", ".join(sorted(keys.algorithms))
        raise SettingsRefused(
            [f"jwt_algorithms: {', '.join(unfit)} does not fit {settings.key_settings[0]}; {fitting} would."]
        )
    rules = TokenRules(
        algorithms=settings.jwt_algorithms,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        user_claim=settings.jwt_user_claim,
        leeway_s=settings.jwt_leeway_s,
        needs_expiry=not is_development(settings),
    )
    return TokenVerifier(keys, rules)


def make_token(settings: Settings, user_id: str, lifetime_s: float) -> str:
    """A token that a cell with these settings takes. Raises CannotMakeToken, SettingsRefused."""
    if settings.jwt_public_key_file or settings.jwt_jwks_file or settings.jwt_jwks_url:
        raise CannotMakeToken(
            "This cell's access tokens are signed by whoever has the private key. "
            "Get one there, and give it as --token or CELL_TOKEN."
        )
    key = _keys(settings, create=False).fitting("HS256", None)[0]
    now_s = int(time.time())
    claims: dict[str, Any] = {settings.jwt_user_claim: user_id, "iat": now_s, "exp": now_s + int(lifetime_s)}
    claims |= {"iss": settings.jwt_issuer} if settings.jwt_issuer else {}
    claims |= {"aud": settings.jwt_audience} if settings.jwt_audience else {}
    algorithm = next(iter(settings.jwt_algorithms), "HS256")
    return jwt.encode(claims, key.material, algorithm=algorithm)


def _keys(settings: Settings, *, create: bool = True) -> KeySet:
    try:
        if settings.jwt_secret:
            return KeySet([secret_key(os.fsencode(settings.jwt_secret))])
        if settings.jwt_secret_file:
            return FileKeySet(settings.jwt_secret_file, read_secret_file)
        if settings.jwt_public_key_file:
            return FileKeySet(settings.jwt_public_key_file, read_pem_file)
        if settings.jwt_jwks_file:
            return FileKeySet(settings.jwt_jwks_file, read_jwks_file)
        if settings.jwt_jwks_url:
            return FetchedKeySet(
                settings.jwt_jwks_url, settings.jwt_issuer, settings.data_folder / FETCHED_KEYS_FILE
            )
        return KeySet([secret_key(_development_secret(settings.data_folder, create))])
    except KeysRefused as error:
        raise SettingsRefused([f"{(settings.key_settings or ['data_folder'])[0]}: {error}"]) from error


def _development_secret(folder: Path, create: bool) -> bytes:
    path = folder / DEVELOPMENT_KEY_FILE
    if not create and not path.exists():
        raise CannotMakeToken(
            f"There is no key in {folder}: no cell has run there yet in development mode. "
            "Start one with `cell run`, name its folder with --data-folder, or give a token with --token or CELL_TOKEN."
        )
    try:
        if not path.exists():
            _write_new(path, secrets.token_hex(32).encode("ascii"))
        return path.read_bytes()
    except OSError as error:
        raise KeysRefused(f"{path}: {error.strerror}") from error


def _write_new(path: Path, content: bytes) -> None:
    """Make a file that appears whole, readable by its owner only; one that is there already stays."""
    draft = write_draft(path, content)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
