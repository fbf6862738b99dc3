"""What every log engine must do, whatever it is made of."""

import asyncio
import random
from collections.abc import Sequence
from itertools import chain

import pytest

from event_log.partitioner import partition_for
from event_log.port import (
    MAX_RECORD_BYTES,
    Commit,
    CommitFenced,
    DeadLetter,
    EventLog,
    Fate,
    LogUnavailable,
    NewRecord,
    Settled,
)
from telemetry import catalogue
from telemetry.metrics import Histogram
from tests.event_log.driving import PATIENCE_S, Member, append, append_calls, poll_until
from tests.event_log.engines import PARTITIONS, Engine


def _ignore(_: Sequence[Settled[int]]) -> None:
    pass


async def test_fates_name_the_offsets_that_are_read(event_log: EventLog) -> None:
    """An appended record is read at the offset that its fate names, with its bytes and a time."""
    (settled,) = await append(event_log, (1, b"\x00\xffbytes"))
    assert settled.fate is Fate.APPENDED
    (record,) = await event_log.read(1, settled.offset, 1)
    assert (record.offset, record.value) == (settled.offset, b"\x00\xffbytes")
    assert record.append_time_us > 1_600_000_000_000_000


async def test_appends_land_in_the_order_of_the_calls(event_log: EventLog) -> None:
    """Records of one partition have rising offsets in the order of the calls, and within a call of the batch."""
    calls = [[(n % 2, b"%d.%d" % (n, i)) for i in range(3)] for n in range(40)]
    settled = await append_calls(event_log, calls)
    for partition in (0, 1):
        expected = [value for call in calls for p, value in call if p == partition]
        records = await event_log.read(partition, 0, 1 << 20)
        assert [record.value for record in records] == expected
        offsets = [s.offset for s, (p, _) in zip(settled, chain(*calls), strict=True) if p == partition]
        assert offsets == [record.offset for record in records] == sorted(set(offsets))


async def test_settles_each_record_once_and_never_within_append(event_log: EventLog) -> None:
    """The callback comes on the loop after append has returned, once for each record, with its tag."""
    told: list[Settled[str]] = []
    inside = False

    def on_settled(settled: Sequence[Settled[str]]) -> None:
        assert not inside
        told.extend(settled)

    for n in range(50):
        inside = True
        event_log.append([NewRecord(n % PARTITIONS, b"v", f"{n}a"), NewRecord(0, b"v", f"{n}b")], on_settled)
        inside = False
    async with asyncio.timeout(PATIENCE_S):
        while len(told) < 100:
            await asyncio.sleep(0.01)
    await append(event_log, (0, b"last"))
    assert sorted(s.tag for s in told) == sorted(f"{n}{x}" for n in range(50) for x in "ab")


async def test_a_record_is_durable_when_settled(engine: Engine) -> None:
    """What was told APPENDED is at its offset after the log was closed and opened again, and offsets go on above it."""
    log = await engine.open()
    first = await append(log, (0, b"a"), (0, b"b"), (2, b"c"))
    incarnation = log.incarnation
    await log.close()
    log = await engine.open()
    assert log.incarnation == incarnation
    (later,) = await append(log, (0, b"d"))
    records = await log.read(0, first[0].offset, 1 << 20)
    assert [(r.offset, r.value) for r in records] == [
        (first[0].offset, b"a"),
        (first[1].offset, b"b"),
        (later.offset, b"d"),
    ]
    await log.close()


async def test_close_settles_what_is_under_way(engine: Engine) -> None:
    """Closing waits for appends under way: each has its fate by then, and those appended are there."""
    log = await engine.open()
    told: list[Settled[int]] = []
    for n in range(200):
        log.append([NewRecord(0, b"%d" % n, n)], told.extend)
    await log.close()
    assert [s.tag for s in told] == list(range(200))
    with pytest.raises(LogUnavailable):
        log.append([NewRecord(0, b"late", 0)], _ignore)
    log = await engine.open()
    appended = [s for s in told if s.fate is Fate.APPENDED]
    records = {r.offset: r.value for r in await log.read(0, 0, 1 << 20)}
    assert all(records[s.offset] == b"%d" % s.tag for s in appended)
    await log.close()


async def test_counts_appends_and_knows_how_far_readers_are(event_log: EventLog) -> None:
    """Records, bytes and times of appends are counted; a consumer knows how many records it has not given, unasked."""
    await append(event_log, *[(0, b"v" * 100) for _ in range(5)])
    told = {figure.metric: figure.value for figure in event_log.figures()}
    records, durations, size_bytes = (
        told[catalogue.BATCHES],
        told[catalogue.APPENDS],
        told[catalogue.APPENDED],
    )
    assert isinstance(records, Histogram)
    assert isinstance(durations, Histogram)
    assert isinstance(size_bytes, int)
    assert (records.total, records.count) == (5, durations.count)
    assert size_bytes >= 500
    assert told[catalogue.PENDING] == 0
    member = Member(event_log)
    await poll_until(lambda: member.count == 5, member)
    assert member.consumer.lag() == dict.fromkeys(member.owned, 0)
    member.consumer.seek(0, member.records[0][2].offset)
    assert member.consumer.lag()[0] == 3
    await member.consumer.close()


async def test_refuses_bad_input_whole(event_log: EventLog) -> None:
    """A partition that is not there or a value too long is refused with what is allowed, and the whole call with it."""
    with pytest.raises(ValueError, match=f"0 to {PARTITIONS - 1}"):
        event_log.append([NewRecord(0, b"good", 0), NewRecord(PARTITIONS, b"bad", 1)], _ignore)
    with pytest.raises(ValueError, match="0 to"):
        event_log.append([NewRecord(-1, b"bad", 1)], _ignore)
    with pytest.raises(ValueError, match=str(MAX_RECORD_BYTES)):
        event_log.append([NewRecord(0, b"good", 0), NewRecord(0, bytes(MAX_RECORD_BYTES + 1), 1)], _ignore)
    event_log.append([], _ignore)
    await append(event_log, (0, bytes(MAX_RECORD_BYTES)))
    (record,) = await event_log.read(0, 0, 1 << 20)
    assert len(record.value) == MAX_RECORD_BYTES


async def test_reads_ranges(event_log: EventLog) -> None:
    """A read starts at its offset, stops at its bytes but gives at least one record, and is empty at the end."""
    settled = await append(event_log, *[(0, b"%03d" % n * 100) for n in range(20)])
    offsets = [s.offset for s in settled]
    assert [r.offset for r in await event_log.read(0, offsets[5], 1)] == offsets[5:6]
    assert [r.offset for r in await event_log.read(0, offsets[5], 900)] == offsets[5:8]
    assert [r.offset for r in await event_log.read(0, offsets[5], 1 << 20)] == offsets[5:]
    assert list(await event_log.read(0, offsets[-1] + 1, 1)) == []
    assert list(await event_log.read(1, 0, 1)) == []


async def test_reads_ranges_of_an_earlier_run(engine: Engine) -> None:
    """Ranges are the same when nothing of them is in memory, however they were batched."""
    log = await engine.open()
    values = [b"%03d" % n * 100 for n in range(40)]
    for at in range(0, 40, 5):
        await append(log, *[(at // 5 % 2, value) for value in values[at : at + 5]])
    before = {p: list(await log.read(p, 0, 1 << 20)) for p in (0, 1)}
    await log.close()
    log = await engine.open()
    for partition, records in before.items():
        for at, record in enumerate(records):
            assert list(await log.read(partition, record.offset, 1)) == records[at : at + 1]
            assert list(await log.read(partition, record.offset, 900)) == records[at : at + 3]
            assert list(await log.read(partition, record.offset, 1 << 20)) == records[at:]
    await log.close()


async def test_end_offsets_cover_what_was_settled(event_log: EventLog) -> None:
    """The end is one above the last durable record, and each partition has its own."""
    assert set((await event_log.end_offsets(range(PARTITIONS))).values()) == {0}
    settled = await append(event_log, (0, b"a"), (0, b"b"), (1, b"c"))
    assert await event_log.end_offsets([0, 1, 2]) == {
        0: settled[1].offset + 1,
        1: settled[2].offset + 1,
        2: 0,
    }


async def test_knows_partitions_as_kafka_does(event_log: EventLog) -> None:
    """A user's partition is Kafka's default for the user's id as key."""
    assert event_log.partition_count == PARTITIONS
    for user in ("alice", "bob", "x" * 255):
        assert event_log.partition_of(user) == partition_for(user, PARTITIONS)


async def test_a_lone_member_owns_and_reads_everything(event_log: EventLog) -> None:
    """It is told of every partition before any of its records, which then come in order, old and new."""
    await append(event_log, *[(n % PARTITIONS, b"old%d" % n) for n in range(40)])
    member = Member(event_log)
    await poll_until(lambda: len(member.owned) == PARTITIONS, member)
    assert all(
        a.committed is None and (a.start_offset, a.end_offset) == (0, 10) for a in member.owned.values()
    )
    await append(event_log, *[(n % PARTITIONS, b"new%d" % n) for n in range(40)])
    await poll_until(lambda: member.count == 80, member)
    for partition in range(PARTITIONS):
        assert member.values(partition) == [
            b"%s%d" % (age, n) for age in (b"old", b"new") for n in range(partition, 40, PARTITIONS)
        ]
    await member.consumer.close()


async def test_groups_read_independently(event_log: EventLog) -> None:
    """Two groups each get every record."""
    members = Member(event_log, "delivery"), Member(event_log, "history")
    await append(event_log, *[(n % PARTITIONS, b"%d" % n) for n in range(20)])
    await poll_until(lambda: all(member.count == 20 for member in members), *members)
    for member in members:
        await member.consumer.close()


async def test_an_empty_poll_waits_and_a_commit_wakes_it(event_log: EventLog) -> None:
    """A poll with nothing to tell returns empty after its time, and one that waits returns when records land."""
    member = Member(event_log)
    await poll_until(lambda: len(member.owned) == PARTITIONS, member)
    assert await member.consumer.poll(0.01) == ((), (), ())
    waiting = asyncio.create_task(member.consumer.poll(PATIENCE_S))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await append(event_log, (3, b"wake"))
    polled = await asyncio.wait_for(waiting, PATIENCE_S / 2)
    assert [(p, [r.value for r in records]) for p, records in polled.records] == [(3, [b"wake"])]
    await member.consumer.close()


async def test_a_cancelled_poll_loses_nothing(event_log: EventLog) -> None:
    """Records that a cancelled poll might have returned come with the next."""
    member = Member(event_log)
    await poll_until(lambda: len(member.owned) == PARTITIONS, member)
    for n in range(20):
        waiting = asyncio.create_task(member.poll(PATIENCE_S))
        await asyncio.sleep(0)
        appending = asyncio.create_task(append(event_log, (0, b"%d" % n)))
        for _ in range(n):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await appending
    await poll_until(lambda: member.count == 20, member)
    assert member.values(0) == [b"%d" % n for n in range(20)]
    await member.consumer.close()


async def test_goes_on_at_the_commit(engine: Engine) -> None:
    """A new owner starts at the committed offset and is given the metadata, also after everything was closed."""
    log = await engine.open()
    await append(log, *[(0, b"%d" % n) for n in range(10)])
    member = Member(log)
    await poll_until(lambda: member.count == 10, member)
    commit = Commit(4, "1." + "m~!" * 1_364)
    assert len(commit.metadata) == 4_094
    await member.consumer.commit({0: commit, 1: Commit(0, "")})
    assert await log.committed("group", range(PARTITIONS)) == {0: commit, 1: Commit(0, "")}
    assert await log.committed("other", range(PARTITIONS)) == {}
    await member.consumer.close()
    generation = member.owned[0].generation
    await log.close()

    log = await engine.open()
    assert await log.committed("group", [0, 3]) == {0: commit}
    member = Member(log)
    await poll_until(lambda: member.count == 6, member)
    assert member.values(0) == [b"%d" % n for n in range(4, 10)]
    assert member.owned[0].committed == commit
    assert member.owned[2].committed is None
    assert member.owned[0].generation > generation
    await member.consumer.close()
    await log.close()


async def test_closing_commits_nothing(event_log: EventLog) -> None:
    """Who joins after a member left without committing reads everything again."""
    await append(event_log, (0, b"a"), (1, b"b"))
    for _ in range(2):
        member = Member(event_log)
        await poll_until(lambda member=member: member.count == 2, member)  # type: ignore[misc]
        await member.consumer.close()
        await member.consumer.close()


async def test_seek_moves_back_and_forth(event_log: EventLog) -> None:
    """After a seek the next record of the partition is the one asked for, once it is there; others go on as they were."""
    await append(event_log, *[(n % 2, b"%d" % n) for n in range(20)])
    member = Member(event_log)
    await poll_until(lambda: member.count == 20, member)
    member.consumer.seek(0, 7)
    await poll_until(lambda: len(member.records[0]) == 13, member)
    assert [r.offset for r in member.records[0]] == [*range(10), 7, 8, 9]
    member.consumer.seek(0, 12)
    await append(event_log, *[(0, b"later") for _ in range(4)])
    await poll_until(lambda: len(member.records[0]) == 15, member)
    assert [r.offset for r in member.records[0]][-2:] == [12, 13]
    assert len(member.records[1]) == 10
    with pytest.raises(ValueError, match="below 0"):
        member.consumer.seek(0, -1)
    with pytest.raises(ValueError, match="not assigned"):
        member.consumer.seek(PARTITIONS, 0)
    await member.consumer.close()


async def test_seek_where_assigned_comes_before_any_record(event_log: EventLog) -> None:
    """A seek right after the poll that assigned a partition decides its first record."""
    await append(event_log, *[(0, b"%d" % n) for n in range(10)])
    member = Member(event_log)
    await poll_until(lambda: 0 in member.owned, member)
    assert member.count == 0
    member.consumer.seek(0, 8)
    await poll_until(lambda: member.count == 2, member)
    assert [r.offset for r in member.records[0]] == [8, 9]
    await member.consumer.close()


async def test_pause_holds_one_partition_and_loses_nothing(event_log: EventLog) -> None:
    """A paused partition gives no records while others do; resumed, it goes on with the next one."""
    member = Member(event_log)
    await append(event_log, (0, b"0"), (1, b"0"))
    await poll_until(lambda: member.count == 2, member)
    member.consumer.pause([0, PARTITIONS])
    for n in range(1, 6):
        await append(event_log, (0, b"%d" % n), (1, b"%d" % n))
    await poll_until(lambda: len(member.records[1]) == 6, member)
    await member.poll(0.1)
    assert member.values(0) == [b"0"]
    member.consumer.resume([0, 1])
    await poll_until(lambda: len(member.records[0]) == 6, member)
    assert member.values(0) == member.values(1) == [b"%d" % n for n in range(6)]
    await member.consumer.close()


async def test_what_is_asked_for_when_it_is_paused_does_not_come(event_log: EventLog) -> None:
    """A consumer that waits at the end and is paused gives nothing of what is appended then, however often that is so."""
    member = Member(event_log)
    await poll_until(lambda: len(member.owned) == PARTITIONS, member)
    for n in range(5):
        await append(event_log, (0, b"%d" % n))
        await poll_until(lambda n=n: member.count == n + 1, member)  # type: ignore[misc]
        await member.poll(0.25)
        member.consumer.pause([0])
        await append(event_log, (0, b"paused"))
        polled = await member.consumer.poll(0.1)
        assert not polled.records
        member.consumer.seek(0, 2 * n + 2)
        member.consumer.resume([0])
    await member.consumer.close()


async def test_members_share_and_hand_over(event_log: EventLog) -> None:
    """A second member takes half, each partition only after its owner let go; each record is read by an owner, once."""
    first = Member(event_log)
    await append(event_log, *[(n % PARTITIONS, b"%d" % n) for n in range(20)])
    await poll_until(lambda: first.count == 20, first)
    second = Member(event_log)
    revoked: tuple[int, ...] = ()
    async with asyncio.timeout(PATIENCE_S):
        while not revoked:
            await second.poll()
            assert not second.owned
            polled = await first.consumer.poll(0.05)
            revoked = polled.revoked
            assert not polled.assigned
    assert len(revoked) == PARTITIONS // 2
    await second.poll()
    assert not second.owned, "given to another before the old owner let go"
    await first.consumer.commit({partition: Commit(5, "handed over") for partition in revoked})
    for partition in revoked:
        del first.owned[partition]
    await poll_until(lambda: len(second.owned) == len(revoked), first, second)
    assert set(second.owned) == set(revoked)
    assert not set(first.owned) & set(second.owned)
    for partition, assignment in second.owned.items():
        assert assignment.committed == Commit(5, "handed over")
        assert assignment.generation > first.history[partition].generation
    await append(event_log, *[(n % PARTITIONS, b"%d" % n) for n in range(20, 40)])
    await poll_until(lambda: first.count + second.count == 40, first, second)
    for partition in range(PARTITIONS):
        owner = first if partition in first.owned else second
        expected = [b"%d" % n for n in range(partition, 40, PARTITIONS)]
        assert owner.values(partition) == (expected if owner is first else expected[5:])
    await first.consumer.close()
    await poll_until(lambda: len(second.owned) == PARTITIONS, second)
    await second.consumer.close()


async def test_only_the_owner_commits(event_log: EventLog) -> None:
    """A commit of a partition that is another's is fenced, whole; of one just revoked it stands until the next poll."""
    first = Member(event_log)
    await poll_until(lambda: len(first.owned) == PARTITIONS, first)
    second = Member(event_log)
    with pytest.raises(CommitFenced):
        await second.consumer.commit({0: Commit(0, "")})
    await poll_until(lambda: len(second.owned) == PARTITIONS // 2, first, second)
    mine, others = min(first.owned), min(second.owned)
    with pytest.raises(CommitFenced):
        await first.consumer.commit({mine: Commit(1, "x"), others: Commit(1, "x")})
    assert await event_log.committed("group", range(PARTITIONS)) == {}
    await second.consumer.commit({others: Commit(0, "y")})
    await second.consumer.close()
    with pytest.raises(LogUnavailable):
        await second.consumer.commit({others: Commit(0, "z")})
    with pytest.raises(LogUnavailable):
        await second.consumer.poll(0.01)
    assert await event_log.committed("group", [others]) == {others: Commit(0, "y")}
    await first.consumer.close()


async def test_refuses_bad_commits(event_log: EventLog) -> None:
    """More metadata than any engine keeps, text that is not ASCII, or an offset below 0 is refused."""
    member = Member(event_log)
    await poll_until(lambda: len(member.owned) == PARTITIONS, member)
    for commit in (Commit(0, "x" * 4_097), Commit(0, "é"), Commit(-1, "")):
        with pytest.raises(ValueError, match="partition 0"):
            await member.consumer.commit({0: commit})
    await member.consumer.commit({})
    assert await event_log.committed("group", range(PARTITIONS)) == {}
    await member.consumer.close()


async def test_ownership_survives_any_coming_and_going(event_log: EventLog) -> None:
    """Members join, leave, commit and read at random: no two own a partition at once, generations rise, none is left over.

    From commits alone the group reads every record at least once.
    """
    random_ = random.Random(7)
    members: list[Member] = []
    generation = dict.fromkeys(range(PARTITIONS), -1)
    seen: dict[int, set[int]] = {partition: set() for partition in range(PARTITIONS)}
    appended = dict.fromkeys(range(PARTITIONS), 0)

    async def step(member: Member) -> None:
        known = len(member.history)
        await member.poll(0.001)
        for assignment in member.history[known:]:
            assert assignment.generation > generation[assignment.partition]
            generation[assignment.partition] = assignment.generation
            assert not any(assignment.partition in other.owned for other in members if other is not member)
        for partition, records in member.records.items():
            offsets = [record.offset for record in records]
            seen[partition].update(offsets)
            if offsets and partition in member.owned:
                await member.consumer.commit({partition: Commit(offsets[-1] + 1, "")})
        member.records.clear()

    for _ in range(150):
        action = random_.random()
        if action < 0.1 and len(members) < 6:
            members.append(Member(event_log))
        elif action < 0.18 and members:
            await members.pop(random_.randrange(len(members))).consumer.close()
        elif action < 0.5:
            partition = random_.randrange(PARTITIONS)
            await append(event_log, (partition, b"%d" % appended[partition]))
            appended[partition] += 1
        elif members:
            await step(random_.choice(members))
    members = members or [Member(event_log)]

    def is_settled() -> bool:
        owned = sorted(partition for member in members for partition in member.owned)
        return owned == list(range(PARTITIONS)) and all(seen[p] == set(range(appended[p])) for p in seen)

    async with asyncio.timeout(PATIENCE_S):
        while not is_settled():
            for member in members:
                await step(member)
    for member in members:
        await member.consumer.close()


async def test_dead_letters_are_kept_once(engine: Engine) -> None:
    """The same letter twice is one; all of them are told as they are, also by a log that was opened anew."""
    letters = [
        DeadLetter(0, 5, "not a record", b"\xff", 1_700_000_000_000_000, 7, False),
        DeadLetter(1, 5, "no kind", b"", 1_700_000_000_000_001, 8, True),
        DeadLetter(1, 6, "too new", bytes(1_000_000), 1_700_000_000_000_002, 9, True),
    ]
    event_log = await engine.open()
    assert [letter async for letter in event_log.dead_letters()] == []
    await event_log.dead_letter(letters[:2])
    await event_log.dead_letter(letters)
    await event_log.dead_letter([])
    await event_log.close()
    event_log = await engine.open()
    assert sorted([letter async for letter in event_log.dead_letters()]) == letters
    await event_log.close()


async def test_dead_letters_are_forgotten(event_log: EventLog) -> None:
    """Those that are named and no others; what is kept anew after that is there again."""
    letters = [DeadLetter(n % PARTITIONS, n, f"why {n}", b"%d" % n) for n in range(100)]
    await event_log.dead_letter(letters)
    await event_log.forget_dead_letters([letter.place for letter in letters[10:]])
    await event_log.forget_dead_letters([(0, 1_000)])
    await event_log.forget_dead_letters([])
    assert sorted([letter async for letter in event_log.dead_letters()]) == sorted(letters[:10])
    await event_log.dead_letter([letters[50]])
    assert sorted([letter async for letter in event_log.dead_letters()]) == sorted(
        [*letters[:10], letters[50]]
    )


async def test_takes_many_appends_and_reads_them_meanwhile(event_log: EventLog) -> None:
    """20,000 records from several tasks while a member reads: all appended, all read, in order and without holes."""
    member = Member(event_log)
    told: list[Settled[tuple[int, int]]] = []
    callers, each = 4, 5_000

    async def send(caller: int) -> None:
        for n in range(0, each, 20):
            records = [
                NewRecord((caller + i) % PARTITIONS, b"%d:%d" % (caller, i), (caller, i))
                for i in range(n, n + 20)
            ]
            event_log.append(records, told.extend)
            await asyncio.sleep(0)

    await asyncio.gather(*[send(caller) for caller in range(callers)])
    # A record may be read before its appender is told.
    await poll_until(lambda: member.count == len(told) == callers * each, member)
    assert all(s.fate is Fate.APPENDED for s in told)
    for records in member.records.values():
        assert [r.offset for r in records] == list(range(len(records)))
        for caller in range(callers):
            mine = [int(v.split(b":")[1]) for r in records if (v := r.value).startswith(b"%d:" % caller)]
            assert mine == sorted(mine)
    await member.consumer.close()
