"""The messaging server, put together."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import grpc
import structlog
from google.protobuf.message import DecodeError

from cell.delivery.v1 import session_link_pb2 as link
from event_log.port import EventLog
from messaging_core.clock import HybridClock, passing_s
from messaging_core.cursor import incarnation_bytes
from messaging_core.identity import Authenticator
from messaging_core.limits import ACCEPT_DEADLINE_S
from messaging_server import endings
from messaging_server.conversations import Conversations
from messaging_server.pipeline import CommandDesk
from messaging_server.ports import ConversationRegistry, EventHistory
from messaging_server.presence import Agenda
from messaging_server.recent import Rates, RecentCommands
from messaging_server.router import Router
from messaging_server.servicer import MessagingServicer
from messaging_server.session import Shared
from messaging_server.settings import ServerSettings
from messaging_server.spans import Deliveries
from messaging_server.streams import Streams
from messaging_server.subscription import Subscription
from session_link.port import LinkBroken, LinkClosed, LinkRefused, ServerEnd
from session_link.routed import FromOwner, Routed
from telemetry import catalogue
from telemetry.metrics import Figure
from telemetry.tracing import Tracer

_log = structlog.get_logger(__name__)
_DRAIN_STEP_S = 0.1


class _Link:
    """A link as the router knows it."""

    def __init__(self, end: ServerEnd) -> None:
        self._end = end

    def send(self, messages: Sequence[link.ServerMessage]) -> None:
        """Queue messages; whoever receives notices that the link has ended."""
        with contextlib.suppress(LinkClosed):
            self._end.send(messages)

    async def close(self) -> None:
        """End it."""
        await self._end.close()


class MessagingServer:
    """Holds client streams. Made on the event loop it runs on."""

    def __init__(
        self,
        *,
        log: EventLog,
        history: EventHistory,
        registry: ConversationRegistry,
        authenticator: Authenticator,
        settings: ServerSettings,
        tracer: Tracer | None = None,
    ) -> None:
        self._settings = settings
        self.now_s: Callable[[], float] = passing_s
        """Seconds by which everything here is timed: those of log and clients, which pass while the machine sleeps (R3)."""
        clock = HybridClock()
        self._conversations = Conversations(
            registry,
            bound=settings.known_conversations_ids,
            at_a_time=settings.lookups_under_way,
            patience_s=settings.hold_s,
        )
        self._desk = CommandDesk(
            log=log,
            clock=clock,
            settings=settings,
            conversations=self._conversations,
            recent=RecentCommands(settings.recent_commands),
            rates=Rates(settings.limits.max_sends_per_second, settings.rated_users),
            now_s=lambda: self.now_s(),
            on_change=self._soon,
            tracer=tracer,
        )
        deliveries = None if tracer is None else Deliveries(tracer, settings.server_id)
        agenda = Agenda(self._desk.figures)
        self._router = Router(
            partition_count=log.partition_count,
            incarnation=log.incarnation,
            agenda=agenda,
            clock=clock,
            deliveries=deliveries,
        )
        incarnation = incarnation_bytes(log.incarnation)
        shared = Shared(self._desk, agenda, authenticator, incarnation, deliveries)
        self._streams = Streams(shared=shared, router=self._router, history=history)
        self._servicer = MessagingServicer(self._streams, self._desk, authenticator)
        self._ready = asyncio.Event()
        self._streams.start()

    def add_to(self, grpc_server: grpc.aio.Server) -> None:
        """Serve cell.messaging.v1.MessagingService there."""
        grpc_server.add_generic_rpc_handlers((self._servicer,))

    @property
    def ready(self) -> bool:
        """Whether every partition has had an owner's link, and the server is not leaving."""
        return self._ready.is_set() and not self._streams.refusing

    async def wait_ready(self) -> None:
        """Wait until every partition has had an owner's link."""
        await self._ready.wait()

    def figures(self) -> Iterator[Figure]:
        """What it counts, and holds now."""
        yield from self._desk.figures
        yield from self._desk.figures_now()
        yield from self._router.figures()
        yield Figure(catalogue.STREAMS, self._streams.count)

    @property
    def stream_count(self) -> int:
        """Client streams held now."""
        return self._streams.count

    def streams_of(self, user_id: str) -> Sequence[Subscription]:
        """The user's streams on this server."""
        return self._router.sessions_of(user_id)

    async def serve_link(self, end: ServerEnd) -> None:
        """Run one link until it ends, which is a release of all it had claimed (R7). Raises LinkRefused, LinkBroken."""
        source = _Link(end)
        try:
            messages = await end.receive()
            first = messages[0]
            if isinstance(first, Routed) or not first.HasField("hello"):
                raise LinkBroken("the first message of a link must be hello")
            replaced = self._router.opened(source, first.hello)
            if isinstance(replaced, _Link):
                await replaced.close()
            self._take(source, messages[1:])
            await end.receive_into(partial(self._take, source))
        except LinkClosed:
            pass
        except (LinkRefused, LinkBroken) as error:
            _log.warning("session link refused", reason=str(error))
            raise
        finally:
            self._router.ended(source)
            self._soon()
            await end.close()

    async def drain(self) -> None:
        """Leave: refuse new streams, tell the others to go at a paced rate, let what is in flight finish, end them."""
        self._streams.refusing = True
        settings = self._settings
        leaving = self._streams.all()
        random.shuffle(leaving)
        steps = max(1, int(settings.drain_s / _DRAIN_STEP_S))
        at_a_time = -(-len(leaving) // steps)
        spread_s = min(settings.drain_s, len(leaving) / settings.reconnects_per_s)
        while leaving:
            for session in leaving[-at_a_time:]:
                session.leave(random.uniform(0, spread_s), settings.drain_grace_s)
            del leaving[-at_a_time:]
            self._soon()
            await asyncio.sleep(_DRAIN_STEP_S)
        for _ in range(int((settings.drain_grace_s + ACCEPT_DEADLINE_S) / _DRAIN_STEP_S)):
            if not self._streams.waited_for and not self._desk.in_flight:
                break
            await asyncio.sleep(_DRAIN_STEP_S)

    async def close(self) -> None:
        """End every stream now, and stop."""
        self._streams.refusing = True
        for session in self._streams.all():
            session.end(endings.LEAVING)
        self._streams.flush()
        await self._streams.close()
        await self._conversations.close()

    def _take(self, source: _Link, messages: Sequence[FromOwner]) -> None:
        now_s = self._desk.now_s()
        try:
            for message in messages:
                self._router.take(source, message, now_s)
        except DecodeError as error:  # of a direct_ref: what is in a frame may be looked at only here
            raise LinkBroken("the name of a message does not parse") from error
        if self._router.ownership.complete:
            self._ready.set()
        self._soon()

    def _soon(self) -> None:
        self._streams.soon()
