"""Reads the part of YAML that the files of deploy/ keep to; everything else is refused, so that nothing is read wrongly."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

_KEY = re.compile(r"([A-Za-z<][\w./<-]*):(?: (.*))?")
_ITEM = "- "
_ANCHOR = re.compile(r"&([\w-]+)(?: (.*))?")
_PLAIN = re.compile(r"[\w./-][\w./@:,= -]*")


class NotRead(ValueError):
    """A line that is not of the part that is read."""


class _Line(NamedTuple):
    indent: int
    text: str


def read(path: Path) -> dict[str, Any]:
    """Mappings by indentation, lists of them, lists in brackets, strings, numbers, true and false; anchors and merges.

    Nothing is None: what has no value is empty.
    """
    lines = list(_lines(path))
    value, rest = _mapping(lines, 0, {})
    if rest:
        raise NotRead(rest[0].text)
    return value


def _lines(path: Path) -> Iterator[_Line]:
    for line in path.read_text("utf-8").splitlines():
        text = line.lstrip(" ")
        if text and not text.startswith("#"):
            yield _Line(len(line) - len(text), text)


def _mapping(lines: list[_Line], indent: int, anchors: dict[str, Any]) -> tuple[dict[str, Any], list[_Line]]:
    found: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    while lines and lines[0].indent == indent:
        key_match = _KEY.fullmatch(lines[0].text)
        if key_match is None:
            raise NotRead(lines[0].text)
        key, written = key_match.group(1), key_match.group(2) or ""
        if key in found:
            raise NotRead(f"{key} is there twice")
        name = ""
        if anchor := _ANCHOR.fullmatch(written):
            name, written = anchor.group(1), anchor.group(2) or ""
        lines = lines[1:]
        value: Any
        if written:
            value = _scalar(written, anchors)
        elif lines and lines[0].indent > indent:
            of = _list if lines[0].text.startswith(_ITEM) else _mapping
            value, lines = of(lines, lines[0].indent, anchors)
        else:
            value = ""
        if name:
            anchors[name] = value
        if key == "<<":
            merged = value
        else:
            found[key] = value
    if lines and lines[0].indent > indent:
        raise NotRead(lines[0].text)
    return merged | found, lines


def _list(lines: list[_Line], indent: int, anchors: dict[str, Any]) -> tuple[list[Any], list[_Line]]:
    """Mappings, each with a dash before its first key."""
    found = []
    while lines and lines[0].indent == indent and lines[0].text.startswith(_ITEM):
        first = _Line(indent + len(_ITEM), lines[0].text[len(_ITEM) :])
        value, lines = _mapping([first, *lines[1:]], first.indent, anchors)
        found.append(value)
    return found, lines


def _scalar(written: str, anchors: dict[str, Any]) -> Any:
    if written.startswith("*"):
        return anchors[written[1:]]
    if written.startswith("["):
        if not written.endswith("]"):
            raise NotRead(written)
        return [_scalar(item.strip(), anchors) for item in re.split(r",(?=\s)", written[1:-1])]
    if written.startswith('"'):
        return str(json.loads(written))
    if not _PLAIN.fullmatch(written) or ": " in written:
        raise NotRead(written)
    if written in ("true", "false"):
        return written == "true"
    return int(written) if written.isdecimal() else written
