"""What a process of the cell needs around its code: how grpc, the event loop and the garbage collector are set."""

import asyncio
import ctypes
import gc
import os
import resource
import sys
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

Result = TypeVar("Result")

GRPC_EXPERIMENTS = "-event_engine_listener"
"""Takes accepting and reading of connections from grpc's event engine back to its older poller, which an event loop waits on
without a thread hop. Measured with grpcio 1.85.1 on uvloop: an echo over 50 streams costs the server 33 to 45 µs of CPU with
it, 54 to 60 without. It belongs to grpcio's version: measure again when that moves. Without it, or where grpc does not know
it, everything works as well, slower."""

_GC_THRESHOLDS = (20_000, 2, 1_000)
"""A stream is some 64 objects that live long and leave no cycles; what does, as a call that begins, does at once. So what is
young is collected in small lots, 2 to 20 ms for up to 60,000 objects, and all of it next to never: 16,000 streams stand
still for 0.4 s then, and for more where others use the machine."""


_ARENAS = 2
"""Of glibc's malloc, which gives threads that allocate at the same time arenas of their own, up to eight a core. What one of
grpc's threads allocates for a stream and another one frees leaves holes in all of them: after 20,000 streams that came and
went, 300 at a time, a raw echo server held 67 MB and grew; with two arenas it held 56 MB and did not."""
_M_ARENA_MAX = -8
"""Of mallopt(3)."""


def prepare() -> None:
    """Set what grpc reads when it is first imported, unless the user has; and how memory is allocated from here on."""
    _take_few_arenas()
    assert "grpc" not in sys.modules, "too late: grpc has been imported"
    os.environ.setdefault("GRPC_EXPERIMENTS", GRPC_EXPERIMENTS)
    # What matters comes as an exception or status, and is logged by us.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def _take_few_arenas() -> None:
    """Where the C library knows arenas, and the user has not said how many."""
    said = "MALLOC_ARENA_MAX" in os.environ or "malloc.arena_max" in os.environ.get("GLIBC_TUNABLES", "")
    if sys.platform == "linux" and not said:
        with suppress(AttributeError, OSError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


def open_standard_files() -> None:
    """Put /dev/null where standard input, output or error is closed, so that no other file or socket gets its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  (stays open)


def raise_file_limit() -> None:
    """Let the process open as many files as the system allows it: each client's connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS says "unlimited" and does not mean it
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a process's main coroutine on uvloop."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def settle_memory() -> None:
    """To be called once everything is loaded and started: what is alive now lives as long as the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
