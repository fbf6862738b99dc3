"""Access tokens: one for good, or a source that is asked whenever a new one is needed."""

import base64
import json
from collections.abc import Awaitable, Callable

TokenSource = Callable[[], Awaitable[str]]
"""Gives a fresh access token. Asked at every connect, before the present one runs out, and when one was refused."""


class Tokens:
    """The present token of a client."""

    def __init__(self, token: str | TokenSource) -> None:
        self._source = None if isinstance(token, str) else token
        self._present = token if isinstance(token, str) else ""

    @property
    def refreshes(self) -> bool:
        """Whether there may be a better one."""
        return self._source is not None

    async def fresh(self) -> str:
        """A new one from the source. Raises what the source raises."""
        if self._source is not None:
            self._present = await self._source()
        return self._present

    async def present(self) -> str:
        """The one that was had last."""
        return self._present or await self.fresh()


def metadata(token: str) -> tuple[tuple[str, str], ...]:
    """Of every call."""
    return (("authorization", f"Bearer {token}"),)


def expires_us(token: str) -> int | None:
    """When a JWT says that it runs out: microseconds since 1970; None if it does not say so. Nothing is verified."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return int(claims["exp"] * 1_000_000)
    except (ArithmeticError, IndexError, KeyError, TypeError, ValueError):
        return None
