"""Commands that came by Execute, and the outcomes that the script gives them."""

import asyncio

from cell.messaging.v1 import messaging_pb2 as messaging

_OUTCOMES = frozenset(("accepted", "rejected", "pong"))


class Executing:
    """Commands get numbers of their own here, because those of two calls may be the same."""

    def __init__(self) -> None:
        self._last_id = 0
        self._waiting: dict[int, tuple[int, asyncio.Future[messaging.Outcome]]] = {}

    def begin(self, command: messaging.Command) -> asyncio.Future[messaging.Outcome]:
        """Renumber a command; its outcome will be here."""
        self._last_id += 1
        outcome: asyncio.Future[messaging.Outcome] = asyncio.get_running_loop().create_future()
        self._waiting[self._last_id] = command.command_id, outcome
        command.command_id = self._last_id
        return outcome

    def answer(self, update: messaging.Update) -> bool:
        """Whether this was the outcome of such a command; it is given to its call."""
        kind = update.WhichOneof("update")
        if kind not in _OUTCOMES:
            return False
        number, waiting = self._waiting.pop(getattr(update, kind).command_id, (0, None))
        if waiting is None:
            return False
        outcome = messaging.Outcome()
        getattr(outcome, kind).CopyFrom(getattr(update, kind))
        getattr(outcome, kind).command_id = number
        if not waiting.done():
            waiting.set_result(outcome)
        return True
