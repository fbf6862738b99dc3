from itertools import islice

from cell.messaging.v1 import messaging_pb2 as messaging
from check.load import (
    ACCEPTED,
    EVENT,
    MESSAGE_BYTES,
    REJECTED,
    RESUMED,
    command_encoder,
    due_of,
    schedule,
    updates,
)


def test_a_command_made_from_the_template_parses_as_the_message_it_stands_for() -> None:
    """A frame with its number and time put in is a command like any other, of about the size of an echo."""
    encode = command_encoder("bob")
    for number in (2**28, 2**28 + 127, 10**10 - 1):
        frame = encode(number, 1_234_567)
        (command,) = messaging.ConnectRequest.FromString(frame).commands
        assert command.command_id == number
        assert command.send_message.recipients.user_ids == ["bob"]
        assert int(command.send_message.message_id) == number
        assert due_of(frame, 0, len(frame)) == 1_234_567
        assert abs(command.ByteSize() - MESSAGE_BYTES) <= 16


def test_frames_of_several_commands_are_those_of_one_joined() -> None:
    """Joined frames hold their commands in order."""
    encode = command_encoder("bob")
    frame = encode(2**28, 1) + encode(2**28 + 1, 2)
    commands = messaging.ConnectRequest.FromString(frame).commands
    assert [command.command_id for command in commands] == [2**28, 2**28 + 1]


def test_updates_are_told_apart_without_parsing_them() -> None:
    """Each update of a frame is found with its kind, whatever its size, and a message's time within it alone."""
    event = messaging.Event()
    event.message.content.text = "\x02due=0000000001234567" + "x" * 300
    frame = messaging.ConnectResponse(
        updates=[
            messaging.Update(accepted=messaging.Accepted(command_id=7)),
            messaging.Update(event=event),
            messaging.Update(rejected=messaging.Rejected(command_id=8)),
            messaging.Update(resumed=messaging.Resumed()),
        ]
    ).SerializeToString()
    found = list(updates(frame))
    assert [kind for kind, _, _ in found] == [ACCEPTED, EVENT, REJECTED, RESUMED]
    assert [due_of(frame, start, end) for _, start, end in found] == [None, 1_234_567, None, None]
    assert found[-1][2] == len(frame)


def test_each_client_has_its_turn_at_its_own_phase_of_every_interval() -> None:
    """Turns rise in time, come once in each interval for each client, and make up the rate."""
    turns = list(islice(schedule(3, per_second=6.0, phases=[0.5, 0.0, 0.9]), 6))
    assert [which for which, _ in turns] == [1, 0, 2, 1, 0, 2]
    assert [round(at_s, 3) for _, at_s in turns] == [0.0, 0.25, 0.45, 0.5, 0.75, 0.95]
