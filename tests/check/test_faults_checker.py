"""The checker passes what is honest, and catches a violation of every kind."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from check.faults import report, run
from check.faults.checker import violations
from check.faults.run import FOLLOWER, HISTORY, Violation
from tests.check.honest_run import HonestRun

Line = dict[str, Any]


def found(made: HonestRun, folder: Path) -> list[Violation]:
    return violations(run.load(made.save(folder)))


# Finding one's way in the lines.


def events(lines: list[Line], kind: str) -> list[Line]:
    return [line for line in lines if line["k"] == "event" and line["kind"] == kind]


def without(lines: list[Line], id_: str) -> list[Line]:
    """Lines without a message: its events, and where pages have it."""
    return [
        line
        for line in lines
        if not (line["k"] == "event" and line["kind"] == "message" and line["ref"][2] == id_)
        and not (line["k"] == "message" and line["message"]["ref"][2] == id_)
    ]


def some_send(made: HonestRun, result: str = "accepted", at_least: int = 3) -> str:
    """The id of a message from the middle of the run, to so many users that have clients."""
    for client in made.plan.clients:
        lines = made.files[client.name]
        outcomes = {line["id"]: line["is"] for line in lines if line["k"] == "outcome"}
        sends = [line for line in lines if line["k"] == "send" and outcomes[line["id"]] == result]
        for line in sends[len(sends) // 2 :]:
            users = [user for user in made.plan.places[line["place"]] if user in made.plan.users]
            if len(users) >= at_least:
                return str(line["id"])
    raise LookupError(result)


def owners(made: HonestRun, user: str) -> list[str]:
    """The files that tell what a user was told."""
    clients = [client.name for client in made.plan.clients if client.user == user]
    return [*clients, f"{HISTORY}{user}", f"{FOLLOWER}{user}"]


def reader_of(made: HonestRun, id_: str) -> str:
    """A user who has a message and did not send it."""
    return next(
        user
        for user in made.plan.users
        if not id_.startswith(user)
        and any(
            line["k"] == "event" and line["kind"] == "message" and line["ref"][2] == id_
            for line in made.files[f"{HISTORY}{user}"]
        )
    )


def change(made: HonestRun, id_: str, how: Callable[[Line], None]) -> None:
    """Do this to a message wherever it is told."""
    for lines in made.files.values():
        for line in lines:
            message = line["message"] if line["k"] == "message" else line
            if (
                line["k"] in ("event", "message")
                and message["kind"] == "message"
                and message["ref"][2] == id_
            ):
                how(message)


# Violations.


def lost_for_everyone(made: HonestRun) -> None:
    id_ = some_send(made)
    for name, lines in made.files.items():
        made.files[name] = without(lines, id_)


def lost_for_one(made: HonestRun) -> None:
    id_ = some_send(made)
    for name in owners(made, reader_of(made, id_)):
        made.files[name] = without(made.files[name], id_)


def doubled(made: HonestRun) -> None:
    """The same message again, as an event of its own."""
    id_ = some_send(made)
    for name in owners(made, reader_of(made, id_)):
        lines = made.files[name]
        for at, line in reversed(list(enumerate(lines))):
            if line["k"] == "event" and line["kind"] == "message" and line["ref"][2] == id_:
                lines.insert(at + 1, {**line, "cursor": f"{line['cursor']} again"})


def reaction_doubled(made: HonestRun) -> None:
    ours = made.files[f"{HISTORY}{made.plan.users[0]}"]
    line = next(e for e in events(ours, "reaction") if e["user"] == made.plan.users[0])
    for lines in made.files.values():
        for at, each in reversed(list(enumerate(lines))):
            if each["k"] == "event" and each["cursor"] == line["cursor"]:
                lines.insert(at + 1, {**each, "cursor": f"{each['cursor']} again"})


def other_payload(made: HonestRun) -> None:
    change(made, some_send(made), lambda message: message.update(text="something else"))


def sent_by_nobody(made: HonestRun) -> None:
    id_ = some_send(made)
    for name, lines in made.files.items():
        made.files[name] = [line for line in lines if line.get("id") != id_]


def told_twice(made: HonestRun) -> None:
    lines = made.files[made.plan.clients[0].name]
    line = events(lines, "message")[20]
    lines.insert(lines.index(line) + 1, line)


def reordered(made: HonestRun) -> None:
    lines = made.files[made.plan.clients[0].name]
    at = next(
        at
        for at in range(100, len(lines))
        if all(line["k"] == "event" and line["kind"] != "read" for line in lines[at : at + 2])
    )
    lines[at], lines[at + 1] = lines[at + 1], lines[at]


def hole_in_a_stream(made: HonestRun) -> None:
    lines = made.files[made.plan.clients[0].name]
    lines.remove(events(lines, "message")[20])


def hole_in_a_resume(made: HonestRun) -> None:
    for client in made.plan.clients:
        lines = made.files[client.name]
        for at, line in enumerate(lines[1:], 1):
            is_first = lines[at - 1]["k"] == "opened" and lines[at - 1]["after"] and line["k"] == "event"
            if is_first and line["kind"] != "read":
                del lines[at]
                return


def refused_that_exists(made: HonestRun) -> None:
    id_ = some_send(made)
    for lines in made.files.values():
        for line in lines:
            if line["k"] == "outcome" and line["id"] == id_:
                line["is"] = "refused"


def refused_that_a_client_was_shown(made: HonestRun) -> None:
    """Nowhere in history, but a client saw it."""
    id_ = some_send(made)
    refused_that_exists(made)
    for user in made.plan.users:
        for name in (f"{HISTORY}{user}", f"{FOLLOWER}{user}"):
            made.files[name] = without(made.files[name], id_)


def half_exists(made: HonestRun) -> None:
    lost_for_one(made)
    id_ = some_send(made)
    for lines in made.files.values():
        for line in lines:
            if line["k"] == "outcome" and line["id"] == id_:
                line["is"] = "unknown"


def missing_from_history(made: HonestRun) -> None:
    lines = made.files[f"{HISTORY}{made.plan.users[0]}"]
    lines.remove(events(lines, "reaction")[5])


def cursor_twice_in_history(made: HonestRun) -> None:
    lines = made.files[f"{HISTORY}{made.plan.users[0]}"]
    line = events(lines, "read")[5]
    lines.insert(lines.index(line) + 1, line)


def missing_from_pages(made: HonestRun) -> None:
    lines = made.files[f"{HISTORY}{made.plan.users[0]}"]
    lines.remove([line for line in lines if line["k"] == "message"][7])


def twice_on_pages(made: HonestRun) -> None:
    lines = made.files[f"{HISTORY}{made.plan.users[0]}"]
    line = [line for line in lines if line["k"] == "message"][7]
    lines.insert(lines.index(line), line)


def out_of_order_on_pages(made: HonestRun) -> None:
    lines = made.files[f"{HISTORY}{made.plan.users[0]}"]
    first = next(at for at, line in enumerate(lines) if line["k"] == "message")
    lines[first], lines[first + 1] = lines[first + 1], lines[first]


def another_on_pages(made: HonestRun) -> None:
    lines = made.files[f"{HISTORY}{made.plan.users[0]}"]
    [line for line in lines if line["k"] == "message"][7]["message"]["text"] = "another"


def history_not_whole(made: HonestRun) -> None:
    made.files[f"{HISTORY}{made.plan.users[0]}"].pop()


def hole_between_pages(made: HonestRun) -> None:
    """What a reader had read to its end by then, it had not."""
    lines = made.files[f"{FOLLOWER}{made.plan.users[0]}"]
    lines.remove(events(lines, "message")[5])


def read_what_is_gone(made: HonestRun) -> None:
    lines = made.files[f"{FOLLOWER}{made.plan.users[0]}"]
    line = events(lines, "message")[-1]
    lines += [
        {**line, "cursor": f"{line['cursor']} {n}"}
        for n in range(len(made.files[f"{HISTORY}{made.plan.users[0]}"]))
    ]


def reaction_folded_wrong(made: HonestRun) -> None:
    for line in made.files[f"{HISTORY}{made.plan.users[0]}"]:
        if line["k"] == "message" and line["reactions"]:
            line["reactions"].pop()
            return


def reaction_wrong_at_a_client(made: HonestRun) -> None:
    lines = made.files[made.plan.clients[0].name]
    line = events(lines, "reaction")[-1]
    line["removed"] = not line.get("removed")


def mark_fell(made: HonestRun) -> None:
    """In one look at history in the middle."""
    lines = made.files[f"{FOLLOWER}{made.plan.users[0]}"]
    marked = [line for line in lines if line["k"] == "conversation" and line["read"]]
    line = [line for line in marked if line["id"] == marked[0]["id"]][1]
    line["read"] = [*line["read"][:3], 1]


def mark_lost(made: HonestRun) -> None:
    for name in (f"{HISTORY}{made.plan.users[0]}", f"{FOLLOWER}{made.plan.users[0]}"):
        for line in made.files[name]:
            if line["k"] == "conversation":
                line["read"] = None


def mark_of_another_told_wrong(made: HonestRun) -> None:
    for line in made.files[f"{HISTORY}{made.plan.users[0]}"]:
        if line["k"] == "conversation" and line["peers"]:
            line["peers"].popitem()
            return


def time_not_above(made: HonestRun) -> None:
    """A message whose time is that of what its client had been told before."""
    for client in made.plan.clients:
        last: list[Any] = []
        for line in made.files[client.name]:
            if line["k"] == "event" and line["kind"] == "message" and line["ref"][1] != client.user:
                last = line["ref"]
            elif line["k"] == "send" and last and line["id"] == some_send(made):
                change(made, line["id"], lambda message, ref=last: message["ref"].__setitem__(3, ref[3]))  # type: ignore[misc]
                return


def order_of_one_client_changed(made: HonestRun) -> None:
    """Two messages to one place change their places for everyone; their times stay with the places."""
    client = made.plan.clients[0]
    sends = [line for line in made.files[client.name] if line["k"] == "send"]
    by_place: dict[str, list[str]] = {}
    there = {e["ref"][2] for e in events(made.files[f"{HISTORY}{client.user}"], "message")}
    for line in sends:
        if line["id"] in there:
            by_place.setdefault(line["place"], []).append(line["id"])
    first, second = next(ids for ids in by_place.values() if len(ids) > 3)[:2]
    for lines in made.files.values():
        at = [
            at
            for at, line in enumerate(lines)
            if line["k"] == "event" and line["kind"] == "message" and line["ref"][2] in (first, second)
        ]
        if len(at) == 2:
            one, other = lines[at[0]], lines[at[1]]
            lines[at[0]], lines[at[1]] = (
                {**other, "cursor": one["cursor"]},
                {**one, "cursor": other["cursor"]},
            )


def not_live_in_the_end(made: HonestRun) -> None:
    lines = made.files[made.plan.clients[0].name]
    last = [line for line in events(lines, "message") if line["ref"][2].endswith("fence")][-1]
    del lines[lines.index(last)]


def told_late(made: HonestRun) -> None:
    """Long after everything was well."""
    lines = made.files[made.plan.clients[0].name]
    line = events(lines, "message")[-1]
    for later in lines[lines.index(line) :]:
        later["t"] += 10


def could_not_send_in_the_end(made: HonestRun) -> None:
    for line in made.files[made.plan.clients[0].name]:
        if line["k"] == "outcome" and line["id"].endswith("fence"):
            line["is"] = "unknown"


def told_of_a_gap(made: HonestRun) -> None:
    lines = made.files[made.plan.clients[0].name]
    lines.insert(50, {"t": lines[50]["t"], "k": "gap", "until": ""})


def much_was_refused(made: HonestRun) -> None:
    """Two of a hundred, while all was well."""
    for lines in list(made.files.values()):
        accepted = [line for line in lines if line["k"] == "outcome" and line["is"] == "accepted"]
        for line in accepted[::20]:
            if not line["id"].endswith("fence"):
                line["is"] = "unknown"


def a_bad_one_was_taken(made: HonestRun) -> None:
    for lines in made.files.values():
        for line in lines:
            if line["k"] == "outcome" and line["id"].endswith("-bad"):
                line["is"] = "accepted"
                return


def a_fault_without_traffic(made: HonestRun) -> None:
    faults = made.files["faults"]
    faults += [{**line, "number": 99, "kind": "cut", "t": line["t"] + 1e6} for line in faults[:3]]


def the_run_was_over_too_early(made: HonestRun) -> None:
    made.files["faults"] = [line for line in made.files["faults"] if line["k"] != "serving"]


PLANTED: list[tuple[Callable[[HonestRun], None], str]] = [
    (lost_for_everyone, "I5"),
    (lost_for_one, "I5"),
    (doubled, "I5"),
    (reaction_doubled, "I5"),
    (other_payload, "I5"),
    (sent_by_nobody, "I5"),
    (told_twice, "I6"),
    (reordered, "I6"),
    (hole_in_a_stream, "I6"),
    (hole_in_a_resume, "I7"),
    (refused_that_exists, "refused"),
    (refused_that_a_client_was_shown, "refused"),
    (half_exists, "refused"),
    (missing_from_history, "I9"),
    (cursor_twice_in_history, "I9"),
    (missing_from_pages, "I9"),
    (twice_on_pages, "I9"),
    (out_of_order_on_pages, "I9"),
    (another_on_pages, "I9"),
    (history_not_whole, "I9"),
    (hole_between_pages, "I9"),
    (read_what_is_gone, "I9"),
    (reaction_folded_wrong, "I11"),
    (reaction_wrong_at_a_client, "I11"),
    (mark_fell, "I11"),
    (mark_lost, "I11"),
    (mark_of_another_told_wrong, "I11"),
    (time_not_above, "I12"),
    (order_of_one_client_changed, "order"),
    (not_live_in_the_end, "I10"),
    (could_not_send_in_the_end, "I10"),
    (told_late, "I10"),
    (told_of_a_gap, "gap"),
    (much_was_refused, "empty"),
    (a_bad_one_was_taken, "empty"),
    (a_fault_without_traffic, "empty"),
    (the_run_was_over_too_early, "empty"),
]


@pytest.fixture(scope="module")
def honest() -> HonestRun:
    return HonestRun(2)


@pytest.mark.parametrize("seed", range(3))
def test_an_honest_run_passes(seed: int, tmp_path: Path) -> None:
    """Whatever happened in it, as long as every promise was kept."""
    assert found(HonestRun(seed), tmp_path) == []


@pytest.mark.parametrize(("plant", "invariant"), PLANTED, ids=[p.__name__ for p, _ in PLANTED])
def test_a_planted_violation_is_caught(
    honest: HonestRun, plant: Callable[[HonestRun], None], invariant: str, tmp_path: Path
) -> None:
    """By the invariant that it breaks, in words, and with the lines that show it where there are some."""
    made = copy.deepcopy(honest)
    plant(made)
    caught = [violation for violation in found(made, tmp_path) if violation.invariant == invariant]
    assert caught
    assert all(violation.what for violation in caught)


def test_what_is_lost_is_told_with_the_fault_before(tmp_path: Path) -> None:
    """Accepted before a kill and gone after it: the message, its lines, and the kill."""
    made = HonestRun(3)
    lost_for_everyone(made)
    loaded = run.load(made.save(tmp_path))
    (first, *_) = violations(loaded)
    assert first.invariant == "I5"
    assert "was accepted, but is lost" in first.what
    assert [line.kind for line in first.lines] == ["send", "outcome"]
    text = "\n".join(report.for_people(loaded, [first], {}))
    assert first.lines[0].place in text
    assert "kill of cell" in text
    data = report.as_json(loaded, [first], {"engine": "none"})
    assert data["passed"] is False
    assert data["violations"][0]["lines"] == [line.place for line in first.lines]


def test_a_ledger_that_was_cut_short_is_read(tmp_path: Path) -> None:
    """What a killed client has left of its last line is no line."""
    made = HonestRun(1)
    folder = made.save(tmp_path)
    path = folder / f"{made.plan.clients[0].name}.jsonl"
    path.write_text(path.read_text() + '{"t": 1, "k": "ev')
    assert violations(run.load(folder)) == []


def test_a_run_that_did_not_come_to_its_end_is_not_judged(tmp_path: Path) -> None:
    """Without what history says at the end everything would be lost: the report says why there is no verdict instead."""
    loaded = run.load(HonestRun().save(tmp_path))
    text = "\n".join(report.for_people(loaded, [], {"failed": "CellDown: nobody answers"}))
    assert "NOT JUDGED" in text
    assert "CellDown: nobody answers" in text
    assert "no violation" not in text
    assert not report.as_json(loaded, [], {"failed": "CellDown"})["passed"]
