"""What Tab offers in a chat: commands, names, numbers of messages, emoji."""

from collections.abc import Callable, Iterable, Iterator

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from messaging_cell.chat_emoji import EMOJI
from messaging_cell.chat_input import COMMANDS

Named = Iterable[tuple[str, str]]
"""What can be put in, and what it stands for."""


class ChatCompleter(Completer):
    """Completes the word before the cursor, by the command that the line begins with."""

    def __init__(self, users: Callable[[], Iterable[str]], messages: Callable[[], Named]) -> None:
        """`users` are all that are known, `messages` numbers and beginnings of those of the open conversation."""
        self._users = users
        self._messages = messages

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        """The completions, the most likely first."""
        line = document.text_before_cursor.lstrip()
        *before, word = line.split(" ")
        for text, meaning in self._fitting(before, word):
            yield Completion(text, start_position=-len(word), display_meta=meaning)

    def _fitting(self, before: list[str], word: str) -> Named:
        if word.startswith(":"):
            return _emoji(word[1:])
        if not before:
            return _starting(word, ((name, does) for name, (_, does) in COMMANDS.items()))
        match before:
            case ["/with" | "/w", *_]:
                return _starting(word, ((user, "") for user in self._users()))
            case ["/reply" | "/r"]:
                return _starting(word, self._messages())
            case ["/react" | "/unreact"]:
                return [*_emoji(word), *(_starting(word, self._messages()) if word.isdigit() else ())]
            case ["/react" | "/unreact", _]:
                return _emoji(word)
            case _:
                return ()


def _starting(word: str, offered: Named) -> Named:
    return [(text, meaning) for text, meaning in offered if text.startswith(word)]


def _emoji(word: str) -> Named:
    """Those whose name begins so, then those whose name holds it."""
    starting = [(sign, name) for name, sign in EMOJI.items() if name.startswith(word)]
    holding = [(sign, name) for name, sign in EMOJI.items() if word in name and not name.startswith(word)]
    return [*starting, *holding]
