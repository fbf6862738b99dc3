"""Who is here: users with their sessions, by partition. In memory, nowhere else."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from cell.delivery.v1 import session_link_pb2 as link
from messaging_server.figures import ServerFigures

if TYPE_CHECKING:
    from messaging_server.subscription import Subscription


class Link(Protocol):
    """A link to a delivery service, told apart by identity."""

    def send(self, messages: Sequence[link.ServerMessage]) -> None:
        """Queue messages for the owner; a link that has ended takes them and does nothing."""


class PartitionView:
    """What this server knows of one partition.

    `through_*` is what the owner's last Through said. Live sessions are raised by it without being touched: a session
    remembers `through_count` from when it went live, and only a later Through counts for it (I8).
    """

    __slots__ = (
        "attaching",
        "catching_up",
        "owner",
        "partition",
        "through_count",
        "through_offset",
        "through_time_us",
        "users",
    )

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.owner: Link | None = None
        self.users: dict[int, User] = {}
        """By number."""
        self.attaching: dict[int, Subscription] = {}
        """Sessions whose attach has no reply yet, by number."""
        self.catching_up: set[Subscription] = set()
        """Live sessions that have not been told `resumed` yet."""
        self.through_count = 0
        self.through_offset = -1
        self.through_time_us = 0


class User:
    """A user with at least one session here."""

    __slots__ = ("number", "sessions", "user_id", "view")

    def __init__(self, user_id: str, number: int, view: PartitionView) -> None:
        self.user_id = user_id
        self.number = number
        """Stands for the user on links. Not used again for another user while any link may remember it."""
        self.view = view
        self.sessions: list[Subscription] = []


class Agenda:
    """What sessions want done, collected until the shell does it, once per turn of the event loop."""

    __slots__ = ("attach", "detach", "figures", "force", "page", "seek_end", "wake", "write")

    def __init__(self, figures: ServerFigures | None = None) -> None:
        self.figures = figures or ServerFigures()
        """What sessions count."""
        self.attach: list[Subscription] = []
        """Send the session's attach to the owner of its partition."""
        self.detach: list[User] = []
        """Tell the owner if no session of the user takes events any more."""
        self.page: list[Subscription] = []
        """Read a page of history after the session's position."""
        self.seek_end: list[Subscription] = []
        """Read the end of the session's partition."""
        self.write: list[Subscription] = []
        """Write the session's frames, and end its stream if it says so."""
        self.force: list[Subscription] = []
        """End the session's stream now, although a frame is being written."""
        self.wake: list[Subscription] = []
        """Call `on_time` at the session's `wake_s`."""

    def __bool__(self) -> bool:
        return bool(
            self.write or self.wake or self.attach or self.detach or self.page or self.seek_end or self.force
        )
