"""Certificates: what is made for development serves, what changes is taken up, what is wrong is named."""

import asyncio
import os
from pathlib import Path
from typing import Any

import grpc
import pytest

from messaging_cell.access_tokens import make_token
from messaging_cell.cell_process import CellProcess
from messaging_cell.certificates import (
    CertificatesRefused,
    KeyPair,
    channel_credentials,
    make_for_development,
    read_authorities,
    server_credentials,
)
from messaging_cell.setting_kinds import Address
from messaging_cell.settings import Settings, SettingsRefused
from messaging_client import Client

ANYWHERE = Address("127.0.0.1", 0)


def pair(folder: Path, stem: str = "server") -> KeyPair:
    return KeyPair(folder / f"{stem}.pem", folder / f"{stem}.key")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certs")
    make_for_development(folder, ["cell.test"])
    return folder


async def connects(address: str, credentials: grpc.ChannelCredentials) -> bool:
    async with grpc.aio.secure_channel(address, credentials) as channel:
        try:
            async with asyncio.timeout(10):
                state = channel.get_state(try_to_connect=True)
                while state not in (
                    grpc.ChannelConnectivity.READY,
                    grpc.ChannelConnectivity.TRANSIENT_FAILURE,
                ):
                    await channel.wait_for_state_change(state)
                    state = channel.get_state()
                return state is grpc.ChannelConnectivity.READY
        except TimeoutError:
            return False


async def test_a_cell_serves_over_tls(made: Path, tmp_path: Path) -> None:
    """A message goes there and back; who does not trust the authority, or speaks plain HTTP/2, does not get in."""
    settings = Settings(
        listen=ANYWHERE,
        data_folder=tmp_path,
        tls_cert_file=made / "server.pem",
        tls_key_file=made / "server.key",
        jwt_secret="s" * 32,
        drain_s=0.5,
    )
    cell = CellProcess(settings)
    await cell.start()
    address, token = str(cell.client_address), make_token(settings, "ann", 60)
    async with Client(address, token, credentials=channel_credentials(made / "ca.pem")) as client:
        assert await client.send("hello", to="bob")
    assert not await connects(address, channel_credentials())
    async with grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await _call(channel, "/grpc.health.v1.Health/Check")
    await cell.stop()


@pytest.mark.parametrize("listen", ["127.0.0.1", "192.0.2.1"])
async def test_outside_development_mode_tls_or_insecure_is_said(listen: str, tmp_path: Path) -> None:
    """Nobody serves access tokens in the clear by mistake: the refusal names the settings."""
    settings = Settings(listen=Address(listen, 0), data_folder=tmp_path, jwt_secret="s" * 32)
    with pytest.raises(SettingsRefused, match=r"tls_cert_file, tls_key_file: not set.*insecure"):
        CellProcess(settings)


async def test_a_renewed_certificate_is_shown_to_new_connections(tmp_path: Path) -> None:
    """Without a restart; a file that cannot be used leaves the one before in force."""
    old, new, shown = tmp_path / "old", tmp_path / "new", tmp_path / "shown"
    for folder in (old, new, shown):
        make_for_development(folder, [])
    _show(old, shown)
    server = grpc.aio.server()
    port = server.add_secure_port("127.0.0.1:0", server_credentials(pair(shown)))
    await server.start()
    address = f"127.0.0.1:{port}"
    assert await connects(address, channel_credentials(old / "ca.pem"))
    _show(new, shown)
    assert await connects(address, channel_credentials(new / "ca.pem"))
    assert not await connects(address, channel_credentials(old / "ca.pem"))
    (shown / "server.pem").write_text("half a cert")
    assert await connects(address, channel_credentials(new / "ca.pem"))
    await server.stop(0)


async def test_links_know_each_other(made: Path, tmp_path: Path) -> None:
    """Where clients must show a certificate, one of the same authority gets in; none, or another's, does not."""
    others = tmp_path / "others"
    make_for_development(others, [])
    server = grpc.aio.server()
    credentials = server_credentials(pair(made, "internal"), made / "ca.pem")
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.add_generic_rpc_handlers((_Echo(),))
    await server.start()

    async def answers(pair_shown: KeyPair | None) -> bool:
        trusted = channel_credentials(made / "ca.pem", pair_shown)
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", trusted) as channel:
            try:
                return await _call(channel, "/any/Method") == b"x"
            except grpc.aio.AioRpcError:
                return False

    assert await answers(pair(made, "internal"))
    assert not await answers(None)
    assert not await answers(pair(others, "internal"))
    await server.stop(0)


class _Echo(grpc.GenericRpcHandler):
    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        async def handle(request: bytes, _context: object) -> bytes:
            return request

        return grpc.unary_unary_rpc_method_handler(handle)


def test_files_that_cannot_be_used_are_named(made: Path, tmp_path: Path) -> None:
    """A missing file, a key of another certificate, something that is no certificate: the text says which file."""
    with pytest.raises(CertificatesRefused, match=r"nowhere\.pem.*No such file"):
        KeyPair(tmp_path / "nowhere.pem", made / "server.key").read()
    with pytest.raises(
        CertificatesRefused, match=r"server\.pem and .*internal\.key are not a certificate and its key"
    ):
        KeyPair(made / "server.pem", made / "internal.key").read()
    (tmp_path / "text.pem").write_text("hello")
    with pytest.raises(CertificatesRefused, match=r"text\.pem: it holds no certificates in PEM"):
        read_authorities(tmp_path / "text.pem")
    with pytest.raises(SettingsRefused, match=r"tls_cert_file, tls_key_file: .*text\.pem"):
        asyncio.run(
            CellProcess(
                Settings(
                    listen=ANYWHERE,
                    data_folder=tmp_path / "data",
                    tls_cert_file=tmp_path / "text.pem",
                    tls_key_file=made / "server.key",
                )
            ).start()
        )


def test_what_is_made_is_not_overwritten(made: Path) -> None:
    """Keys are readable by their owner only, and a second time is refused by the name of a file."""
    assert {os.stat(path).st_mode & 0o777 for path in made.glob("*.key")} == {0o600}
    with pytest.raises(FileExistsError, match=r"ca\.pem is there already"):
        make_for_development(made, [])


async def _call(channel: grpc.aio.Channel, method: str) -> object:
    call: Any = channel.unary_unary(method)
    return await call(b"x", timeout=10)


def _show(source: Path, target: Path) -> None:
    for name in ("server.pem", "server.key"):
        (target / name).write_bytes((source / name).read_bytes())
