from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from messaging_server.ownership import Ownership


def opened(*instances: str) -> tuple[Ownership[str], list[str]]:
    ownership: Ownership[str] = Ownership(2)
    links = [f"{name}{n}" for n, name in enumerate(instances)]
    for link, name in zip(links, instances, strict=True):
        ownership.opened(link, name)
    return ownership, links


def test_the_highest_generation_owns_and_a_late_release_unseats_nobody() -> None:
    """A former owner's release, or its claim of an older generation, changes nothing (R7)."""
    ownership, (a, b) = opened("a", "b")
    assert ownership.claim(a, 0, 1) == [0]
    assert ownership.claim(b, 0, 2) == [0]
    assert ownership.release(a, 0) == []
    assert ownership.claim(a, 0, 1) == []
    assert ownership.owner(0) == b
    assert ownership.release(b, 0) == [0]
    assert ownership.owner(0) == a


def test_of_one_generation_the_newest_link_owns() -> None:
    """A redialled link takes its partitions over from the one it replaces."""
    ownership, (old,) = opened("a")
    ownership.claim(old, 1, 5)
    assert ownership.opened("new", "a") == old
    ownership.claim("new", 1, 5)
    assert ownership.owner(1) == "new"
    assert ownership.ended(old) == []
    assert ownership.owner(1) == "new"


def test_a_link_that_ends_releases_everything() -> None:
    """Nothing outlives a link: a group made anew starts with low generations and is heard."""
    ownership, (a,) = opened("a")
    ownership.claim(a, 0, 9)
    ownership.claim(a, 1, 9)
    assert ownership.ended(a) == [0, 1]
    ownership.opened("b", "b")
    assert ownership.claim("b", 0, 1) == [0]
    assert ownership.claim(a, 1, 10) == []


def test_claiming_again_makes_sessions_attach_again() -> None:
    """What was registered under a link's former claim is gone with it."""
    ownership, (a,) = opened("a")
    ownership.claim(a, 0, 1)
    assert ownership.claim(a, 0, 2) == [0]


def test_complete_once_every_partition_had_an_owner() -> None:
    """A server is ready from then on, whatever is released later."""
    ownership, (a,) = opened("a")
    ownership.claim(a, 0, 1)
    assert not ownership.complete
    ownership.claim(a, 1, 1)
    ownership.release(a, 0)
    assert ownership.complete


STEPS = st.lists(
    st.tuples(st.sampled_from(["open", "claim", "release", "end"]), st.integers(0, 3), st.integers(1, 3)),
    max_size=40,
)


@given(STEPS)
def test_the_owner_is_the_highest_live_claim(steps: list[tuple[str, int, int]]) -> None:
    """After any steps the owner is the live link with the highest (generation, newest), and every change was told."""
    ownership: Ownership[int] = Ownership(1)
    order: dict[int, int] = {}
    claims: dict[int, int] = {}
    before: Any = None
    for count, (kind, link, generation) in enumerate(steps):
        changed: list[int] = []
        if kind == "open" and link not in order:
            ownership.opened(link, f"instance{link}")
            order[link] = count
        elif kind == "claim":
            changed = ownership.claim(link, 0, generation)
            if link in order:
                claims[link] = generation
        elif kind == "release":
            changed = ownership.release(link, 0)
            claims.pop(link, None)
        elif kind == "end":
            changed = ownership.ended(link)
            order.pop(link, None)
            claims.pop(link, None)
        expected = max(claims, key=lambda one: (claims[one], order[one]), default=None)
        assert ownership.owner(0) == expected
        if expected != before:
            assert changed == [0]
        before = expected
