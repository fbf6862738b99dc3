"""What is fuzzed: each subject is a test with a short form under pytest, and any number of examples from the command line.

A subject is a function that must hold for every example of its strategies. The long form is `python -m tests.fuzz`.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

CHUNK = 5_000
"""Examples of one run of hypothesis: it remembers all that it tried, so longer runs take more memory than they find."""
_SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
"""What is judged by the time it takes says more about the machine than about the subject."""


@dataclass
class Subject:
    """One subject."""

    name: str
    check: Callable[..., None]
    share: int
    """How many of the long form's examples it gets, of about a thousand: more where one costs less or finds more."""
    strategies: dict[str, SearchStrategy[Any]] = field(repr=False)
    examples: int = 0
    """Run so far by `run`."""

    def run(self, examples: int, start: int) -> None:
        """This many examples, the same ones for the same `start`. Raises what the falsifying one raises."""
        numbers = random.Random(f"{self.name} {start}")
        done = 0
        while done < examples:
            before = self.examples
            self._run_chunk(min(CHUNK, examples - done), numbers.getrandbits(64))
            done += max(1, self.examples - before)

    def _run_chunk(self, examples: int, number: int) -> None:
        def counted(**values: Any) -> None:
            self.examples += 1
            self.check(**values)

        counted.__name__ = counted.__qualname__ = self.name
        run = seed(number)(given(**self.strategies)(counted))
        phases = (Phase.generate, Phase.shrink)
        quiet = settings(
            max_examples=examples,
            deadline=None,
            database=None,
            print_blob=True,
            phases=phases,
            suppress_health_check=_SLOW,
        )
        quiet(run)()


SUBJECTS: dict[str, Subject] = {}
"""Every subject by its name, once its module is imported."""


def subject(
    share: int, short: int = 100, **strategies: SearchStrategy[Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a check a subject, and a test of `short` examples."""

    def register(check: Callable[..., None]) -> Callable[..., None]:
        name = check.__name__.removeprefix("test_")
        SUBJECTS[name] = Subject(name, check, share, strategies)
        brief = settings(
            max_examples=short, deadline=None, database=None, print_blob=True, suppress_health_check=_SLOW
        )
        return brief(given(**strategies)(check))

    return register
