import argparse
from pathlib import Path

import pytest

from check.charts import Chart, chart_file, draw


@pytest.mark.parametrize(("name", "begins"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml")])
def test_the_suffix_says_what_is_written(tmp_path: Path, name: str, begins: bytes) -> None:
    """A chart with all that one can have, one with names along its axis, and one without a point, as PNG and as SVG."""
    charts = [
        Chart(
            "latency",
            [1.0, 2.0, 3.0],
            "seconds",
            "ms",
            {"p50": [0.0, 1.5, 2.0], "p99": [0.0, 0.0, 900.0]},
            is_log=True,
            spans=[(0, 2, "connecting"), (2, 3, "sending")],
            levels={"bound": 1_000},
            marks={"holds": 2},
        ),
        Chart("shapes", ["to 1", "to 2"], "to whom", "cores", {"cell": [0.1, 0.2]}),
        Chart("nothing came", [1.0], "seconds", "ms", {"p50": [0.0]}, is_log=True),
    ]
    draw(tmp_path / name, "all <of> them", charts, beside=2)
    assert (tmp_path / name).read_bytes().startswith(begins)


@pytest.mark.parametrize("name", ["run.pdf", "run", "run.PNG", ".png", "no/such/folder/run.png"])
def test_what_could_not_be_written_is_refused_with_its_name(name: str) -> None:
    """Before a run that may take an hour, not after it."""
    with pytest.raises(argparse.ArgumentTypeError, match=name):
        chart_file(name)
    assert chart_file("run.svg") == Path("run.svg")
