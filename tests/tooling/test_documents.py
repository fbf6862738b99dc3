"""What the documents name is there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/*.md")])
FOLDERS = sorted(path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))

_LINK = re.compile(r"\]\((?!\w+:)([^)#]+)[^)]*\)")
_PATH = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./*-]*)`")


def missing(text: str, folder: Path) -> Iterator[str]:
    """Links that lead nowhere from `folder`, and paths in backticks that nothing in the project matches."""
    yield from (link for link in _LINK.findall(text) if not (folder / link).exists())
    yield from (path for path in _PATH.findall(text) if not any(ROOT.glob(path.rstrip("/"))))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_a_document_names_is_there(document: Path) -> None:
    """Links and paths still lead somewhere, the tests in the table of invariants among them."""
    assert list(missing(document.read_text("utf-8"), document.parent)) == []


@pytest.mark.parametrize("text", ["[a](gone.md)", "see `tests/gone/test_it.py`", "`docs/gone*.md`"])
def test_what_is_gone_is_noticed(text: str) -> None:
    """A link, a path and a pattern without a file are each told."""
    assert len(list(missing(text, ROOT / "docs"))) == 1


def test_what_is_there_passes() -> None:
    """Other projects' addresses and places within a document are not looked at."""
    text = "[a](settings.md#server), [b](https://example.org/x), `docs/`, `event_log/embedded*.py`, `tests`"
    assert list(missing(text, ROOT / "docs")) == []
