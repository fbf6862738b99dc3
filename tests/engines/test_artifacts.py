"""What the machine lacks is told."""

from pathlib import Path

import pytest

from engines import artifacts
from engines.artifacts import EnginesMissing


def a_java(folder: Path, version: str) -> None:
    """A stand-in that only tells its version."""
    folder.mkdir(parents=True)
    java = folder / "java"
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    java.chmod(0o755)


def test_takes_the_java_of_the_right_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JAVA_HOME comes first, then PATH; one of another version is passed over."""
    a_java(tmp_path / "old" / "bin", "11.0.2")
    a_java(tmp_path / "good", "17.0.15")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "old"))
    monkeypatch.setenv("PATH", str(tmp_path / "good"))
    assert artifacts.find_java() == tmp_path / "good" / "java"


def test_tells_which_java_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Java 17 the message names what is needed, what was found, and how to get it."""
    a_java(tmp_path / "new" / "bin", "25.0.1")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "new"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(artifacts, "_JAVA_FOLDERS", ())
    with pytest.raises(
        EnginesMissing, match=r"Java 17 was not found \(.*java is version 25\).*openjdk-17-jre-headless"
    ):
        artifacts.find_java()


def test_tells_that_maven_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing kept and no Maven: the message says so, and the next time it is tried again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    for _ in range(2):
        with pytest.raises(EnginesMissing, match="apt-get install maven"):
            artifacts.jars("kafka")


def test_tells_that_they_run_on_linux_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere nobody could tell a server from another process, and its start would be waited for without end."""
    a_java(tmp_path / "bin", "17.0.15")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setattr(artifacts, "_OWN_COMMAND", tmp_path / "none")
    with pytest.raises(EnginesMissing, match="on Linux only"):
        artifacts.find_java()
