import pytest

from cell.delivery.v1 import session_link_pb2 as link
from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core.refusals import RULES, Refused
from messaging_server.figures import ServerFigures, kind_of
from telemetry import catalogue

COMMANDS = [field.name for field in messaging.Command.DESCRIPTOR.oneofs_by_name["command"].fields]


def labels(figures: ServerFigures, metric: object) -> set[tuple[str, ...]]:
    return {figure.labels for figure in figures if figure.metric is metric}


def test_whatever_is_counted_has_a_name() -> None:
    """Every reason and outcome of a refusal, and attaches of an owner that knows more than this server."""
    figures = ServerFigures()
    for reason, rule in RULES.items():
        for outcome in rule.outcomes:
            figures.refused("message", Refused(reason, "", outcome=outcome))  # type: ignore[arg-type]
    figures.attaches[link.ATTACH_OUTCOME_BEHIND] += 1
    figures.attaches[99] += 1
    refused = {told for told in labels(figures, catalogue.COMMANDS) if told[1] != "accepted"}
    assert len(refused) == sum(len(rule.outcomes) for rule in RULES.values())
    assert ("message", "unknown", "DEADLINE") in refused
    assert labels(figures, catalogue.ATTACHES) == {("behind",), ("other",)}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_counted_by_what_it_is(command: str) -> None:
    """By the event that it makes, else by its own name; so there are few series, whatever clients send."""
    made = {"send_message": "message", "react": "reaction", "unreact": "reaction"}
    made |= {"mark_read": "read_mark", "mark_received": "received_mark"}
    assert kind_of(command) == made.get(command, command)
    assert kind_of(None) == "unknown"
