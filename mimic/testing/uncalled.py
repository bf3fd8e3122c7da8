"""The address of clients before the fixture ``mimic_server`` is called: a process that answers with what to do.

Run as a script with the standard library alone, it listens within 30 ms, prints its port and ends with its standard
input. It is a process of its own since tests may freeze clocks, forbid sockets or fork, which threads do not survive.
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
"""OpenAI's shape of an error, with status 400: clients show the message and do not retry."""
SECONDS = 10
"""How long a client may take to send its request."""


@contextmanager
def uncalled() -> Iterator[str]:
    """Run the process; the base URL to give to clients. Raises NotStarted."""
    from mimic.testing.server import NotStarted  # noqa: PLC0415 - the process itself knows no Mimic

    command = (sys.executable, "-I", "-S", __file__)
    with subprocess.Popen(  # noqa: S603 - what runs is ours
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        try:
            port = process.stdout.readline().strip().decode()
            if not port:
                raise NotStarted(f"{__file__} did not start; what it says is in standard error")
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
        while connection.recv(65536):  # closed before the whole request is read, the answer would be lost
            pass


def _serve() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        while True:
            threading.Thread(target=_answer, args=listener.accept()[:1], daemon=True).start()


if __name__ == "__main__":
    threading.Thread(target=_serve, daemon=True).start()
    os.read(0, 1)  # ends when the process of the tests does, whatever ended it
