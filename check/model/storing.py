"""Storing: what history makes of the log, whatever it stores again, and in whichever order partitions come (I11).

Real code: `event_log.reader.PartitionReader` and `history_service.rows.Rows` make the rows, and the embedded store's own
statements (`history_service/embedded_writes.py`) write them.

Modelled: a direct conversation of two users in two partitions, with messages, a reaction that is added, taken back and added
again, and read marks, of which one comes late; each partition is stored in order, one as far behind the other as may be; any
record is stored again at any time, by a consumer that has forgotten what it wrote, as after a restart, or by one that does
not know that it has lost the partition.

Not modelled: Cassandra (tests/history_service/test_port.py asks the same of every engine, at random), wide groups, gaps.

- I9: every message and event that was stored once is there, once.
- I11: reactions and marks are the fold of what was stored; marks never fall, which follows.
"""

import sqlite3
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from cell.log.v1 import record_pb2 as log
from check.model.explore import Model, Step, Violation
from event_log.reader import Reading
from history_service import embedded_writes
from history_service.embedded_file import _check
from history_service.rows import message_key
from tests.history_service.written import WrittenLog

ANN, DAN = "ann", "dan"
PAIR = [ANN, DAN]
Taken = list[tuple[int, Reading]]
"""What was stored, with its partition."""
Rows = frozenset[tuple[Any, ...]]


class State(NamedTuple):
    """How far each partition is stored, and what the store holds: its number among those seen."""

    stored: tuple[int, ...]
    store: int


class Storing(Model[State]):
    """The model."""

    stuck = "I9"

    def __init__(self) -> None:
        self._log = _written()
        self._partitions = sorted({self._log.partition_of(user) for user in PAIR})
        self._readings = [self._log.readings(partition) for partition in self._partitions]
        self._stores: list[str] = []
        self._numbers: dict[str, int] = {}
        self._after = cache(self._write)

    def initial(self) -> State:
        """An empty store."""
        connection = sqlite3.connect(":memory:", isolation_level=None)
        _check(connection, Path())
        return State((0,) * len(self._partitions), self._put(connection))

    def is_done(self, state: State) -> bool:
        """Everything is stored."""
        return list(state.stored) == [len(readings) for readings in self._readings]

    def steps(self, state: State) -> Iterator[Step[State]]:
        """Records are stored, and stored again."""
        for index, partition in enumerate(self._partitions):
            for offset in range(min(state.stored[index] + 1, len(self._readings[index]))):
                store = self._after(state.store, partition, offset)
                if offset < state.stored[index]:
                    yield Step(f"{partition}/{offset} is stored again", state._replace(store=store), True)
                else:
                    stored = (*state.stored[:index], offset + 1, *state.stored[index + 1 :])
                    yield Step(f"{partition}/{offset} is stored", State(stored, store))

    def check(self, state: State) -> None:
        """The store is the fold of what was stored."""
        connection = self._open(state.store)
        taken = [
            (partition, reading)
            for partition, readings, stored in zip(
                self._partitions, self._readings, state.stored, strict=True
            )
            for reading in readings[:stored]
        ]
        for invariant, query, due in (
            ("I9", "select sent_at_us, sender_id, message_id from messages", _messages(taken)),
            ("I9", "select user_id, position % (1 << 48) from inbox", self._inbox(taken)),
            ("I11", "select key, user_id, removed from reactions", _reactions(taken)),
            ("I11", "select user_id, marker_id, kind, sent_at_us from marks", _marks(taken, self._log)),
        ):
            held = frozenset(connection.execute(query))
            if held != due:
                raise Violation(invariant, f"there is {sorted(held)} where {sorted(due)} is due")

    def _inbox(self, taken: Taken) -> Rows:
        return frozenset(
            (user, reading.offset)
            for partition, reading in taken
            if reading.logged.kind != log.EVENT_KIND_READ_MARK
            for user in PAIR
            if self._log.partition_of(user) == partition
        )

    def _write(self, store: int, partition: int, offset: int) -> int:
        connection = self._open(store)
        embedded_writes.write(connection, self._log.batch(partition, offset, offset + 1))
        return self._put(connection)

    def _put(self, connection: sqlite3.Connection) -> int:
        dump = "\n".join(connection.iterdump())
        number = self._numbers.setdefault(dump, len(self._stores))
        if number == len(self._stores):
            self._stores.append(dump)
        connection.close()
        return number

    def _open(self, store: int) -> sqlite3.Connection:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        connection.executescript(self._stores[store])
        return connection


def _written() -> WrittenLog:
    """Two partitions' records: one has origins of ann and copies of dan's, one the other way round."""
    made = WrittenLog()
    first = made.message(ANN, [DAN], "m1", 10)
    second = made.message(DAN, [ANN], "m2", 20)
    for number, removed in enumerate((False, True, False)):
        made.reaction(DAN, PAIR, first, "heart", removed, f"r{number}")
    made.reaction(ANN, PAIR, second, "star", False, "s0")
    made.reaction(ANN, PAIR, second, "star", True, "s1")
    made.read_mark(ANN, PAIR, second)
    made.read_mark(ANN, PAIR, first)
    made.read_mark(DAN, PAIR, first)
    return made


def _messages(taken: Taken) -> Rows:
    return frozenset(
        message_key(reading.event.message.ref)
        for _, reading in taken
        if reading.logged.kind == log.EVENT_KIND_MESSAGE
    )


def _reactions(taken: Taken) -> Rows:
    """The last origin counts, wherever it was read."""
    latest: dict[tuple[str, str], tuple[int, bool]] = {}
    for _, reading in taken:
        if reading.logged.kind == log.EVENT_KIND_REACTION_CHANGED:
            changed = reading.event.reaction_changed
            origin = reading.copy.source_offset if reading.copy else reading.offset
            name = (changed.key, changed.user_id)
            latest[name] = max(latest.get(name, (-1, False)), (origin, changed.removed))
    return frozenset((*name, int(removed)) for name, (_, removed) in latest.items())


def _marks(taken: Taken, made: WrittenLog) -> Rows:
    """Of each user, what it was told: the highest counts."""
    highest: dict[tuple[str, str, int], int] = {}
    for partition, reading in taken:
        if reading.logged.kind == log.EVENT_KIND_READ_MARK:
            for user in PAIR:
                if made.partition_of(user) == partition:
                    name = (user, reading.logged.sender_id, int(reading.logged.kind))
                    through_us = message_key(reading.event.read_mark.through).sent_at_us
                    highest[name] = max(highest.get(name, 0), through_us)
    return frozenset((*name, through_us) for name, through_us in highest.items())
