"""Which faults are made when."""

from collections import Counter
from itertools import pairwise

from check.faults.schedule import Kind, choose, make

KINDS = {
    "kill": Kind(("a", "b"), 0.0, 2.0),
    "cut": Kind(("a-b",), 1.0, 6.0),
    "pause": Kind(("a", "b"), 1.0, 8.0, rest_s=10.0),
}


def test_it_is_a_function_of_the_seed() -> None:
    """The same seed gives the same faults, another one others."""
    assert make(1, 10, KINDS) == make(1, 10, KINDS)
    assert make(1, 10, KINDS) != make(2, 10, KINDS)


def test_a_shorter_run_begins_like_a_longer_one() -> None:
    """So what a long run found may show in a shorter one."""
    short, long = make(7, 2, KINDS), make(7, 20, KINDS)
    assert short
    assert long[: len(short)] == short


def test_every_kind_is_as_frequent_as_any_other() -> None:
    """In any run, to one."""
    for minutes in (2, 5, 30):
        counts = Counter(fault.kind for fault in make(3, minutes, KINDS))
        assert max(counts.values()) - min(counts[kind] for kind in KINDS) <= 1


def test_faults_keep_within_their_bounds() -> None:
    """They last as long as their kind says, hit what it says, and are over before the run is."""
    for fault in make(5, 30, KINDS):
        kind = KINDS[fault.kind]
        assert kind.least_s <= fault.lasts_s <= kind.most_s
        assert fault.target in kind.targets
        assert fault.at_s + fault.lasts_s < 30 * 60 - 10


def test_some_are_combined_and_most_are_alone() -> None:
    """Some begin while the one before lasts; after the others all is well for a while."""
    faults = make(11, 60, KINDS)
    combined = [b for a, b in pairwise(faults) if b.at_s <= a.at_s + a.lasts_s]
    assert 0.1 < len(combined) / len(faults) < 0.4
    assert [fault.number for fault in faults] == list(range(1, len(faults) + 1))
    assert faults == sorted(faults, key=lambda fault: fault.at_s)


def test_they_can_be_kept_apart() -> None:
    """Then none begins before the one before has been over for as long as was asked for."""
    faults = make(11, 60, KINDS, apart_s=25.0)
    assert len(faults) > 50
    assert all(b.at_s >= a.at_s + a.lasts_s + 24.9 for a, b in pairwise(faults))


def test_kinds_are_chosen_by_how_their_names_begin() -> None:
    """Those that must be asked for are left out where nothing is asked for."""
    kinds = {**KINDS, "kill more": Kind(("c",), 0.0, 1.0), "roll": Kind(("all",), 0.0, 1.0, only_asked=True)}
    assert choose(kinds, []).keys() == {"kill", "kill more", "cut", "pause"}
    assert choose(kinds, ["kill", "roll"]).keys() == {"kill", "kill more", "roll"}


def test_nothing_to_break_is_no_fault() -> None:
    """Without kinds the run is without faults."""
    assert make(1, 10, {}) == []
