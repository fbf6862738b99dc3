"""What is stored of one record, and what is not stored again."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TypeVar

from google.protobuf import timestamp_pb2

from history_service.port import Batch, InboxRow, MessageRow
from history_service.rows import Lately, microseconds
from tests.history_service.written import WrittenLog

R = TypeVar("R")


def in_all(rows: Mapping[int, Sequence[R]]) -> list[R]:
    """Of all partitions."""
    return list(chain.from_iterable(rows.values()))


def batch_of(made: WrittenLog, *partitions: int) -> Batch:
    """Rows of all records of these partitions, by one consumer."""
    rows = made.rows()
    batch = Batch(made.incarnation)
    for partition in partitions:
        for reading in made.readings(partition):
            rows.add(batch, partition, reading)
    return batch


def apart(count: int) -> tuple[WrittenLog, list[str]]:
    """A log, and users of as many different partitions."""
    made = WrittenLog(8)
    users: dict[int, str] = {}
    number = 0
    while len(users) < count:
        users.setdefault(made.partition_of(f"user-{number}"), f"user-{number}")
        number += 1
    return made, sorted(users.values())


def test_a_direct_message_has_five_rows() -> None:
    """Between two partitions: the message once, an inbox row and an activity for each user."""
    made, (one, two) = apart(2)
    made.message(one, [two], "m1", 7)
    batch = batch_of(made, made.partition_of(one), made.partition_of(two))
    assert [type(row) for row in (*batch.messages, *in_all(batch.inbox))] == [MessageRow, InboxRow, InboxRow]
    assert {row.user_id for row in in_all(batch.inbox)} == {one, two}
    assert [last_at_us for _, last_at_us in sorted(batch.activity.items())] == [7, 7]
    assert list(batch.conversations.values()) == [(one, two)]
    assert not batch.shared_inbox


def test_a_copy_alone_stores_the_message() -> None:
    """A reader whose cursor covers a copy finds the message, though the origin's partition was not read here."""
    made, (one, two) = apart(2)
    made.message(one, [two], "m1", 7)
    batch = batch_of(made, made.partition_of(two))
    assert [row.message_id for row in batch.messages] == ["m1"]
    assert [row.user_id for row in in_all(batch.inbox)] == [two]
    assert list(batch.activity) == [(two, batch.messages[0].conversation_id)]
    assert not batch.conversations


def test_a_large_conversation_has_one_inbox_row_for_each_partition() -> None:
    """Users of a large conversation share a row for each record, and have one membership, not one a message."""
    made, users = apart(5)
    for number in range(3):
        made.message(users[0], users, f"m{number}", 7 + number)
    batch = batch_of(made, *(made.partition_of(user) for user in users))
    assert len(batch.messages) == 3
    assert len(batch.shared_inbox) == 15
    assert not batch.inbox
    assert not batch.activity
    assert {user for user, _ in batch.memberships} == set(users)


def test_marks_have_no_inbox_rows() -> None:
    """A mark is state of each user who is told; reactions are stored with their origin's position by every record."""
    made, (one, two) = apart(2)
    made.message(one, [], "before", 6)
    ref = made.message(one, [two], "m1", 7)
    made.read_mark(two, [one, two], ref)
    made.reaction(two, [one, two], ref, "+", False, "r1")
    batch = batch_of(made, made.partition_of(one), made.partition_of(two))
    assert sorted(row.user_id for row in in_all(batch.marks)) == [one, two]
    assert len(in_all(batch.inbox)) == 5
    (origin_offset,) = {row.origin_offset for row in batch.reactions}
    kinds = [reading.origin is not None for reading in made.readings(made.partition_of(two))]
    assert kinds[origin_offset]


def test_rows_that_never_change_are_made_once() -> None:
    """A message that is read again by the same consumer has its inbox rows again, and nothing else."""
    made = WrittenLog(1)
    made.message("ann", ["bob"], "m1", 7)
    rows, batch = made.rows(), Batch(made.incarnation)
    for _ in range(2):
        rows.add(batch, 0, made.readings(0)[0])
    assert len(batch.messages) == len(batch.conversations) == 1


def test_lately_remembers_the_last() -> None:
    """At least the last so many different items are remembered, and not for ever."""
    lately: Lately[int] = Lately(10)
    for item in range(1_000):
        assert lately.add(item)
        assert not any(map(lately.add, range(max(0, item - 3), item + 1)))
    assert lately.add(0)


def test_impossible_times_are_stored_as_possible_ones() -> None:
    """A time outside of what a Timestamp may be does not stop the store, whose integers have 64 bits."""
    assert microseconds(timestamp_pb2.Timestamp(seconds=2**62)) < 2**63
    assert microseconds(timestamp_pb2.Timestamp(seconds=-(2**62))) > -(2**63)
    assert microseconds(timestamp_pb2.Timestamp(seconds=3, nanos=5_999)) == 3_000_005
