"""Who owns which partition, over every coming and going."""

from hypothesis import given, settings
from hypothesis import strategies as st

from event_log.embedded_group import Group

ACTIONS = st.lists(st.tuples(st.sampled_from(["join", "leave", "poll"]), st.integers(0, 5)), max_size=60)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 20), ACTIONS)
def test_one_owner_at_a_time_and_balanced_in_the_end(partitions: int, actions: list[tuple[str, int]]) -> None:
    """Whoever joins, leaves or is slow: nobody is given what another still has, generations rise, shares end up even."""
    group: Group[int] = Group(partitions, 100)
    told: dict[int, set[int]] = {}
    working: dict[int, set[int]] = {}  # told and not let go
    generations = dict.fromkeys(range(partitions), 0)

    def poll(member: int) -> bool:
        group.let_go(member)
        working[member] = set(told[member])
        if not group.has_changes(member):
            return False
        changes = group.tell(member)
        assert set(changes.revoked) <= told[member]
        for partition in changes.assigned:
            assert not any(partition in others for others in working.values())
            assert changes.generation > generations[partition]
            generations[partition] = changes.generation
        told[member] = told[member] - set(changes.revoked) | set(changes.assigned)
        working[member] |= told[member]
        assert all(group.owns(member, partition) for partition in working[member])
        return True

    for action, member in [*actions, ("join", 99)]:
        if action == "join" and member not in told:
            group.join(member)
            told[member], working[member] = set(), set()
        elif action == "leave" and member in told:
            group.leave(member)
            del told[member], working[member]
            assert not group.owns(member, 0)
        elif action == "poll" and member in told:
            poll(member)
    for _ in range(10):
        for member in told:
            poll(member)
    changed = [poll(member) for member in told]
    assert not any(changed)
    assert sorted(partition for owned in told.values() for partition in owned) == list(range(partitions))
    sizes = [len(owned) for owned in told.values()]
    assert max(sizes) - min(sizes) <= 1


def test_a_newcomer_moves_no_more_than_its_share() -> None:
    """Sticky: when one joins, only what it gets moves; when it leaves, only that moves back."""
    group: Group[str] = Group(12, 1)
    shares: dict[str, set[int]] = {}
    for newcomer in "abcd":
        group.join(newcomer)
        shares[newcomer] = set()
        before = {member: set(owned) for member, owned in shares.items()}
        for _ in range(3):
            for member in shares:
                group.let_go(member)
                changes = group.tell(member)
                shares[member] = shares[member] - set(changes.revoked) | set(changes.assigned)
        assert len(shares[newcomer]) == 12 // len(shares)
        for member in shares:
            if member != newcomer:
                assert shares[member] <= before[member]
    group.leave("d")
    for member in "abc":
        changes = group.tell(member)
        assert not changes.revoked
        assert set(changes.assigned) <= shares["d"]
