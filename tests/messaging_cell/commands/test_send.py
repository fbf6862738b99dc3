"""`cell send`: what is sent, and what is said of what is not."""

import base64
import json
import subprocess
from pathlib import Path

from tests.messaging_cell.running import CELL, DEADLINE_S, RunningCell, assert_said, environment, until


def test_send_takes_lines(cell: RunningCell) -> None:
    """--lines sends each line that is not empty, in order, as it comes; the first that is refused ends it, by its number."""
    done = cell.run("send", "bob14", "--lines", "--from", "ann14", given="one\n\n  two \r\nthree")
    assert done.returncode == 0
    assert done.stdout.count("accepted: ") == 3
    shown = cell.run("history", "bob14", "ann14", "--json").stdout.splitlines()
    assert [json.loads(line)["message"]["content"]["text"] for line in shown] == ["one", "  two ", "three"]
    refused = cell.run("send", "bob14", "--lines", "--from", "ann14", given=f"four\n{'x' * 70_000}\nnever\n")
    assert refused.stdout.count("accepted: ") == 1
    assert refused.returncode == 1
    assert "Line 2: The cell refused it" in refused.stderr
    with cell.open("send", "bob14", "--lines", "--from", "ann14") as sending:
        assert sending.stdin is not None
        assert sending.stdout is not None
        for text in ("five", "six"):
            sending.stdin.write(f"{text}\n")
            sending.stdin.flush()
            assert sending.stdout.readline().startswith("accepted: ")
        sending.stdin.close()
        assert sending.wait(DEADLINE_S) == 0
    assert "never" not in cell.run("history", "bob14", "ann14").stdout


def test_send_takes_files_with_their_type(cell: RunningCell, tmp_path: Path) -> None:
    """The bytes arrive as they are, with the type that the name says, or that was given."""
    picture = tmp_path / "plan b.png"
    picture.write_bytes(bytes(range(256)))
    assert cell.run("send", "bob15", "--file", str(picture), "--from", "ann15").returncode == 0
    given = ["--file", str(picture), "--content-type", "application/x-plan"]
    assert cell.run("send", "bob15", *given, "--from", "ann15").returncode == 0
    first, second = cell.run("history", "bob15", "ann15", "--json").stdout.splitlines()
    content = json.loads(first)["message"]["content"]
    assert base64.b64decode(content["data"]) == bytes(range(256))
    assert content["content_type"] == "image/png"
    assert content["attributes"] == {"filename": "plan b.png"}
    assert json.loads(second)["message"]["content"]["content_type"] == "application/x-plan"
    assert "(plan b.png, image/png, 256 bytes)" in cell.run("history", "bob15", "ann15").stdout
    assert_said(
        cell.run("send", "bob15", "--file", "none.png", "--from", "ann15"), 2, "none.png: No such file"
    )
    assert_said(cell.run("send", "bob15", "x", "--file", str(picture), "--from", "ann15"), 2, "not both")


def test_send_tells_programs_what_became_of_it(cell: RunningCell) -> None:
    """--json names the outcome, also of what was refused; --reply-to answers a message by its id."""
    done = cell.run("send", "bob16", "question", "--from", "ann16", "--to", "cat16", "--json")
    told = json.loads(done.stdout)
    assert told["outcome"] == "accepted"
    assert told["recipient_ids"] == ["bob16", "cat16"]
    until(lambda: "question" in cell.run("history", "bob16", "ann16", "cat16").stdout, "history has it")
    answer = ["send", "ann16", "--to", "cat16", "--from", "bob16", "--reply-to", told["message_id"]]
    assert cell.run(*answer, "answer").returncode == 0
    assert "↳ ann16: question\n      answer" in cell.run("history", "cat16", "bob16", "ann16").stdout
    unsent = cell.run("send", "bob16", "x" * 70_000, "--from", "ann16", "--json")
    assert unsent.returncode == 1
    assert json.loads(unsent.stdout)["outcome"] == "not_done"
    assert json.loads(unsent.stdout)["reason"] == "TOO_LARGE"
    assert_said(
        cell.run("send", "bob16", "x", "--from", "ann16", "--reply-to", "none"), 1, "none has the id none"
    )


def test_send_says_what_it_cannot_read(cell: RunningCell) -> None:
    """Options that exclude each other, text that is none, and more than a message can hold."""
    assert_said(cell.run("send", "bob17", "--lines", "--id", "x", "--from", "ann17"), 2, "--lines and --id")
    assert_said(cell.run("send", "bob17", "text", "--lines", "--from", "ann17"), 2, "standard input only")
    assert_said(cell.run("send", "bob17", "x", "--id", "a b", "--from", "ann17"), 2, "--id", "A-Z, a-z, 0-9")
    for given, arguments, said in (
        (b"ok \xff", [], "not UTF-8 text, from byte 3"),
        (b"ok\n\xff\n", ["--lines"], "Line 2: "),
        (b"x" * 2_000_000, [], "more than 1,048,576 bytes"),
    ):
        done = subprocess.run(
            [*CELL, "send", "bob17", "--from", "ann17", *arguments],
            env=environment(cell.data_folder, CELL_ADDRESS=cell.address),
            input=given,
            capture_output=True,
            timeout=DEADLINE_S,
        )
        assert done.returncode == 1
        assert said in done.stderr.decode()
