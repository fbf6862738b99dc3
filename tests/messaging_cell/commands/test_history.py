"""`cell history`: which messages, and how they are shown."""

import json

from tests.messaging_cell.running import RunningCell, assert_said, until


def test_history_before_and_after_a_time(cell: RunningCell) -> None:
    """The last ones before it, the first ones from it on; one of them at a time, and a time that is one."""
    for number in range(4):
        cell.run("send", "bob19", f"m{number}", "--from", "ann19")
    until(lambda: "m3" in cell.run("history", "ann19", "bob19").stdout, "history has them")
    everything = cell.run("history", "ann19", "bob19", "--json").stdout.splitlines()
    second = json.loads(everything[2])["message"]["ref"]["sent_at"]
    before = cell.run("history", "ann19", "bob19", "--before", second, "--count", "1").stdout
    after = cell.run("history", "ann19", "bob19", "--after", second, "--count", "1").stdout
    assert before.endswith("m1\n")
    assert after.endswith("m2\n")
    assert_said(
        cell.run("history", "ann19", "bob19", "--at", "noon"), 2, "--at", "'noon' is no time", "15:00"
    )
    assert_said(
        cell.run("history", "ann19", "bob19", "--at", "15:00", "--after", "1h"), 2, "--at and --after"
    )


def test_json_is_harmless_to_a_terminal_and_means_the_same(cell: RunningCell) -> None:
    """Control characters and direction overrides are escaped; what is read back is what was sent."""
    said = "\x9b2J \x1b[2J \u202e\u2066 \x7f 🎉"
    cell.run("send", "bob21", "--from", "ann21", given=said)
    shown = cell.run("history", "bob21", "ann21", "--json").stdout
    assert not set(shown) & {"\x9b", "\x1b", "\u202e", "\u2066", "\x7f"}
    assert json.loads(shown)["message"]["content"]["text"] == said
