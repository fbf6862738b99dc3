"""How things look, and that nothing that others write can look like something else."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from messaging_cell.terminal_safety import escaped, one_line, printable
from messaging_cell.terminal_text import (
    body,
    hanging,
    message_text,
    names,
    quote,
    refusal_text,
    snippet,
    trouble_text,
)
from messaging_client import Attachment, Content, Message, MessageRef, NotDone, Reason

REF = MessageRef("C" * 22, "ann", "id", 1_000_000)


@given(st.text())
def test_printable_text_has_no_control_characters(text: str) -> None:
    """But line ends; and neither has what a line of JSON is escaped to, which still means the same."""
    allowed = {"\n"}
    assert not [c for c in printable(text) if unicodedata.category(c) in ("Cc", "Cs") and c not in allowed]
    assert "\n" not in one_line(text)
    assert not set(escaped(f'"{text}"')) & set("\x1b\x9b\x7f\u202e\u2066\u200f")


def test_what_people_write_stays() -> None:
    """Scripts, joined emoji, and what other programs would take for markup."""
    text = "日本語 👨\u200d👩\u200d👧 é שלום ไทย [bold]x[/bold] :smile:"
    assert printable(text) == text
    assert message_text(Message(REF, Content(text=text)), "bob").plain.endswith(f"ann  {text}")


def test_a_message_with_all_it_can_have() -> None:
    """Text, data with its name, attachments, each in a line."""
    content = Content(
        data=b"12345",
        content_type="image/png",
        attributes={"filename": "a\nb\x1b.png"},
        attachments=(
            Attachment("https://example.org/x", "text/html", name="x\ny"),
            Attachment("urn:z", "a/b"),
        ),
    )
    assert body(content) == "(a b�.png, image/png, 5 bytes)\n[x y: https://example.org/x]\n[urn:z]"
    assert message_text(Message(REF, Content(text="hi")), "ann", {"👍": 2, "x\n": 1}).plain.endswith(
        "you  hi  👍 2  x"
    )


@given(st.text(alphabet="ab 日本👍\n", max_size=300), st.integers(20, 120))
def test_lines_hang_within_the_width(text: str, width: int) -> None:
    """Every line but the first is indented, none is wider than the terminal, and nothing is lost but spaces."""
    console = Console(width=width)
    first, *others = hanging(Text(text), "  7 ", " " * 10, console).plain.split("\n")
    assert first.startswith("  7 ")
    assert all(line.startswith(" " * 10) for line in others)
    assert all(cell_len(line) <= width for line in (first, *others))
    shown = "".join((first.removeprefix("  7 "), *others))
    assert "".join(shown.split()) == "".join(text.split())


def test_what_is_quoted_is_one_short_line() -> None:
    """In columns, of which wide characters take two."""
    said = Message(REF, Content(text="日本語\n" * 30))
    assert "\n" not in quote(said, "bob")
    assert cell_len(snippet("日" * 100)) <= 40
    assert snippet("short") == "short"
    assert quote(said, "ann").startswith("↳ you: 日本語 日本語")


@pytest.mark.parametrize(
    ("participants", "shown"),
    [
        (["ann"], "yourself"),
        (["ann", "bob"], "bob"),
        (["ann", "bob", "cat"], "bob, cat"),
        (["ann", *"bcdefg"], "b, c, d, e +2"),
    ],
)
def test_names_of_conversations(participants: list[str], shown: str) -> None:
    """The others; of a crowd the first few."""
    assert names(participants, "ann") == shown


def test_refusals_name_the_field_and_the_limit_once() -> None:
    """In the cell's words, and what those leave out."""
    assert (
        refusal_text(NotDone(Reason.TOO_LARGE, "content: at most 9", field="content", limit=9))
        == "content: at most 9."
    )
    told = refusal_text(NotDone(Reason.TOO_LARGE, "too large.", field="content", limit=65_536))
    assert told == "too large (content, at most 65,536)."


def test_troubles_are_told_in_words_for_people() -> None:
    """Not in those of grpc; what is not known is told as it is."""
    refused = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Connection refused"
    assert trouble_text(refused) == "nobody answers there"
    assert trouble_text("the server is leaving.") == "the server is leaving"
    assert trouble_text("") == "the connection broke"
