"""What a messaging server counts."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from cell.delivery.v1 import session_link_pb2 as link
from cell.log.v1 import record_pb2 as log
from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core.refusals import Refused, reason_name
from telemetry import catalogue
from telemetry.metrics import Calls, Figure, Histogram, seconds

KINDS: dict[int, str] = {
    log.EVENT_KIND_MESSAGE: "message",
    log.EVENT_KIND_REACTION_CHANGED: "reaction",
    log.EVENT_KIND_RECEIVED_MARK: "received_mark",
    log.EVENT_KIND_READ_MARK: "read_mark",
}
_KINDS_OF_COMMANDS = {
    "send_message": "message",
    "react": "reaction",
    "unreact": "reaction",
    "mark_received": "received_mark",
    "mark_read": "read_mark",
}


def kind_of(command: str | None) -> str:
    """What a command of this name, of those in the contract, is counted as."""
    return _KINDS_OF_COMMANDS.get(command or "", command or "unknown")


@dataclass(slots=True)
class ServerFigures:
    """Since the server was made."""

    accepts: dict[int, Histogram] = field(default_factory=lambda: {kind: seconds() for kind in KINDS})
    """Seconds until commands that append were accepted, by EventKind."""
    others: "Counter[str]" = field(default_factory=Counter)
    """Commands that append nothing and were accepted, by name."""
    refusals: "Counter[tuple[str, str, str]]" = field(default_factory=Counter)
    """By kind, outcome and reason."""
    deliveries: Histogram = field(default_factory=seconds)
    pages: Histogram = field(default_factory=seconds)
    attaches: "Counter[int]" = field(default_factory=Counter)
    """By AttachOutcome."""
    resumes: "Counter[int]" = field(default_factory=Counter)
    """By ResumeOutcome."""
    overflows: int = 0
    opened: int = 0
    ended: "Counter[str]" = field(default_factory=Counter)
    """By reason."""
    turned_away: "Counter[str]" = field(default_factory=Counter)
    """Streams that were not opened, by reason."""
    calls: Calls = field(default_factory=lambda: Calls(catalogue.CALLS))

    def refused(self, kind: str, refused: Refused) -> None:
        """Count a command that was refused, or whose outcome is unknown."""
        outcome = messaging.RejectedOutcome.Name(refused.outcome).removeprefix("REJECTED_OUTCOME_").lower()
        self.refusals[kind, outcome, reason_name(refused.reason)] += 1

    def __iter__(self) -> Iterator[Figure]:
        for kind, accepts in self.accepts.items():
            yield Figure(catalogue.ACCEPTS, accepts, (KINDS[kind],))
            yield Figure(catalogue.COMMANDS, accepts.count, (KINDS[kind], "accepted", ""))
        for name, count in self.others.items():
            yield Figure(catalogue.COMMANDS, count, (name, "accepted", ""))
        for labels, count in self.refusals.items():
            yield Figure(catalogue.COMMANDS, count, labels)
        yield Figure(catalogue.DELIVERIES, self.deliveries)
        yield Figure(catalogue.PAGES, self.pages)
        for attach, count in self.attaches.items():
            # Of an owner of a later version there may be others.
            known = link.AttachOutcome.DESCRIPTOR.values_by_number.get(attach)
            name = known.name.removeprefix("ATTACH_OUTCOME_").lower() if known else "other"
            yield Figure(catalogue.ATTACHES, count, (name,))
        for resume, count in self.resumes.items():
            name = messaging.ResumeOutcome.Name(resume).removeprefix("RESUME_OUTCOME_").lower()
            yield Figure(catalogue.RESUMES, count, (name,))
        yield Figure(catalogue.OVERFLOWS, self.overflows)
        yield Figure(catalogue.STREAMS_OPENED, self.opened)
        for reason, count in self.ended.items():
            yield Figure(catalogue.STREAMS_ENDED, count, (reason,))
        for reason, count in self.turned_away.items():
            yield Figure(catalogue.STREAMS_REFUSED, count, (reason,))
        yield from self.calls
