"""The messaging server of the model of attaching, and what its clients read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from cell.delivery.v1 import session_link_pb2 as link
from cell.messaging.v1 import messaging_pb2 as messaging
from check.model.attaching_owner import LOG, Said
from messaging_core.clock import HybridClock
from messaging_core.cursor import Cursor, decode_cursor, incarnation_bytes
from messaging_core.events import EventsPage, PositionedEvent
from messaging_server import endings
from messaging_server.hello import Start
from messaging_server.presence import Agenda
from messaging_server.router import Router
from messaging_server.settings import ServerSettings
from messaging_server.subscription import Subscription
from session_link.routed import Routed

NAMES = ("A", "B")
"""Of the delivery instances."""
_INCARNATION = incarnation_bytes(LOG)


def wall() -> int:
    """A clock that stands still."""
    return 1_000_000


@dataclass(slots=True, eq=False)
class Link:
    """The server's end of a link."""

    name: str
    said: list[bytes] = field(default_factory=list)

    def send(self, messages: Sequence[link.ServerMessage]) -> None:
        """Queue these for the owner."""
        self.said += [message.SerializeToString(deterministic=True) for message in messages]


class Stream(Subscription):
    """A stream without commands."""

    __slots__ = ("waits",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.waits = False

    def was_sent(self, sender_id: str, offset: int, direct_ref: bytes) -> int:
        """Nothing is acknowledged here."""
        return 0

    def _wake(self) -> None:
        self.waits = True


@dataclass(slots=True, eq=False)
class Server:
    """A messaging server's decisions."""

    router: Router
    agenda: Agenda
    settings: ServerSettings
    links: dict[str, Link] = field(default_factory=dict)
    streams: dict[int, Stream] = field(default_factory=dict)
    """By device."""
    opened: int = 0


def new_server(settings: ServerSettings) -> Server:
    """Nobody is here, but for the links."""
    agenda = Agenda()
    router = Router(partition_count=1, incarnation=LOG, agenda=agenda, clock=HybridClock(wall))
    server = Server(router, agenda, settings)
    for name in NAMES:
        link_opened(server, name)
    return server


class Wishes(NamedTuple):
    """Of one stream."""

    end: bool = False
    page: bool = False
    waits: bool = False
    can_checkpoint: bool = False
    frame: bytes = b""
    position: int = -1
    attempt: int = 0
    is_past_end: bool = False
    """Nothing else ends a stream here."""


def then_turn(server: Server, act: Any, *args: Any) -> tuple[tuple[bytes, ...], ...]:
    """Do something, and then what sessions wish of links: what is said to each instance."""
    act(server, *args)
    for to, messages in server.router.messages().items():
        to.send(messages)
    server.agenda.write.clear()
    said = []
    for name in NAMES:
        end = server.links[name]
        said.append(tuple(end.said))
        end.said.clear()
    return tuple(said)


def wishes(server: Server, at: int) -> Wishes:
    """What one stream waits for."""
    stream = server.streams[at]
    frame = b"".join((*stream.outbound._outcomes, *stream.outbound._events))
    can_checkpoint = stream.state.value == "live" and stream.effective_position > stream._cursor_offset
    agenda = server.agenda
    return Wishes(
        stream in agenda.seek_end,
        stream in agenda.page,
        stream.waits,
        can_checkpoint,
        frame,
        stream.position,
        stream.attempt,
        stream.ending is not None,
    )


def link_opened(server: Server, name: str) -> None:
    """An instance has a link."""
    end = server.links[name] = Link(name)
    server.router.opened(end, link.LinkHello(instance_id=name, log_incarnation=LOG, partition_count=1))


def link_anew(server: Server, name: str, said: Said) -> None:
    """It has ended, and there is another one."""
    server.router.ended(server.links[name])
    link_opened(server, name)


def takes(server: Server, name: str, said: Said) -> None:
    """A message of an owner."""
    assert not isinstance(said, str)
    message = said if isinstance(said, Routed) else link.OwnerMessage.FromString(said)
    server.router.take(server.links[name], message, 0.0)


def opens(server: Server, at: int, cursor: int | None) -> None:
    """A stream, after this cursor."""
    user = server.router.user("ann", 0)
    server.opened += 1
    stream = Stream(user, server.opened, server.agenda, server.settings, _INCARNATION)
    user.sessions.append(stream)
    server.streams[at] = stream
    if cursor is None:
        stream.start(Start(messaging.RESUME_OUTCOME_RESET, None, 0))
    else:
        stream.start(Start(messaging.RESUME_OUTCOME_RESUMED, Cursor(_INCARNATION, 0, cursor, 0), 0))


def end_read(server: Server, at: int, end: int) -> None:
    """The log was found to end there."""
    stream = server.streams[at]
    server.agenda.seek_end.remove(stream)
    stream.log_end(end, 0.0)


def page_read(server: Server, at: int, events: tuple[PositionedEvent, ...], through: int) -> None:
    """History has answered."""
    stream = server.streams[at]
    server.agenda.page.remove(stream)
    stream.page_read(EventsPage(list(events), through, 0, through), 0.0)


def retries(server: Server, at: int) -> None:
    """What could not be answered is asked again."""
    server.streams[at].waits = False
    server.streams[at].retry(0.0)


def checkpoints(server: Server, at: int) -> None:
    """It is told its position."""
    server.streams[at].checkpoint()


def written(server: Server, at: int) -> None:
    """The client has taken what waited."""
    stream = server.streams[at]
    stream.outbound.take_frame(1_000_000)
    stream.write_wanted = False
    stream.drained()


def breaks(server: Server, at: int) -> None:
    """The stream is gone."""
    stream = server.streams.pop(at)
    stream.end(endings.LEAVING)
    server.router.remove(stream)
    for wishes in (server.agenda.seek_end, server.agenda.page):
        if stream in wishes:
            wishes.remove(stream)


@cache
def updates(frame: bytes) -> tuple[tuple[str, int], ...]:
    """Kind and offset of each update; of a gap where it ends."""
    updates = []
    for update in messaging.ConnectResponse.FromString(frame).updates:
        kind = update.WhichOneof("update")
        told = getattr(update, kind)
        updates.append((kind, decode_cursor(told.until if kind == "gap" else told.cursor).offset))
    return tuple(updates)


@cache
def told(said: Said) -> str:
    """A message of an owner, for traces."""
    if isinstance(said, Routed):
        return f"event {said.event.offset}"
    if isinstance(said, str):
        return "the end"
    message = link.OwnerMessage.FromString(said)
    kind = message.WhichOneof("message")
    if kind == "attach_reply":
        outcome = (
            link.AttachOutcome.Name(message.attach_reply.outcome).removeprefix("ATTACH_OUTCOME_").lower()
        )
        return f"{outcome} {[event.offset for event in message.attach_reply.events]}"
    return f"{kind} {message.through.offset}" if kind == "through" else str(kind)
