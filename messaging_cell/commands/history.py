"""`cell history`: the messages of a conversation."""

from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from messaging_cell.commands import completion, options
from messaging_cell.commands.access import Access, access
from messaging_cell.commands.options import CommandFailed
from messaging_cell.terminal_times import FORMS

if TYPE_CHECKING:
    from messaging_client import Client, HistoryMessage, Message, MessageRef

_HELP = options.help_of(
    f"""Print messages of the conversation of USER with PEER, and more PEERs for a group, oldest first.

Without a time these are the latest. TIME is {FORMS}; in local time unless it names a zone.""",
    "cell history bob alice",
    'cell history bob alice --at "2026-11-20 15:00" --count 10',
    "cell history bob alice carol --after yesterday --json",
)
_PAGE = 500
_MAX_NAMED = 100


@dataclass(frozen=True, slots=True)
class _Place:
    """Which messages; at most one of the times is given."""

    peers: list[str]
    at: datetime | None
    before: datetime | None
    after: datetime | None
    count: int


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("history", help=_HELP)(show_history)


def show_history(
    user: Annotated[str, typer.Argument(help="Who reads.", callback=options.user, metavar="USER")],
    peers: Annotated[
        list[str],
        typer.Argument(
            help="Who else is in it.", metavar="PEER", autocompletion=completion.peers, callback=options.users
        ),
    ],
    at: Annotated[str | None, typer.Option(help="Messages around this time.", metavar="TIME")] = None,
    before: Annotated[
        str | None, typer.Option(help="The last messages before this time.", metavar="TIME")
    ] = None,
    after: Annotated[
        str | None, typer.Option(help="The first messages from this time on.", metavar="TIME")
    ] = None,
    count: Annotated[
        int, typer.Option(help="How many messages, at most.", min=1, max=1_000_000, metavar="N")
    ] = 20,
    as_json: options.AsJson = False,
    address: options.Address = None,
    token: options.Token = None,
    data_folder: options.DataFolder = None,
    tls: options.Tls = None,
    ca_file: options.CaFile = None,
) -> None:
    """See the help text."""
    options.at_most_one(at=at, before=before, after=after)
    place = _Place(
        peers,
        options.moment(at, "--at"),
        options.moment(before, "--before"),
        options.moment(after, "--after"),
        count,
    )
    way = access(user, options.ClientOptions(address, token, data_folder, tls, ca_file))
    found, answered = way.run(_history(way, place, quotes=not as_json))
    if as_json:
        _print_json(found)
    else:
        _print_text(found, answered, user)


def _print_json(found: "list[HistoryMessage]") -> None:
    from messaging_cell import terminal_json

    for item in found:
        print(terminal_json.line(terminal_json.history_message(item)))


def _print_text(found: "list[HistoryMessage]", answered: "dict[MessageRef, Message]", user: str) -> None:
    from messaging_cell.terminal_text import counts, hanging, message_text, quote, terminal

    console = terminal()
    for item in found:
        known = item.message.reply_to and answered.get(item.message.reply_to)
        quoted = quote(known, user) if known else ""
        console.print(hanging(message_text(item.message, user, counts(item.reactions), answers=quoted)))


async def _history(
    way: Access, place: _Place, *, quotes: bool
) -> "tuple[list[HistoryMessage], dict[MessageRef, Message]]":
    """The messages, and those that they answer."""
    from messaging_client import CallFailed, Reason

    async with way.client() as client:
        try:
            found = await (_from(client, place) if place.at is None else _around(client, place, place.at))
            return found, await answered_by(client, found) if quotes else {}
        except CallFailed as error:
            if error.reason is not Reason.NOT_FOUND:
                raise
            raise CommandFailed(f"There is no conversation with {', '.join(place.peers)} yet.") from error


async def _from(client: "Client", place: _Place) -> "list[HistoryMessage]":
    found: list[HistoryMessage] = []
    asked = client.history(to=place.peers, before=place.before, after=place.after)
    async with aclosing(asked) as messages:  # type: ignore[type-var]
        async for item in messages:
            found.append(item)
            if len(found) == place.count:
                break
    return found if place.after else found[::-1]


async def _around(client: "Client", place: _Place, at: datetime) -> "list[HistoryMessage]":
    """Half before, half after, and where one side has fewer the more of the other."""
    page = await client.history_page(to=place.peers, around=at, size=min(place.count, _PAGE))
    found, older, newer = list(page.messages), page.older, page.newer
    while len(found) < place.count and (older or newer):
        size = min(place.count - len(found), _PAGE)
        page = await client.history_page(to=place.peers, token=older or newer, size=size)
        if older:
            found, older = [*page.messages, *found], page.older
        else:
            found, newer = [*found, *page.messages], page.newer if page.messages else ""
    return found


async def answered_by(client: "Client", found: "list[HistoryMessage]") -> "dict[MessageRef, Message]":
    """The messages that these answer, as far as they are to be had: of those not among these the latest hundred."""
    known = {item.message.ref: item.message for item in found}
    wanted = dict.fromkeys(
        item.message.reply_to
        for item in reversed(found)
        if item.message.reply_to
        and item.message.reply_to not in known
        and item.message.reply_to.conversation_id == item.message.conversation_id
    )
    if wanted:
        asked = list(islice(wanted, _MAX_NAMED))
        known |= {item.message.ref: item.message for item in await client.messages(asked)}
    return known
