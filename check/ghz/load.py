"""What is called, how often, by whom: the same for ghz and for our own client."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from check.cells import token

USERS = 50
"""Who write, each to the next, by turns. The configuration says so too, in its recipients."""
_RECIPIENT = f"{{{{mod (add .RequestNumber 1) {USERS}}}}}"
"""In the configuration: the user after the one who makes this call."""
_FOLDER = Path(__file__).parent
_MOST_TIMES = 5
"""A run ends when it takes so many times what it should, at the latest."""


@dataclass(frozen=True, slots=True)
class Load:
    """So many calls of one method, at times that are set beforehand."""

    config: Mapping[str, Any]
    """ghz's, as the file has it."""
    calls: int
    calls_per_s: int
    connections: int

    @property
    def name(self) -> str:
        """What people call it."""
        return str(self.config["name"])

    @property
    def is_stream(self) -> bool:
        """Whether a call is a Connect stream: a hello, and after it messages, one each interval."""
        return isinstance(self.config["data"], list)

    @property
    def messages_per_call(self) -> int:
        """That are sent."""
        return len(self.config["data"]) - 1 if self.is_stream else 1

    @property
    def interval_s(self) -> float:
        """Between what a stream sends."""
        return float(self.config.get("stream-interval", "0ms").removesuffix("ms")) / 1e3

    @property
    def most_s(self) -> float:
        """After which a run has failed."""
        return _MOST_TIMES * (self.calls / self.calls_per_s + self.messages_per_call * self.interval_s) + 60

    def requests(self, user: int, call_id: str) -> Sequence[dict[str, Any]]:
        """What a user sends in a call of this id, as ghz makes it of the configuration."""
        text = json.dumps(self.config["data"])
        text = text.replace("{{.UUID}}", call_id)
        text = text.replace(_RECIPIENT, str((user + 1) % USERS))
        made = json.loads(text)
        return made if isinstance(made, list) else [made]

    def ghz_config(self, tokens: Sequence[str]) -> dict[str, Any]:
        """The configuration of a run, by users with these tokens, as many as there are users."""
        # Within backquotes, since the template is executed inside a JSON string, where no other quotes can stand.
        chosen = f"index (splitList ` ` `{' '.join(tokens)}`) (int (mod .RequestNumber {len(tokens)}))"
        return {
            **self.config,
            "metadata": {"authorization": f"Bearer {{{{{chosen}}}}}"},
            "rps": self.calls_per_s,
            "total": self.calls,
            "connections": self.connections,
            "concurrency": self.connections,
        }


def loads(seconds: float, rate: float, connections: int) -> Sequence[Load]:
    """Unary calls and streams that send about `rate` messages a second, for so long. Raises ValueError."""
    if seconds <= 0 or connections < 1:
        raise ValueError("--seconds must be above 0, and --connections at least 1")
    return [_load(name, seconds, rate, connections) for name in ("send_message", "connect")]


def user(number: int) -> str:
    """The user who makes the calls of this number, and of those after it by as many as there are users."""
    return f"ghz-{number % USERS}"


def tokens() -> Sequence[str]:
    """Of all users."""
    return [token(user(number)) for number in range(USERS)]


def _load(name: str, seconds: float, rate: float, connections: int) -> Load:
    config = json.loads((_FOLDER / f"{name}.json").read_text())
    one = Load(config, 1, 1, connections)
    calls_per_s = round(rate / one.messages_per_call)
    if calls_per_s < 1:
        raise ValueError(
            f"--rate must be at least {one.messages_per_call}: a {one.name} sends as many messages"
        )
    return Load(config, max(1, round(calls_per_s * seconds)), calls_per_s, connections)
