"""`cell chat`: an interactive conversation in a terminal; with another input than a terminal, line by line."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from messaging_cell.commands import completion, options
from messaging_cell.commands.access import Access, access
from messaging_cell.commands.options import CommandFailed, Exit

if TYPE_CHECKING:
    from messaging_cell.chat_actions import ChatActions
    from messaging_cell.chat_events import ChatEvents
    from messaging_cell.chat_files import ChatFiles
    from messaging_cell.chat_state import ChatState
    from messaging_client import Client

_HELP = options.help_of(
    """Chat as a user: see your conversations and what you missed, write, answer, react, look back.

Name PEERs to open a conversation at once; `/help` inside shows the rest. Ctrl-D leaves. What was written without a
connection is kept, and sent when there is one, by the next chat if need be. Lines of a pipe are done in their order.""",
    "cell chat alice",
    "cell chat alice bob",
    "printf 'Hello\\n/react 🎉\\n' | cell chat alice bob",
    done="left",
    not_done="the cell does not take the token, or the chat cannot go on",
    unknown="some of what a pipe said was not sent yet",
)
_LEAVE_S = 5.0
_LEAVE_PIPE_S = 30.0
_LINE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class _Chat:
    """The parts of one chat."""

    state: "ChatState"
    events: "ChatEvents"
    actions: "ChatActions"
    files: "ChatFiles"
    is_interactive: bool
    is_kept: bool
    """Whether what is not sent yet is there for the next chat."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_HELP)(chat)


def chat(
    user: Annotated[str, typer.Argument(help="Who you are.", callback=options.user, metavar="USER")],
    peers: Annotated[
        list[str] | None,
        typer.Argument(
            help="Whom to write to.",
            metavar="PEER",
            autocompletion=completion.peers,
            callback=options.users,
            show_default=False,
        ),
    ] = None,
    address: options.Address = None,
    token: options.Token = None,
    data_folder: options.DataFolder = None,
    tls: options.Tls = None,
    ca_file: options.CaFile = None,
) -> None:
    """See the help text."""
    way = access(user, options.ClientOptions(address, token, data_folder, tls, ca_file))
    way.run(_chat(way, f"/with {' '.join(peers)}" if peers else ""))


async def _chat(way: Access, opening: str) -> None:
    from prompt_toolkit.patch_stdout import patch_stdout

    from messaging_cell.chat_actions import ChatActions
    from messaging_cell.chat_events import ChatEvents
    from messaging_cell.chat_files import ChatFiles
    from messaging_cell.chat_screen import Screen
    from messaging_cell.chat_state import ChatState

    is_interactive = sys.stdin.isatty() and sys.stdout.isatty()
    files = ChatFiles(way.settings.data_folder, str(way.settings.address), way.user)
    with patch_stdout(raw=True) if is_interactive else nullcontext():
        screen = Screen(is_terminal=is_interactive)
        async with _client(way, files, screen.note) as (client, is_kept):
            await way.online(client)
            state = ChatState(client, way.user, screen)
            events = ChatEvents(state)
            actions = ChatActions(state, events)
            await _run(_Chat(state, events, actions, files, is_interactive, is_kept), opening)


@asynccontextmanager
async def _client(
    way: Access, files: "ChatFiles", note: Callable[[str], None]
) -> "AsyncIterator[tuple[Client, bool]]":
    """A client, and whether it keeps what it must on disk: unless another chat of this user here does so already."""
    from messaging_client import FileStore, StoreFailed, StoreInUse

    async with AsyncExitStack() as stack:
        try:
            store = FileStore(files.store())
            yielded = await stack.enter_async_context(way.client(store=store)), True
        except StoreInUse:
            note(f"{way.user} is chatting here already; this chat begins with what comes from now on.")
            yielded = await stack.enter_async_context(way.client()), False
        except (OSError, StoreFailed) as error:
            note(f"Nothing can be kept for the next time: {error}.")
            yielded = await stack.enter_async_context(way.client()), False
        yield yielded


async def _run(chat: _Chat, opening: str) -> None:
    """Do what is typed, while what happens is shown. Raises MessagingError, CommandFailed, OSError."""
    todo: asyncio.Queue[str | None] = asyncio.Queue()
    todo.put_nowait(opening)
    typing = asyncio.create_task(_type(chat, todo))
    working = [
        asyncio.create_task(work)
        for work in (
            _work(chat, todo),
            chat.events.follow(),
            chat.events.watch(),
            chat.state.tell_late(),
            chat.state.marks.tell(),
        )
    ]
    try:
        await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
        for task in (*working, typing):
            if task.done():
                task.result()
    finally:
        for task in (*working, typing):
            task.cancel()
        await asyncio.gather(*working, typing, return_exceptions=True)


async def _type(chat: _Chat, todo: "asyncio.Queue[str | None]") -> None:
    """Take lines until there are no more; one can type on while something takes long."""
    from messaging_cell.chat_input import Quit, read_line

    try:
        async with aclosing(_lines(chat)) as lines:  # type: ignore[type-var]
            async for line in lines:
                if isinstance(read_line(line), Quit):
                    break
                todo.put_nowait(line)
    finally:
        todo.put_nowait(None)


def _lines(chat: _Chat) -> AsyncIterator[str]:
    if chat.is_interactive:
        from messaging_cell.chat_prompt import typed_lines

        return typed_lines(chat.state, chat.files)
    return _plain_lines()


async def _plain_lines() -> AsyncIterator[str]:
    from messaging_cell.terminal_input import lines_of_input

    async for line in lines_of_input(_LINE_BYTES):
        yield line.decode(errors="replace")


async def _work(chat: _Chat, todo: "asyncio.Queue[str | None]") -> None:
    """Do what was typed, in its order, once what was missed is shown; then leave."""
    from messaging_cell.chat_input import read_line

    await chat.events.begin()
    while (line := await todo.get()) is not None:
        await chat.actions.do(read_line(line))
    await _leave(chat)


async def _leave(chat: _Chat) -> None:
    """Wait for what was asked for. Raises CommandFailed where a pipe has said more than could be sent."""
    from messaging_cell.terminal_text import counted

    state = chat.state
    is_done = await chat.actions.done(_LEAVE_S if chat.is_interactive else _LEAVE_PIPE_S)
    if not state.offline:
        await state.marks.tell_now()
    if is_done:
        return
    kept = f"kept for when {state.user} chats here again" if chat.is_kept else "lost"
    said = f"Not sent yet, and {kept}: {counted(len(state.pending))}."
    if not chat.is_interactive:
        raise CommandFailed(said, Exit.UNKNOWN)
    state.screen.warn(said)
