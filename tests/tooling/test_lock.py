"""The lock file installs what it names, from wherever the machine gets its packages."""

import re
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text("utf-8")


def entries(lock: str) -> list[str]:
    """The logical lines of a requirements file, without comments and empty lines."""
    lines = re.sub(r"\\\n", " ", lock).splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def faults(lock: str) -> Iterator[str]:
    """What keeps a lock file from being exact, or ties it to one place."""
    if "://" in lock:
        yield "names a place to download from"
    for entry in entries(lock):
        requirement = entry.partition("--hash=")[0]
        if not re.match(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==[^\s*]+( ;.*)?\s*\Z", requirement):
            yield f"not one exact version: {requirement}"
        if not re.search(r" --hash=sha256:[0-9a-f]{64}(\s|\Z)", entry):
            yield f"has no hash: {requirement}"


def test_the_lock_is_exact_and_names_no_place() -> None:
    """Every entry has one version and its hashes; nothing in the file is an address."""
    assert len(entries(LOCK)) > 20
    assert list(faults(LOCK)) == []


def test_faults_are_caught() -> None:
    """An address, a range, a missing or short hash: each is told."""
    digest = "0" * 64
    assert list(faults(f"a==1 \\\n    --hash=sha256:{digest}\n")) == []
    placed = f"--index-url https://example.com\na==1 --hash=sha256:{digest}"
    assert "names a place to download from" in list(faults(placed))
    for wrong in (
        f"a>=1 --hash=sha256:{digest}",
        f"a==1.* --hash=sha256:{digest}",
        "a==1",
        "a==1 --hash=sha256:00",
    ):
        assert len(list(faults(wrong))) == 1, wrong


def test_every_dependency_is_locked_within_its_bounds() -> None:
    """What pyproject.toml asks for, base, extras, development and build, is in the lock at a version that it allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    asked = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *chain(*project["project"]["optional-dependencies"].values()),
        *project["dependency-groups"]["dev"],
    ]
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", LOCK, re.MULTILINE))
    for requirement in map(Requirement, asked):
        version = locked.get(canonicalize_name(requirement.name))
        assert version, f"{requirement} is not locked: run `make lock`"
        assert requirement.specifier.contains(version), (
            f"{requirement} is locked at {version}: run `make lock`"
        )
