"""The recent window, against a list of everything that was ever added."""

from random import Random

import pytest

from delivery_service.window import Missing, Told, Window
from messaging_core.events import PositionedEvent

USERS = ("ann", "bob", "cem")


def event(offset: int, size: int = 10) -> PositionedEvent:
    return PositionedEvent(offset, bytes(size), offset, b"", "ann")


class Everything:
    """What the window must agree with."""

    def __init__(self) -> None:
        self.told: dict[int, tuple[PositionedEvent, tuple[str, ...] | None] | None] = {}

    def since(self, user: str, after: int) -> list[PositionedEvent]:
        return [
            told[0]
            for offset, told in self.told.items()
            if offset > after and told is not None and (told[1] is None or user in told[1])
        ]


def check(window: Window, everything: Everything, end: int) -> None:
    for user in USERS:
        for after in range(-1, end):
            found = window.since(user, after)
            if found is Missing.BEHIND:
                assert after + 1 < window.persisted, "sent to history, which may not have it"
            elif found is Missing.REREAD:
                assert window.floor <= after + 1 < window.start
            else:
                assert found == everything.since(user, after)
    for offset in range(window.floor, min(window.start, end)):
        told = everything.told[offset]
        if told is None:
            assert window.told(offset) is Told.INEFFECTIVE
        else:
            assert window.told(offset) is (Told.UNREADABLE if told[1] is None else Told.EFFECTIVE)


@pytest.mark.parametrize("seed", range(60))
def test_answers_exactly_what_was_added_or_says_who_has_it(seed: int) -> None:
    """Whatever is added, evicted and persisted, an answer is complete; BEHIND is said only of what history has."""
    random = Random(seed)
    max_bytes = random.choice([0, 3_000, 20_000])
    window, everything, end = Window(0, max_bytes), Everything(), 0
    for _ in range(60):
        match random.randrange(5):
            case 0:
                window.skip(end)
                everything.told[end] = None
                end += 1
            case 1 if end:
                window.history_has(random.randint(0, end + 2))
            case _:
                users = None if random.random() < 0.1 else tuple(random.sample(USERS, random.randint(1, 3)))
                added = event(end, random.choice([10, 500]))
                window.add(added, users)
                everything.told[end] = added, users
                end += 1
        assert window.size_bytes <= max_bytes
        check(window, everything, end)


def test_memory_is_given_back_in_full() -> None:
    """Evicting everything leaves nothing counted, so the estimate cannot drift."""
    window = Window(0, 100_000)
    for offset in range(2_000):
        window.add(event(offset), None if offset % 7 == 0 else USERS[: 1 + offset % 3])
    window.add(event(2_000, 200_000), ("ann",))
    assert window.size_bytes == 0
    assert window.start == 2_001


def test_a_stalled_history_never_costs_memory() -> None:
    """With nothing persisted the window stays within its bound, and everything can still be had from the log."""
    window = Window(0, 50_000)
    for offset in range(5_000):
        window.add(event(offset), ("ann",))
    assert window.size_bytes <= 50_000
    assert window.floor == 0
    assert window.since("ann", -1) is Missing.REREAD
    assert window.told(17) is Told.EFFECTIVE


def test_what_history_has_costs_nothing_although_the_window_has_room() -> None:
    """A client that repeats one command for ever makes records that stand for nothing: they do not add up."""
    window = Window(0, 50_000)
    for offset in range(5_000):
        window.skip(offset)
    window.history_has(4_990)
    assert list(window._ineffective) == list(range(4_990, 5_000))
    assert window.since("ann", -1) == []


def test_begins_behind_what_it_never_saw() -> None:
    """A new owner's window answers nothing from before its start (R8)."""
    window = Window(100, 50_000)
    assert window.since("ann", 98) is Missing.BEHIND
    assert window.since("ann", 99) == []
