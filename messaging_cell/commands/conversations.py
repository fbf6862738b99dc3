"""`cell conversations`: a user's conversations."""

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from messaging_cell.commands import options
from messaging_cell.commands.access import Access, access

if TYPE_CHECKING:
    from messaging_client import Conversation

_HELP = options.help_of(
    """Print a user's conversations, the latest active first: with whom, how much is unread, what was said last.""",
    "cell conversations bob",
    "cell conversations bob --unread --json",
)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_HELP)(conversations)


def conversations(
    user: Annotated[str, typer.Argument(help="Whose.", callback=options.user, metavar="USER")],
    unread: Annotated[
        bool,
        typer.Option("--unread", metavar="", help="Only those with unread messages.", show_default=False),
    ] = False,
    count: Annotated[int, typer.Option(help="How many, at most.", min=1, max=1_000_000, metavar="N")] = 50,
    as_json: options.AsJson = False,
    address: options.Address = None,
    token: options.Token = None,
    data_folder: options.DataFolder = None,
    tls: options.Tls = None,
    ca_file: options.CaFile = None,
) -> None:
    """See the help text."""
    way = access(user, options.ClientOptions(address, token, data_folder, tls, ca_file))
    found = way.run(_conversations(way, unread, count))
    if as_json:
        _print_json(found)
    else:
        _print_text(found, user)


def _print_json(found: "list[Conversation]") -> None:
    from messaging_cell import terminal_json

    for each in found:
        print(terminal_json.line(terminal_json.conversation(each)))


def _print_text(found: "list[Conversation]", user: str) -> None:
    from messaging_cell.terminal_text import conversation_text, names_width, terminal

    console, width = terminal(), names_width(found, user)
    for each in found:
        console.print(conversation_text(each, user, width))


async def _conversations(way: Access, unread: bool, count: int) -> "list[Conversation]":
    found: list[Conversation] = []
    async with way.client() as client, aclosing(client.conversations()) as every:  # type: ignore[type-var]
        async for each in every:
            if each.unread_count or not unread:
                found.append(each)
            if len(found) == count:
                break
    return found
