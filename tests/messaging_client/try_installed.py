"""Tries an installed client, with nothing else of the project on the path: a talk with a scripted server.

The suite runs it in its own environment, and in fresh ones with the wheel and each major of protobuf.
"""

import asyncio
import importlib.metadata
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from cell.history.v1 import history_pb2, history_pb2_grpc
from cell.messaging.v1 import messaging_pb2 as messaging
from cell.messaging.v1 import messaging_pb2_grpc
from messaging_client import CallFailed, Client, FileStore, MessagingError, NewMessage, NotDone, Reason

INVALID = messaging.REJECTED_REASON_INVALID_FIELD
NOT_DONE = messaging.REJECTED_OUTCOME_NOT_DONE
DETAILS = (  # google.rpc.Status with ErrorInfo NOT_FOUND, as a cell writes it
    b"\x08\x05\x12\x02no\x1a7\n(type.googleapis.com/google.rpc.ErrorInfo\x12\x0b\n\tNOT_FOUND"
)


class Server(messaging_pb2_grpc.MessagingServiceServicer, history_pb2_grpc.HistoryServiceServicer):
    """Accepts what says hi, refuses the rest."""

    async def Connect(self, requests: Any, context: Any) -> None:
        limits = messaging.Limits(max_in_flight=9, max_commands_per_frame=9)
        await context.read()
        opened = [
            messaging.Update(welcome=messaging.Welcome(user_id="ann", limits=limits)),
            messaging.Update(resumed=messaging.Resumed(cursor="c1")),
        ]
        await context.write(messaging.ConnectResponse(updates=opened))
        while (frame := await context.read()) is not grpc.aio.EOF:
            for command in frame.commands:
                send, number = command.send_message, command.command_id
                ref = messaging.MessageRef(sender_id="ann", message_id=send.message_id)
                message = messaging.Message(ref=ref, content=send.content)
                updates = [
                    messaging.Update(accepted=messaging.Accepted(command_id=number)),
                    messaging.Update(event=messaging.Event(cursor=f"c{number + 1}", message=message)),
                ]
                if send.content.text != "hi":
                    rejected = messaging.Rejected(
                        command_id=number, field="content.text", reason=INVALID, outcome=NOT_DONE
                    )
                    updates = [messaging.Update(rejected=rejected)]
                await context.write(messaging.ConnectResponse(updates=updates))

    async def ListConversations(self, request: Any, context: Any) -> history_pb2.ListConversationsResponse:
        return history_pb2.ListConversationsResponse(cursor="c0")

    async def GetConversation(self, request: Any, context: Any) -> None:
        await context.abort(grpc.StatusCode.NOT_FOUND, "no", (("grpc-status-details-bin", DETAILS),))


async def what_is_raised(call: Awaitable[object]) -> MessagingError:
    try:
        await call
    except MessagingError as error:
        return error
    raise AssertionError("nothing was raised")


async def main() -> None:
    """A message there and back, a refusal, a question that fails, a store."""
    server = grpc.aio.server()
    servicer = Server()
    messaging_pb2_grpc.add_MessagingServiceServicer_to_server(servicer, server)
    history_pb2_grpc.add_HistoryServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with tempfile.TemporaryDirectory() as folder:
        store = FileStore(Path(folder) / "client.db")
        async with Client(f"127.0.0.1:{port}", "token", store=store) as client:
            message_id = await client.send("hi", to="bob")
            async for event in client.events():
                if isinstance(event, NewMessage):
                    assert event.mine
                    assert event.message.ref.message_id == message_id
                    break
            refused = await what_is_raised(client.send("ho", to="bob"))
            assert isinstance(refused, NotDone)
            assert (refused.reason, refused.field) == (Reason.INVALID_FIELD, "content.text")
            failed = await what_is_raised(client.conversation(to="bob"))
            assert isinstance(failed, CallFailed)
            assert failed.reason is Reason.NOT_FOUND
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(main())
    print("works with", *(f"{name} {importlib.metadata.version(name)}" for name in ("protobuf", "grpcio")))
