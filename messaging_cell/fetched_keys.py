"""Keys of access tokens from an address: those of an OpenID provider, which changes them when it likes.

They are fetched at start, every few minutes, and when a token comes whose key is not known; in a thread, so that nobody
waits for the provider. The last ones that could be used are kept in a file, for starts while the provider is away.
"""

import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from messaging_cell.files import write_whole
from messaging_cell.token_keys import MAX_BYTES, KeySet, KeysRefused, TokenKey, parse_jwks

_FETCH_TIMEOUT_S = 10.0
_EVERY_S = 300.0
"""Between fetches; a key that the provider has taken out counts for as long."""
_AGAIN_S = 5.0
"""Between fetches that a token or a failure asks for, at least: whoever makes up key names causes no more."""
_NAMES = 1_000
"""Names of keys that tokens brought and the provider did not have. Beyond: all of them are looked for once more."""
_NAME_CHARS = 256
_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))

Fetch = Callable[[str], bytes]
_Brought = tuple[bytes, list[TokenKey]]
_log = logging.getLogger(__name__)


class FetchedKeySet(KeySet):
    """Keys from a JWK Set at a URL, or from the one that an OpenID provider's configuration at that URL names."""

    def __init__(
        self,
        url: str,
        issuer: str,
        kept: Path,
        fetch: Fetch | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Fetch them, or else read those that were kept. Raises KeysRefused if there are none."""
        self._url = url
        self._issuer = issuer
        self._kept = kept
        self._fetch = fetch or fetch_bytes
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._is_fetching = False
        self._asked: set[str] = set()
        """Names of keys that the present fetch looks for."""
        self._outcome: _Brought | KeysRefused | None = None
        """What the thread has brought."""
        self._sought: set[str] = set()
        """Names of keys that were asked for since the latest fetch began."""
        self._absent: set[str] = set()
        """Names of keys that a fetch did not bring, though it began after they were asked for."""
        self._began_s = monotonic_s()
        try:
            self._content, keys = self._brought()
            self._due_s = self._began_s + _EVERY_S
        except KeysRefused as error:
            self._content, keys = self._read_kept(error)
            self._due_s = self._began_s + _AGAIN_S
        super().__init__(keys)

    def refresh(self) -> bool:
        """As KeySet.refresh: takes what a fetch has brought, and begins the next one if it is time. Never waits."""
        with self._lock:
            outcome, self._outcome = self._outcome, None
        try:
            return outcome is not None and self._take(outcome)
        finally:
            if self._monotonic_s() >= self._due_s:
                self._begin()

    def may_have(self, key_id: str | None) -> bool:
        """Whether a key that is not known may be had soon; it is looked for."""
        if key_id is None or len(key_id) > _NAME_CHARS or key_id in self._absent:
            return False
        if len(self._sought) < _NAMES:
            self._sought.add(key_id)
        self._due_s = min(self._due_s, self._began_s + _AGAIN_S)
        if self._monotonic_s() >= self._due_s:
            self._begin()
        return True

    def _begin(self) -> None:
        if self._is_fetching:
            return
        self._is_fetching = True
        self._began_s = self._monotonic_s()
        self._due_s = self._began_s + _EVERY_S
        self._asked, self._sought = self._sought, set()
        threading.Thread(target=self._run, name="token-keys", daemon=True).start()

    def _run(self) -> None:
        outcome: _Brought | KeysRefused
        try:
            outcome = self._brought()
        except KeysRefused as error:
            outcome = error
        except Exception as error:  # or nothing would ever be fetched again
            outcome = KeysRefused(f"keys from {self._url}: {error!r}")
        with self._lock:
            self._outcome = outcome

    def _take(self, outcome: _Brought | KeysRefused) -> bool:
        self._is_fetching = False
        if isinstance(outcome, KeysRefused):  # whoever was asked for is not known to be absent
            self._sought |= self._asked
            self._due_s = self._began_s + _AGAIN_S
            raise outcome
        content, self._keys = outcome
        self._absent |= self._asked - {key.key_id for key in self._keys if key.key_id}
        if len(self._absent) > _NAMES:
            self._absent.clear()
        is_changed, self._content = content != self._content, content
        return is_changed

    def _brought(self) -> _Brought:
        """What the provider has now, which is kept, too. Raises KeysRefused."""
        content = self._fetched()
        try:
            keys = parse_jwks(content)
        except KeysRefused as error:
            raise KeysRefused(f"what {self._url} gives {error}") from error
        kept = {"url": self._url, "keys": json.loads(content)["keys"]}
        try:
            write_whole(self._kept, json.dumps(kept).encode())
        except OSError as error:
            _log.warning("keys of access tokens cannot be kept in %s: %s", self._kept, error.strerror)
        return content, keys

    def _fetched(self) -> bytes:
        content = self._get(self._url)
        if (jwks_url := _jwks_url(content, self._issuer)) is None:
            return content
        return self._get(jwks_url)

    def _get(self, url: str) -> bytes:
        if not is_safe(url):
            raise KeysRefused(f"{url}: keys are fetched by https only")
        try:
            return self._fetch(url)
        except (OSError, ValueError, HTTPException) as error:
            raise KeysRefused(f"{url} cannot be fetched: {_why(error)}") from error

    def _read_kept(self, error: KeysRefused) -> _Brought:
        try:
            content = self._kept.read_bytes()
            if json.loads(content)["url"] != self._url:
                raise error
            keys = parse_jwks(content)
        except (OSError, ValueError, KeyError, TypeError, KeysRefused):
            raise error from None
        _log.warning("keys of access tokens are those that were kept in %s: %s", self._kept, error)
        return content, keys


def is_safe(url: str) -> bool:
    """Whether nobody between can change what is fetched: https, or this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    )


def fetch_bytes(url: str) -> bytes:
    """What is there. Raises OSError, ValueError, HTTPException."""
    deadline_s = time.monotonic() + _FETCH_TIMEOUT_S
    request = urllib.request.Request(url, headers={"Accept": "application/json"})
    with urllib.request.build_opener(_SafeRedirects).open(request, timeout=_FETCH_TIMEOUT_S) as response:
        content = bytearray()
        while part := response.read1(MAX_BYTES):
            content += part
            if len(content) > MAX_BYTES:
                raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
            if time.monotonic() > deadline_s:  # the timeout of a socket is for each part of the answer
                raise TimeoutError(f"it takes longer than {_FETCH_TIMEOUT_S:g} s")
    return bytes(content)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not is_safe(newurl):
            raise urllib.error.URLError(f"it leads to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _jwks_url(content: bytes, issuer: str) -> str | None:
    """The address of the keys, where this is an OpenID provider's configuration. Raises KeysRefused."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or "keys" in document or not isinstance(document.get("jwks_uri"), str):
        return None
    stated = document.get("issuer")
    if issuer and stated != issuer:
        raise KeysRefused(f"the provider's configuration is of the issuer {stated}, jwt_issuer is {issuer}")
    return str(document["jwks_uri"])


def _why(error: Exception) -> str:
    return str(getattr(error, "reason", "") or error) or type(error).__name__
