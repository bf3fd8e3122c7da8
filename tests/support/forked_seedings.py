"""Forks the seedings that a forked server starts as new interpreters, off the process that forked the server."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tests.support.fork_server import ForkedProcess, started

PROGRAM: Final = (sys.executable, "-P", "-m", "mimic")
NEW_INTERPRETERS: Final = "NEW_INTERPRETERS"
"""The environment variable of a server that starts seedings as Mimic does."""
STREAMS: Final = {
    "stdin": asyncio.subprocess.DEVNULL,
    "stdout": asyncio.subprocess.DEVNULL,
    "stderr": asyncio.subprocess.PIPE,
}


class ForkedSeeding:
    """A forked seeding, with the methods of ``asyncio.subprocess.Process`` that Mimic calls."""

    def __init__(self, process: ForkedProcess, output: asyncio.StreamReader) -> None:
        self.pid = process.pid
        self._process = process
        self._output = output
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(process.status, self._note_end)

    @property
    def returncode(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.returncode

    async def wait(self) -> int | None:
        """Wait until it ends; return its exit code."""
        await self._ended.wait()
        return self.returncode

    async def communicate(self) -> tuple[None, bytes]:
        """Read its output until it ends."""
        output = await self._output.read()
        await self.wait()
        return None, output

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._send_signal(signal.SIGKILL)

    def _send_signal(self, number: int) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _note_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._process.status)
        self._process.poll()
        self._ended.set()


def fork_seedings(address: bytes) -> None:
    """Replace the function of asyncio that starts programs, for ``mimic`` alone. The address takes requests to fork."""
    start = asyncio.create_subprocess_exec

    async def start_or_fork(*command: str, **options: Any) -> Any:
        if command[: len(PROGRAM)] != PROGRAM or NEW_INTERPRETERS in os.environ:
            return await start(*command, **options)
        environment = options.pop("env")
        assert options == STREAMS
        return await _fork(address, command[len(PROGRAM) :], environment)

    vars(asyncio)["create_subprocess_exec"] = start_or_fork


async def _fork(address: bytes, arguments: Sequence[str], environment: Mapping[str, str]) -> ForkedSeeding:
    """Ask for the fork of a seeding, in the process group of this program."""
    request = json.dumps(["mimic", arguments, dict(environment), str(Path.cwd()), os.getpgrp()]).encode()
    (receiver, errors), (ended, status) = os.pipe(), os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
        asking.connect(address)
        socket.send_fds(asking, [request], [null, null, errors, status])
    for descriptor in (null, errors, status):
        os.close(descriptor)
    output = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(output)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(receiver, "rb"))
    return ForkedSeeding(started(ended), output)
