"""Standard input, read beside the event loop."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import suppress

_CHUNK_BYTES = 1 << 16


async def lines_of_input(max_bytes: int) -> AsyncIterator[bytes]:
    """The lines of standard input as they come, without their ends; a line that is longer is cut into several.

    They are read by a thread that nobody waits for, since a read cannot be cancelled; at most two chunks ahead.
    """
    rest = b""
    async for chunk in _chunks():
        *lines, rest = (rest + chunk).split(b"\n")
        while len(rest) > max_bytes:
            lines.append(rest[:max_bytes])
            rest = rest[max_bytes:]
        for line in lines:
            yield line.removesuffix(b"\r")
    if rest:
        yield rest


def whole_input(max_bytes: int) -> bytes:
    """All of standard input, but no more than one byte beyond what is asked for."""
    return sys.stdin.buffer.read(max_bytes + 1)


async def _chunks() -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes | OSError] = asyncio.Queue()
    wanted = threading.Semaphore(2)

    def read() -> None:
        with suppress(RuntimeError):  # the loop has ended before
            while wanted.acquire():
                try:
                    chunk: bytes | OSError = os.read(sys.stdin.fileno(), _CHUNK_BYTES)
                except OSError as error:
                    chunk = error
                loop.call_soon_threadsafe(chunks.put_nowait, chunk)
                if not chunk or isinstance(chunk, OSError):
                    return

    threading.Thread(target=read, daemon=True).start()
    while chunk := await chunks.get():
        if isinstance(chunk, OSError):
            raise chunk
        yield chunk
        wanted.release()
