"""The Python SDK of the messaging cell.

    async with Client("127.0.0.1:50051", token) as client:
        await client.send("Hello!", to="bob")
        async for event in client.events():
            match event:
                case NewMessage(message=message, mine=False):
                    await client.reply(message, f"You said: {message.text}")

`Client` is where to start; everything else here is what it takes and gives. The guide is docs/sdk.md.
"""

from messaging_client.client import Client
from messaging_client.errors import (
    CallFailed,
    ClientFailed,
    MessagingError,
    NotDone,
    OutcomeUnknown,
    Reason,
    StoreFailed,
    StoreInUse,
    Unauthenticated,
    WrongUser,
)
from messaging_client.events import (
    CellEvent,
    Event,
    Gap,
    NewMessage,
    NotSent,
    ReactionChanged,
    ReadMark,
    ReceivedMark,
    Reset,
    Snapshot,
    Started,
)
from messaging_client.history import Page
from messaging_client.kept import Store
from messaging_client.settings import ClientSettings
from messaging_client.store import FileStore, MemoryStore
from messaging_client.tokens import TokenSource
from messaging_client.trace_context import TraceContext
from messaging_client.values import (
    Attachment,
    Content,
    Conversation,
    ConversationKind,
    HistoryMessage,
    Message,
    MessageRef,
    NotifyLevel,
    PeerMarks,
    Reaction,
)

__all__ = [
    "Attachment",
    "CallFailed",
    "CellEvent",
    "Client",
    "ClientFailed",
    "ClientSettings",
    "Content",
    "Conversation",
    "ConversationKind",
    "Event",
    "FileStore",
    "Gap",
    "HistoryMessage",
    "MemoryStore",
    "Message",
    "MessageRef",
    "MessagingError",
    "NewMessage",
    "NotDone",
    "NotSent",
    "NotifyLevel",
    "OutcomeUnknown",
    "Page",
    "PeerMarks",
    "Reaction",
    "ReactionChanged",
    "ReadMark",
    "Reason",
    "ReceivedMark",
    "Reset",
    "Snapshot",
    "Started",
    "Store",
    "StoreFailed",
    "StoreInUse",
    "TokenSource",
    "TraceContext",
    "Unauthenticated",
    "WrongUser",
]
