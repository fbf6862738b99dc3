"""What is typed into a chat, done."""

import asyncio
from collections.abc import Awaitable
from datetime import datetime

from rich.text import Text

from messaging_cell import chat_input as typed
from messaging_cell.chat_events import ChatEvents
from messaging_cell.chat_shown import Shown
from messaging_cell.chat_state import ASK_TIMEOUT_S, LATE_S, ChatState, Pending
from messaging_cell.terminal_text import refusal_text
from messaging_client import (
    CallFailed,
    Conversation,
    MessageRef,
    MessagingError,
    NotDone,
    OutcomeUnknown,
    Page,
    Reason,
)
from messaging_client.commands import new_id

_PAGE = 10
_MORE = 20
_MOST_NEW = 100
"""Unread messages that are shown when a conversation is opened; /more shows the others."""
_SETTLE_S = 10.0


class ChatActions:
    """`do` takes one line at a time. What goes wrong is shown."""

    def __init__(self, state: ChatState, events: ChatEvents) -> None:
        self._state = state
        self._screen = state.screen
        self._events = events
        self._client = state.client
        self._older = self._newer = ""
        """Tokens of the pages around those that were shown last."""
        self._reacting: set[asyncio.Task[None]] = set()

    async def do(self, line: typed.Line) -> None:
        """Do what a line asks for."""
        try:
            await self._do(line)
        except NotDone as error:
            self._screen.error(f"✗ Not done: {refusal_text(error)}")
        except CallFailed as error:
            self._screen.error(f"History does not answer: {refusal_text(error)}")

    async def done(self, timeout_s: float) -> bool:
        """Wait until everything that was asked for has its outcome; False if that takes too long."""
        if self._reacting:
            await asyncio.wait(self._reacting, timeout=timeout_s)
        return await self._state.settled(timeout_s) and not self._reacting

    async def _do(self, line: typed.Line) -> None:
        if not isinstance(line, typed.Say) and not self._state.offline:
            await self.done(_SETTLE_S)  # it may mean what was just typed
        match line:
            case typed.Say(text):
                await self._say(text)
            case typed.Reply(number, text):
                if (answered := self._numbered(number)) is not None:
                    await self._say(text, answered.message.ref)
            case typed.With(users):
                await self._open_with(*users)
            case typed.OpenListed(number):
                await self._open_listed(number)
            case typed.React():
                await self._react(line)
            case typed.More(newer):
                await self._more(newer=newer)
            case typed.At(time):
                await self._at(time)
            case typed.ListAll(everything):
                await self._events.show_conversations(everything=everything)
            case typed.Help():
                self._screen.line(Text(typed.HELP))
            case typed.Wrong(why):
                self._screen.warn(why)
            case typed.Nothing() | typed.Quit():
                pass

    # Sending.

    async def _say(self, text: str, reply_to: MessageRef | None = None) -> None:
        state = self._state
        if state.open is None:
            self._screen.warn("To whom? /with bob opens a conversation.")
            return
        message_id = new_id()
        state.pending[message_id] = Pending(text, state.open.id)
        try:
            to = state.open.others or (state.user,)
            await self._client.post(text, to=to, reply_to=reply_to, message_id=message_id)
        except MessagingError:
            state.settle(message_id)
            raise

    def _numbered(self, number: int) -> Shown | None:
        """A message of the open conversation; None, and the reason is shown, where there is none."""
        shown = self._state.shown.numbered(number)
        if shown is None:
            self._screen.warn(f"There is no message {number} here; the numbers are at the left.")
        elif not self._state.is_open(shown.message.conversation_id):
            self._screen.warn(f"Message {number} is of another conversation; open that one first.")
        else:
            return shown
        return None

    # Reactions.

    async def _react(self, asked: typed.React) -> None:
        target = await self._target(asked)
        if target is None:
            return
        key = asked.key or next(reversed(target.keys_of(self._state.user)), "")
        if not key:
            self._screen.warn(
                "You have not reacted there; /unreact 3 👍 takes back what you gave to message 3."
            )
            return
        ref = target.message.ref
        everyone = self._state.participants.get(ref.conversation_id, ())
        change = self._client.unreact if asked.removed else self._client.react
        task = asyncio.create_task(self._reacted(change(ref, key, participants=everyone)))
        self._reacting.add(task)
        task.add_done_callback(self._reacting.discard)
        await asyncio.wait((task,), timeout=LATE_S)

    async def _reacted(self, change: Awaitable[None]) -> None:
        """If it takes long, beside what is typed next. That it was done its event shows."""
        try:
            await change
        except NotDone as error:
            self._screen.error(f"✗ Your reaction was not taken: {refusal_text(error)}")
        except OutcomeUnknown:
            self._screen.error(
                "✗ It is not known whether your reaction was taken; if it does not show, try again."
            )

    async def _target(self, asked: typed.React) -> Shown | None:
        """The message that is meant; None, and the reason is shown, where there is none."""
        if asked.number is not None:
            return self._numbered(asked.number)
        opened = self._state.open
        last = self._state.shown.last(opened.id) if opened else None
        if last is None or opened is None:
            self._screen.warn("There is no message here to react to.")
            return None
        if asked.removed:
            own = (
                each
                for each in self._state.shown.latest(opened.id)
                if _is_mine(each, asked.key, self._state.user)
            )
            return next(own, last)
        return last

    # Conversations and their history.

    async def _open_listed(self, number: int) -> None:
        listed = self._state.listed
        if not 1 <= number <= len(listed):
            self._screen.warn(f"There is no conversation {number} in the list; /list shows it.")
            return
        await self._open_with(*listed[number - 1])

    async def _open_with(self, *users: str) -> None:
        state = self._state
        opened = state.open = state.conversation_with(users)
        self._older = self._newer = ""
        self._screen.heading(f"── {state.title} ──")
        to = opened.others or (state.user,)
        try:
            about = await self._client.conversation(to=to, timeout_s=ASK_TIMEOUT_S)
            unread = min(about.unread_count, _MOST_NEW)
            page = await self._client.history_page(
                to=to, size=max(_PAGE, unread + 2), timeout_s=ASK_TIMEOUT_S
            )
        except CallFailed as error:
            if error.reason is not Reason.NOT_FOUND:
                raise
            self._screen.note("A new conversation. Write something.")
            return
        self._older = page.older
        if page.older:
            self._screen.note("(/more shows earlier messages)")
        await self._show_opened(page, about)

    async def _show_opened(self, page: Page, about: Conversation) -> None:
        """The latest messages; where the new ones begin, or how far the others have read."""
        state = self._state
        await state.show_page(page.messages, about.read_through if about.unread_count else None)
        others = [item.message.ref for item in page.messages if item.message.sender_id != state.user]
        if others:
            state.mark_read(others[-1])
        for marks in about.peer_marks:
            if marks.read_through:
                state.show_mark(marks.user_id, marks.read_through, read=True)
            if marks.received_through:
                state.show_mark(marks.user_id, marks.received_through, read=False)

    async def _more(self, *, newer: bool) -> None:
        token = self._newer if newer else self._older
        if (to := self._opened()) is None:
            return
        if not token:
            self._screen.note(f"There are no {'later' if newer else 'earlier'} messages.")
            return
        page = await self._client.history_page(to=to, token=token, size=_MORE, timeout_s=ASK_TIMEOUT_S)
        if newer:
            self._newer = page.newer if page.messages else ""
        else:
            self._older, self._newer = page.older, self._newer or page.newer
        await self._show_past(page, "later" if newer else "earlier")

    async def _at(self, time: datetime) -> None:
        if (to := self._opened()) is None:
            return
        page = await self._client.history_page(to=to, around=time, size=_MORE, timeout_s=ASK_TIMEOUT_S)
        self._older, self._newer = page.older, page.newer
        await self._show_past(page, "then")

    def _opened(self) -> tuple[str, ...] | None:
        """Whom the open conversation is with; None, and a word is shown, where there is none."""
        opened = self._state.open
        if opened is None:
            self._screen.warn("Of which conversation? /with bob opens one.")
            return None
        return opened.others or (self._state.user,)

    async def _show_past(self, page: Page, name: str) -> None:
        if not page.messages:
            self._screen.note("There are no more messages.")
            return
        self._screen.note(f"── {name} ──")
        await self._state.show_page(page.messages)
        self._screen.note("── now ──")


def _is_mine(shown: Shown, key: str, user: str) -> bool:
    keys = shown.keys_of(user)
    return bool(keys) and (not key or key in keys)
