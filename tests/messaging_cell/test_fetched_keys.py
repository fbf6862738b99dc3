"""Keys from a URL: rotation, a provider that is away, and tokens with keys that nobody knows."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from cell.history.v1 import history_pb2 as history
from cell.history.v1 import history_pb2_grpc
from messaging_cell import security
from messaging_cell.fetched_keys import _AGAIN_S, _EVERY_S, FetchedKeySet, fetch_bytes, is_safe
from messaging_cell.security import TokenRules, TokenVerifier
from messaging_cell.token_keys import MAX_BYTES, KeysRefused
from messaging_client import Client
from messaging_core.identity import TokenInvalid
from messaging_core.refusals import Refused
from tests.messaging_cell.running import RunningCell

URL = "https://id.example/keys"
CONFIGURATION = "https://id.example/.well-known/openid-configuration"
ISSUER = "https://id.example"
DEADLINE_S = 20.0
KEYS = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("old", "new", "other")}


def jwks(*names: str) -> bytes:
    algorithm = jwt.get_algorithm_by_name("ES256")
    keys = [{**algorithm.to_jwk(KEYS[name].public_key(), as_dict=True), "kid": name} for name in names]
    return json.dumps({"keys": keys}).encode()


def token(kid: str, user_id: str = "ann") -> str:
    claims = {"sub": user_id, "exp": int(time.time()) + 3_600}
    return jwt.encode(claims, KEYS[kid] if kid in KEYS else KEYS["other"], "ES256", {"kid": kid})


class World:
    """A provider, a clock, and a verifier that uses both."""

    def __init__(self, folder: Path) -> None:
        self.kept = folder / "token_keys.json"
        self.answers: dict[str, bytes | Exception] = {URL: jwks("old")}
        self.fetches: list[str] = []
        self.now_s = 0.0
        self.may_answer = threading.Event()
        self.may_answer.set()

    def fetch(self, url: str) -> bytes:
        self.fetches.append(url)
        assert self.may_answer.wait(DEADLINE_S)
        answer = self.answers[url]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def keys(self, url: str = URL, issuer: str = "") -> FetchedKeySet:
        return FetchedKeySet(url, issuer, self.kept, self.fetch, lambda: self.now_s)

    def verifier(self, **named: str) -> TokenVerifier:
        rules = TokenRules(issuer=named.get("issuer", ""))
        return TokenVerifier(self.keys(**named), rules, monotonic_s=lambda: self.now_s)

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def holds(verifier: TokenVerifier, kid: str) -> bool:
    return verifier.verify(token(kid)).user_id == "ann"


def until(world: World, is_so: Callable[[], bool]) -> None:
    """Ask as clients do, a second apart by the world's clock, while a thread fetches."""
    end = time.monotonic() + DEADLINE_S
    while True:
        try:
            if is_so():
                return
        except (TokenInvalid, Refused):
            pass
        assert time.monotonic() < end
        world.pass_time(1.0)
        time.sleep(0.01)


def test_keys_are_fetched_at_start(world: World) -> None:
    """A token that is signed with one of them holds; another one does not."""
    verifier = world.verifier()
    assert holds(verifier, "old")
    assert world.fetches == [URL]


def test_a_providers_configuration_names_the_keys(world: World) -> None:
    """The URL may be that of an OpenID provider's configuration."""
    world.answers[CONFIGURATION] = json.dumps({"issuer": ISSUER, "jwks_uri": URL}).encode()
    keys = world.keys(CONFIGURATION, ISSUER)
    assert keys.fitting("ES256", "old")
    assert world.fetches == [CONFIGURATION, URL]


@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        ({"issuer": "https://evil.example", "jwks_uri": URL}, "of the issuer https://evil.example"),
        ({"issuer": ISSUER, "jwks_uri": "http://id.example/keys"}, "fetched by https only"),
        ({"issuer": ISSUER, "jwks_uri": "file:///etc/passwd"}, "fetched by https only"),
        ({"issuer": ISSUER}, "is not a JWK Set"),
    ],
)
def test_a_configuration_that_cannot_be_right_is_refused(
    configuration: dict[str, str], said: str, world: World
) -> None:
    """Another issuer, keys that anyone between could change, no keys at all."""
    world.answers[CONFIGURATION] = json.dumps(configuration).encode()
    with pytest.raises(KeysRefused, match=said):
        world.keys(CONFIGURATION, ISSUER)


def test_a_new_key_is_looked_for_when_a_token_names_it(world: World) -> None:
    """Its first token is not refused but put off (UNAVAILABLE), and holds once the keys were fetched."""
    verifier = world.verifier()
    world.answers[URL] = jwks("old", "new")
    world.pass_time(_AGAIN_S)
    with pytest.raises(Refused) as refused:
        holds(verifier, "new")
    assert refused.value.retry_seconds() is not None
    until(world, lambda: holds(verifier, "new"))
    assert holds(verifier, "old")
    assert len(world.fetches) == 2


def test_a_key_that_was_taken_out_ends(world: World) -> None:
    """After the next fetch, remembered tokens too."""
    verifier = world.verifier()
    assert holds(verifier, "old")
    world.answers[URL] = jwks("new")
    world.pass_time(_EVERY_S)
    until(world, lambda: holds(verifier, "new"))
    with pytest.raises((TokenInvalid, Refused)):
        holds(verifier, "old")


def test_unknown_keys_make_no_storm(world: World) -> None:
    """However many tokens with made-up keys come, fetches are at least ten seconds apart; then such a token is refused."""
    verifier = world.verifier()
    for second in range(100):
        for number in range(10):
            with pytest.raises((TokenInvalid, Refused)):
                holds(verifier, f"made up {second} {number}")
        world.pass_time(0.1)
    assert len(world.fetches) <= 1 + 10 / _AGAIN_S

    def is_refused() -> bool:
        try:
            return holds(verifier, "made up 0 0")
        except TokenInvalid as invalid:
            return "not known here" in str(invalid)

    until(world, is_refused)


def test_nobody_waits_for_the_provider(world: World) -> None:
    """While it takes its time, known keys hold and others are put off."""
    verifier = world.verifier()
    world.may_answer.clear()
    world.pass_time(_EVERY_S)
    try:
        with pytest.raises(Refused):
            holds(verifier, "new")
        assert holds(verifier, "old")
    finally:
        world.may_answer.set()


@pytest.mark.parametrize("fault", [OSError("away"), TimeoutError(), b"<html>", b'{"keys": []}'])
def test_a_provider_that_is_away_changes_nothing(fault: bytes | Exception, world: World) -> None:
    """The keys in force stay, a token with an unknown key is put off, and all is well when the provider is back."""
    verifier = world.verifier()
    world.answers[URL] = fault
    world.pass_time(_EVERY_S)
    for _ in range(3):
        assert holds(verifier, "old")
        with pytest.raises(Refused):
            holds(verifier, "new")
        world.pass_time(1.0)
    world.answers[URL] = jwks("old", "new")
    until(world, lambda: holds(verifier, "new"))


def test_the_last_keys_are_there_without_the_provider(world: World) -> None:
    """A cell that starts while the provider is away uses the keys that it had last; and asks again."""
    world.keys()
    world.answers[URL] = OSError("away")
    verifier = world.verifier()
    assert holds(verifier, "old")
    world.answers[URL] = jwks("new")
    until(world, lambda: holds(verifier, "new"))


@pytest.mark.parametrize("kept", [b"", b"[]", b'{"url": "https://other.example", "keys": []}'])
def test_without_any_keys_it_does_not_start(kept: bytes, world: World) -> None:
    """A first start needs the provider; what was kept of another URL, or is damaged, does not count."""
    world.kept.write_bytes(kept)
    world.answers[URL] = OSError("away")
    with pytest.raises(KeysRefused, match=r"id\.example/keys cannot be fetched: away"):
        world.keys()


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://id.example/keys", True),
        ("http://127.0.0.1:8800/keys", True),
        ("http://localhost/keys", True),
        ("http://id.example/keys", False),
        ("ftp://id.example/keys", False),
        ("https://", False),
        ("https://[", False),
    ],
)
def test_keys_come_over_https(url: str, safe: bool) -> None:
    """Or from this machine."""
    assert is_safe(url) is safe


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/keys"
        finally:
            server.shutdown()
            thread.join()


def test_what_is_served_is_fetched() -> None:
    """The real thing, over HTTP."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(jwks("old"))

    with serving(answer) as url:
        assert fetch_bytes(url) == jwks("old")


def test_an_answer_too_large_a_failure_and_an_unsafe_redirect_are_faults() -> None:
    """None of them is taken for keys."""

    def large(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"x" * (MAX_BYTES + 1))

    def failing(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(503)
        handler.end_headers()

    def redirecting(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", "http://id.example/keys")
        handler.end_headers()

    for answer in (large, failing, redirecting):
        with serving(answer) as url, pytest.raises((OSError, ValueError)):
            fetch_bytes(url)


def test_an_answer_that_trickles_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that sends a byte now and then does not hold the fetch, and with it all later ones, for long."""
    monkeypatch.setattr("messaging_cell.fetched_keys._FETCH_TIMEOUT_S", 0.5)
    stopped = threading.Event()

    def trickling(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        with suppress(OSError):
            while not stopped.wait(0.05):
                handler.wfile.write(b" ")
                handler.wfile.flush()

    with serving(trickling) as url:
        try:
            with pytest.raises(TimeoutError, match=r"longer than 0\.5 s"):
                fetch_bytes(url)
        finally:
            stopped.set()


@pytest.mark.timeout(150)
async def test_a_client_gets_through_a_change_of_keys(tmp_path: Path) -> None:
    """A provider that signs with a new key at once: a client with such a token is put off for a moment, and not refused."""
    served = {"keys": jwks("old")}

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(served["keys"])

    with serving(answer) as url, RunningCell(tmp_path, "--jwt-jwks-url", url, "--insecure", "true") as cell:
        async with Client(cell.address, token("old")) as client:
            await client.send("with the old key", to="bob", timeout_s=DEADLINE_S)
        served["keys"] = jwks("old", "new")
        async with grpc.aio.insecure_channel(cell.address) as channel:
            stub = history_pb2_grpc.HistoryServiceStub(channel)
            metadata = (("authorization", f"Bearer {token('new')}"),)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.ListConversations(history.ListConversationsRequest(), metadata=metadata)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        async with Client(cell.address, token("new")) as client:
            await client.send("with the new key", to="bob", timeout_s=100)


async def test_a_key_that_was_taken_out_ends_though_no_token_comes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a quiet night the first token of such a key is refused: keys are fetched all the while."""
    monkeypatch.setattr(security, "_REFRESH_S", 0.01)
    verifier = world.verifier()
    assert holds(verifier, "old")
    world.answers[URL] = jwks("new")
    watching = asyncio.create_task(verifier.watch_keys())
    async with asyncio.timeout(DEADLINE_S):
        while verifier._keys.fitting("ES256", "old"):
            world.pass_time(_EVERY_S / 10)
            await asyncio.sleep(0.01)
    with pytest.raises((TokenInvalid, Refused)):
        verifier.verify(token("old"))
    watching.cancel()


async def test_watching_goes_on_after_any_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or keys would stay as they are, and nobody would know."""
    monkeypatch.setattr(security, "_REFRESH_S", 0.01)
    verifier = world.verifier()
    looks: list[None] = []

    def refresh() -> bool:
        looks.append(None)
        raise ValueError("of no sort that is known")

    monkeypatch.setattr(verifier._keys, "refresh", refresh)
    watching = asyncio.create_task(verifier.watch_keys())
    async with asyncio.timeout(DEADLINE_S):
        while len(looks) < 3:
            world.pass_time(1.0)
            await asyncio.sleep(0.01)
    watching.cancel()
