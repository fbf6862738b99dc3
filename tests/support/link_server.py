"""The server's side of session links, as the contract has it (R7, R8, R10): plain, without I/O, and strict about order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from cell.delivery.v1 import session_link_pb2 as link


class State(Enum):
    """Of a session."""

    IDLE = "no owner to ask"
    ATTACHING = "asked"
    LIVE = "live"
    PAGING = "behind: to be served from history"
    REFUSED = "past the end of the log"


@dataclass(eq=False)
class Session:
    """One stream of a user."""

    number: int
    user: str
    user_number: int
    partition: int
    start: int
    last: int
    """Everything of the user at or before this offset was received."""
    state: State = State.IDLE
    attempt: int = 0
    received: list[int] = field(default_factory=list)
    """Offsets of the events, in order."""
    pieces: dict[int, bytes] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)


Send = Callable[[link.ServerMessage], None]


@dataclass(eq=False)
class ServerLink:
    """One link, as the server sees it; `claims` holds (partition, generation)."""

    number: int
    send: Send
    claims: dict[int, int] = field(default_factory=dict)
    instance_id: str = ""


class LinkServer:
    """Sessions of users of many partitions, fed by the owners that have links here.

    `on_event` and `on_position` see each event and each rise of a session's position, for checks.
    """

    def __init__(
        self,
        partition_of: Callable[[str], int],
        *,
        credit_bytes: int = 1_000_000,
        on_event: Callable[[Session, int, bytes], None] = lambda *_: None,
        on_position: Callable[[Session], None] = lambda *_: None,
    ) -> None:
        self.sessions: dict[int, Session] = {}
        self._partition_of = partition_of
        self._credit_bytes = credit_bytes
        self._on_event = on_event
        self._on_position = on_position
        self._links: list[ServerLink] = []
        self._owners: dict[int, ServerLink] = {}
        self._user_numbers: dict[str, int] = {}
        self._numbers = 0

    def open(self, send: Send) -> ServerLink:
        """A new link; what the server says on it goes to `send`."""
        self._numbers += 1
        opened = ServerLink(self._numbers, send)
        self._links.append(opened)
        return opened

    def ended(self, ended: ServerLink) -> None:
        """The link has ended; nothing outlives it (R7)."""
        if ended in self._links:
            self._links.remove(ended)
            for partition in list(ended.claims):
                self._disclaim(ended, partition)

    def connect(self, user: str, after: int) -> Session:
        """A client comes with this cursor."""
        self._numbers += 1
        number = self._user_numbers.setdefault(user, len(self._user_numbers) + 1)
        session = Session(self._numbers, user, number, self._partition_of(user), after, after)
        self.sessions[session.number] = session
        self._attach(session)
        return session

    def disconnect(self, session: Session) -> None:
        """The client is gone; the last of its user's tells the owner."""
        del self.sessions[session.number]
        self._leave(session)

    def page(self, session: Session, events: Sequence[tuple[int, bytes]], through: int) -> None:
        """History has answered a session that is behind: everything through an offset (R9)."""
        for offset, piece in events:
            self._push(session, offset, piece)
        self._raise(session, through)
        self._attach(session)

    def hear(self, heard: ServerLink, message: link.OwnerMessage) -> None:
        """Take the next message of a link."""
        if heard not in self._links:
            return
        match message.WhichOneof("message"):
            case "hello":
                self._hello(heard, message.hello)
            case "claim":
                heard.claims[message.claim.partition] = message.claim.generation
                self._settle_owner(message.claim.partition)
            case "release":
                self._disclaim(heard, message.release.partition)
            case "routed" if self._owners.get(message.routed.partition) is heard:
                self._routed(message.routed)
            case "attach_reply" if self._owners.get(message.attach_reply.partition) is heard:
                self._reply(message.attach_reply)
            case "through" if self._owners.get(message.through.partition) is heard:
                for session in self._live(message.through.partition):
                    self._raise(session, message.through.offset)
            case "conflict_notice" if self._owners.get(message.conflict_notice.partition) is heard:
                for session in self._live(message.conflict_notice.partition):
                    if session.user_number == message.conflict_notice.user_number:
                        session.conflicts.append(message.conflict_notice.command_id)

    def _hello(self, heard: ServerLink, hello: link.LinkHello) -> None:
        heard.instance_id = hello.instance_id
        for older in [x for x in self._links if x.instance_id == hello.instance_id and x is not heard]:
            self.ended(older)

    def _disclaim(self, heard: ServerLink, partition: int) -> None:
        if heard.claims.pop(partition, None) is not None:
            self._settle_owner(partition)

    def _settle_owner(self, partition: int) -> None:
        claims = [(x.claims[partition], x.number, x) for x in self._links if partition in x.claims]
        owner = max(claims)[2] if claims else None
        if owner is self._owners.get(partition):
            return
        if owner is None:
            del self._owners[partition]
        else:
            self._owners[partition] = owner
        for session in [s for s in self.sessions.values() if s.partition == partition]:
            if session.state is not State.PAGING:
                session.state = State.IDLE
                self._attach(session)

    def _attach(self, session: Session) -> None:
        owner = self._owners.get(session.partition)
        if owner is None:
            session.state = State.IDLE
            return
        session.state = State.ATTACHING
        session.attempt += 1
        attach = link.Attach(
            partition=session.partition,
            user_id=session.user,
            user_number=session.user_number,
            session_number=session.number,
            attempt=session.attempt,
            after_offset=session.last,
            credit_bytes=self._credit_bytes,
        )
        owner.send(link.ServerMessage(attach=attach))

    def _leave(self, session: Session) -> None:
        others = [s for s in self.sessions.values() if s.user == session.user]
        takes = any(s.state in (State.ATTACHING, State.LIVE) for s in others)
        owner = self._owners.get(session.partition)
        if owner is not None and not takes:
            detach = link.Detach(partition=session.partition, user_number=session.user_number)
            owner.send(link.ServerMessage(detach=detach))

    def _live(self, partition: int) -> list[Session]:
        return [s for s in self.sessions.values() if s.partition == partition and s.state is State.LIVE]

    def _routed(self, routed: link.Routed) -> None:
        numbers = set(routed.user_numbers)
        for session in self._live(routed.partition):
            if routed.everyone or session.user_number in numbers:
                self._push(session, routed.event.offset, routed.event.piece)

    def _reply(self, reply: link.AttachReply) -> None:
        session = self.sessions.get(reply.session_number)
        if session is None or session.state is not State.ATTACHING or session.attempt != reply.attempt:
            return
        match reply.outcome:
            case link.ATTACH_OUTCOME_ATTACHED | link.ATTACH_OUTCOME_PARTIAL:
                for event in reply.events:
                    self._push(session, event.offset, event.piece)
                self._raise(session, reply.through_offset)
                if reply.outcome == link.ATTACH_OUTCOME_ATTACHED:
                    session.state = State.LIVE
                else:
                    self._attach(session)
            case link.ATTACH_OUTCOME_BEHIND:
                session.state = State.PAGING
            case link.ATTACH_OUTCOME_PAST_END:
                session.state = State.REFUSED
            case _:
                session.state = State.IDLE  # its owner is about to release, or has another one by now

    def _push(self, session: Session, offset: int, piece: bytes) -> None:
        if offset <= session.last:
            return
        session.last = offset
        session.received.append(offset)
        session.pieces[offset] = piece
        self._on_event(session, offset, piece)

    def _raise(self, session: Session, through: int) -> None:
        if through > session.last:
            session.last = through
            self._on_position(session)
