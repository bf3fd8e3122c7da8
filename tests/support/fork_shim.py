"""Forks a program for a shell: ``python -S -E fork_shim.py SOCKET MODULE ARGUMENT...``.

The socket is that of a ForkListener in another program. This process stands for the forked one: it passes signals on,
and ends with its exit code. The module ``python`` is an interpreter that has loaded clients (``fork_python.py``).
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
LENGTH: Final = 4
"""Bytes of a number: a request's length, a process's number, an exit code."""
PASSED_ON: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PYTHON: Final = "python"


class Process(Protocol):
    """A running program."""

    def wait(self) -> int:
        """Wait until it ends; return its exit code."""


class ForkListener:
    """Forks the programs that shims ask for, in a thread. A context manager, which kills those that run on.

    ``socket`` is its path, for shells.
    """

    def __init__(self) -> None:
        from tempfile import TemporaryDirectory  # noqa: PLC0415 - a shim loads little

        self._folder = TemporaryDirectory(prefix="forks-")
        self.socket = f"{self._folder.name}/socket"
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._listening.bind(self.socket)
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.socket)
        self._thread.join()
        self._listening.close()
        self._folder.cleanup()

    def _listen(self) -> None:
        from tests.support.fork_python import python_fork_server  # noqa: PLC0415
        from tests.support.fork_server import fork_server  # noqa: PLC0415

        pids, waiting = list[int](), list[threading.Thread]()
        while True:
            request, descriptors, _, _ = socket.recv_fds(self._listening, LARGEST_REQUEST, 4)
            if not request:
                break
            module, arguments, environment, folder = json.loads(request)
            *streams, answer = descriptors
            try:
                server = python_fork_server() if module == PYTHON else fork_server()
                process = server.fork(module, arguments, environment, Path(folder), streams)
            except Exception as exc:  # noqa: BLE001 - the shim fails without an answer, and its shell goes on
                os.write(streams[-1], f"{module} could not be forked: {exc!r}\n".encode())
                os.close(answer)
                continue
            finally:
                for stream in streams:
                    os.close(stream)
            os.write(answer, process.pid.to_bytes(LENGTH, "big"))
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
        os.write(answer, code.to_bytes(LENGTH, "big", signed=True))
    os.close(answer)


def exit_code_of(answer: bytes) -> int:
    """The exit code in the answer of a process that forks; -9 if it ended first."""
    return int.from_bytes(answer, "big", signed=True) if answer else -signal.SIGKILL


def main() -> int:
    """Ask for the program, and wait for its end."""
    listener, module, *arguments = sys.argv[1:]
    received, answer = os.pipe()
    request = json.dumps([module, arguments, dict(os.environ), str(Path.cwd())]).encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
        asking.connect(listener)
        socket.send_fds(asking, [request], [0, 1, 2, answer])
    os.close(answer)
    pid = int.from_bytes(os.read(received, LENGTH), "big")
    if not pid:
        return 1
    for number in PASSED_ON:
        signal.signal(number, lambda passed_on, _: os.kill(pid, passed_on))
    code = exit_code_of(os.read(received, LENGTH))
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
