"""Java and the servers' jars: found on this machine, or fetched by Maven once and kept."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

JAVA_MAJOR = 17
"""What Cassandra 5.0 runs on, neither older nor newer; Kafka 4 runs on it too."""
_POM = Path(__file__).with_name("pom.xml")
_JAVA_FOLDERS = ("/usr/lib/jvm", "/Library/Java/JavaVirtualMachines", "/opt/java")
_OWN_COMMAND = Path("/proc/self/cmdline")
_FETCH_TIMEOUT_S = 600


class EnginesMissing(Exception):
    """This machine lacks what the servers need: the message says what, and how to get it."""


def find_java() -> Path:
    """The `java` of JAVA_HOME, of PATH, or of the places where distributions put it. Raises EnginesMissing."""
    if not _OWN_COMMAND.exists():
        raise EnginesMissing(
            "The servers are run on Linux only: they are told from other processes by /proc."
        )
    found = []
    for java in _java_candidates():
        major = _major(java)
        if major == JAVA_MAJOR:
            return java
        found.append(f"{java} is version {major or 'unknown'}")
    seen = f" ({'; '.join(found)})" if found else ""
    raise EnginesMissing(
        f"Java {JAVA_MAJOR} was not found{seen}. Install it (Debian: apt-get install openjdk-17-jre-headless)"
        " or name it by JAVA_HOME."
    )


def jars(server: str) -> Path:
    """The folder of a server's jars, `kafka` or `cassandra`; fetched where pom.xml has changed. Raises EnginesMissing."""
    folder = _cache() / hashlib.sha256(_POM.read_bytes()).hexdigest()[:16] / server
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{server}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test runs may start at once
        if not folder.exists():
            _fetch(server, folder)
    return folder


def _cache() -> Path:
    """Where the XDG Base Directory Specification says that what can be fetched again is kept."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "messaging-cell" / "engines"


def _fetch(server: str, folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise EnginesMissing("Maven (mvn) was not found. Install it (Debian: apt-get install maven).")
    with tempfile.TemporaryDirectory(prefix=f"{server}.", dir=folder.parent) as partial:
        command = [maven, "--quiet", "--batch-mode", "--file", str(_POM), f"--activate-profiles={server}"]
        command += [
            "dependency:copy-dependencies",
            f"-DoutputDirectory={partial}/jars",
            "-DincludeScope=runtime",
        ]
        try:
            ran = subprocess.run(
                command, capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise EnginesMissing(f"Maven did not fetch {server} within {_FETCH_TIMEOUT_S} s.") from None
        if ran.returncode:
            raise EnginesMissing(f"Maven could not fetch {server}: {ran.stdout.strip()[-2_000:]}")
        Path(partial, "jars").rename(folder)


def _java_candidates() -> Iterator[Path]:
    homes = [os.environ["JAVA_HOME"]] if os.environ.get("JAVA_HOME") else []
    on_path = shutil.which("java")
    yield from (java for home in homes if (java := Path(home, "bin", "java")).exists())
    if on_path:
        yield Path(on_path)
    for places in _JAVA_FOLDERS:
        yield from sorted(Path(places).glob(f"*{JAVA_MAJOR}*/**/bin/java"))


def _major(java: Path) -> int | None:
    try:
        ran = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.search(r'version "(\d+)', ran.stderr + ran.stdout)
    return int(version[1]) if version else None
