"""A chat in a terminal: what is shown of what happens, and what is done of what is typed."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from rich.text import Text

from cell.history.v1 import history_pb2 as history
from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_cell import chat_input as typed
from messaging_cell.chat_bookmark import Bookmark
from messaging_cell.chat_marks import OwnMarks, ShownMarks, place
from messaging_cell.commands.common import show_time
from messaging_cell.terminal_client import (
    ClientError,
    CursorRefused,
    NotFound,
    Offline,
    OutcomeUnknown,
    TerminalClient,
    cursor_of,
    new_id,
    with_users,
)
from messaging_cell.terminal_text import body, message_text, moment, names, printable
from messaging_core.ids import conversation_id

_MISSED_SHOWN = 50
_REMEMBERED = 1_000
"""Messages shown lately, so that a reaction can say to what, and none is shown twice."""
_PAGE = 10
_ECHO_TIMEOUT_S = 10.0

MessageName = tuple[str, str, str]


class _Open(NamedTuple):
    """The conversation that is written to."""

    id: str
    others: tuple[str, ...]
    """Empty for notes to oneself."""


@dataclass(slots=True)
class _Missed:
    """Events that came before the stream was live for the first time."""

    events: deque[messaging.Event] = field(default_factory=lambda: deque(maxlen=_MISSED_SHOWN))
    messages: int = 0


class ChatSession:
    """One user's chat. `follow` and `marks.tell` run beside `do`, which takes one line at a time."""

    def __init__(
        self, client: TerminalClient, user: str, bookmark: Bookmark, show: Callable[[Text | str], None]
    ) -> None:
        self._client = client
        self._user = user
        self._bookmark = bookmark
        self._show = show
        self._open: _Open | None = None
        self._older_page = ""
        self._participants: dict[str, tuple[str, ...]] = {}
        self._shown: OrderedDict[MessageName, messaging.Message] = OrderedDict()
        self._last: dict[str, messaging.MessageRef] = {}
        self._reacted: dict[str, tuple[messaging.MessageRef, str]] = {}
        self._marks_shown = ShownMarks()
        self.marks = OwnMarks(client, show)
        """What this user has received and read; to be told beside `follow`."""
        self._unseen: set[str] = set()
        self._echoed = asyncio.Event()
        self.live = asyncio.Event()
        """Set once everything missed has been shown."""
        self.offline = False

    @property
    def title(self) -> str:
        """The conversation that is open; empty for none."""
        return ", ".join(self._open.others) or "yourself" if self._open else ""

    @property
    def known_users(self) -> list[str]:
        """Everyone in a conversation that was seen."""
        return sorted({user for everyone in self._participants.values() for user in everyone})

    # --- what happens ---

    async def follow(self) -> None:
        """Show what was missed, the conversations, and from then on what happens. Raises ClientError."""
        after = self._bookmark.read()
        if after is None:
            after = (await self._client.conversations(1)).cursor
        try:
            await self._follow(after)
        except CursorRefused:
            self._show(Text("The cell no longer knows where you stopped; going on from now.", "yellow"))
            await self._follow((await self._client.conversations(1)).cursor)

    async def _follow(self, after: str) -> None:
        missed = _Missed()
        async for update in self._client.updates(after):
            if isinstance(update, Offline):
                self._went_offline(update.reason)
                continue
            match update.WhichOneof("update"):
                case "event" if self.live.is_set():
                    await self._take(update.event)
                case "event":
                    missed.events.append(update.event)
                    missed.messages += _is_from_others(update.event, self._user)
                case "gap":
                    self._show(
                        Text(
                            "Some events are not to be had any more; /list shows how things are now.",
                            "yellow",
                        )
                    )
                case "resumed":
                    await self._resumed(update.resumed, missed)
            if (cursor := cursor_of(update)) and self.live.is_set():
                self._bookmark.write(cursor)

    def _went_offline(self, reason: str) -> None:
        if not self.offline:
            self.offline = True
            self._show(Text(f"No connection ({reason}); trying again.", "yellow"))

    async def _resumed(self, resumed: messaging.Resumed, missed: _Missed) -> None:
        if self.offline:
            self.offline = False
            self._show(Text("Connected again.", "dim"))
        if resumed.outcome == messaging.RESUME_OUTCOME_RESET:
            self._show(Text("The cell was set up anew since; going on from now.", "yellow"))
        if self.live.is_set():
            return
        await self._show_missed(missed)
        await self._show_conversations()
        self.live.set()

    async def _show_missed(self, missed: _Missed) -> None:
        if missed.messages:
            plural = "s" if missed.messages > 1 else ""
            self._show(Text(f"While you were away, {missed.messages} message{plural}:", "bold"))
        if missed.messages > len(missed.events):
            self._show(Text("(the latest; /with and /history show the others)", "dim"))
        for event in missed.events:
            if event.WhichOneof("event") in ("message", "reaction_changed"):
                await self._take(event)

    async def _take(self, event: messaging.Event) -> None:
        match event.WhichOneof("event"):
            case "message":
                await self._take_message(event.message)
            case "reaction_changed":
                await self._take_reaction(event.reaction_changed)
            case "received_mark":
                self._show_mark(event.received_mark.user_id, event.received_mark.through, read=False)
            case "read_mark":
                self._show_mark(event.read_mark.user_id, event.read_mark.through, read=True)

    async def _take_message(self, message: messaging.Message) -> None:
        if _name(message.ref) in self._shown:
            return
        self._show(message_text(message, self._user, conversation=await self._elsewhere(message.ref)))
        self._remember(message)
        if message.ref.sender_id == self._user:
            self._unseen.discard(message.ref.message_id)
            self._echoed.set()
        else:
            self._mark(message.ref, read=self._is_open(message.ref))

    async def _take_reaction(self, change: messaging.ReactionChanged) -> None:
        who = "you" if change.user_id == self._user else change.user_id
        verb = ("take back" if change.removed else "react") + ("" if who == "you" else "s")
        verb = verb.replace("take backs", "takes back")
        known = self._shown.get(_name(change.message))
        what = f"“{_snippet(body(known.content))}”" if known else "an earlier message"
        where = await self._elsewhere(change.message)
        text = f"{f'[{where}] ' if where else ''}{who} {verb} {printable(change.key)} to {what}"
        self._show(Text.assemble((show_time(moment(change.changed_at)), "dim"), " ", (text, "italic")))

    def _show_mark(self, user: str, through: messaging.MessageRef, *, read: bool) -> None:
        """Only in the open conversation, and only where one's own message is the last."""
        last = self._last.get(through.conversation_id)
        if user == self._user or last is None or last.sender_id != self._user or not self._is_open(through):
            return
        if news := self._marks_shown.news(user, through, last, read=read):
            self._show(news)

    def _mark(self, ref: messaging.MessageRef, *, read: bool) -> None:
        self.marks.mark(ref, self._participants.get(ref.conversation_id, ()), read=read)

    # --- what is typed ---

    async def do(self, line: typed.Line) -> None:
        """Do what a line asks for; what goes wrong is shown."""
        try:
            match line:
                case typed.Say(text):
                    await self._say(text)
                case typed.With(users):
                    await self._open_with(users)
                case typed.React():
                    await self._react(line)
                case typed.History(at):
                    await self._history(at)
                case typed.ListAll():
                    await self._show_conversations()
                case typed.Help():
                    self._show(typed.HELP)
                case typed.Wrong(why):
                    self._show(Text(why, "yellow"))
                case typed.Nothing() | typed.Quit():
                    pass
        except ClientError as error:
            self._show(Text(str(error), "red"))

    async def settled(self) -> None:
        """Wait until everything sent has been shown, within bounds."""
        try:
            async with asyncio.timeout(_ECHO_TIMEOUT_S):
                while self._unseen:
                    self._echoed.clear()
                    await self._echoed.wait()
        except TimeoutError:
            self._show(
                Text(
                    "Some of what was sent has not come back yet; it will be there when you return.", "yellow"
                )
            )

    async def _say(self, text: str) -> None:
        if self._open is None:
            self._show(Text("To whom? /with bob opens a conversation.", "yellow"))
            return
        message_id = new_id()
        self._unseen.add(message_id)
        try:
            await self._client.send(self._open.others or (self._user,), text, message_id)
        except OutcomeUnknown as error:
            self._unseen.discard(message_id)
            self._show(Text(f"{error} If “{_snippet(text)}” does not appear here, send it again.", "red"))
        except ClientError:
            self._unseen.discard(message_id)
            raise

    async def _open_with(self, users: Iterable[str]) -> None:
        others = tuple(sorted(set(users) - {self._user}))
        self._open = _Open(conversation_id((self._user, *others)), others)
        self._participants[self._open.id] = (self._user, *others)
        self._show(Text(f"── {self.title} ──", "bold"))
        request = history.ListMessagesRequest(conversation=self._name_of_open(), page_size=_PAGE)
        try:
            page = await self._client.messages(request)
        except NotFound:
            self._older_page = ""
            self._show(Text("A new conversation. Write something.", "dim"))
            return
        self._older_page = page.older_page_token
        if self._older_page:
            self._show(Text("(/history shows earlier messages)", "dim"))
        self._show_page(page)
        if page.messages:
            await self._catch_up(page.messages[-1].message.ref)

    async def _catch_up(self, last: messaging.MessageRef) -> None:
        """Mark what was just shown as read, or show who has read it."""
        if last.sender_id != self._user:
            self._mark(last, read=True)
            return
        for marks in (await self._client.conversation(last.conversation_id)).peer_marks:
            if marks.HasField("read_through"):
                self._show_mark(marks.user_id, marks.read_through, read=True)
            if marks.HasField("received_through"):
                self._show_mark(marks.user_id, marks.received_through, read=False)

    async def _react(self, asked: typed.React) -> None:
        await self.settled()
        target = self._reaction_target(asked)
        if target is None:
            return
        ref, key = target
        everyone = messaging.Recipients(user_ids=self._participants.get(ref.conversation_id, ()))
        if asked.removed:
            change = messaging.Unreact(reaction_id=new_id(), message=ref, key=key, participants=everyone)
            await self._client.execute(messaging.Command(unreact=change))
            self._reacted.pop(ref.conversation_id, None)
        else:
            react = messaging.React(reaction_id=new_id(), message=ref, key=key, participants=everyone)
            await self._client.execute(messaging.Command(react=react))
            self._reacted[ref.conversation_id] = (ref, key)

    def _reaction_target(self, asked: typed.React) -> tuple[messaging.MessageRef, str] | None:
        """The message and the reaction that are meant; None, and the reason is shown, where there is none."""
        last = self._last.get(self._open.id) if self._open else None
        if last is None:
            self._show(Text("There is no message here to react to.", "yellow"))
            return None
        given = self._reacted.get(last.conversation_id)
        if asked.removed and given and asked.key in ("", given[1]):
            return given
        if not asked.key:
            self._show(Text("Which reaction? For example: /unreact 👍", "yellow"))
            return None
        return last, asked.key

    async def _history(self, at: object) -> None:
        if self._open is None:
            self._show(Text("Of which conversation? /with bob opens one.", "yellow"))
            return
        request = history.ListMessagesRequest(conversation=self._name_of_open(), page_size=2 * _PAGE)
        if at is not None:
            request.direction = history.DIRECTION_AROUND
            request.time.FromDatetime(at)  # type: ignore[arg-type]
        elif self._older_page:
            request.page_token = self._older_page
        else:
            self._show(Text("There are no earlier messages.", "dim"))
            return
        page = await self._client.messages(request)
        self._older_page = page.older_page_token
        self._show(Text("── earlier ──" if at is None else "── then ──", "dim"))
        self._show_page(page, remember=False)
        self._show(Text("── now ──", "dim"))

    async def _show_conversations(self) -> None:
        page = await self._client.conversations()
        if not page.conversations:
            self._show(Text("You have no conversations yet. /with bob starts one, /help shows more.", "dim"))
            return
        self._show(Text("Your conversations:", "bold"))
        width = min(30, max(len(names(each.participant_ids, self._user)) for each in page.conversations))
        for each in page.conversations:
            self._participants[each.conversation_id] = tuple(each.participant_ids)
            self._show(self._conversation_text(each, width))

    def _conversation_text(self, conversation: history.Conversation, width: int) -> Text:
        last = conversation.last_message.message
        count = conversation.unread_count
        unread = f"{count if count < 1_000 else '999+'} unread" if count else ""
        text = Text.assemble("  ", (names(conversation.participant_ids, self._user).ljust(width), "bold"))
        text.append(f"  {unread:11}", "yellow")
        if last.HasField("ref"):
            text.append(f"  {show_time(moment(last.ref.sent_at))} {_snippet(body(last.content))}", "dim")
        return text

    def _show_page(self, page: history.ListMessagesResponse, *, remember: bool = True) -> None:
        for item in page.messages:
            self._show(message_text(item.message, self._user, item.reactions))
            if remember:
                self._remember(item.message)
                for mine in (reaction for reaction in item.reactions if reaction.mine):
                    self._reacted[item.message.ref.conversation_id] = (item.message.ref, mine.key)

    # --- helpers ---

    def _is_open(self, ref: messaging.MessageRef) -> bool:
        return self._open is not None and ref.conversation_id == self._open.id

    def _name_of_open(self) -> history.ConversationName:
        assert self._open is not None
        return with_users(self._open.others or (self._user,))

    async def _elsewhere(self, ref: messaging.MessageRef) -> str:
        """How to call a conversation that is not the open one; empty for that."""
        if self._is_open(ref):
            return ""
        if ref.conversation_id not in self._participants:
            await self._learn(ref)
        return names(self._participants.get(ref.conversation_id, (ref.sender_id, "others")), self._user)

    async def _learn(self, ref: messaging.MessageRef) -> None:
        """Who is in a conversation: the two of us if the id says so, else what history knows."""
        if conversation_id((self._user, ref.sender_id)) == ref.conversation_id:
            self._participants[ref.conversation_id] = tuple({self._user, ref.sender_id})
            return
        try:
            found = await self._client.conversation(ref.conversation_id)
        except ClientError:  # history may be a moment behind; it is asked again next time
            return
        self._participants[ref.conversation_id] = tuple(found.participant_ids)

    def _remember(self, message: messaging.Message) -> None:
        self._shown[_name(message.ref)] = message
        if len(self._shown) > _REMEMBERED:
            self._shown.popitem(last=False)
        last = self._last.get(message.ref.conversation_id)
        if last is None or place(message.ref) > place(last):
            self._last[message.ref.conversation_id] = message.ref


def _name(ref: messaging.MessageRef) -> MessageName:
    return (ref.conversation_id, ref.sender_id, ref.message_id)


def _is_from_others(event: messaging.Event, user: str) -> bool:
    return event.HasField("message") and event.message.ref.sender_id != user


def _snippet(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 40 else line[:39] + "…"
