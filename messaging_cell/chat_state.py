"""What a chat knows: the conversation that is open, who is where, what was shown, what is still on its way."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from messaging_cell.chat_marks import OwnMarks, ShownMarks
from messaging_cell.chat_screen import Screen
from messaging_cell.chat_shown import Shown, ShownMessages
from messaging_cell.terminal_text import body, message_text, names, quote, snippet
from messaging_client import Client, Conversation, HistoryMessage, Message, MessageRef, MessagingError
from messaging_core.ids import conversation_id

LATE_S = 1.0
"""A message that has not come back after so long is shown as one that is on its way."""
ASK_TIMEOUT_S = 10.0
"""For questions whose answer somebody waits for in front of a terminal."""


class OpenConversation(NamedTuple):
    """The conversation that is written to."""

    id: str
    others: tuple[str, ...]
    """Empty for notes to oneself."""


@dataclass(slots=True)
class Pending:
    """A message that was typed, and has not come back as an event yet."""

    text: str
    conversation_id: str
    since_s: float = field(default_factory=time.monotonic)
    is_told: bool = False


class ChatState:
    """Shared by what happens (ChatEvents) and what is typed (ChatActions)."""

    def __init__(self, client: Client, user: str, screen: Screen) -> None:
        self.client = client
        self.user = user
        self.screen = screen
        self.open: OpenConversation | None = None
        self.shown = ShownMessages()
        self.pending: dict[str, Pending] = {}
        """By message id, in the order in which they were typed."""
        self.participants: dict[str, tuple[str, ...]] = {}
        """Of each conversation that was seen, all of them."""
        self.listed: list[tuple[str, ...]] = []
        """The others of each conversation of the list that was shown last."""
        self.elsewhere: dict[str, int] = {}
        """Messages of others that came, by conversation, while it was not open."""
        self.marks = OwnMarks(client)
        self.offline = ""
        """Why there is no connection; empty while there is one."""
        self.live = asyncio.Event()
        """Set once everything that was missed has been shown."""
        self.settling = asyncio.Event()
        """Set whenever a pending message is settled."""
        self._marks_shown = ShownMarks()

    # Names.

    @property
    def title(self) -> str:
        """The conversation that is open; empty for none."""
        return names(self.open.others, self.user) if self.open else ""

    @property
    def known_users(self) -> list[str]:
        """Everyone in a conversation that was seen."""
        return sorted({user for everyone in self.participants.values() for user in everyone} - {self.user})

    def conversation_with(self, users: Iterable[str]) -> OpenConversation:
        """The conversation with these."""
        others = tuple(sorted(set(users) - {self.user}))
        named = OpenConversation(conversation_id((self.user, *others)), others)
        self.participants[named.id] = (self.user, *others)
        return named

    def learn(self, conversations: Iterable[Conversation]) -> None:
        """Who is in them."""
        for each in conversations:
            self.participants[each.conversation_id] = each.participant_ids

    def is_open(self, conversation: str) -> bool:
        """Whether this is the conversation that is written to."""
        return self.open is not None and conversation == self.open.id

    async def label(self, ref: MessageRef) -> str:
        """How to call the conversation of a message that is not in the open one; empty for that."""
        if self.is_open(ref.conversation_id):
            return ""
        if ref.conversation_id not in self.participants:
            await self._look_up(ref)
        return names(self.participants.get(ref.conversation_id, (ref.sender_id, "others")), self.user)

    async def _look_up(self, ref: MessageRef) -> None:
        """Who is in a conversation: the two of us if the id says so, else what history knows."""
        if conversation_id((self.user, ref.sender_id)) == ref.conversation_id:
            self.participants[ref.conversation_id] = tuple({self.user, ref.sender_id})
            return
        try:
            found = await self.client.conversation(
                conversation_id=ref.conversation_id, timeout_s=ASK_TIMEOUT_S
            )
        except MessagingError:  # history may be a moment behind; it is asked again next time
            return
        self.learn([found])

    # Showing.

    async def show(self, message: Message, label: str = "") -> Shown:
        """A message, with what it answers and its reactions."""
        shown = self.shown.put(message)
        text = message_text(
            message, self.user, shown.counts, conversation=label, answers=await self._quote(message)
        )
        self.screen.message(text, shown.number)
        return shown

    async def show_page(
        self, messages: Sequence[HistoryMessage], new_after: MessageRef | None = None
    ) -> None:
        """Messages of history. `new_after`: those of others behind this one are new, and a line says where they begin."""
        is_new = new_after is None
        for item in messages:
            ref = item.message.ref
            if not is_new and new_after and ref.sort_key > new_after.sort_key and ref.sender_id != self.user:
                is_new = True
                self.screen.note("── new ──")
            self.shown.put(item.message).set_reactions(item.reactions, self.user)
            await self.show(item.message)

    async def _quote(self, message: Message) -> str:
        """What it answers, in a few words; empty where it answers nothing."""
        ref = message.reply_to
        if ref is None or ref.conversation_id != message.conversation_id:
            return ""
        if known := self.shown.named(ref):
            return quote(known.message, self.user)
        try:
            found = await self.client.messages([ref], timeout_s=ASK_TIMEOUT_S)
        except MessagingError:
            found = []
        return quote(found[0].message, self.user) if found else "↳ an earlier message"

    def show_mark(self, user: str, through: MessageRef, *, read: bool) -> None:
        """Only in the open conversation, and only where one's own message is the last."""
        last = self.shown.last(through.conversation_id)
        if last is None or user == self.user or last.message.sender_id != self.user:
            return
        if self.is_open(through.conversation_id):
            news = self._marks_shown.news(user, through, last.message.ref, read=read)
            if news is not None:
                self.screen.below(news)

    def mark_read(self, ref: MessageRef) -> None:
        """A message was shown in the conversation that is open."""
        self.elsewhere.pop(ref.conversation_id, None)
        self.marks.read(ref, self.participants.get(ref.conversation_id, ()))

    # What is on its way.

    def settle(self, message_id: str) -> Pending | None:
        """It has come back, or was refused."""
        pending = self.pending.pop(message_id, None)
        self.settling.set()
        return pending

    async def settled(self, timeout_s: float) -> bool:
        """Wait until everything that was typed has come back; False if that takes too long."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.pending:
                    self.settling.clear()
                    await self.settling.wait()
        except TimeoutError:
            return False
        return True

    async def tell_late(self) -> None:
        """Show what takes longer than usual, each message once; until cancelled."""
        while True:
            await asyncio.sleep(LATE_S / 4)
            for pending in list(self.pending.values()):
                if not pending.is_told and time.monotonic() - pending.since_s > LATE_S:
                    pending.is_told = True
                    self.screen.note(f"    … on its way: “{snippet(pending.text)}”")


def words_of(message: Message) -> str:
    """A message in a few words."""
    return f"“{snippet(body(message.content))}”"
