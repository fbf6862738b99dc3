"""What a client under test does all the time: it writes, answers, reacts, reads, goes and comes back."""

import asyncio
import random
from collections import deque

from check.faults.clients.client import ClientUnderTest, Outcome
from check.faults.ledger import MESSAGE, Event, Ref
from check.faults.plan import BAD, EVERYBODY, FENCE, LONG, SHORT, STALLS, ClientPlan, Plan

_HABIT_EVERY_S = {SHORT: 12.0, LONG: 60.0, STALLS: 15.0}
_HABIT_S = {SHORT: (0.2, 4.0), LONG: (20.0, 45.0), STALLS: (2.0, 8.0)}
_KEYS = ("👍", "🎉", "❤️")
_MOST_FILLER = 400
_REMEMBERED = 40


class Person:
    """Drives one client until it is told to stop."""

    def __init__(self, plan: Plan, client: ClientPlan, under_test: ClientUnderTest) -> None:
        self.client = client
        self.fences: set[str] = set()
        """Ids of the fences that were told."""
        self._under_test = under_test
        self._plan = plan
        self._chance = random.Random(f"{plan.seed} {client.name}")
        self._places = sorted(
            name for name, users in plan.places.items() if client.user in users and name != EVERYBODY
        )
        self._recent: dict[str, deque[Ref]] = {name: deque(maxlen=_REMEMBERED) for name in plan.places}
        self._count = 0
        self._stop = asyncio.Event()
        self._fenced = asyncio.Event()
        under_test.on_event = self._take

    async def live_first(self) -> None:
        """Come to the cell for the first time."""
        await self._under_test.open()
        await self._under_test.live()

    async def live_on(self) -> None:
        """Do things until told to stop; then be there."""
        habit = asyncio.get_running_loop().time() + self._until_habit()
        while not await self._stopped_within(self._chance.expovariate(1 / self._plan.pause_s)):
            if asyncio.get_running_loop().time() > habit:
                await self._have_habit()
                habit = asyncio.get_running_loop().time() + self._until_habit()
            await self._act()

    def stop(self) -> None:
        """Finish what is under way."""
        self._stop.set()

    async def send_fence(self) -> None:
        """The last message of all, to everybody."""
        await self._send(EVERYBODY, f"{self.client.name}-{FENCE}", None)

    async def wait_for_fences(self, count: int, timeout_s: float) -> bool:
        """Until so many fences were told; False where that took too long."""
        try:
            async with asyncio.timeout(timeout_s):
                while len(self.fences) < count:
                    self._fenced.clear()
                    await self._fenced.wait()
        except TimeoutError:
            return False
        return True

    async def leave(self) -> None:
        """For good."""
        await self._under_test.leave()
        self._under_test.ledger.write("left")

    def _take(self, event: Event) -> None:
        if event.kind == MESSAGE:
            place, _, _ = event.text.partition(" ")
            if place in self._recent:
                self._recent[place].append(event.ref)
            if event.ref.id.endswith(FENCE):
                self.fences.add(event.ref.id)
                self._fenced.set()

    # What it does.

    async def _act(self) -> None:
        place = self._chance.choice(self._places)
        if place == "wide" and self._chance.random() < 0.7:
            place = self._places[0]
        known = self._recent[place]
        kind = self._chance.random()
        if kind < 0.15 and known:
            await self._react(self._chance.choice(known))
        elif kind < 0.25 and known:
            await self._read(known[-1])
        elif kind < 0.28:
            await self._send_refused(place)
        else:
            reply_to = self._chance.choice(known) if known and kind > 0.8 else None
            await self._send(place, self._id(), reply_to)

    async def _send(self, place: str, id_: str, reply_to: Ref | None) -> None:
        text = f"{place} {id_} {'.' * self._chance.randrange(_MOST_FILLER)}"
        await self._send_text(place, id_, text, self._to(place), reply_to)

    async def _send_refused(self, place: str) -> None:
        """What no cell may take: nobody can be called so."""
        id_ = f"{self._id()}-{BAD}"
        await self._send_text(place, id_, f"{place} {id_} never", [*self._to(place), "no body"], None)

    async def _send_text(self, place: str, id_: str, text: str, to: list[str], reply_to: Ref | None) -> None:
        self._under_test.ledger.write("send", id=id_, place=place, text=text, reply_to=reply_to)
        self._settled(id_, await self._under_test.send(id_, text, to, reply_to))

    async def _react(self, ref: Ref) -> None:
        id_, key, removed = self._id(), self._chance.choice(_KEYS), self._chance.random() < 0.4
        self._under_test.ledger.write("react", id=id_, ref=ref, key=key, removed=removed)
        self._settled(id_, await self._under_test.react(id_, ref, key, removed))

    async def _read(self, ref: Ref) -> None:
        id_ = self._id()
        self._under_test.ledger.write("read", id=id_, ref=ref)
        self._settled(id_, await self._under_test.read(ref))

    def _settled(self, id_: str, outcome: Outcome) -> None:
        self._under_test.ledger.write(
            "outcome", id=id_, **{"is": outcome.result, "why": outcome.why, "tries": outcome.tries}
        )

    def _id(self) -> str:
        self._count += 1
        return f"{self.client.name}-{self._count}"

    def _to(self, place: str) -> list[str]:
        others = [user for user in self._plan.places[place] if user != self.client.user]
        return others or [self.client.user]

    # Going and coming back.

    async def _have_habit(self) -> None:
        ledger, seconds = self._under_test.ledger, self._chance.uniform(*_HABIT_S[self.client.habit])
        if self.client.habit == STALLS:
            ledger.write("stalled")
            self._under_test.stall()
            await self._stopped_within(seconds)
            self._under_test.go_on()
            ledger.write("went_on")
        else:
            await self._under_test.leave()
            ledger.write("left")
            await self._stopped_within(seconds)
            ledger.write("returned")
            await self._under_test.open()

    def _until_habit(self) -> float:
        every_s = _HABIT_EVERY_S.get(self.client.habit)
        return self._chance.expovariate(self._plan.restless / every_s) if every_s else float("inf")

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return False
        return True
