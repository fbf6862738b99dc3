"""Links between processes of a cell over TLS."""

from dataclasses import replace
from pathlib import Path

import pytest

from messaging_cell import process_checks
from messaging_cell.certificates import make_for_development
from messaging_cell.internal_port import InternalPort, dialer
from messaging_cell.setting_kinds import Address
from messaging_cell.settings import Settings, SettingsRefused
from session_link.grpc_link import add_session_link_service
from session_link.port import LinkClosed, ServerEnd


async def until_closed(end: ServerEnd) -> None:
    try:
        while True:
            await end.receive()
    except LinkClosed:
        pass


def renew(folder: Path) -> None:
    """Everything anew, of another authority."""
    for file in folder.iterdir():
        file.unlink()
    make_for_development(folder, [])


async def test_renewed_certificates_are_taken_up_at_both_ends(tmp_path: Path) -> None:
    """The next link shows them, and is taken by them; while they cannot be used, the reason is told."""
    make_for_development(tmp_path, [])
    settings = Settings(
        internal_cert_file=tmp_path / "internal.pem",
        internal_key_file=tmp_path / "internal.key",
        internal_ca_file=tmp_path / "ca.pem",
    )
    port = InternalPort(Address("127.0.0.1", 0), process_checks.internal_server_credentials(settings))
    add_session_link_service(port.server, until_closed)
    await port.start()
    link = dialer(settings)
    for _ in range(2):
        end = await link(str(port.address), "localhost")
        await end.close()
        renew(tmp_path)
    (tmp_path / "ca.pem").write_text("")
    with pytest.raises(LinkClosed, match=r"ca\.pem: it holds no certificates"):
        await link(str(port.address), "localhost")
    await port.stop(0)


def test_certificates_that_cannot_be_used_are_refused_at_once(tmp_path: Path) -> None:
    """Before the first link."""
    make_for_development(tmp_path, [])
    settings = Settings(
        internal_cert_file=tmp_path / "internal.pem",
        internal_key_file=tmp_path / "server.key",
        internal_ca_file=tmp_path / "ca.pem",
    )
    with pytest.raises(SettingsRefused, match="internal_cert_file"):
        dialer(settings)
    dialer(replace(settings, internal_key_file=tmp_path / "internal.key"))
