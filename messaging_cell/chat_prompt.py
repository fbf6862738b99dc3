"""The line at the bottom of a terminal in which one types, and the bar below it."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from messaging_cell.chat_completion import ChatCompleter
from messaging_cell.chat_files import ChatFiles
from messaging_cell.chat_state import ChatState
from messaging_cell.terminal_text import body, snippet

_OFFERED = 20
_REFRESH_S = 0.5
"""How often the bar is drawn anew, although nothing was typed or shown."""


async def typed_lines(state: ChatState, files: ChatFiles) -> AsyncIterator[str]:
    """The lines, until Ctrl-D, or Ctrl-C in an empty line."""
    prompt: PromptSession[str] = PromptSession(
        message=lambda: f"{state.title}> ",
        bottom_toolbar=lambda: bar(state),
        completer=ChatCompleter(lambda: state.known_users, lambda: _messages(state)),
        complete_while_typing=False,
        erase_when_done=True,
        history=_history(files),
        refresh_interval=_REFRESH_S,
    )
    while True:
        try:
            yield await prompt.prompt_async()
        except KeyboardInterrupt:
            if not prompt.default_buffer.text:
                return
        except EOFError:
            return


def bar(state: ChatState) -> str:
    """How things stand."""
    missed = sum(count for conversation, count in state.elsewhere.items() if not state.is_open(conversation))
    parts = [
        f"no connection: {state.offline}" if state.offline else "",
        f"{len(state.pending)} on the way" if state.pending else "",
        f"{missed} unread elsewhere" if missed else "",
        f"writing to {state.title}" if state.title else "/with USER opens a conversation",
        "/help",
        "Ctrl-D leaves",
    ]
    return " " + " · ".join(part for part in parts if part)


def _messages(state: ChatState) -> Iterator[tuple[str, str]]:
    """Numbers of the messages of the open conversation, the latest first."""
    latest: Any = state.shown.latest(state.open.id) if state.open else ()
    for shown, _ in zip(latest, range(_OFFERED), strict=False):
        yield str(shown.number), f"{shown.message.sender_id}: {snippet(body(shown.message.content))}"


def _history(files: ChatFiles) -> History:
    try:
        return FileHistory(str(files.typed()))
    except OSError:
        return InMemoryHistory()
