"""Forks a program for a shell: ``python -S -E fork_shim.py SOCKET MODULE ARGUMENT...``.

The socket is a file descriptor that the shell has inherited from a program with a ForkListener. This process stands
for the forked one: it passes signals on, and ends with its exit code.
"""

import json
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol, Self

LARGEST_REQUEST: Final = 100_000
PASSED_ON: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Process(Protocol):
    """A running program."""

    def wait(self) -> int:
        """Wait until it ends; return its exit code."""


class ForkListener:
    """Forks the programs that shims ask for, in a thread. A context manager, which kills those that run on.

    ``socket`` is the file descriptor for the shell.
    """

    def __init__(self) -> None:
        self._listening, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._theirs = theirs
        self.socket = theirs.fileno()
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._theirs.send(b"")
        self._thread.join()
        self._listening.close()
        self._theirs.close()

    def _listen(self) -> None:
        from tests.support.fork_server import fork_server  # noqa: PLC0415 - a shim loads little

        pids, waiting = list[int](), list[threading.Thread]()
        while True:
            request, descriptors, _, _ = socket.recv_fds(self._listening, LARGEST_REQUEST, 4)
            if not request:
                break
            module, arguments, environment, folder = json.loads(request)
            *streams, answer = descriptors
            try:
                process = fork_server().fork(module, arguments, environment, Path(folder), streams)
            except Exception as exc:  # noqa: BLE001 - the shim fails without an answer, and its shell goes on
                os.write(streams[-1], f"{module} could not be forked: {exc!r}\n".encode())
                os.close(answer)
                continue
            finally:
                for stream in streams:
                    os.close(stream)
            os.write(answer, b"%d\n" % process.pid)
            pids.append(process.pid)
            waiting.append(threading.Thread(target=_report, args=(process, answer)))
            waiting[-1].start()
        for pid, thread in zip(pids, waiting, strict=True):
            if thread.is_alive():
                os.kill(pid, signal.SIGKILL)
            thread.join()


def _report(process: Process, answer: int) -> None:
    code = process.wait()
    with suppress(BrokenPipeError):  # the shim was killed
        os.write(answer, b"%d\n" % code)
    os.close(answer)


def main() -> int:
    """Ask for the program, and wait for its end."""
    descriptor, module, *arguments = sys.argv[1:]
    received, answer = os.pipe()
    request = json.dumps([module, arguments, dict(os.environ), str(Path.cwd())]).encode()
    with socket.socket(fileno=os.dup(int(descriptor))) as listener:
        socket.send_fds(listener, [request], [0, 1, 2, answer])
    os.close(answer)
    with os.fdopen(received, "rb") as lines:
        line = lines.readline()
        if not line:
            return 1
        pid = int(line)
        for number in PASSED_ON:
            signal.signal(number, lambda passed_on, _: os.kill(pid, passed_on))
        code = int(lines.readline() or -signal.SIGKILL)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
