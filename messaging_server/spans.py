"""What is traced of a messaging server: sampled commands until their outcome, and events until they are written."""

from collections.abc import Sequence

from cell.messaging.v1 import messaging_pb2 as messaging
from event_log.port import Fate
from messaging_core.refusals import Refused, reason_name
from messaging_server.commands import Prepared
from messaging_server.subscription import Subscription
from telemetry import trace_context
from telemetry.tracing import MOST_SPANS, Span, SpanKind, Tracer, of_record

_CLOSED = "stream_closed"


class CommandSpan:
    """A sampled command, from its receipt until its outcome, and within that its append."""

    __slots__ = ("_received", "_sent", "_tracer")

    def __init__(self, tracer: Tracer, command: messaging.Command) -> None:
        name = command.WhichOneof("command") or "unknown"
        self._tracer = tracer
        self._received = tracer.start(
            f"accept {name}", SpanKind.SERVER, command.traceparent, {"cell.command": name}
        )
        self._sent: Span | None = None

    def prepared(self, prepared: Prepared) -> Prepared:
        """The command, checked: its event tells the client's context, or this one where the client gave none."""
        self._received.tell(
            {
                "messaging.message.id": prepared.command_id,
                "messaging.message.conversation_id": prepared.conversation_id,
                "messaging.message.body.size": len(prepared.body),
            }
        )
        if trace_context.parse(prepared.traceparent) is None:
            return prepared._replace(traceparent=self._received.traceparent)
        return prepared

    def sends(self, partition: int) -> str:
        """It goes to the log; the context for the record."""
        attributes = of_record("send", "send", partition, {})
        self._sent = self._tracer.start("send log", SpanKind.PRODUCER, self._received.traceparent, attributes)
        return self._sent.traceparent

    def settled(self, fate: Fate, offset: int) -> None:
        """The log has told what became of it."""
        self._end_send("" if fate is Fate.APPENDED else fate.name.lower(), offset)

    def accepted(self) -> None:
        """It is durable, or was before."""
        self._received.end()

    def refused(self, refused: Refused) -> None:
        """It was not done, or that is not known."""
        error = reason_name(refused.reason)
        outcome = messaging.RejectedOutcome.Name(refused.outcome).removeprefix("REJECTED_OUTCOME_")
        self._received.end(error, {"cell.outcome": outcome})

    def dropped(self) -> None:
        """The stream ended before it went to the log."""
        self._received.end(_CLOSED)

    def _end_send(self, error: str, offset: int) -> None:
        if self._sent is not None:
            self._sent.end(error, {"cell.log.offset": offset})


class Deliveries:
    """Traced events that were put into streams and are not written yet. True while there are any."""

    __slots__ = ("_server_id", "_tracer", "_waiting")

    def __init__(self, tracer: Tracer, server_id: str) -> None:
        self._tracer = tracer
        self._server_id = server_id
        self._waiting: dict[Subscription, list[tuple[bytes, Span]]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(
        self, traceparent: str, partition: int, offset: int, piece: bytes, sessions: Sequence[Subscription]
    ) -> None:
        """This very piece waits in these streams."""
        for session in sessions[:MOST_SPANS]:
            attributes = of_record(
                "deliver",
                "send",
                partition,
                {
                    "messaging.client.id": f"{self._server_id}-{session.number}",
                    "cell.log.offset": offset,
                    "cell.streams": len(sessions),
                },
            )
            span = self._tracer.start("deliver stream", SpanKind.PRODUCER, traceparent, attributes)
            self._waiting.setdefault(session, []).append((piece, span))

    def written(self, session: Subscription) -> None:
        """Everything that was taken from the stream so far is written."""
        waiting = self._waiting.get(session)
        if waiting is None:
            return
        left = []
        for piece, span in waiting:
            if session.outbound.holds_event(piece):
                left.append((piece, span))
            else:
                span.end()
        if left:
            self._waiting[session] = left
        else:
            del self._waiting[session]

    def ended(self, session: Subscription) -> None:
        """The stream is gone."""
        for _, span in self._waiting.pop(session, ()):
            span.end(_CLOSED)
