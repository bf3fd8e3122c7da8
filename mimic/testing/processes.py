"""Processes that tests and benchmarks start on free ports of loopback: ``mimic serve`` and a MongoDB of their own."""

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
    """What is asked of a server's process besides: what ``subprocess.Popen`` has of these names."""

    pid: int

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it ends; its exit code."""

    def send_signal(self, sig: int, /) -> None:
        """Send it a signal."""

    def terminate(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it."""


class ServerProcess:
    """A ``mimic serve`` as users start it, in a process of its own. A context manager.

    ``environment`` is all that the process knows besides its port. ``interpreter`` are options of Python, ``before`` a
    program that starts the server, with its arguments. Standard error goes to a file in ``folder``.

    Raises NotStarted, with the log, where nobody listens on the port within 30 seconds.
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
        return subprocess.Popen(  # noqa: S603 - what runs is ours
            self._command, env=self._environment, stderr=log, cwd=self._log.parent
        )

    def log(self) -> str:
        """What the server has said."""
        return self._log.read_text()


class MongodProcess:
    """A ``mongod`` with its data in a folder, which may be killed and started again.

    Raises NotStarted where there is no program, and PyMongoError where it does not answer within 30 seconds.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        program = find_mongod()
        if not program:
            raise NotStarted("there is no mongod on the PATH")
        self.port = free_port()
        self.url = f"mongodb://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self._folder = folder
        # A socket in /tmp would stay there when the process is killed.
        own = ["--bind_ip", "127.0.0.1", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.5"]
        own += ["--setParameter", "ttlMonitorEnabled=false"]
        self._command = (program, "--dbpath", str(folder), "--port", str(self.port), *own, *options)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self._folder / "log").open("wb") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)  # noqa: S603
        patience = SECONDS_TO_START * 1000
        with pymongo.MongoClient[dict[str, Any]](
            self.url, directConnection=True, serverSelectionTimeoutMS=patience
        ) as client:
            client.admin.command("ping")

    def kill(self) -> None:
        """End it as a machine does that loses power."""
        if self.process:
            self.process.kill()
            self.process.wait()


def find_mongod() -> str | None:
    """A mongod on the PATH, or the one that the dependencies for development carry."""
    if found := shutil.which("mongod"):
        return found
    package = find_spec("fiftyone")
    for folder in package.submodule_search_locations or [] if package else []:
        program = Path(folder) / "db" / "bin" / "mongod"
        if program.is_file():
            return str(program)
    return None


def listens(port: int) -> bool:
    """Whether anybody listens on a port of loopback."""
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def resident_bytes(pid: int) -> int:
    """The memory that a process occupies now, in bytes."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
