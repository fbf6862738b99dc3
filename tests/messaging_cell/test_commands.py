"""The commands that talk to a running cell."""

import json
import shlex
import signal
import subprocess
from pathlib import Path

import jwt
import pytest

from tests.messaging_cell.running import CELL, DEADLINE_S, RunningCell, assert_said, environment, run

NOBODY = "127.0.0.1:1"


@pytest.mark.parametrize("command", [[], ["run"], ["chat"], ["send"], ["listen"], ["history"], ["token"]])
def test_every_command_explains_itself(tmp_path: Path, command: list[str]) -> None:
    """--help tells what a command does, and works without a cell, a folder or valid settings."""
    for flag in ("--help", "-h"):
        done = run(tmp_path / "none", *command, flag, CELL_PARTITIONS="x")
        assert done.returncode == 0
        assert "Usage: cell" in done.stdout
        assert len(done.stdout) > 500
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", ["send", "listen", "history", "conversations", "migrate", "replay"])
def test_flags_take_no_value_and_say_none(tmp_path: Path, command: str) -> None:
    """Their rows name no type, which would look like something to give; that of --help is the library's own."""
    rows = [line for line in run(tmp_path, command, "--help").stdout.splitlines() if "<bool>" in line]
    assert all("--help" in row for row in rows), rows


def test_wrong_usage_ends_with_2(tmp_path: Path) -> None:
    """An unknown command or flag, too few arguments, what is no user id."""
    for arguments in (
        ["frobnicate"],
        ["send"],
        ["send", "bob"],
        ["send", "bob", "hi", "--loud"],
        ["send", "two words", "hi"],
        ["send", "bob", "hi", "--from", "ünï"],
        ["send", "bob", "hi", "--id", "a b"],
        ["send", "bob", "hi", "--to", ""],
        ["token", "x" * 256],
        ["listen", "bob", "--count", "0"],
        ["history", "bob"],
        ["history", "bob", "ann", "--at", "noon"],
        ["chat", ""],
    ):
        done = run(tmp_path, *arguments)
        assert done.returncode == 2, arguments
        assert "Traceback" not in done.stderr
        assert done.stderr


@pytest.mark.parametrize(
    "command",
    [["send", "bob", "hi"], ["listen", "bob"], ["history", "bob", "ann"], ["chat", "bob"]],
    ids=lambda words: words[0],
)
def test_without_a_cell_they_say_how_to_start_one(
    cell: RunningCell, tmp_path: Path, command: list[str]
) -> None:
    """Nobody at the address: the command says so at once, and what to do. The same without a key to make a token with."""
    assert_said(
        cell.run(*command, CELL_ADDRESS=NOBODY), 4, f"No cell answers at {NOBODY}", "cell run", "--address"
    )
    assert_said(run(tmp_path, *command), 2, "no cell has run there", "cell run", "--data-folder")


def test_what_is_no_cell_is_told(cell: RunningCell, tmp_path: Path) -> None:
    """A bad address is refused by name, and so is a bad variable."""
    assert_said(
        cell.run("send", "bob", "hi", "--address", "there"),
        2,
        "--address: 'there' is not allowed",
        "host:port",
    )
    assert_said(
        cell.run("send", "bob", "hi", CELL_ADRESS="x:1"), 2, "CELL_ADRESS", "Did you mean CELL_ADDRESS?"
    )


def test_send_ends_with_0_once_it_is_accepted(cell: RunningCell) -> None:
    """What was accepted is in the conversation's history, once, also when it is sent again with the same id."""
    for _ in range(2):
        done = cell.run("send", "bob1", "hello 🎉", "--from", "ann1", "--id", "first")
        assert done.returncode == 0
        assert done.stdout.startswith("accepted: first from ann1\n")
    assert cell.run("send", "bob1", "-", "--from", "ann1", given="from\na pipe").returncode == 0
    shown = cell.run("history", "bob1", "ann1").stdout
    assert shown.count("hello 🎉") == 1
    assert "from\n      a pipe" in shown


def test_send_to_several_and_to_oneself(cell: RunningCell) -> None:
    """--to adds recipients; a message to oneself is a note."""
    done = cell.run("send", "bob2", "all", "--from", "ann2", "--to", "cat2", "--to", "bob2")
    assert done.returncode == 0
    assert "all" in cell.run("history", "cat2", "bob2", "ann2").stdout
    assert cell.run("send", "ann2", "note", "--from", "ann2").returncode == 0
    assert "note" in cell.run("history", "ann2", "ann2").stdout


def test_send_tells_why_it_was_refused(cell: RunningCell) -> None:
    """The cell's own words and the field, exit code 1; nothing was sent."""
    assert_said(cell.run("send", "bob3", "", "--from", "ann3"), 1, "The cell refused it", "content")
    assert_said(
        cell.run("send", "bob3", "-", "--from", "ann3", given="x" * 70_000), 1, "The cell refused it", "65536"
    )
    conflict = ["--from", "ann3", "--id", "same"]
    assert cell.run("send", "bob3", "one", *conflict).returncode == 0
    assert_said(cell.run("send", "bob3", "two", *conflict), 1, "The cell refused it")
    assert cell.run("history", "bob3", "ann3", "--json").stdout.count("\n") == 1


def test_tokens(cell: RunningCell, tmp_path: Path) -> None:
    """`cell token` makes what the cell takes, and --token and CELL_TOKEN work where there is no key."""
    token = cell.run("token", "ann4", "--hours", "1").stdout.strip()
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["sub"] == "ann4"
    assert claims["exp"] - claims["iat"] == 3_600
    elsewhere = {"CELL_ADDRESS": cell.address}
    done = run(tmp_path, "send", "bob4", "with a token", "--token", token, **elsewhere)
    assert "from ann4" in done.stdout
    shown = run(tmp_path, "history", "ann4", "bob4", CELL_TOKEN=token, **elsewhere)
    assert "with a token" in shown.stdout


def test_tokens_that_do_not_hold(cell: RunningCell, tmp_path: Path) -> None:
    """Of another user, of another key, or no token at all: a clear word, and never the token itself."""
    elsewhere = {"CELL_ADDRESS": cell.address}
    forged = jwt.encode({"sub": "ann5"}, "x" * 32, "HS256")
    for command in (["send", "bob5", "x"], ["history", "ann5", "bob5"], ["listen", "ann5"], ["chat", "ann5"]):
        done = run(tmp_path, *command, CELL_TOKEN=forged, **elsewhere)
        assert_said(done, 1, "does not take the access token", "signed with another key")
        assert forged not in done.stderr
    assert_said(
        run(tmp_path, "listen", "bob5", CELL_TOKEN=forged, **elsewhere),
        2,
        "from CELL_TOKEN is for ann5, not for bob5",
    )
    assert_said(
        run(tmp_path, "listen", "bob5", "--token", "rubbish", **elsewhere),
        1,
        "does not take the access token",
    )
    assert_said(run(tmp_path, "send", "bob5", "x", "--token", "rubbish", **elsewhere), 2, "--from")


def test_a_configured_secret_serves_the_commands_too(tmp_path: Path) -> None:
    """With the cell's CELL_JWT_SECRET around, commands make their tokens with it."""
    secret = {"CELL_JWT_SECRET": "s" * 40, "CELL_JWT_AUDIENCE": "cell"}
    with RunningCell(tmp_path, CELL_INSECURE="true", **secret) as cell:
        assert cell.run("send", "bob", "hello", "--from", "ann", **secret).returncode == 0
        assert_said(
            cell.run("send", "bob", "hello", "--from", "ann"),
            2,
            "no cell has run there yet in development mode",
        )


def test_listen_prints_events_as_they_come(cell: RunningCell) -> None:
    """One line an event, from now on; it ends after --count of them."""
    with cell.open("listen", "bob6", "--count", "2") as listening:
        assert listening.stderr is not None
        assert "listening to bob6" in listening.stderr.readline()
        cell.run("send", "bob6", "one", "--from", "ann6")
        cell.run("send", "bob6", "two", "--from", "ann6")
        shown, _ = listening.communicate(timeout=DEADLINE_S)
        assert listening.returncode == 0
        assert [line.split("  ")[1] for line in shown.splitlines()] == ["one", "two"]


def test_listen_goes_on_after_a_cursor(cell: RunningCell) -> None:
    """--json prints events of the contract; the cursor of one of them is where another run goes on."""
    for number in range(3):
        cell.run("send", "bob7", str(number), "--from", "ann7")
    first = cell.run("listen", "bob7", "--after", "", "--count", "1", "--json")
    event = json.loads(first.stdout)
    assert event["message"]["content"]["text"] == "0"
    then = cell.run("listen", "bob7", "--after", event["cursor"], "--count", "2", "--json")
    assert [json.loads(line)["message"]["content"]["text"] for line in then.stdout.splitlines()] == ["1", "2"]
    assert_said(cell.run("listen", "bob7", "--after", "no cursor"), 2, "--after", "cursor")


def test_listen_ends_quietly_on_ctrl_c(cell: RunningCell) -> None:
    """Ctrl-C is how one ends it: no traceback."""
    with cell.open("listen", "bob8") as listening:
        assert listening.stderr is not None
        listening.stderr.readline()
        listening.send_signal(signal.SIGINT)
        _, said = listening.communicate(timeout=DEADLINE_S)
        assert listening.returncode == 130
        assert said == ""


def test_history_at_a_time(cell: RunningCell) -> None:
    """--at shows the messages around a time, --count how many; without messages around there are those that come next."""
    for number in range(5):
        cell.run("send", "bob9", f"m{number}", "--from", "ann9", "--id", f"m{number}")
    everything = cell.run("history", "ann9", "bob9", "--json").stdout.splitlines()
    sent_at = [json.loads(line)["message"]["ref"]["sent_at"] for line in everything]
    around = cell.run("history", "ann9", "bob9", "--at", sent_at[2], "--count", "2", "--json").stdout
    assert [json.loads(line)["message"]["ref"]["message_id"] for line in around.splitlines()] == ["m1", "m2"]
    assert cell.run("history", "ann9", "bob9", "--count", "2").stdout.count("\n") == 2
    for at in ("2000-01-01", "2000-01-01 15:00", "2999-12-31T23:59:59Z", "00:00"):
        assert cell.run("history", "ann9", "bob9", "--at", at, "--json").stdout.splitlines() == everything


def test_history_of_nothing(cell: RunningCell) -> None:
    """A conversation that does not exist is told as such, also to one who is not in it."""
    cell.run("send", "bob10", "secret", "--from", "ann10")
    assert_said(cell.run("history", "eve10", "bob10"), 1, "no conversation with bob10")
    assert_said(cell.run("history", "eve10", "ann10", "bob10"), 1, "no conversation with ann10, bob10")


def test_output_that_nobody_reads_on_is_no_error(cell: RunningCell) -> None:
    """`cell history | head -1` ends quietly."""
    for number in range(3):
        cell.run("send", "bob11", f"{number} " + "x" * 60_000, "--from", "ann11")
    with cell.open("history", "ann11", "bob11") as reading:
        assert reading.stdout is not None
        assert reading.stderr is not None
        reading.stdout.read(1)
        reading.stdout.close()
        assert reading.stderr.read() == ""
        assert reading.wait(DEADLINE_S) == 141


def test_standard_files_may_be_closed_or_full(cell: RunningCell) -> None:
    """A closed standard input is an empty one; output that cannot be written is told."""
    command = shlex.join([*CELL, "chat", "ann13", "bob13"])
    variables = environment(cell.data_folder, CELL_ADDRESS=cell.address)
    for closed, code in (("<&-", 0), (">&-", 0), ("<&- >&- 2>&-", 0), ("</dev/null >/dev/full", 1)):
        done = subprocess.run(
            f"{command} {closed}",
            shell=True,
            env=variables,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
        assert (closed, done.returncode) == (closed, code)
        assert "Traceback" not in done.stderr


def test_messages_cannot_play_with_the_terminal(cell: RunningCell) -> None:
    """Escape sequences and direction overrides in a message are shown as what they are not: harmless."""
    cell.run(
        "send", "bob12", "-", "--from", "ann12", given="\x1b[2Jred\x07 \u202eright\r[bold]x[/bold] :smile:"
    )
    shown = cell.run("history", "bob12", "ann12").stdout
    assert not set(shown) & {"\x1b", "\x07", "\u202e", "\r"}
    assert "[bold]x[/bold] :smile:" in shown
