"""The settings of the cell: one table, from which come flags, variables, defaults, help and docs/settings.md."""

import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated

from messaging_cell.process_settings import ProcessSettings
from messaging_cell.setting_kinds import (
    ADDRESS,
    ALGORITHM_LIST,
    BOOLEAN,
    PATH,
    URL,
    Address,
    Setting,
    one_of,
    seconds,
    text,
    whole,
)
from messaging_core.limits import Limits
from messaging_server.settings import ServerSettings

_LIMITS = Limits()
_SERVER = ServerSettings(server_id="")
_LOCAL = Address("127.0.0.1", 50_051)
_DAY_S = 86_400
_GIB = 1 << 30


class SettingsRefused(Exception):
    """Settings that the cell does not start with: one line for each fault, with its name and what is allowed."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def default_data_folder() -> Path:
    """Where the XDG Base Directory Specification says that an application keeps its data."""
    home = os.environ.get("XDG_DATA_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path.home() / ".local" / "share") / "messaging-cell"


_DATA_FOLDER = Setting(
    "Folder of the cell's data; in development mode commands find the cell's key there too.",
    PATH,
    default_text="`$XDG_DATA_HOME/messaging-cell`, or `~/.local/share/messaging-cell`",
)
_TOKENS = "Access tokens"
_TLS = "TLS"
_FIRST = "Limits"
_LOGS = "Logs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(ProcessSettings):
    """What `cell run` can be told. Raises SettingsRefused for values that do not go together."""

    listen: Annotated[
        Address,
        Setting(
            "Where clients connect. Port 0 takes a free one. Only this machine in development mode.", ADDRESS
        ),
    ] = _LOCAL
    data_folder: Annotated[Path, _DATA_FOLDER] = field(default_factory=default_data_folder)
    cell_id: Annotated[
        str,
        Setting(
            "Name of the cell, told to clients and logs.",
            text(r"[A-Za-z0-9._-]{1,64}", "1 to 64 letters, digits, dots, dashes or underscores"),
        ),
    ] = "local"
    partitions: Annotated[
        int, Setting("Partitions of the log; fixed once the data folder has been used.", whole(1, 512))
    ] = 16
    retention_s: Annotated[
        int,
        Setting(
            "How long the log keeps a record, in seconds. A client away for longer is served from history.",
            whole(600, 3_650 * _DAY_S),
        ),
    ] = _DAY_S
    window_bytes: Annotated[
        int,
        Setting(
            "Memory for recent events of all partitions together, from which clients that return are served first.",
            whole(1 << 16, 64 * _GIB),
        ),
    ] = 256 << 20
    max_streams: Annotated[int, Setting("Streams of all clients together.", whole(1, 1_000_000))] = (
        _SERVER.max_streams
    )
    max_streams_per_user: Annotated[int, Setting("Streams of one user.", whole(1, 10_000))] = (
        _SERVER.max_streams_per_user
    )
    drain_s: Annotated[
        float,
        Setting("How long a cell that stops gives its clients to leave, in seconds.", seconds(0, 3_600)),
    ] = _SERVER.drain_s

    tls_cert_file: Annotated[
        Path | None,
        Setting(
            "PEM file with the certificate chain shown to clients. Read again for new connections when it changes.",
            PATH,
            _TLS,
            default_text="none",
        ),
    ] = None
    tls_key_file: Annotated[
        Path | None,
        Setting("PEM file with the private key of that certificate.", PATH, _TLS, default_text="none"),
    ] = None
    insecure: Annotated[
        bool,
        Setting(
            "Do without TLS outside development mode: for clients, as behind a proxy that ends TLS, and between processes, "
            "on a network that is trusted.",
            BOOLEAN,
            _TLS,
            default_text="false",
        ),
    ] = False

    jwt_secret: Annotated[
        str,
        Setting(
            "Key that signs the access tokens (HS256).",
            text(r"(?s).{32,}", "at least 32 characters"),
            _TOKENS,
            secret=True,
            has_flag=False,
            default_text="none",
        ),
    ] = field(default="", repr=False)
    jwt_secret_file: Annotated[
        Path | None,
        Setting(
            "File with the key that signs the access tokens (HS256): at least 32 bytes, a last line end not counted.",
            PATH,
            _TOKENS,
            default_text="none",
        ),
    ] = None
    jwt_public_key_file: Annotated[
        Path | None,
        Setting(
            "PEM file with the public keys of whoever signs the access tokens. Read again when it changes.",
            PATH,
            _TOKENS,
            default_text="none",
        ),
    ] = None
    jwt_jwks_file: Annotated[
        Path | None,
        Setting(
            "JWK Set (RFC 7517) with the public keys of whoever signs the access tokens. Read again when it changes.",
            PATH,
            _TOKENS,
            default_text="none",
        ),
    ] = None
    jwt_jwks_url: Annotated[
        str,
        Setting(
            "Address of such a JWK Set, or of an OpenID provider's configuration, which names one.",
            URL,
            _TOKENS,
            default_text="none",
        ),
    ] = ""
    jwt_algorithms: Annotated[
        tuple[str, ...],
        Setting(
            "Signature algorithms that are taken.",
            ALGORITHM_LIST,
            _TOKENS,
            default_text="all that fit the keys",
        ),
    ] = ()
    jwt_issuer: Annotated[
        str,
        Setting(
            "What a token's `iss` must be.", text(r".{1,1024}", "not empty"), _TOKENS, default_text="anything"
        ),
    ] = ""
    jwt_audience: Annotated[
        str,
        Setting(
            "What a token's `aud` must hold.",
            text(r".{1,1024}", "not empty"),
            _TOKENS,
            default_text="none: a token with an `aud` is refused",
        ),
    ] = ""
    jwt_user_claim: Annotated[
        str, Setting("The claim that holds the user id.", text(r".{1,256}", "the name of a claim"), _TOKENS)
    ] = "sub"
    jwt_leeway_s: Annotated[
        float,
        Setting(
            "How far the clocks of the cell and of whoever signs may differ, in seconds.",
            seconds(0, 300),
            _TOKENS,
        ),
    ] = 5.0

    max_content_bytes: Annotated[
        int, Setting("Size of a message's content, in bytes.", whole(1, 512 << 10), _FIRST)
    ] = _LIMITS.max_content_bytes
    max_recipients: Annotated[int, Setting("Recipients of a message.", whole(1, 1_000), _FIRST)] = (
        _LIMITS.max_recipients
    )
    max_frame_bytes: Annotated[
        int,
        Setting("Size of one gRPC message from a client, in bytes.", whole(65_536, 16 << 20), _FIRST),
    ] = _LIMITS.max_frame_bytes
    max_commands_per_frame: Annotated[
        int, Setting("Commands in one frame of a stream, or in one Execute call.", whole(1, 1_024), _FIRST)
    ] = _LIMITS.max_commands_per_frame
    max_in_flight: Annotated[
        int, Setting("Commands of a stream without an outcome yet.", whole(1, 65_536), _FIRST)
    ] = _LIMITS.max_in_flight
    max_sends_per_second: Annotated[
        int, Setting("Commands of a user that append, a second, lasting.", whole(1, 1_000_000), _FIRST)
    ] = _LIMITS.max_sends_per_second
    max_mark_participants: Annotated[
        int,
        Setting(
            "Participants of a conversation whose read marks are told to the others.", whole(2, 16), _FIRST
        ),
    ] = _LIMITS.max_mark_participants
    hello_timeout_s: Annotated[
        float, Setting("Time for a new stream's hello, in seconds.", seconds(0.1, 300), _FIRST)
    ] = _LIMITS.hello_timeout_s
    ping_interval_s: Annotated[
        float, Setting("Time between pings, advised to clients, in seconds.", seconds(1, 3_600), _FIRST)
    ] = _LIMITS.ping_interval_s

    log_level: Annotated[
        str, Setting("The least important lines to log.", one_of("debug", "info", "warning", "error"), _LOGS)
    ] = "info"
    log_format: Annotated[
        str,
        Setting(
            "auto is console in a terminal and json elsewhere.", one_of("auto", "console", "json"), _LOGS
        ),
    ] = "auto"

    def __post_init__(self) -> None:
        """Check what no single setting shows."""
        faults = [*_key_faults(self), *_tls_faults(self), *_frame_faults(self)]
        if faults:
            raise SettingsRefused(faults)

    @property
    def key_settings(self) -> list[str]:
        """Names of the settings that give keys; none means development mode."""
        return [name for name in _KEY_SETTINGS if getattr(self, name)]

    @property
    def has_tls(self) -> bool:
        """Whether clients are served over TLS."""
        return self.tls_cert_file is not None

    @property
    def has_internal_tls(self) -> bool:
        """Whether processes of the cell talk to each other over TLS."""
        return self.internal_cert_file is not None

    @property
    def limits(self) -> Limits:
        """The limits among the settings."""
        return Limits(**{limit.name: getattr(self, limit.name) for limit in fields(Limits)})


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """What the commands that talk to a running cell can be told."""

    address: Annotated[Address, Setting("Where the cell is.", ADDRESS, "Client")] = _LOCAL
    token: Annotated[
        str,
        Setting(
            "Access token. In development mode commands make their own.",
            text(r"[\x21-\x7e]+", "an access token"),
            "Client",
            secret=True,
            default_text="none",
        ),
    ] = field(default="", repr=False)
    tls: Annotated[
        bool,
        Setting(
            "Whether the cell is asked over TLS, and trusted by the system's authorities.",
            BOOLEAN,
            "Client",
            default_text="false",
        ),
    ] = False
    ca_file: Annotated[
        Path | None,
        Setting(
            "PEM file with the authorities that the cell is trusted by; implies TLS.",
            PATH,
            "Client",
            default_text="none",
        ),
    ] = None
    data_folder: Annotated[Path, _DATA_FOLDER] = field(default_factory=default_data_folder)


_KEY_SETTINGS = ("jwt_secret", "jwt_secret_file", "jwt_public_key_file", "jwt_jwks_file", "jwt_jwks_url")
TOGETHER = (
    ("tls_cert_file", "tls_key_file"),
    ("internal_cert_file", "internal_key_file", "internal_ca_file"),
    ("kafka_cert_file", "kafka_key_file"),
    ("cassandra_cert_file", "cassandra_key_file"),
)
"""Settings of which all are set or none."""
_MAX_USER_FIELD_BYTES = 258
_FRAME_OVERHEAD_BYTES = 16_384
"""Room in a frame for everything but content and recipients: ids, a reply's ref, trace context, tags and lengths."""


def _key_faults(settings: Settings) -> list[str]:
    given = settings.key_settings
    if len(given) > 1:
        return [
            f"{' and '.join(given)} are set: the keys of access tokens come from one place. Keep one of them."
        ]
    if given:
        return []
    alone = [name for name in ("jwt_algorithms", "jwt_issuer", "jwt_audience") if getattr(settings, name)]
    return [
        f"{name} is set, but no keys are, so it would be in development mode. Set one of {', '.join(_KEY_SETTINGS)}, too."
        for name in alone
    ]


def _tls_faults(settings: Settings) -> list[str]:
    for names in TOGETHER:
        missing = [name for name in names if getattr(settings, name) is None]
        if missing and len(missing) < len(names):
            given = next(name for name in names if name not in missing)
            return [f"{given} is set, but not {' and '.join(missing)}: they go together."]
    if settings.has_tls and settings.insecure:
        return ["insecure is true, but tls_cert_file and tls_key_file are set. Keep one of the two."]
    return []


def _frame_faults(settings: Settings) -> list[str]:
    needed = (
        settings.max_content_bytes + _MAX_USER_FIELD_BYTES * settings.max_recipients + _FRAME_OVERHEAD_BYTES
    )
    if settings.max_frame_bytes >= needed:
        return []
    return [
        f"max_frame_bytes: {settings.max_frame_bytes:,} is too little for a message of max_content_bytes to max_recipients: "
        f"it must be at least {needed:,}."
    ]
