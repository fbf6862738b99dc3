"""`cell chat`: an interactive conversation in a terminal; with another input than a terminal, line by line."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing, nullcontext, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from messaging_cell.commands import common

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession

    from messaging_cell.chat_session import ChatSession
    from messaging_cell.settings import ClientSettings
    from messaging_cell.terminal_client import TerminalClient

_HELP = """Chat as a user: see your conversations and what you missed, write, react, look back.

Name PEERs to open a conversation at once; `/help` inside shows the rest. Ctrl-D leaves."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_HELP)(chat)


def chat(
    user: Annotated[str, typer.Argument(help="Who you are.", callback=common.user, metavar="USER")],
    peers: Annotated[
        list[str] | None,
        typer.Argument(
            help="Who to write to.", metavar="[PEER]...", callback=common.more_users, show_default=False
        ),
    ] = None,
    address: common.Address = None,
    token: common.Token = None,
    data_folder: common.DataFolder = None,
) -> None:
    """See the help text."""
    settings = common.ClientOptions(address, token, data_folder).settings()
    common.run_client(_chat(common.client_of(settings, user), settings, user, peers or []))


async def _chat(client: "TerminalClient", settings: "ClientSettings", user: str, peers: list[str]) -> None:
    from prompt_toolkit.patch_stdout import patch_stdout
    from rich.console import Console

    from messaging_cell.chat_bookmark import Bookmark
    from messaging_cell.chat_session import ChatSession

    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    bookmark = Bookmark(settings.data_folder, str(settings.address), user)
    async with client:
        with patch_stdout(raw=True) if interactive else nullcontext():
            console = Console(
                highlight=False, soft_wrap=True, emoji=False, force_terminal=interactive or None
            )
            session = ChatSession(client, user, bookmark, console.print)
            lines = _prompted_lines(session) if interactive else _plain_lines()
            opening = f"/with {' '.join(peers)}" if peers else ""
            await _run(session, lines, opening)


async def _run(session: "ChatSession", lines: AsyncIterator[str], opening: str) -> None:
    """Take lines until there are no more, while what happens is shown."""
    typing = asyncio.create_task(_take_lines(session, lines, opening))
    beside = [asyncio.create_task(session.follow()), asyncio.create_task(session.marks.tell())]
    try:
        await asyncio.wait((typing, *beside), return_when=asyncio.FIRST_COMPLETED)
        for task in (typing, *beside):
            if task.done():
                task.result()
    finally:
        for task in (typing, *beside):
            task.cancel()
        await asyncio.gather(typing, *beside, return_exceptions=True)


async def _take_lines(session: "ChatSession", lines: AsyncIterator[str], opening: str) -> None:
    """What is typed is done in its order, in a task of its own: one can type on while a send waits for a connection."""
    from messaging_cell.chat_input import Quit, read_line

    todo: asyncio.Queue[str | None] = asyncio.Queue()

    async def work() -> None:
        await session.live.wait()
        while (line := await todo.get()) is not None:
            await session.do(read_line(line))
        await session.settled()
        await session.marks.tell_now()

    working = asyncio.create_task(work())
    try:
        todo.put_nowait(opening)
        async with aclosing(lines):  # type: ignore[type-var]
            async for line in lines:
                if isinstance(read_line(line), Quit):
                    break
                todo.put_nowait(line)
        todo.put_nowait(None)
        await working
    finally:
        working.cancel()


async def _plain_lines() -> AsyncIterator[str]:
    """Lines of standard input; read by a thread that nobody waits for, since a read cannot be cancelled."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str | None] = asyncio.Queue()

    def read() -> None:
        with suppress(RuntimeError):  # the loop has ended before
            for line in sys.stdin:
                loop.call_soon_threadsafe(lines.put_nowait, line)
            loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=read, daemon=True).start()
    while (line := await lines.get()) is not None:
        yield line


async def _prompted_lines(session: "ChatSession") -> AsyncIterator[str]:
    """Lines typed at a prompt that stays below what is shown."""
    prompt = _prompt(session)
    while True:
        try:
            yield await prompt.prompt_async()
        except (EOFError, KeyboardInterrupt):
            return


def _prompt(session: "ChatSession") -> "PromptSession[str]":
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter

    from messaging_cell.chat_input import COMMANDS

    def toolbar() -> str:
        where = f"writing to {session.title}" if session.title else "/with USER opens a conversation"
        return f" {'no connection · ' if session.offline else ''}{where} · /help · Ctrl-D leaves"

    return PromptSession(
        message=lambda: f"{session.title}> ",
        bottom_toolbar=toolbar,
        completer=WordCompleter(lambda: [*COMMANDS, *session.known_users], WORD=True),
        complete_while_typing=False,
        erase_when_done=True,
    )
