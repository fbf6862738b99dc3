"""An application on the SDK's protocol, which looks at everything that it is given."""

import random
import sqlite3
from contextlib import suppress
from typing import Any

from google.protobuf.message import DecodeError

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_client import wire
from messaging_client.commands import mark_read, react, send_message
from messaging_client.errors import MessagingError
from messaging_client.events import Event, NewMessage, ReactionChanged, ReadMark, ReceivedMark, Snapshot
from messaging_client.kept import Kept
from messaging_client.protocol import Protocol
from messaging_client.settings import ClientSettings
from messaging_client.steps import Connect, End, Load
from messaging_client.store import _apply
from messaging_client.values import Conversation, Message, MessageRef, NotifyLevel

SETTINGS = ClientSettings(max_event_bytes=20_000)


class Application:
    """A protocol with a store behind it, in the hands of an application that looks at everything it is given."""

    def __init__(self, store: sqlite3.Connection) -> None:
        self.store = store
        self.now_s = 1_000.0
        self.protocol = Protocol(SETTINGS, Kept(), random.Random(1))
        self._posted = 0

    def step(self, name: str, how: Any) -> None:
        getattr(self, name)(how)
        self.protocol.outbox.settled.clear()
        for change in self.protocol.take_journal():
            _apply(self.store, change)
        if self.protocol.stream is None:
            self._go_on()
        assert self.protocol.due_s(self.now_s) == self.protocol.due_s(self.now_s), "not a number"

    def frame(self, data: bytes) -> None:
        try:
            updates = messaging.ConnectResponse.FromString(data).updates
        except DecodeError:
            return self.end("INTERNAL")
        return self.protocol.received(updates, self.now_s)

    def post(self, kind: int) -> None:
        self._submit(kind, posted=True)

    def send(self, kind: int) -> None:
        self._submit(kind, posted=False)

    def _submit(self, kind: int, *, posted: bool) -> None:
        self._posted += 1
        ref = MessageRef("c" * 22, "bob", f"m{kind}", 1)
        makers = (
            lambda: send_message("hi", "bob", "", None, NotifyLevel.NORMAL, f"m{self._posted}"),
            lambda: send_message("hi", (), "c" * 22, ref, NotifyLevel.NORMAL, f"m{self._posted}"),
            lambda: react(ref, "+", ("bob",), removed=False),
            lambda: mark_read(ref, ()),
        )
        with suppress(MessagingError):
            self.protocol.submit(makers[kind](), posted=posted)

    def write(self, times: int) -> None:
        for _ in range(times):
            self.protocol.on_time(self.now_s)
            frame = self.protocol.next_frame(self.now_s)
            if frame is not None:
                assert frame.SerializeToString()

    def take(self, times: int) -> None:
        for _ in range(times):
            event = self.protocol.hand_over(self.now_s)
            if event is not None:
                look_at(event)

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.protocol.on_time(self.now_s)
        if self.protocol.wants_end(self.now_s):
            self.end("CANCELLED")

    def end(self, code: str) -> None:
        if self.protocol.stream is not None:
            self.protocol.stream_ended(End(code), self.now_s)

    def loaded(self, cursor: str) -> None:
        if isinstance(self.protocol.next_step(self.now_s), Load) and self.protocol.stream is None:
            self.protocol.loaded(cursor, (), True, (), self.now_s)

    def _go_on(self) -> None:
        self.now_s += 1.0
        if isinstance(self.protocol.next_step(self.now_s), Connect):
            assert self.protocol.connect(self.now_s).SerializeToString()


def look_at(event: Event) -> None:
    """What an application may ask of an event."""
    match event:
        case NewMessage():
            look_at_message(event.message)
        case ReactionChanged():
            assert event.changed_at.tzinfo
            look_at_ref(event.message)
        case ReceivedMark() | ReadMark():
            look_at_ref(event.through)
        case Snapshot():
            for conversation in event.conversations:
                look_at_conversation(conversation)


def look_at_ref(ref: MessageRef) -> None:
    assert ref.sent_at.tzinfo
    assert wire.ref_from(wire.ref_to(ref)) == ref


def look_at_message(message: Message) -> None:
    look_at_ref(message.ref)
    if message.reply_to is not None:
        look_at_ref(message.reply_to)
    with suppress(ValueError):
        assert wire.content_to(message.content).IsInitialized()


def look_at_conversation(conversation: Conversation) -> None:
    if conversation.last_message is not None:
        look_at_message(conversation.last_message.message)
    refs = [conversation.read_through]
    for peer in conversation.peer_marks:
        refs += [peer.received_through, peer.read_through]
    for ref in filter(None, refs):
        look_at_ref(ref)
