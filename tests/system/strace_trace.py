"""Reads what strace saw of a process: its writes, when they became durable, and what it said on its sockets.

Lines of a trace are in the order in which strace saw the calls begin and end, over all threads; a traced call cannot go on
before strace has seen it. So one line before another is one event before another.
"""

import os
import re
import shutil
import subprocess
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

TRACED = (
    "open,openat,creat,close,lseek,write,writev,pwrite64,pwritev,pwritev2,ftruncate,fallocate,rename,renameat,renameat2,"
    "unlink,unlinkat,fsync,fdatasync,sync_file_range,sendmsg,sendto"
)

WRITING = ("write", "writev", "pwrite64", "pwritev", "pwritev2", "ftruncate", "fallocate")

_LINE = re.compile(r"(?P<thread>\d+) +\d+\.\d+ (?P<rest>.*)", re.DOTALL)
_WHOLE = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+|\?)(?P<tail>.*)", re.DOTALL)
_BEGUN = re.compile(r"(?P<name>\w+)\((?P<arguments>.*?) ?<unfinished \.\.\.>", re.DOTALL)
_RESUMED = re.compile(
    r"<\.\.\. (?P<name>\w+) resumed>(?P<arguments>.*)\) += (?P<result>-?\d+|\?)(?P<tail>.*)", re.DOTALL
)
_DESCRIPTOR = re.compile(r"(?P<number>-?\d+|AT_FDCWD)(?:<(?P<path>[^>]*)>)?")
_STRING = re.compile(r'"(?P<hex>(?:\\x[0-9a-f]{2})*)"(?P<cut>\.\.\.)?')
_PATH = re.compile(r'(?:\d+|AT_FDCWD)<(?P<folder>[^>]*)>, "(?P<hex>(?:\\x[0-9a-f]{2})*)"')
_HEX = re.compile(r"\\x([0-9a-f]{2})")


class TraceUnreadable(Exception):
    """The trace has what this reader does not know."""


class Call(NamedTuple):
    """A system call that succeeded."""

    name: str
    arguments: str
    result: int
    result_path: str
    begun: int
    """Line on which it began."""
    ended: int
    """Line on which it had returned."""

    @property
    def descriptor(self) -> int:
        """Its first argument."""
        match = _DESCRIPTOR.match(self.arguments)
        return int(match["number"]) if match and match["number"] != "AT_FDCWD" else -1

    @property
    def path(self) -> str:
        """Path of the file that its first argument is."""
        match = _DESCRIPTOR.match(self.arguments)
        return _decode(match["path"] or "").decode(errors="replace") if match else ""

    @property
    def strings(self) -> list[bytes]:
        """Its string arguments; for a call with a vector, the parts."""
        if any(match["cut"] for match in _STRING.finditer(self.arguments)):
            raise TraceUnreadable(f"{self.name} cut short: strace -s was too small")
        return [_decode(match["hex"]) for match in _STRING.finditer(self.arguments)]

    @property
    def paths(self) -> list[str]:
        """Its arguments that are paths, made absolute."""
        if self.name.endswith(("at", "at2")):
            pairs = [
                (_decode(match["folder"]), _decode(match["hex"])) for match in _PATH.finditer(self.arguments)
            ]
            return [os.path.join(folder, path).decode(errors="replace") for folder, path in pairs]
        paths = [path.decode(errors="replace") for path in self.strings]
        if not all(os.path.isabs(path) for path in paths):
            raise TraceUnreadable(f"{self.name} of a relative path: {paths}")
        return paths

    @property
    def numbers(self) -> list[int]:
        """Its arguments that are plain numbers, after the first."""
        plain = _STRING.sub("", self.arguments).split(", ")[1:]
        return [int(part) for part in plain if re.fullmatch(r"-?\d+", part)]


def strace_wrapper(trace: Path) -> list[str]:
    """What to put before a command, so that its own process id stays what the shell was given."""
    return [
        "strace",
        "-D",
        "-f",
        "-y",
        "-ttt",
        "-xx",
        "-s",
        "2000000",
        "-o",
        str(trace),
        "-e",
        f"trace={TRACED}",
    ]


def why_not_strace() -> str:
    """Why strace cannot be used here; empty if it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True)
    return "" if tried.returncode == 0 else f"strace does not work here: {tried.stderr.strip()}"


def read_trace(lines: Iterable[str]) -> Iterator[Call]:
    """The successful calls, in the order in which they ended."""
    begun: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(lines):
        outer = _LINE.fullmatch(line.rstrip("\n"))
        if outer is None:
            raise TraceUnreadable(line[:200])
        thread, rest = outer["thread"], outer["rest"]
        if match := _RESUMED.fullmatch(rest):
            first, arguments = begun.pop(thread)
            if _succeeded(match):
                yield _call(match, arguments + match["arguments"], first, number)
        elif match := _BEGUN.fullmatch(rest):
            begun[thread] = (number, match["arguments"])
        elif match := _WHOLE.fullmatch(rest):
            if _succeeded(match):
                yield _call(match, match["arguments"], number, number)
        elif not rest.startswith(("+++ ", "--- ", "????")) and "<unfinished ...>" not in rest:
            raise TraceUnreadable(line[:200])


def _succeeded(match: re.Match[str]) -> bool:
    return match["result"] != "?" and int(match["result"]) >= 0


def _call(match: re.Match[str], arguments: str, begun: int, ended: int) -> Call:
    path = re.match(r"<([^>]*)>", match["tail"])
    result_path = _decode(path[1]).decode(errors="replace") if path else ""
    return Call(match["name"], arguments, int(match["result"]), result_path, begun, ended)


def _decode(hexadecimal: str) -> bytes:
    return bytes.fromhex("".join(_HEX.findall(hexadecimal)))


class Write(NamedTuple):
    """A change of a file's content."""

    line: int
    """On which it had returned."""
    offset: int
    data: bytes | None
    """What was written; None: the file was cut or stretched to `offset` bytes."""


@dataclass(slots=True, eq=False)
class TracedFile:
    """One file: all that was written to it, and how much of that was durable when."""

    writes: list[Write] = field(default_factory=list)
    synced: list[tuple[int, int]] = field(default_factory=list)
    """(line on which a sync had returned, writes that had returned before it began), rising."""
    size: int = 0

    def write(self, line: int, offset: int, data: bytes) -> None:
        """Bytes were written."""
        self.writes.append(Write(line, offset, data))
        self.size = max(self.size, offset + len(data))

    def resize(self, line: int, size: int) -> None:
        """The file was cut or stretched."""
        self.writes.append(Write(line, size, None))
        self.size = size

    def sync(self, begun: int, ended: int) -> None:
        """Everything written before `begun` was durable at `ended`."""
        self.synced.append((ended, bisect_right(self.writes, begun, key=lambda write: write.line)))

    def after_loss(self, line: int, survives: Callable[[], bool]) -> bytes | None:
        """What a loss of power right after `line` leaves; None for no file.

        All that was synced, and of the writes since then, in whatever order the disk took them, those that survive.
        """
        at = bisect_right(self.synced, line, key=lambda sync: sync[0])
        certain = self.synced[at - 1][1] if at else 0
        done = bisect_right(self.writes, line, key=lambda write: write.line)
        lucky = [write for write in self.writes[certain:done] if survives()]
        return _content([*self.writes[:certain], *lucky]) if at or lucky else None


def _content(writes: Iterable[Write]) -> bytes:
    content = bytearray()
    for write in writes:
        end = write.offset + len(write.data or b"")
        if len(content) < end:
            content.extend(bytes(end - len(content)))
        if write.data is None:
            del content[write.offset :]
        else:
            content[write.offset : end] = write.data
    return bytes(content)


class Disk:
    """The files below a folder, as a trace from the folder's creation on tells of them."""

    def __init__(self, folder: Path, calls: Iterable[Call]) -> None:
        self._folder = str(folder)
        self._files: dict[str, TracedFile] = {}
        self._names: list[tuple[int, str, TracedFile | None]] = []
        """(line, path, what the name stood for from there on)."""
        self._positions: dict[int, int] = {}
        self.syncs: list[tuple[str, Call]] = []
        """(path, call) of every fsync and fdatasync."""
        self.writes: list[tuple[str, Call]] = []
        """(path, call) of every write."""
        for call in calls:
            self._take(call)

    def after_loss(self, line: int, survives: Callable[[], bool] = lambda: False) -> dict[str, bytes]:
        """What a loss of power right after `line` leaves: files by path, as of their last sync.

        Writes since then are gone unless they survive by chance.
        """
        names: dict[str, TracedFile | None] = {}
        for at, path, file in self._names:
            if at <= line:
                names[path] = file
        kept = ((path, file.after_loss(line, survives)) for path, file in names.items() if file is not None)
        return {
            path.removeprefix(self._folder + "/"): content for path, content in kept if content is not None
        }

    def _take(self, call: Call) -> None:
        if call.name in ("open", "openat", "creat"):
            self._opened(call)
        elif call.name in ("rename", "renameat", "renameat2", "unlink", "unlinkat"):
            self._renamed(call)
        elif call.path.startswith(self._folder + "/") and call.name not in ("sendmsg", "sendto"):
            path = call.path.removesuffix(" (deleted)")
            if path in self._files or call.name in WRITING:
                self._changed(call, self._file(path, call.ended))

    def _opened(self, call: Call) -> None:
        path = call.result_path
        if not path.startswith(self._folder + "/") or "O_DIRECTORY" in call.arguments:
            return
        if call.name != "creat" and path not in self._files and "O_CREAT" not in call.arguments:
            return  # a folder
        if "O_TRUNC" in call.arguments:
            self._file(path, call.ended).resize(call.ended, 0)
        self._positions[call.result] = -1 if "O_APPEND" in call.arguments else 0

    def _file(self, path: str, line: int) -> TracedFile:
        if path not in self._files:
            self._files[path] = TracedFile()
            self._names.append((line, path, self._files[path]))
        return self._files[path]

    def _renamed(self, call: Call) -> None:
        paths = call.paths
        if not any(path.startswith(self._folder + "/") for path in paths):
            return
        file = self._files.pop(paths[0], None)
        self._names.append((call.ended, paths[0], None))
        if call.name.startswith("rename") and file is not None:
            self._files[paths[1]] = file
            self._names.append((call.ended, paths[1], file))

    def _changed(self, call: Call, file: TracedFile) -> None:
        if call.name in ("fsync", "fdatasync"):
            file.sync(call.begun, call.ended)
            self.syncs.append((call.path, call))
        elif call.name in ("pwrite64", "pwritev", "pwritev2"):
            self._wrote(call, file, call.numbers[-1] if call.name != "pwritev2" else call.numbers[-2])
        elif call.name in ("write", "writev"):
            position = self._positions.get(call.descriptor, 0)
            self._wrote(call, file, file.size if position < 0 else position)
            if position >= 0:
                self._positions[call.descriptor] = position + call.result
        elif call.name == "lseek" and self._positions.get(call.descriptor, 0) >= 0:
            self._positions[call.descriptor] = call.result
        elif call.name == "ftruncate":
            file.resize(call.ended, call.numbers[-1])
        elif call.name == "fallocate":
            file.resize(call.ended, max(file.size, sum(call.numbers[-2:])))
        elif call.name == "sync_file_range":
            raise TraceUnreadable("sync_file_range makes nothing durable")

    def _wrote(self, call: Call, file: TracedFile, offset: int) -> None:
        file.write(call.ended, offset, b"".join(call.strings)[: call.result])
        self.writes.append((call.path, call))


def sent(calls: Iterable[Call]) -> list[Call]:
    """The calls that put bytes on a socket."""
    return [call for call in calls if call.name in ("sendmsg", "sendto") and call.result > 0]
