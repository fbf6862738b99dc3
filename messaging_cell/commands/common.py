"""What the subcommands share: options, the client of a user, times as people write and read them."""

import os
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from messaging_cell import runtime
from messaging_cell.setting_sources import load, variable
from messaging_cell.settings import ClientSettings, Settings
from messaging_core.ids import is_user_id

if TYPE_CHECKING:
    from messaging_cell.terminal_client import TerminalClient

_TOKEN_LIFETIME_S = 3_600.0
Result = TypeVar("Result")


class CommandFailed(Exception):
    """A command could not do what was asked. The text is for the user."""

    def __init__(self, text: str, exit_code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = exit_code


Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT", help=f"Where the cell is; also {variable('address')}. Default: 127.0.0.1:50051."
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        help=f"Access token; also {variable('token')}. In development mode commands make their own.",
        metavar="JWT",
    ),
]
DataFolder = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help=f"The cell's data folder, where its key is in development mode; also {variable('data_folder')}.",
    ),
]


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """The options that every client command takes, as they were given."""

    address: str | None
    token: str | None
    data_folder: str | None

    def settings(self) -> ClientSettings:
        """With variables and defaults. Raises SettingsRefused."""
        flags = {"address": self.address, "token": self.token, "data_folder": self.data_folder}
        return load(ClientSettings, flags, os.environ)


def client_of(settings: ClientSettings, user_id: str) -> "TerminalClient":
    """A client for a user. Raises CommandFailed, SettingsRefused where there is neither a token nor a key to make one."""
    from messaging_cell.terminal_client import TerminalClient

    return TerminalClient(settings.address, token_source(settings, user_id))


def token_source(settings: ClientSettings, user_id: str) -> Callable[[], str]:
    """Gives the token that was set, or makes short-lived ones with the key that is here."""
    if settings.token:
        named = user_of_token(settings.token)
        if named is not None and named != user_id:
            raise CommandFailed(f"The access token is for {named}, not for {user_id}.")
        return lambda: settings.token
    return token_maker(settings, user_id, _TOKEN_LIFETIME_S)


def token_maker(settings: ClientSettings, user_id: str, lifetime_s: float) -> Callable[[], str]:
    """Makes tokens with the key of the settings, or with that of development mode in the data folder."""
    from messaging_cell.access_tokens import CannotMakeToken, make_token

    given = load(Settings, {"data_folder": str(settings.data_folder)}, os.environ)
    made, until_s = "", 0.0

    def give() -> str:
        nonlocal made, until_s
        if time.monotonic() >= until_s:
            made, until_s = make_token(given, user_id, lifetime_s), time.monotonic() + lifetime_s / 2
        return made

    try:
        give()
    except CannotMakeToken as error:
        raise CommandFailed(str(error)) from error
    return give


def user_of_token(token: str) -> str | None:
    """Whom a token seems to be for, without checking it: the cell does."""
    import jwt

    claim = load(
        Settings, {}, {k: v for k, v in os.environ.items() if k == "CELL_JWT_USER_CLAIM"}
    ).jwt_user_claim
    try:
        named = jwt.decode(token, options={"verify_signature": False}).get(claim)
    except jwt.PyJWTError:
        return None
    return named if isinstance(named, str) else None


def user(value: str) -> str:
    """A user id as an argument."""
    if not is_user_id(value):
        raise typer.BadParameter(f"{value!r} is not a user id: 1 to 255 visible ASCII characters, no spaces.")
    return value


def more_users(values: list[str] | None) -> list[str] | None:
    """User ids as a repeated argument or option."""
    return values and users(values)


def users(values: Sequence[str]) -> list[str]:
    """Several user ids as arguments, each once."""
    return list(dict.fromkeys(user(value) for value in values))


def time_of(value: str) -> datetime:
    """A time as people write it, in this machine's zone unless it names one. Raises ValueError."""
    try:
        clock = datetime.strptime(value.strip(), "%H:%M").time()
        found = datetime.combine(datetime.now().date(), clock)
    except ValueError:
        found = datetime.fromisoformat(value.strip())
    return found.astimezone()


def show_time(moment: datetime) -> str:
    """Clock time, with the date if that is not today."""
    local = moment.astimezone()
    return local.strftime("%H:%M" if local.date() == datetime.now().astimezone().date() else "%Y-%m-%d %H:%M")


def run_client(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a client command, turning what the client says into what the user sees. Raises CommandFailed."""
    from messaging_cell.terminal_client import ClientError

    try:
        return runtime.run(main)
    except ClientError as error:
        raise CommandFailed(str(error)) from error
