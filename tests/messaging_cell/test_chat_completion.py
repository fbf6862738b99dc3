"""What Tab offers in a chat."""

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from messaging_cell.chat_completion import ChatCompleter

COMPLETER = ChatCompleter(lambda: ["anna", "bob"], lambda: iter([("12", "bob: yes"), ("3", "anna: no")]))


def offered(line: str) -> list[str]:
    return [each.text for each in COMPLETER.get_completions(Document(line), CompleteEvent())]


@pytest.mark.parametrize(
    ("line", "texts"),
    [
        ("/re", ["/reply", "/react"]),
        ("/with a", ["anna"]),
        ("/with bob an", ["anna"]),
        ("/with ", ["anna", "bob"]),
        ("/reply ", ["12", "3"]),
        ("/reply 1", ["12"]),
        ("/reply 1 y", []),
        ("/react thumbs", ["👍", "👎"]),
        ("/react 12 :fir", ["🔥"]),
        ("so :rock", ["🚀"]),
        ("/unreact 3", ["3"]),
        ("hello an", []),
        ("/at 1", []),
    ],
)
def test_the_word_before_the_cursor_is_completed(line: str, texts: list[str]) -> None:
    """Commands, people, numbers of messages, emoji by name: by what the line begins with."""
    assert offered(line) == texts


def test_with_nothing_typed_there_are_the_commands() -> None:
    """So Tab in an empty line shows what there is."""
    assert {"/with", "/list", "/at", "/quit"} <= set(offered(""))
