"""`make` says what it can do, and says clearly what it lacks."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with what `make install` reads, and no environment yet."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Without what a `make test` around us passes down: its variables would win over ours.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    environment.pop("MFLAGS", None)
    return subprocess.run(
        ["make", "-C", folder, *arguments], env=environment, capture_output=True, text=True, check=False
    )


def interpreter(folder: Path, body: str) -> Path:
    """A stand-in for a python3 that is not good enough."""
    script = folder / "python3"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    return script


def test_make_alone_lists_every_target(copy: Path) -> None:
    """Without a target, make names each one with what it does, and makes nothing."""
    listed = make(copy)
    targets = re.search(r"^\.PHONY: (.*)$", (copy / "Makefile").read_text(), re.MULTILINE)
    assert targets
    assert re.findall(r"^make ([a-z-]+) +\S", listed.stdout, re.MULTILINE) == targets[1].split()
    assert not (copy / ".venv").exists()


def test_an_old_python_is_refused_with_the_reason(copy: Path) -> None:
    """A python3 below 3.11 is named with its version, and how to name another; nothing is made."""
    old = interpreter(copy, 'case "$1" in --version) echo Python 3.9.2;; *) exit 1;; esac')
    refused = make(copy, "install", f"PYTHON={old}")
    assert refused.returncode != 0
    assert f"needs Python 3.11 or newer, but '{old}' is: Python 3.9.2" in refused.stderr
    assert "make install PYTHON=python3.12" in refused.stderr
    assert not (copy / ".venv").exists()


def test_a_missing_python_is_refused_with_the_reason(copy: Path) -> None:
    """A PYTHON that does not exist gets the same answer, not a traceback."""
    refused = make(copy, "run", "PYTHON=no-such-python")
    assert refused.returncode != 0
    assert "needs Python 3.11 or newer, but 'no-such-python' is:" in refused.stderr


def test_a_python_without_venv_is_refused_with_the_cure(copy: Path) -> None:
    """Debian's python3 without python3-venv: the package to install is named; nothing is made."""
    bare = interpreter(copy, 'case "$2" in *ensurepip*) exit 1;; *) exit 0;; esac')
    refused = make(copy, "install", f"PYTHON={bare}")
    assert refused.returncode != 0
    assert "modules venv and ensurepip are missing" in refused.stderr
    assert "apt-get install python3-venv" in refused.stderr
    assert not (copy / ".venv").exists()
