from telemetry.sampling import Sampler

SAMPLED = f"00-{1:032x}-{1:016x}-01"
NOT_SAMPLED = SAMPLED[:-1] + "0"


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_context_decides() -> None:
    """Whoever sends a trace context has decided, for and against; chance is for those who send none, or none that is one."""
    never, always = Sampler(0.0, 1_000), Sampler(1.0, 1_000)
    assert never.samples(SAMPLED)
    assert not always.samples(NOT_SAMPLED)
    for nothing in ("", "00-trace", "x" * 64):
        assert always.samples(nothing)
        assert not never.samples(nothing)


def test_chance_is_a_share() -> None:
    """About so many of those that say nothing."""
    sampler = Sampler(0.25, 100_000)
    assert 1_500 < sum(sampler.samples("") for _ in range(10_000)) < 3_500


def test_a_rate_bounds_what_clients_ask_for() -> None:
    """After a burst of a second's worth no more than the rate, whatever contexts say; what was refused is counted."""
    clock = Clock()
    sampler = Sampler(0.0, 10, clock)
    assert sum(sampler.samples(SAMPLED) for _ in range(100)) == 10
    assert sampler.refused == 90
    clock.now_s += 0.5
    assert sum(sampler.samples(SAMPLED) for _ in range(100)) == 5
    clock.now_s += 60
    assert sum(sampler.samples(SAMPLED) for _ in range(100)) == 10
