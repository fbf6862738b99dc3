"""Reading partitions of the log, those of a consumer continually and any by single requests.

For each node that leads some of them one request waits at the broker until there are records, or LONGEST_WAIT_S: that is how
soon a partition that is new, sought or resumed is asked for. What came is kept as bytes and decoded when it is taken.

Bounds: bytes that wait to be taken `max_poll_bytes` and at most one answer of each node more.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from kafka.protocol.consumer import FetchRequest

from event_log import kafka_records
from event_log.kafka_brokers import CONTROL, START, Brokers
from event_log.kafka_connection import ConnectionLost, error_name
from event_log.kafka_records import BatchDamaged
from event_log.port import LogError, LogRecord, LogUnavailable, Truncated

_numbers = itertools.count()

LONGEST_WAIT_S = 0.1
_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_OUT_OF_RANGE = 1
_ROOM_BYTES = 64 << 10
"""Fetched beyond what is asked for, because a batch may begin before the record that is wanted."""


class Wanted(NamedTuple):
    """What a broker is asked of a partition."""

    offset: int
    leader_epoch: int


class Fetched(NamedTuple):
    """What a broker answers for a partition."""

    error_code: int
    end_offset: int
    """One above the last durable record."""
    batches: bytes


class Chunk:
    """Bytes of a partition that wait to be decoded."""

    __slots__ = ("at", "batches")

    def __init__(self, batches: bytes) -> None:
        self.batches = batches
        self.at = 0


class Session:
    """What a broker remembers of the fetches of one connection, so that only what has changed is said (KIP-227).

    Made anew, and everything said again, when the connection or the broker's memory is lost.
    """

    __slots__ = ("_asked", "epoch", "number")

    def __init__(self) -> None:
        self.number = 0
        self.epoch = 0
        self._asked: Mapping[int, Wanted] = {}

    def changes(self, positions: Mapping[int, Wanted]) -> tuple[Mapping[int, Wanted], Sequence[int]]:
        """Which of these the broker has to be told, and which partitions it may forget."""
        if not self.number:
            return positions, ()
        asked = self._asked
        changed = {p: wanted for p, wanted in positions.items() if asked.get(p) != wanted}
        return changed, [p for p in asked if p not in positions]

    def answered(self, number: int, positions: Mapping[int, Wanted]) -> None:
        """The broker has taken them; no number where it remembers nothing."""
        self.epoch = self.epoch % _LAST_SESSION_EPOCH + 1 if number else 0
        self.number = number
        self._asked = positions


_LAST_SESSION_EPOCH = 2**31 - 1


class NoSession(Session):
    """For a request by itself."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self.epoch = -1


async def fetch(
    brokers: Brokers,
    node: int,
    purpose: str,
    positions: Mapping[int, int],
    max_bytes: int,
    wait_s: float,
    session: Session,
) -> dict[int, Fetched]:
    """Ask a node for what stands from these positions on; what it has no news of is not in the answer.

    A node that does not lead a partition, or not in the epoch that is known, answers it with an error. Raises
    LogUnavailable, after which the session must not be used again.
    """
    state = brokers.topic
    assert state is not None
    topic = FetchRequest.FetchTopic
    name = brokers.settings.topic
    wanted = {p: Wanted(offset, state.epoch(p)) for p, offset in positions.items()}
    changed, forgotten = session.changes(wanted)
    parts = [
        topic.FetchPartition(
            partition=partition,
            current_leader_epoch=epoch,
            fetch_offset=offset,
            last_fetched_epoch=-1,
            log_start_offset=-1,
            partition_max_bytes=max_bytes,
        )
        for partition, (offset, epoch) in changed.items()
    ]
    forget = FetchRequest.ForgottenTopic(topic=name, topic_id=state.topic_id, partitions=list(forgotten))
    request = FetchRequest(
        replica_id=-1,
        max_wait_ms=int(wait_s * 1_000),
        min_bytes=1,
        max_bytes=max_bytes,
        isolation_level=0,
        session_id=session.number,
        session_epoch=session.epoch,
        topics=[topic(topic=name, topic_id=state.topic_id, partitions=parts)] if parts else [],
        forgotten_topics_data=[forget] if forgotten else [],
        rack_id="",
        max_version=13,
    )
    answer = await brokers.ask(node, request, purpose, brokers.settings.request_timeout_s + wait_s)
    if answer.error_code:
        raise LogUnavailable(error_name(answer.error_code))
    session.answered(answer.session_id, wanted)
    return {
        part.partition_index: Fetched(part.error_code, part.high_watermark, bytes(part.records or b""))
        for found in answer.responses
        for part in found.partitions
    }


async def read(brokers: Brokers, partition: int, offset: int, max_bytes: int) -> Sequence[LogRecord]:
    """See EventLog.read."""
    return await brokers.insist(
        f"partition {partition} cannot be read",
        lambda: _read(brokers, partition, offset, max_bytes),
        brokers.settings.request_timeout_s,
    )


async def _read(brokers: Brokers, partition: int, offset: int, max_bytes: int) -> Sequence[LogRecord]:
    node = await brokers.leader_now(partition)
    while True:
        room = max_bytes + _ROOM_BYTES
        try:
            answer = await fetch(brokers, node, CONTROL, {partition: offset}, room, 0.0, NoSession())
        except ConnectionLost:
            await brokers.refresh()
            raise
        found = answer[partition]
        if found.error_code == _OUT_OF_RANGE:
            if offset < (await brokers.offsets([partition], START))[partition]:
                raise Truncated(f"partition {partition}: record {offset} is gone")
            return ()
        if found.error_code:
            await brokers.refresh()
            raise LogUnavailable(error_name(found.error_code))
        decoded = kafka_records.decode(found.batches, 0, offset, max_bytes)
        if decoded.records or decoded.next_offset >= found.end_offset or not found.batches:
            return decoded.records
        offset = decoded.next_offset  # only what is no record for us stood there


class Fetcher:
    """Reads the partitions of a consumer from their positions on."""

    def __init__(self, brokers: Brokers, on_arrival: Callable[[], None], confirm: Callable[[], Any]) -> None:
        """`confirm` is asked whether a partition is still the consumer's, before it is taken for truncated."""
        self.failure: LogError | None = None
        """Why the next take that finds nothing fails."""
        self._brokers = brokers
        self._max_bytes = brokers.settings.max_poll_bytes
        self._on_arrival = on_arrival
        self._confirm = confirm
        self._purpose = f"fetch-{next(_numbers)}"
        self._positions: dict[int, int] = {}
        """Next offset of each partition."""
        self._ends: dict[int, int] = {}
        """One above the last durable record of each, as its broker told last."""
        self._paused: set[int] = set()
        self._held: set[int] = set()
        """Not to be asked for until it is known why the broker does not have the position."""
        self._gone: dict[int, Truncated] = {}
        """Of `_held`: the log does not have the position any more."""
        self._chunks: dict[int, Chunk] = {}
        """What waits to be taken, in the order of its arrival."""
        self._waiting_bytes = 0
        self._wanted = asyncio.Event()
        self._followers: dict[int, asyncio.Task[None]] = {}
        self._followed = brokers.topic
        """By which it was seen last that every leader has its follower."""
        self._judging: set[asyncio.Task[None]] = set()
        self._finding: asyncio.Task[None] | None = None
        """Looks for leaders as long as nobody leads something that is read."""

    def __contains__(self, partition: object) -> bool:
        """Whether the partition is read."""
        return partition in self._positions

    def seek(self, partition: int, offset: int) -> None:
        """Read from here on, now or instead."""
        self._forget(partition)
        self._positions[partition] = offset
        self._follow()

    def remove(self, partition: int) -> None:
        """Do not read it any more."""
        self._forget(partition)
        self._positions.pop(partition, None)
        self._ends.pop(partition, None)
        self._paused.discard(partition)

    def pause(self, partitions: Iterable[int]) -> None:
        """Give no records of these; what came of them makes room for others, and is asked for again."""
        for partition in self._positions.keys() & set(partitions):
            self._paused.add(partition)
            self._drop(partition)

    def resume(self, partitions: Iterable[int]) -> None:
        """Give them again."""
        self._paused.difference_update(partitions)
        self._wanted.set()
        self._on_arrival()

    def lag(self) -> dict[int, int]:
        """For each partition how many records are known to be there from its position on."""
        ends = self._ends
        return {p: max(0, ends.get(p, offset) - offset) for p, offset in self._positions.items()}

    def take(self) -> tuple[tuple[int, Sequence[LogRecord]], ...]:
        """The next records, of the partitions in turn. Raises Truncated, LogUnavailable."""
        for error in self._gone.values():
            raise error
        found: list[tuple[int, Sequence[LogRecord]]] = []
        bytes_left = self._max_bytes
        for partition in tuple(self._chunks):
            if bytes_left <= 0:
                break
            try:
                records, size_bytes = self._decode(partition, bytes_left)
            except BatchDamaged as error:  # what was found before it has to be given first
                self._drop(partition)
                self.failure = error
                continue
            bytes_left -= size_bytes
            if records:
                found.append((partition, records))
        if not found and self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        if found:
            self._wanted.set()
        return tuple(found)

    async def close(self) -> None:
        """Stop reading."""
        tasks = [*self._followers.values(), *self._judging, *([self._finding] if self._finding else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._brokers.disconnect(self._purpose)

    def _decode(self, partition: int, max_bytes: int) -> tuple[list[LogRecord], int]:
        chunk = self._chunks[partition]
        decoded = kafka_records.decode(chunk.batches, chunk.at, self._positions[partition], max_bytes)
        self._positions[partition] = decoded.next_offset
        chunk.at = decoded.at
        if kafka_records.has_batch(chunk.batches, chunk.at):
            self._chunks[partition] = self._chunks.pop(partition)  # last in turn now
        else:
            self._drop(partition)
        return decoded.records, decoded.size_bytes

    def _forget(self, partition: int) -> None:
        """Whatever is known of the position that it had."""
        self._drop(partition)
        self._held.discard(partition)
        self._gone.pop(partition, None)

    def _drop(self, partition: int) -> None:
        chunk = self._chunks.pop(partition, None)
        if chunk is not None:
            self._waiting_bytes -= len(chunk.batches)
            self._wanted.set()

    def _follow(self) -> None:
        """See that every node that leads something is asked."""
        self._followed = self._brokers.topic
        self._wanted.set()
        for partition in self._positions:
            node = self._brokers.leader(partition)
            if node is None:
                if self._finding is None or self._finding.done():
                    self._finding = asyncio.create_task(self._find_leaders())
            elif node not in self._followers or self._followers[node].done():
                self._followers[node] = asyncio.create_task(self._follow_node(node))

    async def _find_leaders(self) -> None:
        """Nobody else has to: those that lead nothing more are not asked, so they tell nothing."""
        pause_s = _PAUSE_S
        while any(self._brokers.leader(partition) is None for partition in self._positions):
            await self._look_again(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _wanted_of(self, node: int) -> dict[int, int]:
        if self._waiting_bytes >= self._max_bytes:
            return {}
        excluded = self._chunks.keys() | self._paused | self._held
        leader = self._brokers.leader
        return {p: offset for p, offset in self._positions.items() if p not in excluded and leader(p) == node}

    async def _follow_node(self, node: int) -> None:
        session = Session()
        pause_s = _PAUSE_S
        while True:
            if self._brokers.topic is not self._followed:
                self._follow()  # others, an append for example, have learned who leads what now
            self._wanted.clear()
            positions = self._wanted_of(node)
            if not positions:
                await self._wanted.wait()
                continue
            try:
                answers = await fetch(
                    self._brokers, node, self._purpose, positions, self._max_bytes, LONGEST_WAIT_S, session
                )
                moved = self._arrived(positions, answers)
            except LogError as error:
                self._brokers.report(f"broker {node} gives no records", error)
                session = Session()
                moved = True
            if moved:
                await self._look_again(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                pause_s = _PAUSE_S

    async def _look_again(self, pause_s: float) -> None:
        """Learn who leads what now, after a pause."""
        await asyncio.sleep(pause_s)
        try:
            await self._brokers.refresh()
        except LogUnavailable as error:
            self._fail(error)
        except LogError as error:
            self._fail(LogUnavailable(str(error)))
        self._follow()

    def _arrived(self, positions: Mapping[int, int], answers: Mapping[int, Fetched]) -> bool:
        """Keep what came for those that still want it; whether some have another leader now."""
        moved = False
        arrived = False
        unwanted = self._chunks.keys() | self._paused
        for partition, found in answers.items():
            offset = positions.get(partition, -1)
            if self._positions.get(partition) != offset or partition in unwanted:
                continue  # sought elsewhere or paused in the meantime, or not the consumer's any more
            if found.error_code not in (0, _OUT_OF_RANGE):
                moved = True
                continue
            self._ends[partition] = found.end_offset
            if found.error_code == _OUT_OF_RANGE:
                self._held.add(partition)
                task = asyncio.create_task(self._judge(partition, offset))
                self._judging.add(task)
                task.add_done_callback(self._judging.discard)
            elif found.batches:
                self._chunks[partition] = Chunk(found.batches)
                self._waiting_bytes += len(found.batches)
                arrived = True
        if arrived:
            self._on_arrival()
        return moved

    async def _judge(self, partition: int, offset: int) -> None:
        """The broker does not have the position: it is not there yet, or is gone, which only an owner is told."""
        try:
            start = (await self._brokers.offsets([partition], START))[partition]
            if offset < start:
                await self._confirm()
                if self._positions.get(partition) == offset:
                    self._gone[partition] = Truncated(
                        f"partition {partition}: record {offset} is gone, the log starts at {start}"
                    )
                    self._on_arrival()
                return
        except LogError as error:
            self._brokers.report(f"partition {partition} is not found out about", error)
        await asyncio.sleep(LONGEST_WAIT_S)
        if self._positions.get(partition) == offset:
            self._held.discard(partition)
            self._wanted.set()

    def _fail(self, error: LogError) -> None:
        self.failure = error
        self._on_arrival()
