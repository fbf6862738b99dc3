"""Delivery instances of the model of attaching: what each does returns what it says on its link."""

from dataclasses import dataclass

from cell.delivery.v1 import session_link_pb2 as link
from delivery_service.outbox import Outbox
from delivery_service.partition import OwnedPartition
from delivery_service.settings import DeliverySettings
from event_log.port import Assignment, Commit, LogRecord
from session_link.routed import Routed

LOG = "log"
"""Its incarnation."""
END = "end"
"""Of a link."""
Said = bytes | Routed | str
"""A message of an owner, on its way to the server."""


def partition_of(user: str) -> int:
    """There is one."""
    return 0


@dataclass(slots=True, eq=False)
class Owner:
    """An instance's hold of the partition."""

    partition: OwnedPartition
    outbox: Outbox
    is_claimed: bool = False


def new_owner(assignment: Assignment, settings: DeliverySettings) -> Owner:
    """It has read nothing yet."""
    partition = OwnedPartition(
        assignment, incarnation=LOG, partition_count=1, partition_of=partition_of, settings=settings
    )
    return Owner(partition, Outbox("s"))


def _drained(owner: Owner) -> tuple[Said, ...]:
    return tuple(
        said._replace(user_numbers=None if said.user_numbers is None else tuple(said.user_numbers))
        if isinstance(said, Routed)
        else said.SerializeToString(deterministic=True)
        for said in owner.outbox.drain()
    )


def claims_if_active(owner: Owner) -> tuple[Said, ...]:
    """Claim the partition, once the tail has been replayed."""
    if owner.partition.active and not owner.is_claimed:
        owner.is_claimed = True
        owner.outbox.claim(0, owner.partition.generation)
    return _drained(owner)


def reads(owner: Owner, record: LogRecord) -> tuple[Said, ...]:
    """The next record."""
    owner.partition.take([record])
    return claims_if_active(owner)


def says_through(owner: Owner) -> tuple[Said, ...]:
    """How far it has come (I8)."""
    owner.partition.tell_through()
    return _drained(owner)


def hears(owner: Owner, said: bytes) -> tuple[Said, ...]:
    """A message of the server."""
    message = link.ServerMessage.FromString(said)
    if message.HasField("attach"):
        owner.partition.attach(owner.outbox, message.attach)
    else:
        owner.partition.detach(owner.outbox, message.detach.user_number)
    return _drained(owner)


def judges(owner: Owner, end: int) -> tuple[Said, ...]:
    """The log was found to end there."""
    owner.partition.judge(owner.partition.past_known_end(), end)
    return _drained(owner)


def reads_again(owner: Owner, records: tuple[LogRecord, ...]) -> tuple[Said, ...]:
    """Serve attaches from the log."""
    start = owner.partition.reread_from()
    owner.partition.reread(start, records[start:])
    return _drained(owner)


def learns(owner: Owner, stored: int) -> tuple[Said, ...]:
    """History has the records below this."""
    owner.partition.history_has(stored)
    return ()


def commits(owner: Owner) -> Commit | None:
    """What it would commit now."""
    return owner.partition.commit()


def lets_go(owner: Owner) -> tuple[Said, ...]:
    """Another one owns the partition."""
    for asked in owner.partition.give_up():
        asked.outbox.reply(asked.attach, link.ATTACH_OUTCOME_NOT_OWNER)
    if owner.is_claimed:
        owner.outbox.release(0)
    return _drained(owner)


def has_a_new_link(owner: Owner) -> tuple[Said, ...]:
    """The one before has ended."""
    owner.partition.unlink(owner.outbox)
    owner.outbox = Outbox("s")
    if owner.is_claimed:
        owner.outbox.claim(0, owner.partition.generation)
    return _drained(owner)


def wishes(owner: Owner) -> tuple[int, bool, bool, int, bool]:
    """Position; whether it must know the log's end, or read again; what it knows of history; whether it has moved."""
    partition = owner.partition
    position, through = partition.position, partition._through_sent
    says = partition.active and position - 1 > through and bool(partition._interest.links)
    wants_end = bool(partition.past_known_end())
    return position, wants_end, bool(partition.rereads), partition._window.persisted, says


def not_owner(said: bytes) -> bytes | None:
    """What an instance says that does not own the partition; nothing to a detach."""
    message = link.ServerMessage.FromString(said)
    if not message.HasField("attach"):
        return None
    outbox = Outbox("s")
    outbox.reply(message.attach, link.ATTACH_OUTCOME_NOT_OWNER)
    [reply] = outbox.drain()
    assert not isinstance(reply, Routed)
    return reply.SerializeToString(deterministic=True)
