"""Access tokens: one for good, or a source that is asked whenever a new one is needed."""

import base64
import json
from collections.abc import Awaitable, Callable

TokenSource = Callable[[], Awaitable[str]]
"""Gives a fresh access token. Asked at every connect, before the present one runs out, and when one was refused.

It may fail, or take up to 30 s: it is asked again. What it must not do is block the event loop.
"""


class Tokens:
    """The present token of a client."""

    def __init__(self, token: str | TokenSource) -> None:
        """Raises TypeError or ValueError for what can be neither."""
        self._source = token if callable(token) else None
        self._present = "" if callable(token) else checked(token)

    @property
    def refreshes(self) -> bool:
        """Whether there may be a better one."""
        return self._source is not None

    async def fresh(self) -> str:
        """A new one from the source. Raises what the source raises, and TypeError or ValueError for what is no token."""
        if self._source is not None:
            asked = self._source()
            if not isinstance(asked, Awaitable):
                raise TypeError(f"a token source is an async function; this one gave {type(asked).__name__}")
            self._present = checked(await asked)
        return self._present

    async def present(self) -> str:
        """The one that was had last."""
        return self._present or await self.fresh()


def checked(token: object) -> str:
    """The token without white space around it. Raises TypeError, ValueError. What it holds is for the cell to judge."""
    if not isinstance(token, str):
        raise TypeError(f"an access token is a str, not {type(token).__name__}")
    token = token.strip()  # a file's last line has an end
    if not token:
        raise ValueError("the access token is empty")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("an access token is one word of ASCII, without 'Bearer' before it")
    return token


def metadata(token: str, traceparent: str = "") -> tuple[tuple[str, str], ...]:
    """Of every call."""
    bearer = ("authorization", f"Bearer {token}")
    return (bearer, ("traceparent", traceparent)) if traceparent else (bearer,)


def expires_us(token: str) -> int | None:
    """When a JWT says that it runs out: microseconds since 1970; None if it does not say so. Nothing is verified."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return int(float(claims["exp"]) * 1_000_000)
    except (ArithmeticError, IndexError, KeyError, RecursionError, TypeError, ValueError):
        return None
