"""What holds on every stream, whatever the scenario: the frames a client writes."""

from cell.messaging.v1 import messaging_pb2 as messaging
from check.conformance.watch import expect

_UNCOUNTED = frozenset(("hello", "ping", "refresh_token"))


class Manners:
    """The commands of one stream so far. Raises Broken where a cell would end the stream, or refuse."""

    def __init__(self) -> None:
        self.limits: messaging.Limits | None = None
        """Those of Welcome; None before."""
        self._last_id = 0
        self._in_flight: set[int] = set()

    def frame(self, encoded: bytes) -> list[messaging.Command]:
        """The commands of a frame."""
        frame = messaging.ConnectRequest.FromString(encoded)
        expect(frame.commands, "at least one command in a frame", "a frame without one")
        if self.limits is not None:
            most, bytes_ = self.limits.max_commands_per_frame, self.limits.max_frame_bytes
            count = len(frame.commands)
            expect(
                count <= most, f"at most Limits.max_commands_per_frame = {most} commands in a frame", count
            )
            expect(
                len(encoded) <= bytes_, f"a frame of at most Limits.max_frame_bytes = {bytes_}", len(encoded)
            )
        for command in frame.commands:
            self._command(command)
        return list(frame.commands)

    def said(self, update: messaging.Update) -> None:
        """The cell's side."""
        kind = update.WhichOneof("update")
        if kind == "welcome":
            self.limits = update.welcome.limits
        elif kind in ("accepted", "rejected"):
            self._in_flight.discard(getattr(update, kind).command_id)

    def _command(self, command: messaging.Command) -> None:
        kind = command.WhichOneof("command")
        expect(kind, "a command that the contract has", "one without any")
        is_first = self._last_id == 0
        expect(is_first == (kind == "hello"), "`hello` as the first command and never again", kind)
        expect(is_first or self.limits is not None, "nothing after `hello` before Welcome has come", kind)
        expect(
            command.command_id > self._last_id,
            "command ids that begin above 0 and rise on a stream",
            f"{command.command_id} after {self._last_id}",
        )
        self._last_id = command.command_id
        if kind not in _UNCOUNTED and self.limits is not None:
            self._in_flight.add(command.command_id)
            most, count = self.limits.max_in_flight, len(self._in_flight)
            expect(count <= most, f"at most Limits.max_in_flight = {most} commands without outcome", count)
