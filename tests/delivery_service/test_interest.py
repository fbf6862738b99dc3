"""Which links want which users, against a plain set of triples."""

from random import Random

import pytest

from delivery_service.interest import Interest

LINKS = ("x", "y", "z")
USERS = ("ann", "bob", "cem", "dee")


def wanted(triples: set[tuple[str, int, str]], users: list[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for user in users:
        for link, number, name in triples:
            if name == user:
                found.setdefault(link, []).append(number)
    return {link: sorted(numbers) for link, numbers in found.items()}


@pytest.mark.parametrize("seed", range(40))
def test_numbers_are_those_added_and_not_removed(seed: int) -> None:
    """Adds, removals and ends of links in any order leave exactly what is still wanted; nothing outlives a link (R7)."""
    random = Random(seed)
    interest: Interest[str] = Interest()
    triples: set[tuple[str, int, str]] = set()
    for _ in range(200):
        link, number, user = random.choice(LINKS), random.randrange(5), random.choice(USERS)
        match random.randrange(6):
            case 0:
                interest.drop(link)
                triples = {t for t in triples if t[0] != link}
            case 1 | 2:
                interest.remove(link, number)
                triples = {t for t in triples if t[:2] != (link, number)}
            case _:
                interest.add(link, number, user)
                if any(t[0] == link and t[2] == user and t[1] >= number for t in triples):
                    continue  # known by a later number
                triples = {t for t in triples if t[:2] != (link, number) and (t[0], t[2]) != (link, user)}
                triples.add((link, number, user))
        users = random.sample(USERS, random.randint(0, 4))
        found = {link: sorted(numbers) for link, numbers in interest.numbers(users).items()}
        assert found == wanted(triples, users)
        assert set(interest.links) == {t[0] for t in triples}


def test_an_attach_of_a_number_before_does_not_hide_the_user() -> None:
    """Answered late, it must not take the place of the number that the server knows the user by, even past the last one."""
    for before, after in ((17, 22), (2**32 - 1, 1)):
        interest: Interest[str] = Interest()
        interest.add("x", after, "ann")
        interest.add("x", before, "ann")
        interest.add("y", before, "ann")
        assert interest.numbers(["ann"]) == {"x": [after], "y": [before]}
