"""What a server remembers of users for a short while, in bounded space: their latest command ids, marks and rate.

OrderedDict, because it finds its oldest entry at once: a dict looks through the places of all that have left before.
"""

from collections import OrderedDict

from messaging_core.limits import DEDUP_WINDOW_S

_BURST_S = 1.0
"""What may be taken ahead of the rate, as time."""
_ROUNDING_S = 1e-6


class RecentCommands:
    """Payload digests of commands handed to the log, to refuse an id that is used again for something else (R3).

    Only a help: what is forgotten here is found by the readers of the log.
    """

    __slots__ = ("_bound", "_digests")

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._digests: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    def conflicts(self, user_id: str, command_id: str, digest: int, now_s: float) -> bool:
        """Whether this id stands for another payload; if not, remember it for W from now."""
        key = (user_id, command_id)
        known = self._digests.pop(key, None)
        if known is not None and known[0] != digest and now_s - known[1] <= DEDUP_WINDOW_S:
            self._digests[key] = known
            return True
        self._digests[key] = (digest, now_s)
        self._trim(now_s)
        return False

    def forget(self, user_id: str, command_id: str) -> None:
        """The command certainly did not happen: its id is free."""
        self._digests.pop((user_id, command_id), None)

    def __len__(self) -> int:
        return len(self._digests)

    def _trim(self, now_s: float) -> None:
        oldest = next(iter(self._digests))
        if len(self._digests) > self._bound or now_s - self._digests[oldest][1] > DEDUP_WINDOW_S:
            del self._digests[oldest]


class RecentMarks:
    """The highest marks that are known to be durable, so that one that does not rise is not appended (I11, I13).

    Only a help: marks come from several servers and streams, and whoever keeps them keeps the highest.
    """

    __slots__ = ("_bound", "_highest")

    def __init__(self, bound: int = 100_000) -> None:
        self._bound = bound
        self._highest: OrderedDict[tuple[str, str, int], tuple[int, bytes]] = OrderedDict()

    def has(self, user_id: str, conversation_id: str, kind: int, sent_at_us: int, mark: bytes) -> bool:
        """Whether this mark, through a message of this time, is durable already or below one that is."""
        highest = self._highest.get((user_id, conversation_id, kind))
        return highest is not None and (sent_at_us < highest[0] or (sent_at_us, mark) == highest)

    def durable(self, user_id: str, conversation_id: str, kind: int, sent_at_us: int, mark: bytes) -> None:
        """The log has this mark. Beyond the bound the one that rose least recently is forgotten."""
        key = (user_id, conversation_id, kind)
        highest = self._highest.get(key)
        if highest is None or sent_at_us > highest[0]:
            self._highest.pop(key, None)
            self._highest[key] = (sent_at_us, mark)
            if len(self._highest) > self._bound:
                self._highest.popitem(last=False)

    def __len__(self) -> int:
        return len(self._highest)


class Rates:
    """`rate` commands a second of each user, lasting, and a burst of as much again.

    Generic cell rate algorithm (ITU-T I.371): for each user the time until which what it has taken is paid for. Who is not
    ahead of the clock has a full burst, and is forgotten, one with each command that comes.
    """

    __slots__ = ("_bound", "_paid_until_s", "_step_s")

    def __init__(self, rate: int, bound: int) -> None:
        self._step_s = 1.0 / rate
        self._bound = bound
        self._paid_until_s: OrderedDict[str, float] = OrderedDict()

    def take(self, user_id: str, now_s: float) -> float:
        """Take one; 0, or if there is none the seconds until there is."""
        paid = self._paid_until_s
        from_s = paid.pop(user_id, now_s)
        if from_s < now_s:
            from_s = now_s
        until_s = from_s + self._step_s
        wait_s = until_s - now_s - _BURST_S
        if wait_s > _ROUNDING_S:
            paid[user_id] = from_s
            return wait_s
        paid[user_id] = until_s
        for oldest in paid:
            if paid[oldest] <= now_s or len(paid) > self._bound:
                del paid[oldest]
            break
        return 0.0

    def __len__(self) -> int:
        return len(self._paid_until_s)
