"""Where a chat shows things: lines that stay, with the numbers of messages at the left."""

from rich.text import Text

from messaging_cell.terminal_safety import printable
from messaging_cell.terminal_text import hanging, terminal

_LEFT = 4
_INDENT = " " * (_LEFT + 6)


class Screen:
    """Prints. In a terminal long lines are broken and indented here; elsewhere each is left whole, for programs."""

    def __init__(self, *, is_terminal: bool) -> None:
        self._console = terminal(is_one=is_terminal)
        self._broken_by = self._console if is_terminal else None

    def message(self, text: Text, number: int | None = None) -> None:
        """A message with its number, or something that happened, without one."""
        first = "" if number is None else str(number)
        self._console.print(hanging(text, f"{first:>{_LEFT - 1}} ", _INDENT, self._broken_by))

    def below(self, text: Text) -> None:
        """Something about the message above."""
        self._console.print(hanging(text, _INDENT, _INDENT, self._broken_by))

    def heading(self, text: str) -> None:
        """What the lines below are."""
        self._print(text, "bold")

    def note(self, text: str) -> None:
        """By the way."""
        self._print(text, "dim")

    def warn(self, text: str) -> None:
        """What the user should know, or correct."""
        self._print(text, "yellow")

    def error(self, text: str) -> None:
        """What could not be done."""
        self._print(text, "red")

    def line(self, text: Text) -> None:
        """A line as it is."""
        self._console.print(text)

    def _print(self, text: str, style: str) -> None:
        self._console.print(hanging(Text(printable(text), style), "", "  ", self._broken_by))
