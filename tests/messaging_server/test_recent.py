from messaging_server.recent import Rates, RecentCommands, RecentMarks


def test_another_payload_under_a_known_id_conflicts_within_the_window() -> None:
    """The same id with another digest is a conflict for W; with the same digest, or of another user, it is not."""
    recent = RecentCommands(10)
    assert not recent.conflicts("u", "id", 1, 0.0)
    assert not recent.conflicts("u", "id", 1, 30.0)
    assert recent.conflicts("u", "id", 2, 89.0)
    assert not recent.conflicts("v", "id", 2, 89.0)
    assert not recent.conflicts("u", "id", 2, 91.0)


def test_what_certainly_did_not_happen_is_forgotten() -> None:
    """After NOT_APPENDED the id is free for another payload."""
    recent = RecentCommands(10)
    assert not recent.conflicts("u", "id", 1, 0.0)
    recent.forget("u", "id")
    assert not recent.conflicts("u", "id", 2, 0.0)


def test_the_memory_is_bounded() -> None:
    """Old and surplus ids go."""
    recent = RecentCommands(3)
    for n in range(10):
        recent.conflicts("u", str(n), 1, 0.0)
    assert len(recent) == 3
    recent.conflicts("u", "late", 1, 100.0)
    recent.conflicts("u", "later", 1, 100.0)
    assert len(recent) <= 3


def test_a_rate_is_lasting_with_a_burst_of_as_much_again() -> None:
    """A user may send `rate` at once, then `rate` a second; the wait says when the next one is taken."""
    rates = Rates(10, 100)
    assert [rates.take("u", 0.0) for _ in range(10)] == [0.0] * 10
    wait_s = rates.take("u", 0.0)
    assert 0 < wait_s <= 0.1
    assert rates.take("u", wait_s + 1e-9) == 0.0
    taken = sum(rates.take("u", n / 100) == 0.0 for n in range(100, 1_100))
    assert 100 <= taken <= 110
    assert rates.take("v", 0.0) == 0.0


def test_rates_are_bounded() -> None:
    """The user least recently seen is forgotten."""
    rates = Rates(1, 2)
    for name in "abcab":
        rates.take(name, 0.0)
    assert len(rates) == 2


def test_who_is_not_ahead_of_the_rate_is_forgotten() -> None:
    """Many users with a command now and then take no lasting memory; one in a burst keeps what it has used."""
    rates = Rates(10, 1_000)
    for _ in range(10):
        rates.take("hasty", 1_000.0)
    for n in range(500):
        assert rates.take(f"u{n}", 1_000.5 + n / 1_000) == 0.0
    assert rates.take("hasty", 1_000.6) == 0.0
    for n in range(500):
        rates.take(f"v{n}", 1_002.0 + n)
    assert len(rates) <= 501
    for n in range(502):
        rates.take("one", 2_000.0 + n)
    assert len(rates) == 1


def test_a_mark_that_does_not_rise_is_known() -> None:
    """The same mark again and those behind it are durable already; one further on is not, nor another one beside it."""
    marks = RecentMarks(10)
    assert not marks.has("u", "c", 4, 5, b"m5")
    marks.durable("u", "c", 4, 5, b"m5")
    assert marks.has("u", "c", 4, 5, b"m5")
    assert marks.has("u", "c", 4, 4, b"m4")
    assert not marks.has("u", "c", 4, 5, b"another at the same time")
    assert not marks.has("u", "c", 4, 6, b"m6")
    assert not marks.has("u", "c", 3, 5, b"m5")
    marks.durable("u", "c", 4, 3, b"m3")
    assert marks.has("u", "c", 4, 5, b"m5")


def test_marks_are_bounded() -> None:
    """The mark that rose least recently is forgotten."""
    marks = RecentMarks(2)
    for sent_at_us, name in enumerate("abac", start=1):
        marks.durable(name, "c", 4, sent_at_us, b"")
    assert len(marks) == 2
    assert not marks.has("b", "c", 4, 2, b"")
