"""The scenarios: each a conversation that tries one rule. Its docstring is the rule, with the reason."""

from check.conformance.scenarios import cursors, endings, limits, opening, outcomes, restarts, updates
from check.conformance.scenarios.scenario import Scenario, scenarios_of

ALL: list[Scenario] = [
    scenario
    for module in (opening, limits, updates, cursors, outcomes, endings, restarts)
    for scenario in scenarios_of(module)
]
"""In the order in which a client's life has them."""

__all__ = ["ALL", "Scenario"]
