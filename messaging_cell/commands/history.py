"""`cell history`: the messages of a conversation."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from messaging_cell.commands import common

if TYPE_CHECKING:
    from cell.history.v1 import history_pb2 as history
    from messaging_cell.terminal_client import TerminalClient

_HELP = """Print messages of the conversation of USER with PEER (and more PEERs, for a group), oldest first.

Without `--at` the latest ones."""
_PAGE = 500


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("history", help=_HELP)(show_history)


def show_history(
    user: Annotated[str, typer.Argument(help="Who reads.", callback=common.user, metavar="USER")],
    peers: Annotated[
        list[str], typer.Argument(help="Who else is in it.", metavar="PEER...", callback=common.more_users)
    ],
    at: Annotated[
        str | None,
        typer.Option(
            help='Messages around this time: "2026-11-20 15:00", or 15:00 for today; in local time unless it names a zone.',
            metavar="TIME",
        ),
    ] = None,
    count: Annotated[
        int, typer.Option(help="How many messages, at most.", min=1, max=1_000_000, metavar="N")
    ] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, a HistoryMessage a line.")] = False,
    address: common.Address = None,
    token: common.Token = None,
    data_folder: common.DataFolder = None,
) -> None:
    """See the help text."""
    from rich.console import Console

    from messaging_cell.terminal_text import json_line, message_text

    settings = common.ClientOptions(address, token, data_folder).settings()
    try:
        moment = common.time_of(at) if at is not None else None
    except ValueError as error:
        raise typer.BadParameter(
            f'{at!r} is no time; write "2026-11-20 15:00" or 15:00.', param_hint="--at"
        ) from error
    client = common.client_of(settings, user)
    found = common.run_client(_history(client, common.users(peers), moment, count))
    console = Console(highlight=False, soft_wrap=True, emoji=False)
    for item in found:
        if as_json:
            print(json_line(item))
        else:
            console.print(message_text(item.message, user, item.reactions))


async def _history(
    client: "TerminalClient", peers: list[str], at: datetime | None, count: int
) -> "list[history.HistoryMessage]":
    from messaging_cell.terminal_client import NotFound

    async with client:
        try:
            return await _pages(client, peers, at, count)
        except NotFound as error:
            raise common.CommandFailed(f"There is no conversation with {', '.join(peers)} yet.") from error


async def _pages(
    client: "TerminalClient", peers: list[str], at: datetime | None, count: int
) -> "list[history.HistoryMessage]":
    from cell.history.v1 import history_pb2 as history
    from messaging_cell.terminal_client import with_users

    request = history.ListMessagesRequest(conversation=with_users(peers), page_size=min(count, _PAGE))
    if at is not None:
        request.direction = history.DIRECTION_AROUND
        request.time.FromDatetime(at)
    page = await client.messages(request)
    found, older, newer = list(page.messages), page.older_page_token, page.newer_page_token
    while len(found) < count and (older or (newer and at is not None)):
        request.page_size = min(count - len(found), _PAGE)
        request.page_token = older or newer
        page = await client.messages(request)
        if older:
            found, older = [*page.messages, *found], page.older_page_token
        else:
            found, newer = [*found, *page.messages], page.newer_page_token if page.messages else ""
    return found
