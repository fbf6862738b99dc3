"""What a setting may be: how its text is read, and how what is allowed is told to people."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

ALGORITHMS = (
    *("HS256", "HS384", "HS512"),
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
"""Signature algorithms of access tokens (RFC 7518, RFC 8037); `none` is not one."""


class Kind(NamedTuple):
    """A sort of value."""

    read: Callable[[str], Any]
    """From text; raises ValueError, without a text of its own, for what is not allowed."""
    allowed: str
    """What is allowed, to end the sentence "It must be ..."."""
    choices: tuple[str, ...] = ()
    """All that is allowed, where it is a few words."""


class Setting(NamedTuple):
    """What there is to know of a setting besides its name, type and default, which its field has."""

    help: str
    kind: Kind
    group: str = "Server"
    secret: bool = False
    """Never shown."""
    has_flag: bool = True
    """Not where it would be wrong: other users of the machine can see the flags of a process."""
    default_text: str = ""
    """How to tell the default where its value depends on the machine, or is none."""


class Address(NamedTuple):
    """Where to listen or connect."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ServerAddresses(NamedTuple):
    """Where messaging servers take links: the same ports on one host, or on all that a DNS name stands for."""

    host: str
    ports: range
    by_dns: bool

    def __str__(self) -> str:
        first, last = self.ports[0], self.ports[-1]
        address = str(Address(self.host, first))
        return ("dns:" if self.by_dns else "") + (address if first == last else f"{address}-{last}")


class EngineAddress(NamedTuple):
    """Where an engine is: in the data folder, or at some servers under a name."""

    engine: str
    servers: tuple[Address, ...] = ()
    name: str = ""

    @property
    def is_embedded(self) -> bool:
        """Whether it is in the data folder."""
        return self == EMBEDDED

    def __str__(self) -> str:
        return (
            f"{self.engine}://{','.join(map(str, self.servers))}/{self.name}" if self.servers else self.engine
        )


EMBEDDED = EngineAddress("embedded")


def engine(name: str, port: int, of: str, pattern: str) -> Kind:
    """`embedded`, or an engine with its servers, whose port is `port` unless said, and the name `of` something there."""
    compiled = re.compile(pattern)

    def read(text: str) -> EngineAddress:
        if text == EMBEDDED.engine:
            return EMBEDDED
        scheme, separator, rest = text.partition("://")
        servers, slash, named = rest.partition("/")
        if scheme != name or not separator or not slash or not compiled.fullmatch(named):
            raise ValueError
        addresses = [
            read_address(each if _has_port(each) else f"{each}:{port}") for each in servers.split(",")
        ]
        return EngineAddress(name, tuple(addresses), named)

    return Kind(read, f"embedded, or {name}://HOST:PORT,HOST:PORT/NAME with the name of a {of}")


def whole(low: int, high: int) -> Kind:
    """A whole number within bounds; underscores are taken, as in Python."""

    def read(text: str) -> int:
        if not low <= (number := int(text)) <= high:
            raise ValueError
        return number

    return Kind(read, f"a whole number from {low:,} to {high:,}")


def seconds(low: float, high: float) -> Kind:
    """A time within bounds."""

    def read(text: str) -> float:
        if not low <= (number := float(text)) <= high:
            raise ValueError
        return number

    return Kind(read, f"seconds, from {low:g} to {high:g}")


def share() -> Kind:
    """A part of a whole."""

    def read(text: str) -> float:
        if not 0 <= (number := float(text)) <= 1:
            raise ValueError
        return number

    return Kind(read, "a number from 0 to 1")


def one_of(*choices: str) -> Kind:
    """One of a few words."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    return Kind(read, "one of " + ", ".join(choices), choices)


def _read_boolean(value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError
    return value == "true"


def text(pattern: str, allowed: str) -> Kind:
    """Text of one form."""
    compiled = re.compile(pattern)

    def read(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError
        return value

    return Kind(read, allowed)


def read_address(value: str) -> Address:
    """`host:port` or `[IPv6]:port`. Raises ValueError."""
    host, colon, port = value.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    known = re.fullmatch(r"[0-9A-Fa-f:.%a-z]+" if bracketed else r"[A-Za-z0-9._-]+", host)
    if not (colon and known and port.isascii() and port.isdigit() and int(port) <= 65_535):
        raise ValueError
    return Address(host, int(port))


def _read_algorithms(value: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in value.split(","))
    if not set(names) <= set(ALGORITHMS):
        raise ValueError
    return names


def _read_url(value: str) -> str:
    parts = urlsplit(value)
    is_here = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if not (value.isprintable() and " " not in value and parts.hostname):
        raise ValueError
    if parts.scheme != "https" and not (parts.scheme == "http" and is_here):
        raise ValueError
    return value


def _read_collector(value: str) -> str:
    scheme, separator, address = value.partition("://")
    if scheme not in ("http", "https") or not separator or not read_address(address).port:
        raise ValueError
    return value


def _read_path(value: str) -> Path:
    if not value or "\0" in value:
        raise ValueError
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError as error:  # there is no such user
        raise ValueError from error


def _has_port(server: str) -> bool:
    return bool(re.search(r":\d+$", server)) and not server.endswith("]")


def _read_servers(value: str) -> tuple[ServerAddresses, ...]:
    return tuple(_read_server(each.strip()) for each in value.split(","))


def _read_server(value: str) -> ServerAddresses:
    found = re.fullmatch(r"(dns:)?(.+:\d+?)(?:-(\d{1,5}))?", value)
    if not found:
        raise ValueError
    host, first = read_address(found[2])
    last = int(found[3] or first)
    if not 0 < first <= last <= min(65_535, first + 255):
        raise ValueError
    return ServerAddresses(host, range(first, last + 1), bool(found[1]))


BOOLEAN = Kind(_read_boolean, "true or false")
ADDRESS = Kind(read_address, "host:port, or [IPv6 address]:port")
ALGORITHM_LIST = Kind(_read_algorithms, "some of " + ", ".join(ALGORITHMS) + ", with commas between")
URL = Kind(_read_url, "an https address, or an http one of this machine")
COLLECTOR = Kind(_read_collector, "http://HOST:PORT, or https://HOST:PORT for TLS")
PATH = Kind(_read_path, "a path")
SERVERS = Kind(
    _read_servers,
    "HOST:PORT or HOST:PORT-PORT, with dns: before it where HOST stands for many, with commas between",
)
