"""A log as messaging servers and forwarders would write it, kept in memory, and what a store made of it must hold."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from cell.log.v1 import record_pb2 as log
from cell.messaging.v1 import messaging_pb2 as messaging
from event_log.partitioner import partition_for
from event_log.port import Assignment, LogRecord
from event_log.reader import PartitionReader, Reading, Verdict
from history_service.port import Batch, HistoryStore, MessageKey, Persisted
from history_service.rows import Rows, add_gap
from messaging_core.ids import conversation_id

INCARNATION = "log-1"
SHARED_ABOVE = 3
"""So low that examples have small and large conversations."""


class WrittenLog:
    """Appends commands; each copy is forwarded at once."""

    def __init__(self, partition_count: int = 4, incarnation: str = INCARNATION) -> None:
        self.partition_count = partition_count
        self.incarnation = incarnation
        self.records: dict[int, list[bytes]] = {partition: [] for partition in range(partition_count)}
        self._forwarded: dict[tuple[int, int], int] = {}

    def partition_of(self, user_id: str) -> int:
        return partition_for(user_id, self.partition_count)

    def message(
        self, sender: str, others: Iterable[str], message_id: str, sent_at_us: int, text: str = "x"
    ) -> messaging.MessageRef:
        users = sorted({sender, *others})
        ref = reference(users, sender, message_id, sent_at_us)
        content = messaging.Content(text=text)
        event = messaging.Event(message=messaging.Message(ref=ref, content=content))
        self.append(log.EVENT_KIND_MESSAGE, sender, users, event, sent_at_us, message_id)
        return ref

    def reaction(
        self,
        user: str,
        users: Sequence[str],
        ref: messaging.MessageRef,
        key: str,
        removed: bool,
        command_id: str,
    ) -> None:
        changed = messaging.ReactionChanged(message=ref, user_id=user, key=key, removed=removed)
        changed.changed_at.FromMicroseconds(1)
        event = messaging.Event(reaction_changed=changed)
        self.append(log.EVENT_KIND_REACTION_CHANGED, user, users, event, 1, command_id)

    def read_mark(self, user: str, users: Sequence[str], through: messaging.MessageRef) -> None:
        told = users if len(users) <= SHARED_ABOVE else [user]
        event = messaging.Event(read_mark=messaging.ReadMark(user_id=user, through=through))
        self.append(log.EVENT_KIND_READ_MARK, user, told, event, 1, "", len(users))

    def received_mark(self, user: str, users: Sequence[str], through: messaging.MessageRef) -> None:
        event = messaging.Event(received_mark=messaging.ReceivedMark(user_id=user, through=through))
        self.append(log.EVENT_KIND_RECEIVED_MARK, user, users, event, 1, "")

    def poison(self, partition: int) -> None:
        self.records[partition].append(b"\xff\xff")

    def append(
        self,
        kind: log.EventKind,
        sender: str,
        told: Sequence[str],
        event: messaging.Event,
        time_us: int,
        command_id: str,
        participant_count: int | None = None,
    ) -> None:
        """One origin, and one copy to each other partition that it is told in."""
        ref = _named(event)
        logged = log.LoggedEvent(
            kind=kind,
            sender_id=sender,
            conversation_id=ref.conversation_id,
            participant_count=participant_count or len(told),
            event_time_us=time_us,
            event=event.SerializeToString(),
        )
        source = self.partition_of(sender)
        offset = len(self.records[source])
        made = log.Origin(logged=logged, command_id=command_id, payload_digest=1, participant_ids=told)
        self.records[source].append(log.Record(origin=made).SerializeToString())
        targets = defaultdict(list)
        for user in told:
            targets[self.partition_of(user)].append(user)
        for target, users in targets.items():
            if target != source:
                copy = log.Copy(
                    logged=logged, source_partition=source, source_offset=offset, recipient_ids=users
                )
                if (source, target) in self._forwarded:
                    copy.previous_offset = self._forwarded[source, target]
                self._forwarded[source, target] = offset
                self.records[target].append(log.Record(copy=copy).SerializeToString())

    def readings(self, partition: int) -> list[Reading]:
        """What becomes of each record of a partition."""
        records = self.records[partition]
        assignment = Assignment(partition, 1, None, 0, len(records))
        reader = PartitionReader(partition, self.incarnation, self.partition_count, assignment)
        return [reader.read(LogRecord(offset, 1, value)) for offset, value in enumerate(records)]

    def rows(self, shared_above: int = SHARED_ABOVE) -> Rows:
        return Rows(self.partition_of, shared_above)

    def batch(self, partition: int, start: int, end: int, rows: Rows | None = None) -> Batch:
        """Rows of the records from `start` to before `end`, as a consumer that has just begun makes them."""
        rows = rows or self.rows()
        batch = Batch(self.incarnation)
        readings = self.readings(partition)[:end]
        for reading in readings[start:]:
            if reading.verdict is Verdict.EFFECTIVE:
                rows.add(batch, partition, reading)
            elif reading.verdict is Verdict.UNREADABLE:
                add_gap(batch, partition, reading.offset, reading.time_us)
        if end > start:
            batch.positions[partition] = Persisted(end - 1, readings[-1].time_us)
        return batch

    async def store_all(self, store: HistoryStore) -> None:
        rows = self.rows()
        for partition, records in self.records.items():
            await store.write(self.batch(partition, 0, len(records), rows))


def reference(users: Sequence[str], sender: str, message_id: str, sent_at_us: int) -> messaging.MessageRef:
    ref = messaging.MessageRef(
        conversation_id=conversation_id(users), sender_id=sender, message_id=message_id
    )
    ref.sent_at.FromMicroseconds(sent_at_us)
    return ref


def key_of(ref: messaging.MessageRef) -> MessageKey:
    return MessageKey(ref.sent_at.ToMicroseconds(), ref.sender_id, ref.message_id)


def _named(event: messaging.Event) -> messaging.MessageRef:
    match event.WhichOneof("event"):
        case "message":
            return event.message.ref
        case "reaction_changed":
            return event.reaction_changed.message
        case "received_mark":
            return event.received_mark.through
        case _:
            return event.read_mark.through
