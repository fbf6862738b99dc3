"""Options and arguments that commands share, and what their help says of exit codes and settings."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Annotated, Any, TypeVar

import typer

from messaging_cell.setting_sources import load, variable
from messaging_cell.settings import ClientSettings
from messaging_cell.terminal_times import NotATime, time_of
from messaging_core.ids import is_user_id

Value = TypeVar("Value")


class Exit(IntEnum):
    """What the exit code of a command says."""

    DONE = 0
    NOT_DONE = 1
    USAGE = 2
    UNKNOWN = 3
    AWAY = 4
    INTERRUPTED = 130
    """As shells have it: 128 and the number of the signal, SIGINT."""
    OUTPUT_CLOSED = 141
    """The same of SIGPIPE."""


_MEANINGS = {
    Exit.DONE: "done",
    Exit.NOT_DONE: "not done: refused, or there is no such thing",
    Exit.USAGE: "asked wrongly: an argument, an option, a setting",
    Exit.AWAY: "no cell answers",
    Exit.INTERRUPTED: "ended by Ctrl-C",
    Exit.OUTPUT_CLOSED: "nobody reads the output any more",
}
SETTINGS = f"""**Settings** as variables: {variable("address")}, {variable("token")}, {variable("data_folder")};
their options come first. docs/settings.md has all."""


class CommandFailed(Exception):
    """A command could not do what was asked. The text is for the user."""

    def __init__(self, text: str, exit_code: int = Exit.NOT_DONE) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def help_of(text: str, *examples: str, settings: str = SETTINGS, **meanings: str) -> str:
    """What `--help` says of a command: a sentence or some, examples, exit codes, settings.

    `meanings` are those of exit codes by their lower-case name, where they differ; empty for codes that it never has.
    """
    codes = {code: meanings.get(code.name.lower(), _MEANINGS.get(code, "")) for code in Exit}
    told = [f"{code.value:<4} {meaning}" for code, meaning in codes.items() if meaning]
    return "\n\n".join((text, _block("Examples", *examples), _block("Exit codes", *told), settings))


def _block(title: str, *lines: str) -> str:
    """Lines as they are."""
    return "\n".join((f"**{title}**\n", *(f"    {line}" for line in lines)))


def _connection(metavar: str, help_text: str, *names: str) -> Any:
    """An option of how to reach a cell."""
    return typer.Option(
        *names, metavar=metavar, help=help_text, rich_help_panel="Connection", show_default=False
    )


Address = Annotated[
    str | None,
    _connection("HOST:PORT", f"Where the cell is; also {variable('address')}. Default: 127.0.0.1:50051."),
]
Token = Annotated[
    str | None,
    _connection(
        "JWT", f"Access token; also {variable('token')}. In development mode commands make their own."
    ),
]
DataFolder = Annotated[
    str | None,
    _connection(
        "PATH",
        f"The cell's data folder, where its key is in development mode; also {variable('data_folder')}.",
    ),
]
Tls = Annotated[
    bool | None,
    _connection(
        "", f"Ask over TLS, trusting the system's authorities; also {variable('tls')}=true.", "--tls"
    ),
]
CaFile = Annotated[
    str | None,
    _connection(
        "PATH", f"Ask over TLS, trusting the authorities in this PEM file; also {variable('ca_file')}."
    ),
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        metavar="",
        help="Print JSON, one object a line, with the names of protos/.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """The options that every client command takes, as they were given."""

    address: str | None
    token: str | None
    data_folder: str | None
    tls: bool | None = None
    ca_file: str | None = None

    def settings(self) -> ClientSettings:
        """With variables and defaults. Raises SettingsRefused."""
        flags = {
            "address": self.address,
            "token": self.token,
            "data_folder": self.data_folder,
            "tls": "true" if self.tls else None,
            "ca_file": self.ca_file,
        }
        return load(ClientSettings, flags, os.environ)

    @property
    def token_source(self) -> str:
        """The name of what gave the token, if one was given."""
        return "--token" if self.token is not None else variable("token")


def user(value: str) -> str:
    """A user id as an argument."""
    if not is_user_id(value):
        raise typer.BadParameter(f"{value!r} is not a user id: 1 to 255 visible ASCII characters, no spaces.")
    return value


def maybe_user(value: str | None) -> str | None:
    """A user id as an option."""
    return value and user(value)


def users(values: Sequence[str] | None) -> list[str] | None:
    """User ids as a repeated argument or option, each once."""
    return values and list(dict.fromkeys(user(value) for value in values))  # type: ignore[return-value]


def moment(written: str | None, option: str) -> datetime | None:
    """A time that was given to an option."""
    try:
        return None if written is None else time_of(written)
    except NotATime as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def at_most_one(**given: object) -> None:
    """Refuse options that exclude each other; by name, None or False where not given."""
    named = [f"--{name.replace('_', '-')}" for name, value in given.items() if value not in (None, False)]
    if len(named) > 1:
        raise typer.BadParameter("give one of them only.", param_hint=" and ".join(named))


def checked(check: Callable[[Value], bool], what: str) -> Callable[[Value | None], Value | None]:
    """A callback for an option that must be something."""

    def callback(value: Value | None) -> Value | None:
        if value is not None and not check(value):
            raise typer.BadParameter(f"{value!r} is not {what}.")
        return value

    return callback
