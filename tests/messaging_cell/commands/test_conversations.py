"""`cell conversations`."""

import json

from tests.messaging_cell.running import RunningCell, until


def test_conversations_are_listed_with_what_is_unread(cell: RunningCell) -> None:
    """The latest active first; --unread leaves out what was read; --json has the contract's names."""
    for sender, text in (("ann18", "first"), ("cat18", "second"), ("bob18", "mine")):
        cell.run("send", "bob18" if sender != "bob18" else "dan18", text, "--from", sender)
    until(lambda: cell.run("conversations", "bob18").stdout.count("\n") == 3, "history has them")
    names = [line.split()[0] for line in cell.run("conversations", "bob18").stdout.splitlines()]
    assert names == ["dan18", "cat18", "ann18"]
    unread = cell.run("conversations", "bob18", "--unread", "--json").stdout.splitlines()
    told = [json.loads(line) for line in unread]
    assert [each["unread_count"] for each in told] == [1, 1]
    assert told[0]["participant_ids"] == ["bob18", "cat18"]
    assert told[0]["kind"] == "CONVERSATION_KIND_DIRECT"
    assert cell.run("conversations", "nobody18").stdout == ""
