import json
from pathlib import Path

import pytest

from check import compare

FIGURES = {"latency_p99_ms": 10.0, "delivered_per_s": 900.0, "kb_per_stream": 40.0, "late_p99_ms": 1.0}
OLD = {"options": {"connections": 1_000}, "figures": FIGURES}


def _files(folder: Path, new: dict[str, object]) -> list[str]:
    names = [folder / "old.json", folder / "new.json"]
    for name, content in zip(names, (OLD, new), strict=True):
        name.write_text(json.dumps(content))
    return [str(name) for name in names]


def _with(**figures: float) -> dict[str, object]:
    return {**OLD, "figures": {**FIGURES, **figures}}


@pytest.mark.parametrize(
    ("figures", "code"),
    [
        ({}, 0),
        ({"latency_p99_ms": 11.9}, 0),
        ({"latency_p99_ms": 12.1}, 1),
        ({"latency_p99_ms": 1.0, "delivered_per_s": 2_000.0}, 0),
        ({"delivered_per_s": 700.0}, 1),
        ({"late_p99_ms": 50.0}, 0),
    ],
)
def test_what_is_worse_beyond_the_tolerance_is_told(
    tmp_path: Path, figures: dict[str, float], code: int
) -> None:
    """A latency that rose and a rate that fell by more than 20 % end with 1; better ones and the clients' own do not."""
    assert compare.main(_files(tmp_path, _with(**figures))) == code


def test_a_figure_that_is_gone_is_worse(tmp_path: Path) -> None:
    """What was measured and is not any more does not pass silently."""
    assert compare.main(_files(tmp_path, {"figures": {"latency_p99_ms": 10.0}})) == 1


def test_runs_of_other_options_are_said_to_be_unlike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Figures of 1,000 and of 4,000 streams are compared, but not without saying so."""
    assert compare.main(_files(tmp_path, {**OLD, "options": {"connections": 4_000}})) == 0
    assert "options connections: 1000 and 4000" in capsys.readouterr().out


def test_figures_of_costs_are_compared_too(tmp_path: Path) -> None:
    """Those that check.cost writes, by load."""
    known = {
        "loads": {"echo": {"cpu_us": 30.0, "is_client_bound": False}},
        "figures": {"kb_per_stream": 41.0},
    }
    assert compare.figures_of(known) == {"echo: cpu_us": 30.0, "kb_per_stream": 41.0}


def test_files_without_figures_are_refused(tmp_path: Path) -> None:
    """With the exit code of wrong use."""
    with pytest.raises(SystemExit) as ended:
        compare.main(_files(tmp_path, {}))
    assert ended.value.code == 2
