"""Whether anything was lost, came twice, or came that should not have: from what each client wrote down."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from check.connections.phase import Phase


class ClientLedger(NamedTuple):
    """What one client did and was told; messages are bits of whole numbers, by their numbers."""

    number: int
    whole: bool
    """Whether its stream was there all the time and it looked at all that came. What came to another one is not judged."""
    sent: int
    accepted: int
    refused: int
    received: dict[int, int]
    """By sender."""


@dataclass(slots=True)
class Verdict:
    """Counts of deliveries, one for each recipient of a message and one for its sender's own stream."""

    expected: int = 0
    lost: int = 0
    """Accepted, and not told to a recipient that was there all the time."""
    refused_but_told: int = 0
    never_sent: int = 0
    """Told, but not sent to this recipient by anyone."""
    unknown: int = 0
    """Messages without an outcome, which may have been told or not."""


def judge(ledgers: Iterable[ClientLedger], phase: Phase, clients: int, seed: int) -> Verdict:
    """Hold what was received in a phase against what was accepted. Doubles are counted where they are received."""
    by_number = {ledger.number: ledger for ledger in ledgers}
    shape, all_numbers = phase.shape(clients, seed), phase.numbers
    verdict = Verdict()
    explained: dict[int, dict[int, int]] = {number: {} for number in by_number}
    for sender in by_number.values():
        sent = sender.sent & all_numbers
        verdict.unknown += (sent & ~sender.accepted & ~sender.refused).bit_count()
        for recipient, numbers in shape.expected(sender.number, sent).items():
            ledger = by_number.get(recipient)
            if ledger is None or not ledger.whole:
                continue
            received = ledger.received.get(sender.number, 0)
            expected = numbers & sender.accepted
            verdict.expected += expected.bit_count()
            verdict.lost += (expected & ~received).bit_count()
            verdict.refused_but_told += (received & numbers & sender.refused).bit_count()
            explained[recipient][sender.number] = numbers
    for number, ledger in by_number.items():
        if ledger.whole:
            for sender_number, received in ledger.received.items():
                known = explained[number].get(sender_number, 0)
                verdict.never_sent += (received & all_numbers & ~known).bit_count()
    return verdict
