"""Ledgers of a run in which every promise was kept: a cell in a few lines, whose users write, react, read, leave and return.

Lines are kept as they would stand in files, so that a test can change what it likes before they are checked.
"""

import json
import random
from pathlib import Path
from typing import Any

from check.faults import plan as plans
from check.faults.ledger import MESSAGE, REACTION, READ, Event, Ref
from check.faults.plan import BAD, EVERYBODY, FENCE, ClientPlan
from check.faults.run import FAULTS_FILE, FOLLOWER, HISTORY, PLAN_FILE

Lines = dict[str, list[dict[str, Any]]]
"""By the name of the file, without its ending."""

STEPS = 600
FAULT_EVERY = 200


class HonestRun:
    """Made when it is made; `files` has the lines."""

    def __init__(self, seed: int = 1) -> None:
        self.files: Lines = {}
        self.plan = plans.make(seed, ["127.0.0.1:1"], {}, 5, 0.5)
        self._chance = random.Random(seed)
        self._t = 1_000.0
        self._now_us = 1_700_000_000_000_000
        self._count = 0
        self._events: dict[str, list[Event]] = {user: [] for user in self.plan.users}
        self._told: dict[str, int] = {client.name: 0 for client in self.plan.clients}
        self._away: set[str] = set()
        self._followed: dict[str, int] = dict.fromkeys(self.plan.users, 0)
        self._marks: dict[str, dict[tuple[str, str], Ref]] = {user: {} for user in self.plan.users}
        self._places: dict[str, list[Ref]] = {place: [] for place in self.plan.places}
        for client in self.plan.clients:
            self._write(client.name, "opened", after="")
            self._write(client.name, "live")
        for step in range(STEPS):
            self._step(step)
        self._end()

    def save(self, folder: Path) -> Path:
        """Write the files as a run does."""
        self.plan.save(folder / PLAN_FILE)
        for name, lines in self.files.items():
            (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        return folder

    # What happens.

    def _step(self, step: int) -> None:
        client = self._chance.choice(self.plan.clients)
        if client.name in self._away:
            if self._chance.random() < 0.2:
                self._come_back(client)
        elif self._chance.random() < 0.02:
            self._away.add(client.name)
            self._write(client.name, "left")
        else:
            self._act(client)
        self._tell()
        if self._chance.random() < 0.05:
            self._follow(self._chance.choice(self.plan.users))
        self._fault(step)

    def _act(self, client: ClientPlan) -> None:
        place = self._chance.choice(
            [name for name, users in self.plan.places.items() if client.user in users and name != EVERYBODY]
        )
        known, kind = self._places[place], self._chance.random()
        if kind < 0.2 and known:
            self._react(client, self._chance.choice(known), place)
        elif kind < 0.35 and known:
            self._read(client, self._chance.choice(known), place)
        elif kind < 0.4:
            id_ = f"{self._id(client)}-{BAD}"
            self._ask(client, "send", id_, "refused", place=place, text="never", reply_to=None)
        else:
            reply_to = self._chance.choice(known) if known and kind > 0.9 else None
            self._send(client, place, self._id(client), reply_to)

    def _send(self, client: ClientPlan, place: str, id_: str, reply_to: Ref | None) -> None:
        is_lost = self._chance.random() < 0.004 and FENCE not in id_
        text = f"{place} {id_}"
        result = "unknown" if is_lost else "accepted"
        self._ask(client, "send", id_, result, place=place, text=text, reply_to=reply_to)
        if is_lost and self._chance.random() < 0.5:
            return
        conversation = f"conversation of {','.join(self.plan.places[place])}"
        ref = Ref(conversation, client.user, id_, self._time())
        self._places[place].append(ref)
        for user in self._users(place):
            self._happen(user, MESSAGE, ref, client.user, text=text, reply_to=reply_to)

    def _react(self, client: ClientPlan, ref: Ref, place: str) -> None:
        key, removed = self._chance.choice("ab"), self._chance.random() < 0.4
        self._ask(client, "react", self._id(client), "accepted", ref=ref, key=key, removed=removed)
        at_us = self._time()
        for user in self._users(place):
            self._happen(user, REACTION, ref, client.user, text=key, removed=removed, at_us=at_us)

    def _read(self, client: ClientPlan, ref: Ref, place: str) -> None:
        self._ask(client, "read", self._id(client), "accepted", ref=ref)
        at = ref.conversation, client.user
        if self._marks[client.user].get(at, ref).order > ref.order:
            return
        for user in self._users(place) if len(self.plan.places[place]) <= 16 else [client.user]:
            self._marks[user][at] = ref
            self._happen(user, READ, ref, client.user)

    def _ask(self, client: ClientPlan, kind: str, id_: str, result: str, **data: Any) -> None:
        self._write(client.name, kind, id=id_, **data)
        self._write(client.name, "outcome", id=id_, **{"is": result, "why": "", "tries": 1})

    def _happen(self, user: str, kind: str, ref: Ref, by: str, **data: Any) -> None:
        events = self._events[user]
        events.append(Event(f"{user}{len(events)}", kind, ref, by, **data))

    # Who is told.

    def _tell(self) -> None:
        for client in self.plan.clients:
            if client.name not in self._away:
                events = self._events[client.user]
                for event in events[self._told[client.name] :]:
                    self._write(client.name, "event", **event.to_json())
                self._told[client.name] = len(events)

    def _come_back(self, client: ClientPlan) -> None:
        self._away.discard(client.name)
        told = self._told[client.name]
        self._write(client.name, "returned")
        self._write(client.name, "opened", after=self._events[client.user][told - 1].cursor if told else "")
        self._tell()
        self._write(client.name, "live")

    def _follow(self, user: str) -> None:
        events = self._events[user]
        for event in events[self._followed[user] :]:
            self._write(f"{FOLLOWER}{user}", "event", **event.to_json())
        self._followed[user] = len(events)
        self._write_conversations(f"{FOLLOWER}{user}", user)

    def _fault(self, step: int) -> None:
        name = FAULTS_FILE.removesuffix(".jsonl")
        number = step // FAULT_EVERY + 1
        if step % FAULT_EVERY == 100:
            self._write(name, "fault", number=number, kind="kill", target="cell")
        elif step % FAULT_EVERY == 104:
            self._write(name, "mended", number=number)
            self._write(name, "serving", number=number)

    def _end(self) -> None:
        for client in self.plan.clients:
            if client.name in self._away:
                self._come_back(client)
        for client in self.plan.clients:
            self._send(client, EVERYBODY, f"{client.name}-{FENCE}", None)
        self._tell()
        for user in self.plan.users:
            self._write_history(f"{HISTORY}{user}", user)

    def _write_history(self, name: str, user: str) -> None:
        for event in self._events[user]:
            self._write(name, "event", **event.to_json())
        self._write(name, "read_to_end", what="events")
        self._write_conversations(name, user)
        state = {(e.ref, e.text, e.user): not e.removed for e in self._events[user] if e.kind == REACTION}
        messages = [event for event in self._events[user] if event.kind == MESSAGE]
        for event in sorted(messages, key=lambda event: (event.ref.conversation, event.ref.order)):
            reactions = [[key, who] for (ref, key, who), there in state.items() if there and ref == event.ref]
            self._write(name, "message", message={**event.to_json(), "cursor": ""}, reactions=reactions)
        self._write(name, "read_to_end", what="messages")

    def _write_conversations(self, name: str, user: str) -> None:
        for conversation in sorted({event.ref.conversation for event in self._events[user]}):
            marks = {who: ref for (at, who), ref in self._marks[user].items() if at == conversation}
            self._write(name, "conversation", id=conversation, read=marks.pop(user, None), peers=marks)

    # The rest.

    def _users(self, place: str) -> list[str]:
        return [user for user in self.plan.places[place] if user in self._events]

    def _id(self, client: ClientPlan) -> str:
        self._count += 1
        return f"{client.name}-{self._count}"

    def _time(self) -> int:
        self._now_us += 1_000
        return self._now_us

    def _write(self, name: str, kind: str, /, **data: Any) -> None:
        self._t += 0.01
        line = {"t": self._t, "k": kind, **data}
        self.files.setdefault(name, []).append(json.loads(json.dumps(line)))
