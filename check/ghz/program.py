"""The program ghz: where it is, how it is installed, how it is run."""

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

INSTALL = "go install github.com/bojand/ghz/cmd/ghz@v0.121.0"
"""Of this version, since `@latest` resolves to a far older one."""
_INSTALL_TIMEOUT_S = 1_800.0
_ROOT = Path(__file__).parents[2]
"""Where its configuration finds `protos`."""


class GhzFailed(Exception):
    """It could not be installed, or did not run to its end; the message says why."""


def find(variables: Mapping[str, str] = os.environ) -> Path | None:
    """Where it is: in PATH, or where Go installs programs, GOBIN, GOPATH/bin and ~/go/bin."""
    if found := shutil.which("ghz", path=variables.get("PATH", "")):
        return Path(found)
    folders = [Path(variables["GOBIN"])] if variables.get("GOBIN") else []
    folders += [Path(path) / "bin" for path in variables.get("GOPATH", "").split(os.pathsep) if path]
    folders += [Path(variables["HOME"]) / "go" / "bin"] if variables.get("HOME") else []
    return next((folder / "ghz" for folder in folders if os.access(folder / "ghz", os.X_OK)), None)


def install() -> Path:
    """Install it with Go; where it is then. Raises GhzFailed."""
    try:
        done = subprocess.run(
            INSTALL.split(), capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        raise GhzFailed("ghz takes Go to be installed, and there is no `go` in PATH") from None
    except subprocess.TimeoutExpired:
        raise GhzFailed(f"`{INSTALL}` took longer than {_INSTALL_TIMEOUT_S:g} s") from None
    found = find()
    if done.returncode or found is None:
        raise GhzFailed(f"`{INSTALL}` failed: {done.stderr.strip()}")
    return found


async def run(ghz: Path, config: Mapping[str, Any], address: str, timeout_s: float) -> dict[str, Any]:
    """Run it with this configuration; its report. Raises GhzFailed."""
    with tempfile.TemporaryDirectory(prefix="check-ghz-") as folder:
        given, report = Path(folder) / "config.json", Path(folder) / "report.json"
        given.write_text(json.dumps({**config, "format": "json", "output": str(report)}))
        process = await asyncio.create_subprocess_exec(
            ghz,
            "--config",
            given,
            address,
            cwd=_ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), timeout_s)
        except TimeoutError:
            raise GhzFailed(f"ghz did not end within {timeout_s:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode or not report.exists():
            raise GhzFailed(f"ghz ended with {process.returncode}: {said.decode(errors='replace').strip()}")
        found: dict[str, Any] = json.loads(report.read_text())
        return found
