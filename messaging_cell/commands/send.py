"""`cell send`: messages from the command line, from standard input, from a file."""

import getpass
import mimetypes
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from messaging_cell.commands import options
from messaging_cell.commands.access import Access, access, user_of_token
from messaging_cell.commands.options import CommandFailed, Exit
from messaging_core.ids import is_command_id, is_user_id

if TYPE_CHECKING:
    from messaging_client import Client, Content, Message

_HELP = options.help_of(
    """Send a message. Exits with 0 only when the cell has accepted it, which is for good.

TEXT is the message; without it, or where it is `-`, standard input is, whole, without its last line end. With `--lines`
each line of it is a message, in order, and the command ends at the first that is not accepted; empty lines are left out.""",
    'cell send bob "The build is green" --from ci',
    "git log -1 | cell send bob --to carol",
    "tail -f app.log | cell send bob --lines",
    "cell send bob --file plan.pdf",
    done="accepted",
    not_done="refused; nothing was sent",
    unknown="it is not known: look with `cell history`, or within 30 s send the same again with the same --id",
    away="no cell answers; nothing was sent",
    output_closed="nobody reads the output any more; what it told of is accepted",
)
_MAX_INPUT_BYTES = 1 << 20
"""More than the content of a message can be set to."""
_MAX_SOUGHT = 1_000
"""Messages among which --reply-to looks for an id."""


@dataclass(frozen=True, slots=True)
class _Request:
    """What is to be sent."""

    to: list[str]
    content: "Content | None"
    """None for one message a line of standard input."""
    message_id: str
    reply_to: str
    timeout_s: float
    as_json: bool


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_HELP)(send)


def content_types(incomplete: str) -> list[str]:
    """Media types that begin so, for shells."""
    return sorted({each for each in mimetypes.types_map.values() if each.startswith(incomplete)})


def send(
    user: Annotated[str, typer.Argument(help="Who gets it.", metavar="USER", callback=options.user)],
    text: Annotated[
        str | None,
        typer.Argument(help="What it says; - is standard input.", metavar="TEXT", show_default=False),
    ] = None,
    to: Annotated[
        list[str] | None,
        typer.Option(
            help="One more recipient; may be repeated. All of them are in one conversation.",
            metavar="USER",
            callback=options.users,
        ),
    ] = None,
    sender: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Who sends it. Default: whom the token names, or your login name.",
            metavar="USER",
            callback=options.maybe_user,
        ),
    ] = None,
    lines: Annotated[
        bool,
        typer.Option(
            "--lines", metavar="", help="One message for each line of standard input.", show_default=False
        ),
    ] = False,
    file: Annotated[
        str | None, typer.Option(help="Send the bytes of this file; - is standard input.", metavar="PATH")
    ] = None,
    content_type: Annotated[
        str | None,
        typer.Option(
            help="Media type of the file or text. Default: by the file's name, text/plain for text.",
            metavar="TYPE",
            autocompletion=content_types,
        ),
    ] = None,
    reply_to: Annotated[
        str | None,
        typer.Option(help="Id of the message that it answers, as --json shows it.", metavar="ID"),
    ] = None,
    message_id: Annotated[
        str | None,
        typer.Option(
            "--id",
            help="Id of the message. Default: a new one.",
            metavar="ID",
            callback=options.checked(is_command_id, "1 to 64 of A-Z, a-z, 0-9, _ and -"),
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="How many seconds to try.", min=0.1, max=86_400, metavar="SECONDS")
    ] = 30.0,
    as_json: options.AsJson = False,
    address: options.Address = None,
    token: options.Token = None,
    data_folder: options.DataFolder = None,
    tls: options.Tls = None,
    ca_file: options.CaFile = None,
) -> None:
    """See the help text."""
    options.at_most_one(lines=lines, file=file, id=message_id)
    given = options.ClientOptions(address, token, data_folder, tls, ca_file)
    way = access(sender or _sender(given), given)
    content = None if lines else _content(text, file, content_type)
    if lines and (text not in (None, "-") or content_type):
        raise typer.BadParameter("takes its text from standard input only.", param_hint="--lines")
    request = _Request([user, *(to or ())], content, message_id or "", reply_to or "", timeout, as_json)
    way.run(_send(way, request))


def _sender(given: options.ClientOptions) -> str:
    token = given.settings().token
    named = user_of_token(token) if token else getpass.getuser()
    if named is None or not is_user_id(named):
        raise CommandFailed("Who sends it? Say so with --from USER.", Exit.USAGE)
    return named


def _content(text: str | None, file: str | None, content_type: str | None) -> "Content":
    from messaging_client import Content

    if file is not None:
        if text is not None:
            raise typer.BadParameter("a message is TEXT or a file, not both.", param_hint="--file")
        return _file(file, content_type)
    if text is None and sys.stdin.isatty():
        raise typer.BadParameter('what does it say? For example: cell send bob "Hello"', param_hint="TEXT")
    said = _decoded(_input().removesuffix(b"\n")) if text in (None, "-") else text
    try:
        (said or "").encode()
    except UnicodeEncodeError:  # how Python has bytes of the command line that are no UTF-8
        raise typer.BadParameter("it is not UTF-8 text; send bytes with --file.", param_hint="TEXT") from None
    return Content(text=said or "", content_type=content_type or "")


def _file(path: str, content_type: str | None) -> "Content":
    from messaging_client import Content

    try:
        data = _input() if path == "-" else _bytes_of(Path(path))
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}", param_hint="--file") from error
    if not data:
        raise typer.BadParameter(f"{path} is empty.", param_hint="--file")
    kind = content_type or mimetypes.guess_type(path)[0] or "application/octet-stream"
    name = Path(path).name.encode(errors="replace").decode()
    return Content(data=data, content_type=kind, attributes={} if path == "-" else {"filename": name})


def _bytes_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return _bounded(file.read(_MAX_INPUT_BYTES + 1), str(path))


def _input() -> bytes:
    from messaging_cell.terminal_input import whole_input

    return _bounded(whole_input(_MAX_INPUT_BYTES), "standard input")


def _bounded(data: bytes, name: str) -> bytes:
    if len(data) > _MAX_INPUT_BYTES:
        raise CommandFailed(
            f"{name} has more than {_MAX_INPUT_BYTES:,} bytes, too many for one message. "
            "Send lines one by one with --lines; keep files elsewhere and send where."
        )
    return data


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise CommandFailed(
            f"What was read is not UTF-8 text, from byte {error.start} on. Send bytes with --file -."
        ) from error


async def _send(way: Access, request: _Request) -> None:
    from messaging_client import ClientSettings

    async with way.client(settings=ClientSettings(receives_events=False)) as client:
        await way.online(client)
        answered = await _sought(client, request) if request.reply_to else None
        if request.content is not None:
            await _one(way, client, request, request.content, answered)
            return
        async for number, content in _contents_of_lines():
            try:
                await _one(way, client, request, content, answered)
            except CommandFailed as error:
                raise CommandFailed(f"Line {number}: {error}", error.exit_code) from error


async def _contents_of_lines() -> "AsyncIterator[tuple[int, Content]]":
    from messaging_cell.terminal_input import lines_of_input
    from messaging_client import Content

    number = 0
    async for line in lines_of_input(_MAX_INPUT_BYTES):
        number += 1
        try:
            text = _decoded(line)
        except CommandFailed as error:
            raise CommandFailed(f"Line {number}: {error}", error.exit_code) from error
        if text.strip():
            yield number, Content(text=text)


async def _one(
    way: Access, client: "Client", request: _Request, content: "Content", answered: "Message | None"
) -> None:
    """Send it, and print what became of it. Raises CommandFailed."""
    from messaging_client import MessagingError, OutcomeUnknown
    from messaging_client.commands import new_id

    message_id = request.message_id or new_id()
    try:
        await client.send(
            content,
            to=request.to,
            reply_to=answered,
            message_id=message_id,
            timeout_s=request.timeout_s,
        )
    except MessagingError as error:
        if request.as_json:
            _print(_refused(error, message_id))
        failed = way.failed(error)
        if isinstance(error, OutcomeUnknown):
            raise CommandFailed(f"{failed} Its id: {message_id}", failed.exit_code) from error
        raise failed from error
    if request.as_json:
        accepted = {"outcome": "accepted", "message_id": message_id, "sender_id": way.user}
        _print({**accepted, "recipient_ids": request.to})
    else:
        print(f"accepted: {message_id} from {way.user}", flush=True)


def _refused(error: Exception, message_id: str) -> dict[str, Any]:
    from messaging_client import NotDone, OutcomeUnknown

    told: dict[str, Any] = {
        "outcome": "unknown" if isinstance(error, OutcomeUnknown) else "not_done",
        "message_id": message_id,
        "detail": str(error),
    }
    if isinstance(error, NotDone):
        told |= {
            "reason": error.reason.value,
            "detail": error.detail,
            "field": error.field,
            "limit": error.limit,
        }
        told["retry_after_s"] = error.retry_after_s
    return told


def _print(told: dict[str, Any]) -> None:
    from messaging_cell import terminal_json

    print(terminal_json.line(told), flush=True)


async def _sought(client: "Client", request: _Request) -> "Message":
    """The latest message of the conversation that has this id. Raises CommandFailed."""
    from messaging_client import CallFailed, Reason

    looked_at = 0
    try:
        async for shown in client.history(to=request.to):
            if shown.message.ref.message_id == request.reply_to:
                return shown.message
            looked_at += 1
            if looked_at == _MAX_SOUGHT:
                break
    except CallFailed as error:
        if error.reason is not Reason.NOT_FOUND:
            raise
    raise CommandFailed(
        f"--reply-to: among the latest {_MAX_SOUGHT:,} messages of the conversation with {', '.join(request.to)} none "
        f"has the id {request.reply_to}. `cell history --json` shows their ids."
    )
