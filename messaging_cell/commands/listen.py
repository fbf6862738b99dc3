"""`cell listen`: a user's events as they come."""

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from messaging_cell.commands import options
from messaging_cell.commands.access import Access, access
from messaging_cell.commands.options import CommandFailed, Exit

if TYPE_CHECKING:
    from messaging_client import Client, ClientFailed, Event

_HELP = options.help_of(
    """Print a user's events, one a line, as they come; Ctrl-C ends it.

It begins with what comes from now on, or behind `--after`, and comes back by itself after any break. What is printed does
not count as received. With `--json` each line has the `cursor` behind which another run goes on, and is an Event of
protos/cell/messaging/v1/messaging.proto; where events are not to be had any more there is a `gap`, and where the cell has
another log than before a `reset`.""",
    "cell listen bob",
    'cell listen bob --json --after "" --count 1',
    "cell listen bot --json | jq --unbuffered -r '.message.content.text // empty'",
)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_HELP)(listen)


def listen(
    user: Annotated[str, typer.Argument(help="Whose events.", callback=options.user, metavar="USER")],
    as_json: options.AsJson = False,
    count: Annotated[int | None, typer.Option(help="End after so many events.", min=1, metavar="N")] = None,
    after: Annotated[
        str | None,
        typer.Option(
            help='Begin behind this cursor; "" begins with the first event that is kept. Default: now.',
            metavar="CURSOR",
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
    way.run(_listen(way, as_json, count, after))


async def _listen(way: Access, as_json: bool, count: int | None, after: str | None) -> None:
    from messaging_client import ClientSettings, WrongUser

    settings = ClientSettings(resume_after=after, acknowledges=False)
    async with way.client(settings=settings) as client:
        try:
            await way.online(client)
            _note(f"listening to {way.user}")
            watching = asyncio.create_task(_watch(client))
            try:
                await _print_events(client, way.user, as_json, count)
            finally:
                watching.cancel()
        except WrongUser as error:
            raise _cursor_refused(error, way.user) from error


async def _print_events(client: "Client", user: str, as_json: bool, count: int | None) -> None:
    from messaging_client import Gap, NotSent, Reset, Started

    left = count
    async for event in client.events():
        if isinstance(event, Gap | Reset):
            _tell_lost(event, as_json)
        elif not isinstance(event, Started | NotSent):
            _print(event, user, as_json)
            if left is not None and (left := left - 1) == 0:
                return


def _print(event: Any, user: str, as_json: bool) -> None:
    from messaging_cell import terminal_json, terminal_text

    if as_json:
        print(terminal_json.line(terminal_json.event(event)), flush=True)
    else:
        terminal_text.terminal().print(terminal_text.hanging(terminal_text.event_text(event, user)))
        sys.stdout.flush()


def _tell_lost(event: "Event", as_json: bool) -> None:
    """Some events are not to be had; the next ones come behind."""
    from messaging_cell import terminal_json
    from messaging_client import Gap, Snapshot

    if as_json and isinstance(event, Snapshot):
        kind = "gap" if isinstance(event, Gap) else "reset"
        print(terminal_json.line({"cursor": event.cursor, kind: {}}), flush=True)
    elif isinstance(event, Gap):
        _note("some events are not to be had any more; `cell history` shows what is kept")
    else:
        _note("the cursor is of another log; going on from now")


async def _watch(client: "Client") -> None:
    """Say when there is no connection, and when there is one again."""
    from messaging_cell.terminal_text import trouble_text

    while True:
        _note(f"no connection ({trouble_text(await client.offline())}); trying again")
        await client.online()
        _note("connected again")


def _cursor_refused(error: "ClientFailed", user: str) -> CommandFailed:
    return CommandFailed(
        f"--after: {error}. A cursor is one that `cell listen {user} --json` has shown.", Exit.USAGE
    )


def _note(text: str) -> None:
    """Beside the events, where pipes do not see it."""
    print(f"cell: {text}", file=sys.stderr, flush=True)
