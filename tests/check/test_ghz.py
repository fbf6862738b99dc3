import json
import os
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from cell.messaging.v1 import messaging_pb2 as messaging
from check.ghz import __main__ as command
from check.ghz import load, program, report
from check.ghz.load import USERS, Load, loads
from check.ghz.report import Measured, of_ghz

SECOND_NS = 1_000_000_000


def _load() -> Load:
    return loads(2.0, 50.0, 3)[0]


def _told(**changes: Any) -> dict[str, Any]:
    """What ghz writes, of what is read."""
    told: dict[str, Any] = {
        "count": 100,
        "total": 2 * SECOND_NS,
        "average": 3_000_000,
        "statusCodeDistribution": {"OK": 100},
        "latencyDistribution": [
            {"percentage": 50, "latency": 2_000_000},
            {"percentage": 95, "latency": 5_000_000},
            {"percentage": 99, "latency": 9_500_000},
        ],
    }
    return {**told, **changes}


def _measured(*, came: int = 200, **changes: Any) -> Measured:
    return Measured(of_ghz(_told(**changes)), came, server_cpu_us=5e4)


def test_requests_are_those_of_the_contract_from_each_user_to_the_next() -> None:
    """Both configurations parse as the method's requests: a stream says hello first, and no two messages share an id."""
    unary, stream = loads(2.0, 50.0, 3)
    (request,) = unary.requests(USERS - 1, "an-id")
    message = ParseDict(request, messaging.SendMessageRequest()).send_message
    assert (message.message_id, list(message.recipients.user_ids)) == ("an-id", [load.user(0)])
    frames = [ParseDict(one, messaging.ConnectRequest()) for one in stream.requests(3, "an-id")]
    first, *rest = (one for frame in frames for one in frame.commands)
    assert first.WhichOneof("command") == "hello"
    assert len(rest) == stream.messages_per_call == len({one.send_message.message_id for one in rest})
    assert {name for one in rest for name in one.send_message.recipients.user_ids} == {load.user(4)}
    assert [one.command_id for one in (first, *rest)] == list(range(1, len(rest) + 2))
    assert "{{" not in json.dumps(stream.requests(3, "an-id"))


def test_the_configuration_has_as_many_calls_as_the_rate_asks_for() -> None:
    """Streams send several messages a call, so there are as many fewer of them; each user's token is there, by turns."""
    unary, stream = loads(2.0, 50.0, 3)
    assert (unary.calls, unary.calls_per_s, unary.messages_per_call) == (100, 50, 1)
    assert (stream.calls, stream.calls_per_s, stream.messages_per_call) == (10, 5, 10)
    assert stream.interval_s == 0.05
    config = stream.ghz_config(["one", "two"])
    assert (config["total"], config["rps"], config["connections"]) == (10, 5, 3)
    assert config["call"] == "cell.messaging.v1.MessagingService.Connect"
    assert "`one two`" in config["metadata"]["authorization"]
    assert "(mod .RequestNumber 2)" in config["metadata"]["authorization"]


@pytest.mark.parametrize("words", ["--seconds 0", "--rate 5", "--connections 0"])
def test_what_cannot_be_run_is_refused_with_the_options_name(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is started: no time, fewer messages than one stream sends, and no connection."""
    with pytest.raises(SystemExit) as exit_code:
        command.main(words.split())
    assert exit_code.value.code == 2
    assert words.split()[0] in capsys.readouterr().err


def test_a_report_has_milliseconds_of_ghz_s_nanoseconds() -> None:
    """And no call at all is no report."""
    found = of_ghz(_told())
    assert (found.calls, found.seconds, found.calls_per_s) == (100, 2.0, 50.0)
    assert (found.average_ms, found.p50_ms, found.p95_ms, found.p99_ms) == (3.0, 2.0, 5.0, 9.5)
    assert found.codes == {"OK": 100}
    with pytest.raises(ValueError, match="no call"):
        of_ghz(_told(count=0))


def test_each_call_that_failed_and_each_message_that_did_not_come_is_a_fault() -> None:
    """A whole run has none; figures say what a message cost."""
    assert _measured().faults(_load()) == []
    assert _measured().figures(_load())["unary SendMessage, ghz: server_cpu_us_per_message"] == 500
    faults = _measured(came=199, count=99, statusCodeDistribution={"OK": 97, "Unavailable": 2}).faults(
        _load()
    )
    assert [fault.partition(": ")[2] for fault in faults] == [
        "2 calls ended with Unavailable",
        "99 calls were made, of 100",
        "199 messages came, of 200",
    ]
    assert report.table(_load(), [_measured(), _measured()]).row_count > 0


def test_ghz_is_found_in_path_or_where_go_installs_it(tmp_path: Path) -> None:
    """GOBIN, each GOPATH's bin and ~/go/bin, in this order; a file that is no program is not it."""
    for folder in ("path", "gobin", "gopath/bin", "home/go/bin"):
        (tmp_path / folder).mkdir(parents=True)
    variables = {
        "PATH": str(tmp_path / "path"),
        "GOBIN": str(tmp_path / "gobin"),
        "GOPATH": f"{tmp_path / 'none'}{os.pathsep}{tmp_path / 'gopath'}",
        "HOME": str(tmp_path / "home"),
    }
    assert program.find(variables) is None
    (tmp_path / "gobin" / "ghz").touch()
    assert program.find(variables) is None
    for folder in ("home/go/bin", "gopath/bin", "gobin", "path"):
        found = tmp_path / folder / "ghz"
        found.touch()
        found.chmod(0o755)
        assert program.find(variables) == found


def test_where_ghz_is_missing_the_command_that_installs_it_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit code 2, and without Go --install says that it takes it."""
    monkeypatch.setattr(program, "find", lambda: None)
    assert command.main([]) == 2
    assert program.INSTALL in capsys.readouterr().err
    monkeypatch.setenv("PATH", "")
    assert command.main(["--install"]) == 2
    assert "no `go` in PATH" in capsys.readouterr().err


@pytest.mark.timeout(300)
def test_ghz_and_our_own_client_send_the_same_and_all_of_it_comes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A short run of both against an embedded cell: every call ends with OK, and every message comes."""
    if program.find() is None:
        pytest.skip(f"ghz is not installed: {program.INSTALL}")
    figures = tmp_path / "ghz.json"
    words = f"--seconds 2 --rate 40 --connections 2 --json {figures}"
    assert command.main(words.split()) == 0
    assert "messages that came" in capsys.readouterr().out
    written = json.loads(figures.read_text())
    assert written["unmet"] == []
    for name in ("unary SendMessage, ghz", "unary SendMessage, our own", "Connect stream, ghz"):
        assert written["figures"][f"{name}: failed"] == 0
        assert 0 < written["figures"][f"{name}: p50_ms"] <= written["figures"][f"{name}: p99_ms"]
    stream_ms = written["figures"]["Connect stream, our own: p50_ms"]
    assert stream_ms >= 500, "ten messages, 50 ms apart"
