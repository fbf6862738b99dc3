"""The client of the model of retries: the SDK's own outbox, with one message to send."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_client.errors import NotDone, Reason
from messaging_client.kept import Change
from messaging_client.outbox import Outbox
from messaging_client.outgoing import Outgoing, View
from messaging_server.pieces import duration
from tests.support.log_records import message_event

ID = "m1"
EVENT = message_event("ann", ID)

Act = Callable[..., str | None]
"""Of a client: takes it, the time in seconds, and more; returns what its caller is told, if it is told at once."""


class Steady(Random):
    """Spreads nothing."""

    def uniform(self, a: float, b: float) -> float:
        """The least."""
        return a


@dataclass(slots=True)
class Client:
    """The part of a client that has to do with one message."""

    outbox: Outbox
    journal: list[Change]
    """What the outbox writes for a store; there is none."""
    view: View
    """Its stream."""
    in_flight: Outgoing | None = None
    """Sent on this stream, and not answered."""


def new_client(window_s: float) -> Client:
    """It has its message, and no stream yet. It tries blindly for so long."""
    journal: list[Change] = []
    outbox = Outbox(10, 10_000, journal, Steady(0), in_order=True)
    content = EVENT.message.content
    command = messaging.Command(send_message=messaging.SendMessage(message_id=ID, content=content))
    outbox.add(Outgoing(ID, "lane", command), posted=False)
    return Client(outbox, journal, _view(0, 0.0, window_s))


def then_send(client: Client, act: Act, now_s: float, *args: object) -> tuple[bool, str | None]:
    """Let it act, and take in what came of that. Whether it has sent its message then, and what its caller was told."""
    told = act(client, now_s, *args)
    client.outbox.on_time(now_s)
    client.journal.clear()
    taken = client.outbox.take(client.view, 1, now_s, 0)
    if taken:
        client.in_flight = taken[0]
    for _, error in client.outbox.settled:
        told = "accepted" if error is None else _outcome(error)
    return bool(taken), told


def _outcome(error: Exception) -> str:
    return "not done" if isinstance(error, NotDone) else "unknown"


def _view(number: int, opened_s: float, window_s: float) -> View:
    return View(number, opened_s, messaging.Limits(retry_window=duration(window_s)))


def on_time(client: Client, now_s: float) -> None:
    """Time has passed."""


def opened(client: Client, now_s: float, number: int, window_s: float) -> None:
    """A new stream, after which nobody answers what was sent on the one before."""
    if client.in_flight is not None:
        client.outbox.broken([client.in_flight])
        client.in_flight = None
    client.view = _view(number, now_s, window_s)


def resumed(client: Client, now_s: float, was_shown: bool) -> None:
    """The stream has told what it had to; `was_shown` is whether the message was among that."""
    if was_shown:
        shown(client, now_s)
    client.view.resumed = True
    client.outbox.resumed(client.view, now_s)


def shown(client: Client, now_s: float) -> None:
    """Its own event."""
    client.outbox.seen(EVENT, "ann")


def accepted(client: Client, now_s: float) -> None:
    """What was sent is durable."""
    assert client.in_flight is not None
    client.outbox.accepted(client.in_flight)
    client.in_flight = None


def rejected(client: Client, now_s: float, unknown: bool, may_again: bool) -> None:
    """What was sent was refused, or nobody knows."""
    assert client.in_flight is not None
    refusal = NotDone(Reason.OTHER, "", retry_after_s=0.0 if may_again else None, message_id=ID)
    client.outbox.rejected(client.in_flight, refusal, unknown=unknown, now_s=now_s)
    client.in_flight = None


def given_up(client: Client, now_s: float) -> str:
    """Its caller does not wait any longer. Returns what the caller is told."""
    error = client.outbox.withdraw(ID)
    assert error is not None
    return _outcome(error)
