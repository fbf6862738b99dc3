"""A run with few streams, and that what goes wrong in one is told."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from check.connections import __main__ as command
from check.connections import machine
from check.connections.bits import Bits, Received
from check.connections.bounds import unmet
from check.connections.client import CellClient, Tally
from check.connections.ledger import ClientLedger, Verdict, judge
from check.connections.options import Options, options_of, parser, shares
from check.connections.phase import Phase
from check.connections.recipients import SHAPES, Shape


def _judged(ledgers: Sequence[ClientLedger]) -> Verdict:
    return judge(ledgers, Phase("1", 0, 2, 1.0), clients=4, seed=1)


def _options(*words: str) -> Options:
    return options_of(parser("").parse_args(words))


@pytest.mark.timeout(120)
def test_a_run_with_few_streams_finds_nothing_lost_and_says_what_it_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The echo and then the cell with fifty clients in two processes: all live, each delivery counted, all figures there."""
    figures, plot = tmp_path / "run.json", tmp_path / "run.png"
    words = (
        "--connections 50 --messages 4 --rate 4 --recipients 2 --client-processes 2 --idle-s 0.2 "
        f"--json {figures} --plot {plot} --max-kb-per-stream 100000 --min-delivered-per-s 1000000"
    )
    assert command.main(words.split()) == 1  # for the rate that it cannot reach
    said = capsys.readouterr().out
    assert said.count("NOT MET") == 1
    assert "delivered_per_s" in said
    written = json.loads(figures.read_text())
    cell, echo = written["runs"]["cell"], written["runs"]["echo"]
    assert (cell["connected"]["live"], cell["connected"]["failed"]) == (50, {})
    (sent,), (verdict,) = cell["sent"], cell["verdicts"]
    assert (sent["sent"], sent["accepted"], sent["delivered"], sent["own"]) == (200, 200, 400, 200)
    assert (sent["rejected"], sent["ended"], sent["doubled"], sent["out_of_order"]) == ({}, {}, 0, 0)
    assert (verdict["expected"], verdict["lost"], verdict["unknown"]) == (600, 0, 0)
    assert (echo["connected"]["live"], echo["sent"][0]["delivered"], echo["verdicts"][0]["lost"]) == (
        50,
        200,
        0,
    )
    assert sum(sent["histograms"]["latency"]["buckets"].values()) == 400
    assert {"cell", "clients"} == set(sent["cpu_us"])
    latencies = [written["figures"][f"latency_{name}_ms"] for name in ("p50", "p95", "p99", "max")]
    assert latencies[0] > 0
    assert latencies == sorted(latencies)
    assert "cpu_us_per_delivery_over_echo" in written["figures"]
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("clients", [2, 7, 12])
def test_what_is_expected_is_what_senders_address(name: str, clients: int) -> None:
    """For every shape: recipients are others, none twice; what is expected and counted is those and the sender itself."""
    shape = Shape(name, clients, seed=3)
    total = 0
    for sender in range(clients):
        found = shape.expected(sender, 0b111)
        told: dict[int, int] = {sender: 0b111}
        for number in range(3):
            recipients = shape.of(sender, number)
            assert len(set(recipients)) == len(recipients) > 0
            assert (sender in recipients) == (name == "self")
            assert all(0 <= recipient < clients for recipient in recipients)
            for recipient in recipients:
                told[recipient] = told.get(recipient, 0) | 1 << number
        assert dict(found) == told
        total += sum(numbers.bit_count() for numbers in found.values())
    assert Phase(name, 0, 3, 1.0).deliveries(clients, seed=3) == total


def test_a_shape_that_so_many_clients_cannot_have_is_refused() -> None:
    """More recipients than a message may have, nobody to write to, and unknown shapes are told."""
    for name, clients in (("all", 1_002), ("1", 1), ("3", 10)):
        with pytest.raises(ValueError, match=r"recipients|clients"):
            Shape(name, clients)


def test_ledgers_tell_what_was_lost_refused_or_never_sent() -> None:
    """Each kind of fault is counted as what it is, and clients that were not there all the time are not judged."""
    sound = [
        ClientLedger(0, True, 0b11, 0b11, 0, {0: 0b11, 1: 0b1}),
        ClientLedger(1, True, 0b1, 0b1, 0, {0: 0b11, 1: 0b1}),
        ClientLedger(2, True, 0, 0, 0, {}),
        ClientLedger(3, True, 0, 0, 0, {}),
    ]
    verdict = _judged(sound)
    assert (verdict.expected, verdict.lost, verdict.refused_but_told, verdict.never_sent) == (6, 0, 0, 0)
    lossy = [sound[0], ClientLedger(1, True, 0b1, 0b1, 0, {0: 0b01, 1: 0b1}), *sound[2:]]
    assert _judged(lossy).lost == 1
    broken = [sound[0], ClientLedger(1, False, 0b1, 0b1, 0, {1: 0b1}), *sound[2:]]
    assert _judged(broken).lost == 0
    refused = [ClientLedger(0, True, 0b11, 0b01, 0b10, {0: 0b11, 1: 0b1}), *sound[1:]]
    assert _judged(refused).refused_but_told == 2
    stranger = [*sound[:3], ClientLedger(3, True, 0, 0, 0, {0: 0b1})]
    assert _judged(stranger).never_sent == 1
    silent = [ClientLedger(0, True, 0b11, 0b01, 0, {0: 0b01, 1: 0b1}), *sound[1:]]
    assert (_judged(silent).unknown, _judged(silent).lost) == (1, 0)


async def test_a_client_counts_doubles_and_what_comes_in_another_order() -> None:
    """The same message again is a double; an earlier one of the same sender after a later one is out of order."""
    tally = Tally()
    client = CellClient(1, tally, "token")
    text = b"\x02due=%016d%08d%08d"
    for number in (0, 2, 1, 2):
        frame = text % (5, 0, number)
        client._has(frame, 0, len(frame))
    assert (tally.delivered, tally.doubled, tally.out_of_order) == (3, 1, 1)
    assert client.received.by_sender() == {0: 0b111}


def test_bounds_that_are_not_met_are_told_in_words() -> None:
    """Above a most, below a least, and a figure that is not there."""
    figures = {"latency_p99_ms": 12.0, "delivered_per_s": 10.0}
    given = {"--max-p99-ms": 12.0, "--min-delivered-per-s": 11.0, "--max-kb-per-stream": 45.0}
    assert unmet(given, figures) == [
        "kb_per_stream is not known, but --max-kb-per-stream 45 was given",
        "delivered_per_s is 10, beyond --min-delivered-per-s 11",
    ]


def test_what_the_machine_does_not_allow_is_said_with_what_to_change() -> None:
    """64,000 streams take several source addresses; a machine with few ports and little memory is told so."""
    options = _options("--connections", "64000", "--engine", "kafka", "--tls")
    assert (options.workers, options.client_processes) == (4, 4)
    assert len(machine.sources(options)) == 4
    files = {
        "sys/net/ipv4/ip_local_port_range": "32768 40000",
        "sys/net/core/somaxconn": "4096",
        "sys/net/ipv4/tcp_max_syn_backlog": "1000",
        "sys/fs/file-max": "1000000",
        "sys/net/netfilter/nf_conntrack_max": "262144",
        "meminfo": "MemAvailable: 1048576 kB\n",
    }
    found = machine.needs(options, files.__getitem__)
    unmet_needs = [need for need in found if not need.is_met and "descriptors" not in need.what]
    assert [need.what.split()[0] for need in unmet_needs] == ["ports", "memory"]
    assert "sysctl net.ipv4.ip_local_port_range" in machine.told(found)


def test_a_whole_cell_on_kafka_is_one_process_whatever_it_holds() -> None:
    """Workers follow from the number of streams only where the services are processes of their own."""
    words = ("--connections", "64000", "--engine", "kafka")
    assert (_options(*words).whole, _options(*words).workers) == (False, 4)
    assert (_options(*words, "--whole").whole, _options(*words, "--whole").workers) == (True, 1)


def test_shares_are_even_and_whole() -> None:
    """Each client is in one process."""
    assert shares(10, 3) == [(0, 3), (3, 3), (6, 4)]


@pytest.mark.parametrize(
    "words",
    [
        "--connections 0",
        "--workers 2",
        "--messages 1000001",
        "--recipients all --connections 2000",
        "--whole",
        "--whole --engine kafka --workers 2",
        "--plot run.pdf",
        "--plot no/such/folder/run.png",
    ],
)
def test_what_cannot_be_measured_is_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is started, with the option's name."""
    with pytest.raises(SystemExit) as exit_code:
        command.main(words.split())
    assert exit_code.value.code == 2
    assert words.split()[0] in capsys.readouterr().err or "all" in words


def test_sets_of_numbers_are_the_same_in_pieces() -> None:
    """Beyond a piece of 1,024, too, each number is there once, and one that comes after a higher one is noticed."""
    bits, received = Bits(), Received()
    for number in (0, 1_023, 1_024, 5_000):
        bits.add(number)
        assert received.add(7, number) == (False, False)
    assert bits.whole() == received.by_sender()[7] == 1 | 1 << 1_023 | 1 << 1_024 | 1 << 5_000
    assert received.add(7, 5_000) == (True, False)
    assert received.add(7, 1_022) == (False, True)
    assert received.add(8, 5_000) == (False, False)
