"""What may be set of the log on Kafka."""

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from event_log.port import MAX_PARTITIONS

SCRAM_SHA_512 = "SCRAM-SHA-512"
MECHANISMS = ("SCRAM-SHA-256", SCRAM_SHA_512, "PLAIN")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,236}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSecurity:
    """How to talk to the brokers. Raises ValueError for what does not go together."""

    tls: bool = False
    ca_file: Path | None = None
    """PEM file of the authorities that may have signed the brokers' certificates; none: those of the system."""
    certificate_file: Path | None = None
    """PEM file of the own certificate and those above it, for brokers that ask for one."""
    key_file: Path | None = None
    """PEM file of its key."""
    username: str = ""
    """With this, SASL is used."""
    password: str = field(default="", repr=False)
    mechanism: str = SCRAM_SHA_512

    def __post_init__(self) -> None:
        """Check what goes together."""
        if self.mechanism not in MECHANISMS:
            raise ValueError(f"mechanism is one of {', '.join(MECHANISMS)}, not {self.mechanism!r}")
        if self.mechanism == "PLAIN" and self.username and not self.tls:
            raise ValueError("mechanism PLAIN sends the password as it is, so it needs tls")
        if bool(self.username) != bool(self.password):
            raise ValueError("username and password are set both or not at all")
        if not self.tls and (self.ca_file or self.certificate_file):
            raise ValueError("ca_file and certificate_file are for tls, which is off")
        if bool(self.certificate_file) != bool(self.key_file):
            raise ValueError("certificate_file and key_file are set both or not at all")

    def context(self) -> ssl.SSLContext | None:
        """What TLS needs; None without it. Raises OSError, ssl.SSLError."""
        if not self.tls:
            return None
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.certificate_file:
            context.load_cert_chain(self.certificate_file, self.key_file)
        return context


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaLogSettings:
    """What may be set. Raises ValueError for values out of bounds."""

    servers: tuple[str, ...]
    """`host:port` of some brokers, from which the others are learned."""
    topic: str
    """Of the log. Its dead letters are in the topic of this name with `.dead-letters` behind it."""
    partitions: int = 16
    """That the topic must have."""
    security: KafkaSecurity = KafkaSecurity()
    development: bool = False
    """Development mode: fewer copies than three of each record, and fewer than two acknowledged, are let pass."""
    least_retention_s: float = 86_400.0
    """How long the topic must keep records at least: above the longest time for which a consumer may be away."""
    open_timeout_s: float = 8.0
    """For the first contact with the brokers and the check of their settings."""
    request_timeout_s: float = 4.0
    """For the brokers to answer a request. Beyond: the connection is taken for dead, and the request is made again."""
    delivery_timeout_s: float = 10.0
    """For an append, with all its attempts. Beyond: its fate is told as it is known then. Below D of R3."""
    session_timeout_s: float = 6.0
    """For which a member of a group may be silent. Beyond: others take over. Brokers take 6 s and more by default."""
    heartbeat_interval_s: float = 0.3
    """How often a member is heard, and hears that owners change."""
    let_go_timeout_s: float = 20.0
    """For a consumer to let go of what was revoked. Beyond: it leaves the group, which does it for it."""
    max_pending_bytes: int = 64 << 20
    """Appends under way. Beyond: an append is refused with LogFull, unless it is alone."""
    max_batch_bytes: int = 256 << 10
    """Records of one partition in one request, and at most one record more."""
    max_poll_bytes: int = 1 << 20
    """Records in one poll, and at most one record more. Beyond: they come with the next poll."""

    def __post_init__(self) -> None:
        """Check what no broker needs to be asked for."""
        if not self.servers:
            raise ValueError("servers is empty")
        for server in self.servers:
            address_of(server)
        if not _TOPIC.fullmatch(self.topic) or self.topic in (".", ".."):
            raise ValueError(
                f"topic is 1 to 236 letters, digits, dots, dashes or underscores, not {self.topic!r}"
            )
        if not 1 <= self.partitions <= MAX_PARTITIONS:
            raise ValueError(f"partitions is 1 to {MAX_PARTITIONS}, not {self.partitions}")
        if not 3 * self.heartbeat_interval_s <= self.session_timeout_s:
            raise ValueError("heartbeat_interval_s is at most a third of session_timeout_s")
        if not 0 < self.request_timeout_s <= self.delivery_timeout_s < 15:
            raise ValueError("request_timeout_s is at most delivery_timeout_s, which is below the 15 s of R3")

    @property
    def dead_letter_topic(self) -> str:
        """Where unreadable records are kept."""
        return f"{self.topic}.dead-letters"

    def group_id(self, group: str) -> str:
        """A group's name at the brokers, where other logs may have groups of the same name."""
        return f"{self.topic}.{group}"


def address_of(server: str) -> tuple[str, int]:
    """Host and port of `host:port`; an IPv6 address stands in brackets. Raises ValueError."""
    host, separator, port = server.rpartition(":")
    if not (host and separator and port.isdecimal() and 1 <= int(port) <= 65_535):
        raise ValueError(f"servers are host:port, not {server!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)
