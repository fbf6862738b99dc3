"""The client of a user for a command: its token, its way to the cell, and what its errors mean to people."""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from messaging_cell import runtime
from messaging_cell.commands.options import ClientOptions, CommandFailed, Exit
from messaging_cell.setting_sources import load, variable
from messaging_cell.settings import ClientSettings, Settings

if TYPE_CHECKING:
    import grpc

    from messaging_client import Client, MessagingError, Store
    from messaging_client import ClientSettings as SdkSettings

_TOKEN_LIFETIME_S = 3_600.0
_CONNECT_TIMEOUT_S = 5.0
_ONLINE_TIMEOUT_S = 15.0
_MOMENT_S = 0.1
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Access:
    """How a user's commands come to a cell."""

    user: str
    settings: ClientSettings
    token: "str | Callable[[], Awaitable[str]]"
    token_source: str
    """The option, variable or file that the token comes from."""

    def run(self, main: Coroutine[Any, Any, Result]) -> Result:
        """Run a command, turning what the SDK raises into what the user sees. Raises CommandFailed."""
        from messaging_client import MessagingError

        logging.getLogger("messaging_client").addHandler(logging.NullHandler())  # the command tells it itself
        try:
            return runtime.run(main)
        except MessagingError as error:
            raise self.failed(error) from error

    @contextlib.asynccontextmanager
    async def client(
        self, *, store: "Store | None" = None, settings: "SdkSettings | None" = None
    ) -> "AsyncIterator[Client]":
        """A client on its way to the cell. Raises CommandFailed where nobody answers."""
        from messaging_client import Client

        await self._reach()
        client = Client(
            str(self.settings.address),
            self.token,
            store=store,
            settings=settings,
            credentials=self._credentials(),
        )
        await client.start()
        try:
            yield client
        finally:
            await client.close()

    @property
    def _has_tls(self) -> bool:
        return self.settings.tls or self.settings.ca_file is not None

    def _credentials(self) -> "grpc.ChannelCredentials | None":
        """What the cell is trusted by; None without TLS. Raises CommandFailed."""
        if not self._has_tls:
            return None
        from messaging_cell.certificates import CertificatesRefused, channel_credentials

        try:
            return channel_credentials(self.settings.ca_file)
        except CertificatesRefused as error:
            raise CommandFailed(f"--ca-file or {variable('ca_file')}: {error}.", Exit.USAGE) from error

    async def online(self, client: "Client") -> None:
        """Wait until the client is. Raises CommandFailed where it takes too long, or the token is another user's."""
        try:
            async with asyncio.timeout(_ONLINE_TIMEOUT_S):
                await client.online()
        except TimeoutError:
            raise CommandFailed(await self._silence(client), Exit.AWAY) from None
        if client.user_id != self.user:
            raise CommandFailed(_of_another(self.token_source, client.user_id, self.user), Exit.USAGE)

    async def _silence(self, client: "Client") -> str:
        """What to say of a client that did not come online."""
        from messaging_cell.terminal_text import trouble_text

        said = f"What listens at {self.settings.address} does not answer as a cell does"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_MOMENT_S):
                said += f": {trouble_text(await client.offline())}"
        return f"{said}. Is it one, and is the connection meant to be {'plain' if self._has_tls else 'TLS'}?"

    async def _reach(self) -> None:
        """See whether somebody listens: at once, where the SDK would go on trying."""
        address = self.settings.address
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                _, writer = await asyncio.open_connection(address.host, address.port)
        except socket.gaierror as error:
            raise CommandFailed(
                f"There is no host {address.host}: {error.strerror}. Correct --address or {variable('address')}.",
                Exit.AWAY,
            ) from error
        except (OSError, TimeoutError) as error:
            raise CommandFailed(
                f"No cell answers at {address}. Start one with `cell run`, or say with --address or "
                f"{variable('address')} where one is.",
                Exit.AWAY,
            ) from error
        writer.close()

    def failed(self, error: "MessagingError") -> CommandFailed:
        """What an error of the SDK means to people."""
        from messaging_cell.terminal_text import refusal_text
        from messaging_client import CallFailed, NotDone, OutcomeUnknown, Reason, Unauthenticated

        address = self.settings.address
        match error:
            case Unauthenticated() | CallFailed(reason=Reason.TOKEN_INVALID):
                detail = error.detail if isinstance(error, CallFailed) else str(error)
                text = f"The cell at {address} does not take the access token from {self.token_source}: {_sentence(detail)}"
                return CommandFailed(text)
            case CallFailed(reason=Reason.UNAVAILABLE | Reason.DEADLINE):
                return CommandFailed(
                    f"The cell at {address} does not answer: {_sentence(error.detail)}", Exit.AWAY
                )
            case NotDone(reason=Reason.DEADLINE | Reason.UNAVAILABLE | Reason.CLOSED):
                return CommandFailed(
                    f"It was not done, the cell did not answer: {_sentence(error.detail)}", Exit.AWAY
                )
            case NotDone() | CallFailed():
                return CommandFailed(f"The cell refused it: {refusal_text(error)}")
            case OutcomeUnknown():
                return CommandFailed(
                    f"It is not known whether it was done: {_sentence(error.detail)}", Exit.UNKNOWN
                )
            case _ if str(error).startswith(("UNIMPLEMENTED", "NOT_FOUND")):
                return CommandFailed(
                    f"What answers at {address} is no messaging cell, or a much older one: {_sentence(str(error))}"
                )
            case _:
                return CommandFailed(_sentence(str(error)))


def access(user: str, options: ClientOptions) -> Access:
    """A user's access. Raises CommandFailed, SettingsRefused where there is neither a token nor a key to make one."""
    settings = options.settings()
    if settings.token:
        named = user_of_token(settings.token)
        if named is not None and named != user:
            raise CommandFailed(_of_another(options.token_source, named, user), Exit.USAGE)
        return Access(user, settings, settings.token, options.token_source)
    make, source = token_maker(settings, user, _TOKEN_LIFETIME_S)
    made, until_s = "", 0.0

    async def token() -> str:
        nonlocal made, until_s
        if time.monotonic() >= until_s:
            made, until_s = make(), time.monotonic() + _TOKEN_LIFETIME_S / 2
        return made

    return Access(user, settings, token, source)


def token_maker(settings: ClientSettings, user_id: str, lifetime_s: float) -> tuple[Callable[[], str], str]:
    """Makes tokens with the key of the settings, or with that of development mode in the data folder; and the key's name."""
    from messaging_cell.access_tokens import DEVELOPMENT_KEY_FILE, CannotMakeToken, make_token

    given = load(Settings, {"data_folder": str(settings.data_folder)}, os.environ)
    try:
        make_token(given, user_id, lifetime_s)
    except CannotMakeToken as error:
        raise CommandFailed(str(error), Exit.USAGE) from error
    key = next(map(variable, given.key_settings), str(given.data_folder / DEVELOPMENT_KEY_FILE))
    return lambda: make_token(given, user_id, lifetime_s), f"the key in {key}"


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


def _of_another(source: str, named: str, wanted: str) -> str:
    return f"The access token from {source} is for {named}, not for {wanted}. Unset it, or act as {named}."


def _sentence(detail: str) -> str:
    return detail.rstrip(".") + "."
