"""Puts dead letters back: stores what history lacks of records that could not be read, where they can be now (R5).

A letter is put back at the position that its record has, never appended to the log again: it counted there, so copies and
retries that came later were dropped for it (R1, R3), and a second origin would be a second message (I5). A record of which
nothing could be read counted for nobody: what came after it was decided without it, and it stays a gap. Live streams were
shown a gap, and history is where they look for what it was.

An origin that delivery could not read was never forwarded. So who is in another partition finds the message in its
conversation, but has no event of it.
"""

from collections.abc import AsyncIterator
from typing import NamedTuple

from cell.log.v1 import record_pb2 as log
from event_log.port import DeadLetter, EventLog, LogRecord
from event_log.reader import Reading, Verdict, read_counted
from history_service.port import Batch, HistoryStore
from history_service.rows import Rows, message_key
from messaging_core.limits import Limits

NOT_COUNTED = "nothing of it could be read, so that what came after it was decided without it"


class Judged(NamedTuple):
    """A letter and whether it can be put back."""

    letter: DeadLetter
    reading: Reading | None
    """What its record says; None if it stays where it is."""
    why: str
    """Why it stays; else empty."""


async def judged_letters(event_log: EventLog) -> AsyncIterator[Judged]:
    """Every letter that is kept. Raises LogUnavailable."""
    async for letter in event_log.dead_letters():
        yield judge(letter, event_log.partition_count)


def judge(letter: DeadLetter, partition_count: int) -> Judged:
    """Whether this version can read it, and may put it back."""
    if not letter.counted:
        return Judged(letter, None, NOT_COUNTED)
    record = LogRecord(letter.offset, letter.append_time_us, letter.value)
    reading = read_counted(letter.partition, partition_count, record, letter.time_us)
    if reading.verdict is not Verdict.EFFECTIVE:
        return Judged(letter, None, reading.reason)
    return Judged(letter, reading, "")


class Replay:
    """Stores letters that can be read. Twice is once, and so is being stopped halfway."""

    def __init__(self, event_log: EventLog, store: HistoryStore, limits: Limits) -> None:
        """`limits` are those of the history service."""
        self._log = event_log
        self._store = store
        self._shared_above = limits.max_mark_participants
        self._rows = Rows(event_log.partition_of, self._shared_above)

    async def put_back(self, judged: Judged) -> None:
        """Store one that can be, then keep its letter no longer. Raises LogUnavailable, StoreUnavailable."""
        assert judged.reading is not None
        batch = Batch(self._log.incarnation)
        self._rows.add(batch, judged.letter.partition, judged.reading)
        self._add_elsewhere(batch, judged.reading)
        await self._store.write(batch)
        await self._log.forget_dead_letters([judged.letter.place])

    def _add_elsewhere(self, batch: Batch, reading: Reading) -> None:
        """That the conversation has this message, for those in other partitions, where no copy may tell."""
        logged = reading.logged
        if reading.origin is None or logged.kind != log.EVENT_KIND_MESSAGE:
            return
        if logged.participant_count > self._shared_above:
            batch.memberships.update((user, logged.conversation_id) for user in reading.recipients)
            return
        sent_at_us = message_key(reading.event.message.ref).sent_at_us
        batch.activity |= {(user, logged.conversation_id): sent_at_us for user in reading.recipients}
