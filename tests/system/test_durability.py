"""Accepted means durable: what was accepted survives a loss of power, which takes all that was not yet synced."""

import asyncio
import random
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from cell.messaging.v1 import messaging_pb2 as messaging
from check.history_pages import events_at_least
from check.ledger import message_ids, once_violations, session_violations
from check.plain_client import PlainClient
from check.plain_outbox import Submission, text_message
from tests.system.cell_process import CellProcess, token
from tests.system.strace_trace import Call, Disk, read_trace, sent, strace_wrapper, why_not_strace

ONE_BY_ONE = 30
AT_ONCE = 300
CUTS = 6

_MARKER = re.compile(rb"marker-[0-9a-f]{32}")
_ACCEPTED = re.compile(rb"\x12\x0a\x08[\x80-\xff]{8}[\x01-\x7f]")
"""Update.accepted with a command id of nine bytes."""

pytestmark = [
    pytest.mark.skipif(bool(why_not_strace()), reason=why_not_strace() or "strace works"),
    pytest.mark.timeout(300),
]


@dataclass(slots=True)
class Run:
    """A cell that was watched by strace until it was killed."""

    folder: Path
    submissions: list[Submission]
    """Accepted, in the order in which they were sent. Each text is a marker found nowhere else."""
    events: dict[str, list[messaging.Event]]
    """What the stream of each user was told."""
    calls: list[Call]
    disk: Disk

    def accepted_lines(self) -> dict[int, int]:
        """By command id: where the first byte of its Accepted went to a socket."""
        lines: dict[int, int] = {}
        for call in sent(self.calls):
            for encoded in _ACCEPTED.findall(b"".join(call.strings)):
                command_id = messaging.Update.FromString(encoded).accepted.command_id
                lines.setdefault(command_id, call.begun)
        return lines

    def shown_lines(self, user_id: str) -> list[int]:
        """For each event of a user: where its cursor first went to a socket."""
        payloads = [(call.begun, b"".join(call.strings)) for call in sent(self.calls)]
        cursors = [event.cursor.encode() for event in self.events[user_id]]
        return [next(line for line, payload in payloads if cursor in payload) for cursor in cursors]

    def written(self) -> dict[str, tuple[str, Call]]:
        """By text: the first write of it to a file, and the file's path."""
        writes: dict[str, tuple[str, Call]] = {}
        for path, call in self.disk.writes:
            for marker in _MARKER.findall(b"".join(call.strings)):
                writes.setdefault(marker.decode(), (path, call))
        return writes

    def restore(self, line: int, chance: random.Random, folder: Path) -> None:
        """Write the files as a loss of power right after `line` leaves them."""
        odds = chance.choice([0.0, 0.5, 0.9])  # that a write which was not synced is there all the same
        for path, content in self.disk.after_loss(line, lambda: chance.random() < odds).items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Messages one by one, then many at once, then kill -9."""
    folder = tmp_path_factory.mktemp("traced")
    trace = folder / "trace"
    with CellProcess(folder, wrapper=strace_wrapper(trace)) as cell:
        submissions, events = asyncio.run(_send(cell))
        pid = cell.pid
        cell.kill()
    end = time.monotonic() + 60
    while (
        f"\n{pid} " not in (text := trace.read_text()) or "+++ killed by SIGKILL" not in text.splitlines()[-1]
    ):
        assert time.monotonic() < end, f"the trace has no end: {text[-500:]}"
        time.sleep(0.1)
    calls = list(read_trace(text.splitlines()))
    return Run(folder, submissions, events, calls, Disk(cell.data_folder, calls))


async def _send(cell: CellProcess) -> tuple[list[Submission], dict[str, list[messaging.Event]]]:
    def marked() -> messaging.Command:
        # More than once, for a page's end may fall into one of them.
        return text_message(" ".join([f"marker-{secrets.token_hex(16)}"] * 3), ["bob"])

    # Command ids of nine bytes: an Accepted is then found among all the bytes on the sockets.
    first_command_id = (1 << 62) + secrets.randbits(32)
    async with (
        PlainClient(cell.address, "ann", token, first_command_id=first_command_id) as ann,
        PlainClient(cell.address, "bob", token) as bob,
    ):
        submissions = [await ann.done(marked()) for _ in range(ONE_BY_ONE)]
        together = [ann.submit(marked()) for _ in range(AT_ONCE)]
        await ann.settle(*together)
        assert all(submission.accepted and submission.tries == 1 for submission in together)
        for client in (ann, bob):
            await client.until_events(ONE_BY_ONE + AT_ONCE)
        return submissions + together, {"ann": ann.ledger.events, "bob": bob.ledger.events}


def test_a_sync_returns_between_commit_and_accepted(run: Run) -> None:
    """Between the write of a message to the log and its Accepted on the socket, an fsync of that file returned."""
    accepted_lines, writes = run.accepted_lines(), run.written()
    for submission in run.submissions:
        path, written = writes[submission.command.send_message.content.text.split()[0]]
        accepted = accepted_lines[submission.command.command_id]
        assert written.ended < accepted
        synced = [
            c for p, c in run.disk.syncs if p == path and written.ended < c.begun and c.ended < accepted
        ]
        assert synced, f"Accepted without a sync of {path} after the write"


def test_nothing_is_shown_before_it_is_durable(run: Run) -> None:
    """Before an event goes to any stream, an fsync of the log returned after the message was written to it."""
    writes = run.written()
    for user_id, events in run.events.items():
        for event, shown in zip(events, run.shown_lines(user_id), strict=True):
            path, written = writes[event.message.content.text.split()[0]]
            assert any(p == path and written.ended < c.begun and c.ended < shown for p, c in run.disk.syncs)


async def test_a_loss_of_power_loses_nothing_accepted(run: Run, tmp_path: Path) -> None:
    """Files cut back to their last sync, at random moments: a restart has all that was accepted by then, once.

    And what a client was shown by then is there under the same cursor: it resumes from the last one.
    """
    chance = random.Random(3)
    lines_by_command = run.accepted_lines()
    accepted_lines = {s.id: lines_by_command[s.command.command_id] for s in run.submissions}
    moments = sorted(accepted_lines.values())
    lines = [*chance.sample(moments, CUTS - 1), run.calls[-1].ended]
    for number, line in enumerate(sorted(lines)):
        cell = CellProcess(tmp_path / str(number))
        run.restore(line, chance, cell.data_folder)
        by_then = [("ann", name) for name, accepted in accepted_lines.items() if accepted <= line]
        assert by_then
        shown = {
            user_id: [e for e, at in zip(events, run.shown_lines(user_id), strict=True) if at <= line]
            for user_id, events in run.events.items()
        }
        with cell:
            async with (
                PlainClient(cell.address, "bob", token) as bob,
                PlainClient(cell.address, "ann", token) as ann,
            ):
                after = await ann.send("after the loss", ["bob"])
                for client in (ann, bob):
                    await client.message("ann", after.ref.message_id)
                    events = client.ledger.events
                    assert once_violations(events, by_then) == []
                    ids = message_ids(events)
                    known = [submission.id for submission in run.submissions if submission.id in set(ids)]
                    assert ids == [*known, after.ref.message_id]
                    stored = await events_at_least(client, len(events))
                    assert session_violations(stored, client.ledger) == []
                    before = shown[client.user_id]
                    assert events[: len(before)] == before
                    if before:
                        await _resumes(cell, client, before[-1].cursor, events[len(before) :])
        assert "Traceback" not in cell.output


async def _resumes(cell: CellProcess, client: PlainClient, after: str, missed: list[messaging.Event]) -> None:
    """Another client of the user gets exactly this after the cursor."""
    async with PlainClient(
        cell.address, client.user_id, token, resume_after=after, reconnects=False
    ) as other:
        assert (await other.until_resumed()).outcome == messaging.RESUME_OUTCOME_RESUMED
        assert other.ledger.events == missed
