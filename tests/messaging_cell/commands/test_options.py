"""What the help of every command tells."""

from pathlib import Path

import pytest

from tests.messaging_cell.running import run

HELPED = ["run", "chat", "send", "listen", "history", "conversations", "token"]


@pytest.mark.parametrize("command", HELPED)
def test_help_teaches(tmp_path: Path, command: str) -> None:
    """A sentence, examples, exit codes, and the settings that apply."""
    shown = run(tmp_path, command, "--help").stdout
    for part in ("Examples", f"cell {command}", "Exit codes", "Settings", "CELL_", "docs/settings.md"):
        assert part in shown or (command == "token" and part == "docs/settings.md")
