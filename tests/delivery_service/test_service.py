"""Delivery services on the embedded log, over each kind of link: everything once and in order, whoever comes and goes."""

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from delivery_service.service import DeliveryService, LinkTarget
from event_log.embedded import EmbeddedLog
from event_log.port import (
    CommitFenced,
    EventLog,
    LogError,
    LogFull,
    LogRecord,
    LogUnavailable,
    NewRecord,
    Polled,
)
from messaging_core import clock
from session_link.port import LinkClosed, OwnerEnd
from telemetry import catalogue
from tests.support.delivery_harness import QUICK, Cell, TroubledLog, running_cell
from tests.support.link_server import Session, State
from tests.support.log_records import origin_record

USERS = [f"user{n}" for n in range(12)]
PARTITIONS = 4


@pytest.fixture
async def event_log(tmp_path: Path) -> AsyncIterator[EmbeddedLog]:
    log = await EmbeddedLog.open(tmp_path / "log", PARTITIONS)
    yield log
    await log.close()


@pytest.fixture(params=[False, True], ids=["in process", "gRPC"])
def over_grpc(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


class Traffic:
    """Random messages, and how many events each user is to have of them."""

    def __init__(self, cell: Cell, seed: int) -> None:
        self._cell = cell
        self._random = random.Random(seed)
        self._stopped = False
        self.events = dict.fromkeys(USERS, 0)
        self.copies = 0

    async def send(self, count: int) -> None:
        """So many messages to one to six users each, durable when this returns."""
        for _ in range(count):
            sender, *others = self._random.sample(USERS, self._random.randint(2, 7))
            for user in (sender, *others):
                self.events[user] += 1
            partition_of = self._cell.log.partition_of
            self.copies += len({partition_of(user) for user in others} - {partition_of(sender)})
            await self._cell.send(sender, *others)

    async def send_until_stopped(self) -> None:
        """Keep sending."""
        while not self._stopped:
            await self.send(5)

    async def while_sending(self, *steps: Coroutine[None, None, object]) -> None:
        """Do these one after another while messages keep coming."""
        sending = asyncio.create_task(self.send_until_stopped())
        for step in steps:
            await step
            await asyncio.sleep(0.15)
        self._stopped = True
        await sending
        self._stopped = False

    def expected(self, sessions: list[Session]) -> dict[Session, int]:
        return {session: self.events[session.user] for session in sessions}


def connect_all(cell: Cell) -> list[Session]:
    return [cell.server.connect(user, -1) for user in USERS for _ in range(2)]


async def test_every_session_gets_every_event_of_its_user(event_log: EventLog, over_grpc: bool) -> None:
    """Messages to many partitions reach all clients of all their users, each once and in order."""
    async with running_cell(event_log, over_grpc=over_grpc) as cell:
        await cell.start_service()
        early = connect_all(cell)
        traffic = Traffic(cell, 1)
        await traffic.send(150)
        late = connect_all(cell)
        await cell.settled(traffic.expected(early + late))
        pieces = {(s.user, o): piece for s in early for o, piece in s.pieces.items()}
        assert all(s.pieces[o] == pieces[s.user, o] for s in late for o in s.pieces if s.pieces[o])


async def test_records_per_message(event_log: EventLog) -> None:
    """I13: a message is one record and one for each other partition in it; an idle cell appends nothing."""
    async with running_cell(event_log) as cell:
        await cell.start_service()
        sessions, traffic = connect_all(cell), Traffic(cell, 2)
        await traffic.send(100)
        await cell.settled(traffic.expected(sessions))
        records = sum((await event_log.end_offsets(range(PARTITIONS))).values())
        assert records == 100 + traffic.copies
        await asyncio.sleep(0.5)
        assert sum((await event_log.end_offsets(range(PARTITIONS))).values()) == records


async def test_tells_how_far_the_log_s_time_is_ahead(
    event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing while the clock is above all append times; after it is set back, by how much."""
    async with running_cell(event_log) as cell:
        service = await cell.start_service()
        sessions, traffic = connect_all(cell), Traffic(cell, 2)
        await traffic.send(5)
        await cell.settled(traffic.expected(sessions))

        def ahead_s() -> float:
            (value,) = [each.value for each in service.figures() if each.metric is catalogue.LOG_AHEAD]
            assert isinstance(value, float)
            return value

        assert ahead_s() < 1
        set_back_us = clock.wall_us() - 500_000_000
        monkeypatch.setattr("delivery_service.service.wall_us", lambda: set_back_us)
        assert 400 < ahead_s() < 501


async def test_takeover_while_messages_flow(event_log: EventLog, over_grpc: bool) -> None:
    """A second service takes partitions over, the first stops, and nobody misses or doubles an event."""
    async with running_cell(event_log, over_grpc=over_grpc) as cell:
        first = await cell.start_service()
        sessions, traffic = connect_all(cell), Traffic(cell, 3)
        await traffic.while_sending(cell.start_service(), cell.stop_service(first), cell.start_service())
        await cell.settled(traffic.expected(sessions))


async def test_a_killed_service_is_replaced(event_log: EventLog, over_grpc: bool) -> None:
    """What a dead instance had read but not committed is done again by the next one, and seen once."""
    async with running_cell(event_log, over_grpc=over_grpc) as cell:
        first, second = await cell.start_service(), await cell.start_service()
        sessions, traffic = connect_all(cell), Traffic(cell, 4)
        await traffic.while_sending(
            cell.kill_service(first), cell.start_service(), cell.kill_service(second), cell.start_service()
        )
        await cell.settled(traffic.expected(sessions))


async def test_links_break_and_return(event_log: EventLog, over_grpc: bool) -> None:
    """A broken link is dialed again, its partitions are claimed again, and sessions go on where they were."""
    async with running_cell(event_log, over_grpc=over_grpc) as cell:
        await cell.start_service()
        await cell.start_service()
        sessions, traffic = connect_all(cell), Traffic(cell, 5)

        async def break_links() -> None:
            for end in list(cell.ends):
                await end.close()

        await traffic.while_sending(break_links(), break_links(), break_links())
        await cell.settled(traffic.expected(sessions))


async def test_appends_that_fail_or_answer_wrongly(event_log: EventLog) -> None:
    """Copies whose appends fail, or whose answers are lost, arrive once and in order all the same (R1)."""
    troubled = TroubledLog(event_log, seed=6)
    async with running_cell(troubled) as cell:
        first = await cell.start_service()
        sessions, traffic = connect_all(cell), Traffic(cell, 6)
        troubled.trouble = 0.3
        await traffic.while_sending(cell.start_service(), cell.kill_service(first))
        troubled.trouble = 0.0
        await cell.settled(traffic.expected(sessions))


async def test_one_stalled_partition_delays_only_its_own(event_log: EventLog) -> None:
    """I14: while one partition takes no copies, users who have nothing to do with it get theirs; then it catches up."""
    troubled = TroubledLog(event_log)
    by_partition = {event_log.partition_of(user): user for user in USERS}
    stalled_user = by_partition.pop(next(iter(by_partition)))
    one, two, *_ = by_partition.values()
    async with running_cell(troubled) as cell:
        await cell.start_service()
        waiting, other = cell.server.connect(stalled_user, -1), cell.server.connect(two, -1)
        troubled.stalled.add(event_log.partition_of(stalled_user))
        for _ in range(30):
            await cell.send(one, stalled_user, two)
        await cell.settled({other: 30})
        assert waiting.received == []
        source = event_log.partition_of(one)
        committed = await event_log.committed("delivery", [source])
        assert committed[source].offset == 0, "the commit waits for the stalled target"
        troubled.recover()
        await cell.settled({waiting: 30, other: 30})


@pytest.mark.parametrize("error", [LogFull("full"), LogUnavailable("away")])
async def test_copies_that_the_log_refuses_are_sent_again(event_log: EventLog, error: LogError) -> None:
    """A log that takes nothing, because it is full or away, stops nothing: the copies go out later, in order (R1)."""
    troubled = TroubledLog(event_log)
    sender, recipient, *_ = {event_log.partition_of(user): user for user in USERS}.values()
    async with running_cell(troubled) as cell:
        await cell.start_service()
        waiting, own = cell.server.connect(recipient, -1), cell.server.connect(sender, -1)
        troubled.refused[event_log.partition_of(recipient)] = error
        for _ in range(20):
            await cell.send(sender, recipient)
        await cell.settled({own: 20})
        troubled.refused.clear()
        await cell.settled({waiting: 20})


async def test_a_full_source_is_paused_and_goes_on(event_log: EventLog) -> None:
    """Past the bound of copies a source is paused, the others are not; with room again nothing was lost (R6)."""
    troubled = TroubledLog(event_log)
    by_partition = {event_log.partition_of(user): user for user in USERS}
    stalled_user, one, two, three = by_partition.values()
    settings = replace(QUICK, forwarding=replace(QUICK.forwarding, queue_bytes=2_000))
    async with running_cell(troubled, settings=settings) as cell:
        await cell.start_service()
        waiting, other = cell.server.connect(stalled_user, -1), cell.server.connect(three, -1)
        troubled.stalled.add(event_log.partition_of(stalled_user))
        for _ in range(300):
            await cell.send(one, stalled_user)
            await cell.send(two, three)
        await cell.settled({other: 300})
        (service,) = cell.services
        assert service._paused == {event_log.partition_of(one)}
        troubled.recover()
        await cell.settled({waiting: 300, other: 300})
        assert not service._paused


async def test_large_messages_to_many_partitions_stay_within_the_bound(event_log: EventLog) -> None:
    """A poll brings records with far more copies than may wait: it is read as far as they do, the rest later (R6)."""
    troubled = TroubledLog(event_log)
    by_partition = {event_log.partition_of(user): user for user in USERS}
    sender, *others = by_partition.values()
    source = event_log.partition_of(sender)
    settings = replace(QUICK, forwarding=replace(QUICK.forwarding, queue_bytes=20_000))
    async with running_cell(troubled, settings=settings) as cell:
        troubled.stalled.update(by_partition.keys() - {source})
        values = [origin_record(sender, others, f"{n:04000}", command_id=f"id-{n}") for n in range(100)]
        event_log.append([NewRecord(source, value, None) for value in values], lambda _: None)
        sessions = [cell.server.connect(user, -1) for user in (sender, *others)]
        service = await cell.start_service()
        while source not in service._paused:
            await asyncio.sleep(0.01)
        copies = len(others) * (len(max(values, key=len)) + 400)
        assert service._owned[source].forwarder.queued_bytes < 20_000 + copies
        troubled.recover()
        await cell.settled(dict.fromkeys(sessions, 100))
        assert sum((await event_log.end_offsets(range(PARTITIONS))).values()) == 100 * PARTITIONS


async def test_a_small_window_is_no_loss(event_log: EventLog) -> None:
    """With no window at all, sessions get what they missed from history, or from the log where history lags."""
    async with running_cell(event_log, settings=replace(QUICK, window_bytes=0)) as cell:
        await cell.start_service()
        traffic = Traffic(cell, 7)
        await traffic.send(100)
        sessions = connect_all(cell)
        await traffic.while_sending(asyncio.sleep(0.1))
        sessions += connect_all(cell)
        await cell.settled(traffic.expected(sessions))


async def test_without_history_the_log_serves(event_log: EventLog) -> None:
    """While history is away, sessions behind a small window are served from the log (R8)."""
    cell = Cell(event_log, replace(QUICK, window_bytes=0))
    try:
        await cell.start_service()
        traffic = Traffic(cell, 8)
        await traffic.send(100)
        sessions = connect_all(cell)
        await traffic.send(20)
        await cell.settled(traffic.expected(sessions))
    finally:
        await cell.close()


async def test_what_is_read_again_comes_in_pieces(
    event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine gives as few records at a time as it likes, as Kafka does at a segment's end: more are asked for (R8)."""
    read = event_log.read

    async def read_segment(partition: int, offset: int, max_bytes: int) -> Sequence[LogRecord]:
        records = await read(partition, offset, max_bytes)
        return [record for record in records if record.offset // 7 == offset // 7]

    monkeypatch.setattr(event_log, "read", read_segment)
    cell = Cell(event_log, replace(QUICK, window_bytes=0))
    try:
        await cell.start_service()
        traffic = Traffic(cell, 12)
        await traffic.send(60)
        async with asyncio.timeout(30):
            await cell.settled(traffic.expected(connect_all(cell)))
    finally:
        await cell.close()


class StuckLog(TroubledLog):
    """What is asked of some partitions by themselves is not answered until they are unstuck, and then with a failure."""

    def __init__(self, log: EventLog, stuck: set[int]) -> None:
        super().__init__(log)
        self.stuck = stuck
        self.asked: set[int] = set()

    async def read(self, partition: int, offset: int, max_bytes: int) -> Sequence[LogRecord]:
        await self._wait({partition})
        return await super().read(partition, offset, max_bytes)

    async def end_offsets(self, partitions: Iterable[int]) -> Mapping[int, int]:
        await self._wait(set(partitions))
        return await super().end_offsets(partitions)

    async def _wait(self, wanted: set[int]) -> None:
        if wanted & self.stuck:
            self.asked |= wanted & self.stuck
            while wanted & self.stuck:
                await asyncio.sleep(0.01)
            raise LogUnavailable("no answer")


async def test_a_partition_that_cannot_be_read_holds_up_no_other(event_log: EventLog) -> None:
    """I14: while the log does not answer for some, others are read again, and cursors past their end refused."""
    stuck_user, *others = {event_log.partition_of(user): user for user in USERS}.values()
    stuck = StuckLog(event_log, {event_log.partition_of(stuck_user)})
    cell = Cell(event_log, replace(QUICK, window_bytes=0))
    try:
        service = await cell.start_service()
        service._log = stuck
        traffic = Traffic(cell, 13)
        await traffic.send(40)
        waiting = cell.server.connect(stuck_user, -1)
        async with asyncio.timeout(30):
            while not stuck.asked:
                await asyncio.sleep(0.01)
            await cell.settled(traffic.expected([cell.server.connect(user, -1) for user in others]))
            past_end = cell.server.connect(others[0], 1_000)
            while past_end.state is not State.REFUSED:
                await asyncio.sleep(0.01)
            assert waiting.received == []
            stuck.stuck.clear()
            await cell.settled(traffic.expected([waiting]))
    finally:
        await cell.close()


async def test_who_asks_for_the_log_may_leave_meanwhile(
    event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions that leave while one partition is read again take their questions about others along; the service goes on.

    check.faults, kafka, seed 7: a delivery service ended because nobody asked any more.
    """
    cell = Cell(event_log, replace(QUICK, window_bytes=0))
    try:
        service = await cell.start_service()
        traffic = Traffic(cell, 9)
        await traffic.send(100)
        read, all_left = event_log.read, asyncio.Event()
        asked = {event_log.partition_of(user) for user in USERS}

        async def read_until_all_left(partition: int, offset: int, max_bytes: int) -> Sequence[LogRecord]:
            if not all_left.is_set():
                while {number for number, each in service._owned.items() if each.rereads} != asked:
                    await asyncio.sleep(0.01)
                for session in leaving:
                    cell.server.disconnect(session)
                while any(each.rereads for each in service._owned.values()):
                    await asyncio.sleep(0.01)
                all_left.set()
            return await read(partition, offset, max_bytes)

        monkeypatch.setattr(event_log, "read", read_until_all_left)
        leaving = connect_all(cell)
        await all_left.wait()
        await cell.settled(traffic.expected(connect_all(cell)))
    finally:
        await cell.close()


async def test_a_cursor_past_the_end_is_refused(event_log: EventLog) -> None:
    """The end of the log decides, and the session is told; others are not disturbed."""
    async with running_cell(event_log) as cell:
        await cell.start_service()
        await cell.send(USERS[0], USERS[1])
        session = cell.server.connect(USERS[0], 1_000)
        while session.state is not State.REFUSED:
            await asyncio.sleep(0.01)


async def test_an_unreadable_record_stops_nothing(event_log: EventLog) -> None:
    """R5: poison is a gap for everyone in its partition; what comes after it goes on."""
    async with running_cell(event_log) as cell:
        await cell.start_service()
        session = cell.server.connect(USERS[0], -1)
        await cell.send(USERS[0], USERS[1])
        event_log.append([NewRecord(session.partition, b"\xff", None)], lambda _: None)
        await cell.send(USERS[0], USERS[1])
        await cell.settled({session: 3})


async def test_a_fenced_commit_gives_the_partition_up(
    event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An owner that learns from its commit that it no longer is one releases the partition and commits the others."""
    async with running_cell(event_log) as cell:
        service = await cell.start_service()
        sessions, traffic = connect_all(cell), Traffic(cell, 9)
        await traffic.send(20)
        await cell.settled(traffic.expected(sessions))
        real = service._consumer.commit

        async def fenced(commits: dict[int, object]) -> None:
            if 0 in commits:
                raise CommitFenced("partition 0 is another's")
            await real(commits)  # type: ignore[arg-type]

        monkeypatch.setattr(service._consumer, "commit", fenced)
        await traffic.send(20)
        while 0 in service._owned:
            await asyncio.sleep(0.01)
        while any(s.state is State.LIVE for s in sessions if s.partition == 0):
            await asyncio.sleep(0.01)
        assert set(service._owned) == {1, 2, 3}


async def test_a_commit_that_takes_its_time_holds_up_nothing(
    event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events flow while a commit is under way, as long as that takes; what it had is committed at the end all the same."""
    async with running_cell(event_log) as cell:
        service = await cell.start_service()
        sessions, traffic = connect_all(cell), Traffic(cell, 12)
        real, begun = service._consumer.commit, asyncio.Event()

        async def slow(commits: dict[int, object]) -> None:
            if not begun.is_set():
                begun.set()
                await asyncio.Event().wait()
            await real(commits)  # type: ignore[arg-type]

        monkeypatch.setattr(service._consumer, "commit", slow)
        await traffic.send(20)
        await begun.wait()
        await traffic.send(20)
        await cell.settled(traffic.expected(sessions))
        await cell.stop_service(service)
        ends = await event_log.end_offsets(range(PARTITIONS))
        committed = await event_log.committed("delivery", range(PARTITIONS))
        assert {number: commit.offset for number, commit in committed.items()} == ends


async def test_a_planned_stop_leaves_nothing_to_do_again(event_log: EventLog) -> None:
    """A service that stops has forwarded and committed what it read, so the next one appends nothing."""
    async with running_cell(event_log) as cell:
        first = await cell.start_service()
        sessions, traffic = connect_all(cell), Traffic(cell, 10)
        await traffic.send(50)
        await cell.settled(traffic.expected(sessions))
        await cell.stop_service(first)
        records = sum((await event_log.end_offsets(range(PARTITIONS))).values())
        await cell.start_service()
        await cell.settled(traffic.expected(sessions))
        assert sum((await event_log.end_offsets(range(PARTITIONS))).values()) == records


async def test_a_server_that_is_away_is_dialed_until_it_is_there(event_log: EventLog) -> None:
    """Failed dials are tried again, with links of other servers undisturbed."""
    tries = 0
    async with running_cell(event_log) as cell:

        async def dial_late() -> OwnerEnd:
            nonlocal tries
            tries += 1
            if tries < 4:
                raise LinkClosed("nobody there")
            return await cell._dial_in_process()

        cell.dial = dial_late
        await cell.start_service()
        session = cell.server.connect(USERS[0], -1)
        await cell.send(USERS[1], USERS[0])
        await cell.settled({session: 1})


async def test_a_fatal_error_reaches_the_host(event_log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that cannot go on says so to whoever runs it, and can still be closed."""
    async with running_cell(event_log) as cell:
        await cell.send(USERS[0], USERS[1])
        service = DeliveryService(log=event_log, targets=[], settings=QUICK)

        def broken(user: str) -> int:
            raise RuntimeError("no partition")

        monkeypatch.setattr(event_log, "partition_of", broken)
        await service.start()
        with pytest.raises(RuntimeError, match="no partition"):
            await service.failed()
        await service.close()


async def test_failed_returns_when_closed(event_log: EventLog) -> None:
    """A service that was closed has not failed."""
    service = DeliveryService(log=event_log, targets=[LinkTarget("none", _nobody)], settings=QUICK)
    await service.start()
    watching = asyncio.create_task(service.failed())
    await asyncio.sleep(0.05)
    await service.close()
    await watching


async def _nobody() -> OwnerEnd:
    raise LinkClosed("nobody there")


async def test_records_that_come_with_an_assignment_come_again(event_log: EventLog) -> None:
    """An engine may hand out the first records with the partition; the tail before them is read first all the same."""
    async with running_cell(event_log) as cell:
        first = await cell.start_service()
        sessions, traffic = connect_all(cell), Traffic(cell, 11)
        await traffic.send(30)
        await cell.settled(traffic.expected(sessions))
        await cell.stop_service(first)
        await traffic.send(10)
        second = await cell.start_service()
        poll = second._consumer.poll

        async def poll_more(timeout_s: float) -> Polled:
            polled = await poll(timeout_s)
            early = []
            for assignment in polled.assigned:
                offset = assignment.committed.offset if assignment.committed else assignment.start_offset
                early.append(
                    (assignment.partition, await event_log.read(assignment.partition, offset, 1 << 20))
                )
            return polled._replace(records=(*early, *polled.records))

        second._consumer.poll = poll_more  # type: ignore[method-assign]
        await cell.settled(traffic.expected(sessions))
