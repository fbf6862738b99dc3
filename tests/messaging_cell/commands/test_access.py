"""The way to the cell, and what is said where there is none."""

import socket

from tests.messaging_cell.running import RunningCell, assert_said


def test_what_listens_there_but_is_no_cell(cell: RunningCell) -> None:
    """Its silence is told with its reason, and with exit code 4."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert_said(
            cell.run("send", "bob", "x", "--from", "ann", CELL_ADDRESS=f"127.0.0.1:{port}"),
            4,
            f"127.0.0.1:{port} does not answer as a cell does",
        )
    assert_said(
        cell.run("send", "bob", "x", "--from", "ann", CELL_ADDRESS="no.such.host.invalid:1"), 4, "no host"
    )
