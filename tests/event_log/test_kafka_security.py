"""TLS and passwords between the log and its brokers."""

import datetime
import ipaddress
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from engines.kafka import KafkaCluster
from engines.run_folder import RunFolder
from engines.server import HOST
from event_log.kafka import KafkaLog, KafkaLogSettings, KafkaSecurity, LoginRefused, make_topics
from event_log.port import Fate, LogUnavailable
from tests.event_log.driving import append
from tests.support.engines import STARTING, needed, unique_name

pytestmark = STARTING

PASSWORD = "correct horse battery staple"


class Authority:
    """Signs certificates, for an hour."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate_file = folder / f"{name}.pem"
        certificate = self._signed(self.name, self.key.public_key(), is_authority=True)
        self.certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Files of a certificate for this host and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._signed(subject, key.public_key(), is_authority=False)
        files = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, is_authority: bool
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False
            )
            .sign(self.key, hashes.SHA256())
        )


class Secured:
    """A broker that asks for a password over TLS, and one port on which it asks for a certificate."""

    def __init__(self, run: RunFolder) -> None:
        folder = run.new_folder("certificates")
        self.authority = Authority(folder, "authority")
        self.client = self.authority.issue("client")
        certificate, key = self.authority.issue("broker")
        keystore = folder / "keystore.pem"
        keystore.write_bytes(key.read_bytes() + certificate.read_bytes())
        self.cluster = KafkaCluster(
            run,
            protocols=["SASL_SSL", "SSL"],
            settings={
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": str(keystore),
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": str(self.authority.certificate_file),
                "listener.name.ssl.ssl.client.auth": "required",
            },
            scram_users={"cell": PASSWORD},
        )
        self.cluster.start()

    def settings(self, protocol: str, security: KafkaSecurity) -> KafkaLogSettings:
        return KafkaLogSettings(
            servers=tuple(self.cluster.addresses(protocol)),
            topic=unique_name("log"),
            partitions=1,
            development=True,
            security=security,
        )

    def password(self, **changes: object) -> KafkaSecurity:
        """What takes a client in."""
        security = KafkaSecurity(
            tls=True, ca_file=self.authority.certificate_file, username="cell", password=PASSWORD
        )
        return replace(security, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    run = RunFolder.create()
    try:
        yield needed(lambda: Secured(run))
    finally:
        run.close()


async def try_log(settings: KafkaLogSettings) -> None:
    """Make the log, and append to it and read it."""
    await make_topics(settings, 1, 2 * settings.least_retention_s)
    log = await KafkaLog.open(settings)
    (settled,) = await append(log, (0, b"secret"))
    assert settled.fate is Fate.APPENDED
    assert [record.value for record in await log.read(0, 0, 100)] == [b"secret"]
    await log.close()


async def test_a_password_over_tls(secured: Secured) -> None:
    """With the brokers' authority and the right password (SCRAM-SHA-512) the log works."""
    await try_log(secured.settings("SASL_SSL", secured.password()))


async def test_a_certificate_of_the_client(secured: Secured) -> None:
    """Where the brokers ask for a certificate, one of their authority takes the log in."""
    certificate, key = secured.client
    security = KafkaSecurity(
        tls=True,
        ca_file=secured.authority.certificate_file,
        certificate_file=certificate,
        key_file=key,
    )
    await try_log(secured.settings("SSL", security))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"password": "wrong"}, "username 'cell'"),
        ({"username": "nobody"}, "username 'nobody'"),
        ({"mechanism": "PLAIN"}, "mechanism PLAIN, but SCRAM-SHA-512"),
        ({"ca_file": None}, "ca_file"),
    ],
)
async def test_refused_at_once_with_the_reason(
    secured: Secured, changes: dict[str, object], message: str
) -> None:
    """A wrong password, user, mechanism or authority is told by the setting's name, and not tried again."""
    with pytest.raises(LoginRefused, match=message) as refused:
        await KafkaLog.open(secured.settings("SASL_SSL", secured.password(**changes)))
    assert PASSWORD not in str(refused.value)
    assert PASSWORD not in repr(secured.password())


async def test_another_authority_is_not_trusted(secured: Secured, tmp_path: Path) -> None:
    """A broker whose certificate another authority has signed is not talked to."""
    other = Authority(tmp_path, "other")
    security = secured.password(ca_file=other.certificate_file)
    with pytest.raises(LoginRefused, match="certificate verify failed"):
        await KafkaLog.open(secured.settings("SASL_SSL", security))


@pytest.mark.parametrize(("protocol", "tls"), [("SASL_SSL", False), ("SSL", True), ("PLAINTEXT", True)])
async def test_a_port_that_speaks_otherwise(secured: Secured, protocol: str, tls: bool) -> None:
    """No TLS where there must be, TLS where there is none, no certificate: the servers are named that cannot be used."""
    ca_file = secured.authority.certificate_file if tls else None
    settings = secured.settings(protocol, KafkaSecurity(tls=tls, ca_file=ca_file))
    with pytest.raises(LogUnavailable, match=f"servers {settings.servers[0]} cannot be opened"):
        await KafkaLog.open(replace(settings, open_timeout_s=2.0, request_timeout_s=1.0))
