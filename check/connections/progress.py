"""How far a run is, in a line that is written over, or now and then in one more where that cannot be."""

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from check.connections.coordinator import Say

_LINE_EVERY_S = 10.0


@contextmanager
def teller(console: Console) -> Iterator[Say]:
    """Gives what is told how far it is."""
    if console.is_terminal:
        with console.status("") as status:
            yield status.update
    else:
        yield _lines(console)


@contextmanager
def stopping() -> Iterator[None]:
    """SIGTERM ends the task that is in this block as Ctrl-C does: what was started is stopped on the way out."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def _lines(console: Console) -> Say:
    last_s = -_LINE_EVERY_S

    def say(text: str) -> None:
        nonlocal last_s
        if (now_s := time.monotonic()) - last_s >= _LINE_EVERY_S:
            last_s = now_s
            console.print(text, highlight=False)

    return say
