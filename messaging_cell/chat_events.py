"""What happens, shown in a chat: what was missed, the conversations, and from then on each event as it comes."""

from contextlib import aclosing

from rich.text import Text

from messaging_cell.chat_state import ASK_TIMEOUT_S, ChatState, words_of
from messaging_cell.terminal_safety import one_line
from messaging_cell.terminal_text import (
    conversation_text,
    counted,
    names_width,
    refusal_text,
    snippet,
    tally,
    trouble_text,
)
from messaging_cell.terminal_times import show_time
from messaging_client import (
    CallFailed,
    Conversation,
    Event,
    Gap,
    NewMessage,
    NotSent,
    ReactionChanged,
    ReadMark,
    ReceivedMark,
    Reset,
)

_MISSED_SHOWN = 50
_LISTED = 20
_LISTED_IN_ALL = 1_000


class ChatEvents:
    """Runs `follow`, `begin` and then `watch` beside each other."""

    def __init__(self, state: ChatState) -> None:
        self._state = state
        self._screen = state.screen
        self._missed: list[Event] = []

    async def follow(self) -> None:
        """Take events, until the client is closed. Raises ClientFailed."""
        async for event in self._state.client.events():
            if self._state.live.is_set():
                await self._take(event)
            else:
                self._missed.append(event)

    async def begin(self) -> None:
        """Show what was missed and the conversations. Raises MessagingError."""
        client = self._state.client
        await client.caught_up()
        if client.pending:
            self._screen.note(f"Still to be sent from last time: {counted(client.pending)}.")
        while self._missed:  # what comes meanwhile is missed as well
            missed, self._missed = self._missed, []
            await self._show_missed(missed)
        try:
            await self.show_conversations(everything=False)
        except CallFailed as error:
            self._screen.error(f"History does not answer: {refusal_text(error)} /list asks again.")
        self._state.live.set()
        for event in self._missed:
            await self._take(event)

    async def watch(self) -> None:
        """Say when there is no connection, and when there is one again. Raises ClientFailed."""
        state = self._state
        while True:
            state.offline = trouble_text(await state.client.offline())
            self._screen.warn(f"No connection ({state.offline}); trying again.")
            await state.client.online()
            state.offline = ""
            self._screen.note("Connected again.")

    # What was missed.

    async def _show_missed(self, missed: list[Event]) -> None:
        came = [event for event in missed if isinstance(event, NewMessage) and not event.mine]
        shown = [event for event in missed if isinstance(event, NewMessage | ReactionChanged)][
            -_MISSED_SHOWN:
        ]
        if came:
            self._screen.heading(f"While you were away, {counted(len(came))}:")
        if len(came) > sum(event in shown for event in came[-_MISSED_SHOWN:]):
            self._screen.note("(the latest; /with and /more show the others)")
        for event in missed:
            if isinstance(event, Gap | Reset | NotSent):
                await self._take(event)
        for each in shown:
            await self._take(each)

    async def show_conversations(self, *, everything: bool) -> None:
        """The conversations, the latest active first, with a number each. Raises CallFailed."""
        state, most = self._state, _LISTED_IN_ALL if everything else _LISTED
        found: list[Conversation] = []
        async with aclosing(state.client.conversations(timeout_s=ASK_TIMEOUT_S)) as every:  # type: ignore[type-var]
            async for each in every:
                if len(found) == most:
                    break
                found.append(each)
            else:
                most += 1
        state.learn(found)
        state.listed = [tuple(user for user in each.participant_ids if user != state.user) for each in found]
        if not found:
            self._screen.note("You have no conversations yet. /with bob starts one, /help shows more.")
            return
        self._screen.heading("Your conversations:")
        width = names_width(found, state.user)
        for number, each in enumerate(found, 1):
            self._screen.message(conversation_text(each, state.user, width), number)
        if len(found) == most:
            self._screen.note("(the latest; /list all shows more)" if not everything else "(and more)")

    # What happens.

    async def _take(self, event: Event) -> None:
        match event:
            case NewMessage():
                await self._message(event)
            case ReactionChanged():
                await self._reaction(event)
            case ReceivedMark() | ReadMark():
                self._state.show_mark(event.user_id, event.through, read=isinstance(event, ReadMark))
                if isinstance(event, ReadMark) and event.user_id == self._state.user:
                    self._state.elsewhere.pop(event.through.conversation_id, None)
            case NotSent():
                self._not_sent(event)
            case Gap():
                self._screen.warn("Some events are not to be had any more; /list shows how things are now.")
            case Reset():
                self._screen.warn("The cell was set up anew since; /list shows how things are now.")

    async def _message(self, event: NewMessage) -> None:
        state, message = self._state, event.message
        if event.mine:
            state.settle(message.ref.message_id)
        if message.ref in state.shown:
            return
        label = await state.label(message.ref)
        await state.show(message, label)
        if event.mine:
            return
        if state.is_open(message.conversation_id):
            state.mark_read(message.ref)
        else:
            count = state.elsewhere.get(message.conversation_id, 0)
            state.elsewhere[message.conversation_id] = count + 1

    async def _reaction(self, change: ReactionChanged) -> None:
        state = self._state
        shown = state.shown.named(change.message)
        if shown is not None:
            shown.change(change)
        mine = change.user_id == state.user
        verb = {
            (True, False): "react",
            (True, True): "take back",
            (False, False): "reacts",
            (False, True): "takes back",
        }[mine, change.removed]
        what = f"{shown.number} {words_of(shown.message)}" if shown else "an earlier message"
        label = await state.label(change.message)
        said = f"{f'[{label}] ' if label else ''}{'you' if mine else change.user_id} {verb} {one_line(change.key)} to {what}"
        text = Text.assemble((show_time(change.changed_at), "dim"), " ", (said, "italic"))
        self._screen.message(text.append_text(tally(shown.counts)) if shown else text)

    def _not_sent(self, event: NotSent) -> None:
        pending = self._state.settle(event.message_id)
        what = f"“{snippet(pending.text)}”" if pending else "a message from before"
        self._screen.error(f"✗ Not sent: {what}: {refusal_text(event.error)}")
