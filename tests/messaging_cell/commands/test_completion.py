"""What shells offer when Tab is pressed."""

import pytest

from tests.messaging_cell.running import RunningCell, until


def completions(cell: RunningCell, shell: str, words: str) -> str:
    """What a shell is told when Tab is pressed at the end of these words."""
    asked = {"_CELL_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": words}
    if shell == "bash":
        asked |= {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    if shell == "fish":
        asked["_TYPER_COMPLETE_FISH_ACTION"] = "get-args"
    return cell.run(**asked).stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_options_values_and_people(cell: RunningCell, shell: str) -> None:
    """What a command may be, which options it has, and values where they are known; people are asked of the cell."""
    cell.run("send", "bob22", "hi", "--from", "ann22")
    until(lambda: cell.run("conversations", "ann22").stdout, "history has it")
    for words, offered in (
        ("cell conv", "conversations"),
        ("cell send --content-t", "--content-type"),
        ("cell send bob --content-type image/pn", "image/png"),
        ("cell run --log-format js", "json"),
        ("cell chat ann22 b", "bob22"),
        ("cell history ann22 b", "bob22"),
    ):
        assert offered in completions(cell, shell, words), words
    assert "22" not in completions(cell, shell, "cell chat nobody22 b")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_installed(cell: RunningCell, shell: str) -> None:
    """The script that a shell is to load names the command."""
    shown = cell.run(_CELL_COMPLETE=f"source_{shell}").stdout
    assert "cell" in shown
    assert f"complete_{shell}" in shown
