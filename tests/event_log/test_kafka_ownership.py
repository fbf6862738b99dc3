"""Partitions are handed over so that no two members of a group believe to own one, whatever the group says when."""

import random
from collections.abc import Iterable

import pytest

from event_log.kafka_ownership import Ownership
from event_log.port import Assignment


def found(ownership: Ownership) -> None:
    ownership.found(Assignment(p, g, None, 0, 0) for p, g in ownership.to_look_up().items())


def given_to(ownership: Ownership, generation: int, partitions: Iterable[int]) -> list[Assignment]:
    ownership.assign(generation, tuple(partitions))
    found(ownership)
    return list(ownership.tell().assigned)


def test_tells_what_is_assigned_when_it_is_known_where_to_start() -> None:
    """Before that there is nothing to tell; afterwards the consumer owns it, of the generation that assigned it."""
    ownership = Ownership()
    ownership.assign(3, [1, 2])
    assert not ownership.has_changes
    assert not ownership.owns(1)
    assert ownership.to_look_up() == {1: 3, 2: 3}
    found(ownership)
    assert [(a.partition, a.generation) for a in ownership.tell().assigned] == [(1, 3), (2, 3)]
    assert ownership.owns(1)
    assert not ownership.has_changes


def test_what_is_revoked_is_owned_until_let_go() -> None:
    """It is told, may still be committed and is still claimed; once let go the group has to hear of it."""
    ownership = Ownership()
    given_to(ownership, 1, [1, 2])
    ownership.needs_join = False
    ownership.assign(2, [2])
    assert ownership.tell().revoked == (1,)
    assert ownership.owns(1)
    assert ownership.claims == [1, 2]
    assert (ownership.needs_join, ownership.is_letting_go) == (False, True)
    assert ownership.let_go()
    assert not ownership.owns(1)
    assert (ownership.claims, ownership.needs_join) == ([2], True)


def test_what_is_given_back_before_it_was_told_stays() -> None:
    """Revoked and assigned again before the consumer polled: it never hears of it, and the generation stays."""
    ownership = Ownership()
    given_to(ownership, 1, [1])
    ownership.assign(2, [])
    ownership.assign(3, [1])
    assert not ownership.has_changes
    assert ownership.owns(1)


def test_what_is_given_back_after_it_was_told_is_assigned_anew() -> None:
    """The consumer was told that it is revoked, so it is told again that it has it, of a later generation."""
    ownership = Ownership()
    given_to(ownership, 1, [1])
    ownership.assign(2, [])
    assert ownership.tell().revoked == (1,)
    ownership.assign(3, [1])
    assert not ownership.to_look_up()
    ownership.let_go()
    found(ownership)
    assert [(a.partition, a.generation) for a in ownership.tell().assigned] == [(1, 3)]


def test_what_was_never_told_is_let_go_at_once() -> None:
    """The consumer has not heard of it, so nothing has to be finished."""
    ownership = Ownership()
    ownership.assign(1, [1])
    found(ownership)
    ownership.needs_join = False
    ownership.assign(2, [])
    assert not ownership.has_changes
    assert ownership.needs_join
    assert ownership.claims == []


def test_what_is_lost_is_told_and_not_committed() -> None:
    """Put out of the group, the consumer owns nothing, though it does not know yet; it may get it back at once."""
    ownership = Ownership()
    given_to(ownership, 1, [1, 2])
    ownership.lose()
    assert not ownership.owns(1)
    assert ownership.claims == []
    ownership.assign(5, [2])
    found(ownership)
    told = ownership.tell()
    assert told.revoked == (1, 2)
    assert [(a.partition, a.generation) for a in told.assigned] == [(2, 5)]
    assert ownership.owns(2)
    assert not ownership.owns(1)


PARTITIONS = range(4)


class Group:
    """Members join, are put out, poll and let go at random; the group gives only what nobody claims."""

    def __init__(self, random_: random.Random) -> None:
        self.random = random_
        self.generation = 0
        self.members = [Ownership() for _ in range(3)]
        self.believed: list[set[int]] = [set() for _ in self.members]
        """What each consumer was told that it has."""
        self.finishing: list[set[int]] = [set() for _ in self.members]
        """What each was told is revoked, and has not let go."""
        self.out = set(range(3))
        """Not known to the group: put out, whether or not they have heard of it, or never in."""
        self.last = dict.fromkeys(PARTITIONS, 0)

    def rebalance(self) -> None:
        """All members that the group knows join, with their claims."""
        self.generation += 1
        taking_part = [m for m in range(3) if m not in self.out]
        claimed = {p: m for m in taking_part for p in self.members[m].claims}
        shares: dict[int, list[int]] = {m: [] for m in taking_part}
        for partition in PARTITIONS if taking_part else ():
            wanted = self.random.choice(taking_part)
            if claimed.get(partition, wanted) == wanted:
                shares[wanted].append(partition)
        for m, share in shares.items():
            self.members[m].needs_join = False
            self.members[m].assign(self.generation, share)

    def put_out(self, m: int) -> None:
        """The group takes everything from a member, which has not heard of it."""
        self.out.add(m)

    def hear(self, m: int) -> None:
        """The member hears that it was put out, and joins anew."""
        if m in self.out:
            self.members[m].lose()
            self.out.discard(m)

    def poll(self, m: int) -> None:
        """The consumer lets go of what it was told before, and is told what has changed."""
        member, believed = self.members[m], self.believed[m]
        member.let_go()
        self.finishing[m].clear()
        told = member.tell()
        assert believed.issuperset(told.revoked)
        believed.difference_update(told.revoked)
        self.finishing[m].update(told.revoked)
        for assignment in told.assigned:
            assert assignment.partition not in believed
            believed.add(assignment.partition)
            if m not in self.out:
                assert assignment.generation > self.last[assignment.partition]
                self.last[assignment.partition] = assignment.generation

    def step(self) -> None:
        m = self.random.randrange(3)
        action = self.random.random()
        if action < 0.25:
            self.rebalance()
        elif action < 0.3:
            self.put_out(m)
        elif action < 0.4:
            self.hear(m)
        elif action < 0.65:
            found(self.members[m])
        else:
            self.poll(m)

    def check(self) -> None:
        """Of the members that the group knows, one at most may commit a partition, and its consumer believes to have it."""
        for partition in PARTITIONS:
            owners = [m for m in range(3) if m not in self.out and self.members[m].owns(partition)]
            assert len(owners) <= 1
            assert all(partition in self.believed[m] | self.finishing[m] for m in owners)


@pytest.mark.parametrize("seed", range(20))
def test_no_two_own_a_partition(seed: int) -> None:
    """However members come, go, are put out and poll: one owner at most, and generations that rise."""
    group = Group(random.Random(seed))
    given_away = 0
    for _ in range(1_000):
        group.step()
        group.check()
        given_away = max(given_away, *group.last.values())
    assert given_away > 50
