"""Between sessions and links: who attaches where, and which session an owner's message is for. Never awaits.

Messages of a link are taken in their order. Only the current owner of a partition is listened to (R7), and only live
sessions take live events (R8).
"""

from collections.abc import Iterator, Sequence

from cell.delivery.v1 import session_link_pb2 as link
from messaging_core.clock import HybridClock, wall_us
from messaging_server.ownership import Ownership
from messaging_server.presence import Agenda, Link, PartitionView, User
from messaging_server.spans import Deliveries
from messaging_server.subscription import ATTACHING, LIVE, Subscription
from session_link.port import LinkBroken, LinkRefused
from session_link.routed import FromOwner, Routed
from telemetry import catalogue
from telemetry.metrics import Figure

_MAX_NUMBER = 2**32 - 1


class Router:
    """All sessions of a server, by user and partition, and the links that bring their events."""

    def __init__(
        self,
        *,
        partition_count: int,
        incarnation: str,
        agenda: Agenda,
        clock: HybridClock,
        deliveries: Deliveries | None = None,
    ) -> None:
        self.ownership: Ownership[Link] = Ownership(partition_count)
        self._partition_count = partition_count
        self._incarnation = incarnation
        self._agenda = agenda
        self._clock = clock
        self._deliveries = deliveries
        self._views: list[PartitionView] = [PartitionView(number) for number in range(partition_count)]
        self._users: dict[str, User] = {}
        self._last_number = 0

    # Sessions.

    def user(self, user_id: str, partition: int) -> User:
        """The user, made if it has no session here yet."""
        user = self._users.get(user_id)
        if user is None:
            view = self._views[partition]
            user = User(user_id, self._new_number(view), view)
            self._users[user_id] = user
            view.users[user.number] = user
        return user

    def sessions_of(self, user_id: str) -> Sequence[Subscription]:
        """The user's sessions here."""
        user = self._users.get(user_id)
        return user.sessions if user else ()

    def sessions(self) -> list[Subscription]:
        """All sessions of the server."""
        return [session for user in self._users.values() for session in user.sessions]

    def remove(self, session: Subscription) -> None:
        """The session is over."""
        user = session.user
        if session in user.sessions:
            user.sessions.remove(session)
        if not user.sessions and self._users.get(user.user_id) is user:
            del self._users[user.user_id]
            del user.view.users[user.number]

    def _new_number(self, view: PartitionView) -> int:
        """Numbers come again after 4 billion users only: no link remembers one for so long."""
        self._last_number = self._last_number % _MAX_NUMBER + 1
        while self._last_number in view.users:
            self._last_number = self._last_number % _MAX_NUMBER + 1
        return self._last_number

    # Links.

    def opened(self, source: Link, hello: link.LinkHello) -> Link | None:
        """A link is up. Returns the one it replaces, which has lost its claims and must be ended. Raises LinkRefused."""
        if hello.log_incarnation != self._incarnation or hello.partition_count != self._partition_count:
            raise LinkRefused("the owner reads another log")
        replaced = self.ownership.opened(source, hello.instance_id)
        if replaced is not None:
            self.ended(replaced)
        return replaced

    def ended(self, source: Link) -> None:
        """A link is down."""
        self._moved(self.ownership.ended(source))

    def take(self, source: Link, message: FromOwner, now_s: float) -> None:
        """A message of a link after its hello. Raises LinkBroken."""
        if isinstance(message, Routed):
            return self._routed(source, message)
        kind = message.WhichOneof("message")
        if kind == "hello":
            raise LinkBroken("a link has one hello")
        if kind == "through":
            self._through(source, message.through)
        elif kind == "attach_reply":
            self._attach_replied(source, message.attach_reply, now_s)
        elif kind == "claim":
            self._moved(self.ownership.claim(source, self._own(message.claim), message.claim.generation))
        elif kind == "release":
            self._moved(self.ownership.release(source, self._own(message.release)))
        elif kind == "conflict_notice":
            self._conflict(source, message.conflict_notice)
        return None

    def messages(self) -> dict[Link, list[link.ServerMessage]]:
        """What the sessions' wishes mean for each link, in order.

        A user is detached only if none of its sessions takes events or is about to: so no attach can overtake a detach.
        """
        out: dict[Link, list[link.ServerMessage]] = {}
        agenda = self._agenda
        detach, agenda.detach = agenda.detach, []
        for user in dict.fromkeys(detach):
            owner = user.view.owner
            if owner is not None and not any(session.takes_events for session in user.sessions):
                gone = link.Detach(partition=user.view.partition, user_number=user.number)
                out.setdefault(owner, []).append(link.ServerMessage(detach=gone))
        attach, agenda.attach = agenda.attach, []
        for session in attach:
            owner = session.user.view.owner
            session.attach_wanted = False
            if session.state is ATTACHING and owner is not None:
                out.setdefault(owner, []).append(link.ServerMessage(attach=session.attach_message()))
        return out

    def figures(self) -> Iterator[Figure]:
        """Who is here, and of whom nothing is told."""
        yield Figure(catalogue.USERS, len(self._users))
        unowned = sum(view.owner is None for view in self._views)
        yield Figure(catalogue.UNOWNED, unowned)

    # What owners say.

    def is_current(self, source: Link, partition: int) -> bool:
        """Whether this link speaks for the partition (R7)."""
        return partition < self._partition_count and self._views[partition].owner is source

    def _own(self, message: link.Claim | link.Release) -> int:
        if message.partition >= self._partition_count:
            raise LinkBroken("there is no such partition")
        return message.partition

    def _moved(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            view = self._views[partition]
            view.owner = self.ownership.owner(partition)
            for user in view.users.values():
                for session in user.sessions:
                    session.owner_changed()

    def _routed(self, source: Link, routed: Routed) -> None:
        partition, event, numbers, traceparent = routed
        if not self.is_current(source, partition):
            return
        offset, piece, time_us, direct_ref, sender_id = event
        self._clock.observe(time_us)
        users = self._views[partition].users
        for number in users if numbers is None else numbers:
            user = users.get(number)
            if user is None:
                continue
            for session in user.sessions:
                if session.state is LIVE and session.push(offset, piece, time_us) and direct_ref:
                    sent_at_us = session.was_sent(sender_id, offset, direct_ref)
                    if sent_at_us:
                        self._agenda.figures.deliveries.add(max(0, wall_us() - sent_at_us) / 1e6)
        if traceparent and self._deliveries is not None:
            known = [users[number] for number in (users if numbers is None else numbers) if number in users]
            took = [s for user in known for s in user.sessions if s.outbound.holds_event(piece)]
            self._deliveries.put(traceparent, partition, offset, piece, took)

    def _through(self, source: Link, through: link.Through) -> None:
        if not self.is_current(source, through.partition):
            return
        view = self._views[through.partition]
        view.through_count += 1
        view.through_offset, view.through_time_us = through.offset, through.time_us
        self._clock.observe(through.time_us)
        for session in tuple(view.catching_up):
            session.check_resumed()

    def _attach_replied(self, source: Link, reply: link.AttachReply, now_s: float) -> None:
        if not self.is_current(source, reply.partition):
            return
        self._agenda.figures.attaches[reply.outcome] += 1
        session = self._views[reply.partition].attaching.get(reply.session_number)
        if session is None:
            return
        for event in reply.events:
            self._clock.observe(event.event_time_us)
        self._clock.observe(reply.through_time_us)
        session.attach_replied(reply, now_s)

    def _conflict(self, source: Link, notice: link.ConflictNotice) -> None:
        if not self.is_current(source, notice.partition):
            return
        user = self._views[notice.partition].users.get(notice.user_number)
        for session in user.sessions if user else ():
            session.conflict_found(notice.command_id)
