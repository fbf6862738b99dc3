"""What others wrote, made harmless for a terminal."""

import re

_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, with which a message could move the cursor or set colours, and those that turn the direction of what
follows."""


def printable(text: str) -> str:
    """Text as it may be printed: with a sign for what may not. Lines stay lines, tabs become spaces."""
    return _UNSAFE.sub("�", text.replace("\r\n", "\n").expandtabs(4))


def one_line(text: str) -> str:
    """The same as a single line."""
    return " ".join(printable(text).split())


def escaped(json: str) -> str:
    """JSON in which such characters are escaped, and mean what they meant."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", json)
