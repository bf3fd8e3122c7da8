"""A server for clients before the fixture ``mimic_server`` is called. Every answer is an error with instructions.

The module runs as a script with the standard library alone: it listens within 30 ms, prints its port and ends with its
standard input. A thread instead of a process would not survive tests that freeze clocks, forbid sockets or fork.
"""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

MESSAGE = (
    "The pytest fixture mimic_server was not called when this client was made. Call it in the test, as in "
    "mimic_server(conversations), before the code under test makes its client."
)
ANSWER = json.dumps(
    {"error": {"message": MESSAGE, "type": "invalid_request_error", "param": None, "code": "mimic_server_not_called"}}
).encode()
"""An error in OpenAI's format, sent with status 400: clients show the message and do not retry."""
SECONDS = 10
"""Timeout for a client to send its request."""


@contextmanager
def uncalled() -> Iterator[str]:
    """Run the process, and yield the base URL for clients. Raises NotStarted."""
    from mimic.testing.server import NotStarted  # noqa: PLC0415 - the process itself does not import Mimic

    command = (sys.executable, "-I", "-S", __file__)
    with subprocess.Popen(  # noqa: S603 - a command without user input
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        try:
            port = process.stdout.readline().strip().decode()
            if not port:
                raise NotStarted(f"{__file__} did not start; see standard error")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()


def _answer(connection: socket.socket) -> None:
    head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(ANSWER)}\r\n"
    with connection, suppress(OSError):
        connection.settimeout(SECONDS)
        connection.recv(65536)
        connection.sendall(head.encode() + b"connection: close\r\n\r\n" + ANSWER)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):  # a close before the whole request is read would lose the answer
            pass


def _serve() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        while True:
            threading.Thread(target=_answer, args=listener.accept()[:1], daemon=True).start()


if __name__ == "__main__":
    threading.Thread(target=_serve, daemon=True).start()
    os.read(0, 1)  # standard input closes when the process of the tests ends
