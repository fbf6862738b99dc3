"""What settings must be for what a process is to hold, and the credentials that follow from them."""

import ipaddress
from collections.abc import Iterator

import grpc

from messaging_cell.access_tokens import is_development
from messaging_cell.certificates import (
    CertificatesRefused,
    KeyPair,
    channel_credentials,
    server_credentials,
)
from messaging_cell.settings import Settings, SettingsRefused


def check(settings: Settings, *, has_clients: bool, is_whole: bool) -> None:
    """Whether a process that has clients, or is the whole cell, starts with these. Raises SettingsRefused."""
    faults = [*(_client_faults(settings) if has_clients else ()), *_process_faults(settings, is_whole)]
    if faults:
        raise SettingsRefused(faults)


def client_port_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """What the client port shows; None without TLS. Raises SettingsRefused."""
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    try:
        return server_credentials(KeyPair(settings.tls_cert_file, settings.tls_key_file))
    except CertificatesRefused as error:
        raise SettingsRefused([f"tls_cert_file, tls_key_file: {error}."]) from error


def internal_server_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """What the internal port shows, and wants to be shown; None without TLS. Raises SettingsRefused."""
    if not settings.has_internal_tls:
        return None
    try:
        return server_credentials(_internal_pair(settings), settings.internal_ca_file)
    except CertificatesRefused as error:
        raise SettingsRefused(
            [f"internal_cert_file, internal_key_file, internal_ca_file: {error}."]
        ) from error


def internal_channel_credentials(settings: Settings) -> grpc.ChannelCredentials | None:
    """What is shown to internal ports; None without TLS. Raises SettingsRefused."""
    if not settings.has_internal_tls:
        return None
    try:
        return channel_credentials(settings.internal_ca_file, _internal_pair(settings))
    except CertificatesRefused as error:
        raise SettingsRefused(
            [f"internal_cert_file, internal_key_file, internal_ca_file: {error}."]
        ) from error


def _internal_pair(settings: Settings) -> KeyPair:
    assert settings.internal_cert_file is not None
    assert settings.internal_key_file is not None
    return KeyPair(settings.internal_cert_file, settings.internal_key_file)


def _client_faults(settings: Settings) -> Iterator[str]:
    if is_development(settings) and not _is_loopback(settings.listen.host):
        yield (
            f"listen: {settings.listen} is not on this machine only, but no keys are set. In development mode, "
            "where whoever reads the data folder can be any user, it must be a loopback address like 127.0.0.1. "
            "To serve others set the keys of access tokens; see docs/settings.md."
        )
    if not (is_development(settings) or settings.has_tls or settings.insecure):
        yield (
            "tls_cert_file, tls_key_file: not set, so clients would be served without TLS. Set them (`cell certs` "
            "makes some for development), or insecure to true where something in front of the cell ends TLS."
        )


def _process_faults(settings: Settings, is_whole: bool) -> Iterator[str]:
    if is_whole:
        if settings.workers > 1:
            yield (
                f"workers: {settings.workers} processes cannot share a whole cell. Keep 1, or run the services as "
                "processes of their own; `cell messaging-server` takes workers."
            )
        return
    embedded = [name for name in ("log", "history") if getattr(settings, name).is_embedded]
    if embedded:
        yield (
            f"{' and '.join(embedded)}: the embedded engine is one process's, so it is for `cell run` only. "
            "Services in processes of their own need kafka:// and cassandra://."
        )
    far = [str(settings.internal_listen)] if not _is_loopback(settings.internal_listen.host) else []
    far += [str(server) for server in settings.servers if not _is_loopback(server.host)]
    if far and not (settings.has_internal_tls or settings.insecure):
        yield (
            f"internal_cert_file, internal_key_file, internal_ca_file: not set, but {far[0]} is not on this machine. "
            "Set them (`cell certs` makes some for development), or insecure to true where the network is trusted."
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
