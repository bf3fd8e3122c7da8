"""Processes that tests and benchmarks start on free ports of loopback: ``mimic serve`` and ``mongod``."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, Self

import pymongo

from mimic.testing.clock import elapsed
from mimic.testing.server import NotStarted, RunningProcess, free_port

SECONDS_TO_START: Final = 30
SECONDS_TO_END: Final = 40


class Process(RunningProcess, Protocol):
    """Interface of a server's process that can be ended: a part of ``subprocess.Popen``."""

    pid: int

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the process ends. Returns the exit code."""

    def send_signal(self, sig: int, /) -> None:
        """Send a signal to the process."""

    def terminate(self) -> None:
        """Ask the process to end."""

    def kill(self) -> None:
        """Kill the process."""


class ServerProcess:
    """A ``mimic serve`` in a separate process, as users start it. A context manager.

    ``environment`` is the whole environment of the process, except for its port. ``interpreter`` are options of Python.
    ``before`` is a program that starts the server, with its arguments. Standard error goes to a file in ``folder``.

    Raises NotStarted, with the log, if the server does not listen within 30 seconds.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        *,
        before: Sequence[str] = (),
        interpreter: Sequence[str] = (),
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: Process
        self._command = (*before, sys.executable, "-P", *interpreter, "-m", "mimic", "serve")
        self._environment = {**environment, "MIMIC_PORT": str(self.port)}
        self._log = folder / f"server-{self.port}.log"

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self.process = self._start(log)
        until = elapsed() + SECONDS_TO_START
        while self.process.poll() is None and elapsed() < until:
            if listens(self.port):
                return self
            time.sleep(0.02)
        self.process.kill()
        self.process.wait()
        raise NotStarted(f"the server did not start:\n{self.log()}")

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(timeout=SECONDS_TO_END)

    def _start(self, log: BinaryIO) -> Process:
        return subprocess.Popen(  # noqa: S603 - a command without user input
            self._command, env=self._environment, stderr=log, cwd=self._log.parent
        )

    def log(self) -> str:
        """Return the log of the server so far."""
        return self._log.read_text()


class MongodProcess:
    """A ``mongod`` with its data in a folder. It may be killed and started again.

    Raises NotStarted if there is no ``mongod``, and PyMongoError if it does not answer within 30 seconds.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        program = find_mongod()
        if not program:
            raise NotStarted("there is no mongod on the PATH")
        self.port = free_port()
        self.url = f"mongodb://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self._folder = folder
        # A killed process would leave a socket in /tmp.
        own = ["--bind_ip", "127.0.0.1", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.5"]
        own += ["--setParameter", "ttlMonitorEnabled=false"]
        # Its own statistics take half of the processor time of an idle server.
        own += ["--setParameter", "diagnosticDataCollectionEnabled=false"]
        # The journal would take 300 MB at once; a suite starts dozens of servers.
        own += ["--wiredTigerEngineConfigString", "log=(prealloc=false,file_max=10MB)"]
        self._command = (program, "--dbpath", str(folder), "--port", str(self.port), *own, *options)

    def start(self) -> None:
        """Start the process, and wait until it answers."""
        with (self._folder / "log").open("wb") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)  # noqa: S603
        patience = SECONDS_TO_START * 1000
        with pymongo.MongoClient[dict[str, Any]](
            self.url, directConnection=True, serverSelectionTimeoutMS=patience
        ) as client:
            client.admin.command("ping")

    def kill(self) -> None:
        """Kill the process, as a power failure does."""
        if self.process:
            self.process.kill()
            self.process.wait()


def find_mongod() -> str | None:
    """Return the path of a mongod on the PATH or in the development dependencies, or None."""
    if found := shutil.which("mongod"):
        return found
    package = find_spec("fiftyone")
    for folder in package.submodule_search_locations or [] if package else []:
        program = Path(folder) / "db" / "bin" / "mongod"
        if program.is_file():
            return str(program)
    return None


def listens(port: int) -> bool:
    """Return True if a program listens on a port of loopback."""
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def resident_bytes(pid: int) -> int:
    """Return the current resident memory of a process, in bytes."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
