"""Certificates of TLS: read from PEM files, read again when those change, and made for development."""

import datetime
import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from messaging_cell.files import write_whole

_log = structlog.get_logger(__name__)

_LIFETIME = datetime.timedelta(days=825)
"""What Apple's platforms take at most."""
_CLOCK_SKEW = datetime.timedelta(hours=1)


class CertificatesRefused(Exception):
    """These files cannot be used. The text says which and why, and names no part of a key."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Files with a certificate chain and its private key, in PEM."""

    cert_file: Path
    key_file: Path

    def read(self) -> tuple[bytes, bytes]:
        """The key and the chain, which fit together. Raises CertificatesRefused."""
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
                self.cert_file, self.key_file, password=_no_password
            )
            return self.key_file.read_bytes(), self.cert_file.read_bytes()
        except ssl.SSLError as error:
            reason = error.reason or str(error)
            raise CertificatesRefused(
                f"{self.cert_file} and {self.key_file} are not a certificate and its key: {reason}"
            ) from error
        except OSError as error:
            named = error.filename or f"{self.cert_file} or {self.key_file}"
            raise CertificatesRefused(f"{named}: {error.strerror or error}") from error


def read_authorities(path: Path) -> bytes:
    """Certificates of authorities, in PEM. Raises CertificatesRefused."""
    try:
        content = path.read_bytes()
        if not x509.load_pem_x509_certificates(content):
            raise ValueError("no certificate in it")
    except OSError as error:
        raise CertificatesRefused(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise CertificatesRefused(f"{path}: it holds no certificates in PEM") from error
    return content


def server_credentials(pair: KeyPair, authorities: Path | None = None) -> grpc.ServerCredentials:
    """What a port shows, read again for new connections when a file has changed; one that cannot be used is not taken.

    With `authorities` clients must show a certificate of one of them. Raises CertificatesRefused.
    """
    files = (pair.cert_file, pair.key_file, *([authorities] if authorities else []))

    def configuration() -> grpc.ServerCertificateConfiguration:
        roots = read_authorities(authorities) if authorities else None
        return grpc.ssl_server_certificate_configuration([pair.read()], roots)

    seen = _stamps(files)

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal seen
        if (stamps := _stamps(files)) == seen:
            return None
        seen = stamps
        try:
            return configuration()
        except CertificatesRefused as error:
            _log.error("certificate_not_taken", reason=str(error))
            return None

    return grpc.dynamic_ssl_server_credentials(
        configuration(),
        changed,  # type: ignore[arg-type]  # None means that it has not changed, which the stubs do not know
        require_client_authentication=authorities is not None,
    )


def channel_credentials(
    authorities: Path | None = None, pair: KeyPair | None = None
) -> grpc.ChannelCredentials:
    """What a client takes a server by: these authorities, or the system's; and what it shows. Raises CertificatesRefused."""
    roots = read_authorities(authorities) if authorities else None
    key, chain = pair.read() if pair else (None, None)
    return grpc.ssl_channel_credentials(roots, key, chain)


def make_for_development(folder: Path, hosts: Sequence[str]) -> list[Path]:
    """An authority, and key pairs for clients' port and internal links. Raises FileExistsError, OSError.

    `ca.pem` is what clients and processes are told to trust; `ca.key` made the others and is needed no more. `server.pem`
    and `server.key` are good for these hosts and this machine; so are `internal.pem` and `internal.key`, which are for both
    ends of a link.
    """
    names = [f"{stem}.{kind}" for stem in ("ca", "server", "internal") for kind in ("pem", "key")]
    for name in names:
        if (folder / name).exists():
            raise FileExistsError(f"{folder / name} is there already; name another folder, or delete it")
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "messaging cell development authority")])
    ca = _certificate(ca_name, ca_key.public_key(), ca_name, ca_key, _AUTHORITY)
    written = _write_pair(folder, "ca", ca, ca_key)
    alternatives = [_alternative(host) for host in dict.fromkeys((*hosts, "localhost", "127.0.0.1", "::1"))]
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    for stem, usages in (("server", both[:1]), ("internal", both)):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"messaging cell {stem}")])
        extensions = (
            x509.SubjectAlternativeName(alternatives),
            x509.ExtendedKeyUsage(usages),
            x509.BasicConstraints(ca=False, path_length=None),
        )
        made = _certificate(subject, key.public_key(), ca_name, ca_key, extensions)
        written += _write_pair(folder, stem, made, key)
    return written


_AUTHORITY: tuple[x509.ExtensionType, ...] = (
    x509.BasicConstraints(ca=True, path_length=0),
    x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    ),
)


def _certificate(
    name: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    extensions: Sequence[x509.ExtensionType],
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
    for extension in extensions:
        critical = isinstance(extension, x509.BasicConstraints | x509.KeyUsage)
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(issuer_key, hashes.SHA256())


def _write_pair(
    folder: Path, stem: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> list[Path]:
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    paths = [folder / f"{stem}.pem", folder / f"{stem}.key"]
    for path, content in zip(
        paths, (certificate.public_bytes(serialization.Encoding.PEM), key_pem), strict=True
    ):
        write_whole(path, content)
    return paths


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _stamps(files: Sequence[Path]) -> list[tuple[int, int] | None]:
    """What changes when a file does."""
    stamps: list[tuple[int, int] | None] = []
    for file in files:
        try:
            status = file.stat()
        except OSError:
            stamps.append(None)
        else:
            stamps.append((status.st_mtime_ns, status.st_ino))
    return stamps


def _no_password() -> str:
    """A key that is encrypted cannot be used: nobody is there to be asked."""
    return ""
