"""Starts servers, commands and seedings for tests, in processes of their own.

Tests of ``mimic.testing`` itself use its ``MimicServer``, tests of the journal the one of this module.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Final, Self

from mimic.testing import MimicServer
from mimic.testing.processes import Process, ServerProcess
from tests.support.corpora import SMALL, Dump, seed
from tests.support.fork_server import ForkedProcess, ForkServer, fork_server

STRICT: Final = ("-W", "error")
SECONDS: Final = 100
"""Seconds that a command may take."""
READ_AFTER_LOADING: Final = ("HOME", "MIMIC_", "SEED_", "OTEL_", "PROMETHEUS_MULTIPROC_DIR", "TMPDIR")
"""Prefixes of variables that no module reads while it is loaded. Only SQLite reads TMPDIR then."""


class Server(ServerProcess):
    """A ``mimic serve`` with warnings as errors, with these settings and nothing else of the environment.

    Without MIMIC_ON_MISS, a miss is a 404.

    It is forked off a process that has loaded the modules, which takes a fifth of the processor time. With another
    program ``before`` it, or with settings of Python's, it starts as a new interpreter. A forked one may be another
    ``module``, which runs ``mimic``.
    """

    module = "mimic"

    def __init__(self, folder: Path, *before: str, **settings: str) -> None:
        environment = {"PATH": os.environ["PATH"], "MIMIC_ON_MISS": "404", **settings}
        super().__init__(folder, environment, before=before, interpreter=STRICT)
        self._forks = fork_server() if may_fork(settings) and not before else None

    def forked_by(self, forks: ForkServer) -> Self:
        """Fork the server off a process that has started with the same settings of Python's. Returns the server."""
        self._forks = forks
        return self

    def _start(self, log: BinaryIO) -> Process:
        if not self._forks:
            return super()._start(log)
        return self._forks.fork(self.module, ["serve"], self._environment, self._log.parent, (0, 1, log.fileno()))


def may_fork(environment: Iterable[str]) -> bool:
    """True for variables that have no effect on the start of an interpreter."""
    return all(name.startswith(READ_AFTER_LOADING) for name in environment)


class ForkedMimicServer(MimicServer):
    """A ``MimicServer`` for tests of the journal, forked off as ``Server`` is."""

    @contextmanager
    def _launch(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> Iterator[ForkedProcess]:
        receiver, sender = os.pipe()
        with (folder / "log").open("wb") as log:
            streams = (receiver, log.fileno(), log.fileno())
            process = fork_server().fork("mimic.testing", arguments, environment, folder, streams, own_group=True)
        os.close(receiver)
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            os.close(sender)


class SharedServers:
    """Servers that the tests of a session share, by corpus and settings: each is seeded and started once.

    Tests send requests, and change nothing. The servers run until the session ends.
    """

    def __init__(self, folder: Path, until: ExitStack) -> None:
        self._folder = folder
        self._until = until
        self._stores: dict[str, str] = {}
        self._servers: dict[Hashable, Server] = {}

    def __call__(self, dump: Dump = SMALL, **settings: str) -> Server:
        """A server of that corpus on SQLite, with these settings."""
        store = self.store(dump)
        key = (store, *sorted(settings.items()))
        if key not in self._servers:
            server = Server(self._folder, MIMIC_STORE=store, **settings)
            self._servers[key] = self._until.enter_context(server)
        return self._servers[key]

    def store(self, dump: Dump = SMALL) -> str:
        """The URL of an SQLite store of that corpus, for tests that start a server of their own."""
        key = json.dumps(dump)
        if key not in self._stores:
            folder = self._folder / f"corpus-{len(self._stores)}"
            folder.mkdir()
            self._stores[key] = f"sqlite:///{folder}/corpus.db"
            seed(self._stores[key], dump, folder)
        return self._stores[key]


def start_mimic(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, stdout: BinaryIO, stderr: BinaryIO
) -> Process:
    """Start ``mimic`` in a folder with warnings as errors, forked or in a new interpreter as a ``Server`` is."""
    variables = {"PATH": os.environ["PATH"], **environment}
    if may_fork(environment):
        return fork_server().fork("mimic", arguments, variables, folder, (0, stdout.fileno(), stderr.fileno()))
    command = (sys.executable, "-P", *STRICT, "-m", "mimic", *arguments)
    variables = {"PYTHONIOENCODING": "utf-8", **variables}
    return subprocess.Popen(command, env=variables, cwd=folder, stdout=stdout, stderr=stderr)


def run_mimic(
    arguments: Sequence[str | Path],
    environment: Mapping[str, str],
    *,
    before: Sequence[str] = (),
    stdin: bytes = b"",
    folder: Path | None = None,
    module: str = "mimic",
) -> subprocess.CompletedProcess[str]:
    """Run a module in a folder with warnings as errors, forked or in a new interpreter as a ``Server`` is."""
    words, variables = [str(argument) for argument in arguments], {"PATH": os.environ["PATH"], **environment}
    if before or not may_fork(environment):
        command = (*before, sys.executable, "-P", *STRICT, "-m", module, *words)
        ran = subprocess.run(
            command, input=stdin, env=variables, capture_output=True, check=False, timeout=SECONDS, cwd=folder
        )
        return subprocess.CompletedProcess(words, ran.returncode, ran.stdout.decode(), ran.stderr.decode())
    with TemporaryFile() as out, TemporaryFile() as err:
        receiver, sender = os.pipe()
        streams = (receiver, out.fileno(), err.fileno())
        process = fork_server().fork(module, words, variables, folder or Path.cwd(), streams)
        os.close(receiver)
        with suppress(BrokenPipeError), os.fdopen(sender, "wb") as file:
            file.write(stdin)
        code = process.wait(SECONDS)
        for output in (out, err):
            output.seek(0)
        return subprocess.CompletedProcess(words, code, out.read().decode(), err.read().decode())


def seed_command(*arguments: str) -> tuple[str, ...]:
    """The command line of a ``mimic seed``, with warnings as errors."""
    return (sys.executable, "-P", *STRICT, "-m", "mimic", "seed", "--quiet", *arguments)


class Seeding:
    """A real ``mimic seed`` of a dump that comes through a pipe, in pieces.

    It is forked, or started as a new interpreter, as a ``Server`` is. Another program starts it if there is one
    ``before`` it.
    """

    def __init__(
        self,
        url: str,
        dump: Sequence[Any],
        *,
        before: Sequence[str] = (),
        forks: ForkServer | None = None,
        **environment: str,
    ) -> None:
        self._dump = json.dumps(dump).encode()
        self.process: Process
        arguments = ("--not-nice", "--store", url, "-")
        variables = {"PATH": os.environ["PATH"], **environment}
        (receiver, sender), (said, errors) = os.pipe(), os.pipe()
        if before or not (forks or may_fork(environment)):
            command = (*before, *seed_command(*arguments))
            self.process = subprocess.Popen(command, stdin=receiver, stderr=errors, env=variables)
        else:
            words = ["seed", "--quiet", *arguments]
            forks = forks or fork_server()
            self.process = forks.fork("mimic", words, variables, Path.cwd(), (receiver, 1, errors))
        os.close(receiver)
        os.close(errors)
        self._input, self._errors = os.fdopen(sender, "wb"), os.fdopen(said, "rb")

    def feed(self, share: float) -> None:
        """Send a share of the rest."""
        count = round(share * len(self._dump))
        piece, self._dump = self._dump[:count], self._dump[count:]
        try:
            self._input.write(piece)
            self._input.flush()
        except BrokenPipeError:  # it has ended
            self._dump = b""

    def end(self) -> tuple[int, str]:
        """Send the rest, and wait; return the exit code and the output."""
        self.feed(1)
        with suppress(BrokenPipeError):
            self._input.close()
        with self._errors:
            said = self._errors.read().decode()
        return self.process.wait(60), said


def children(pid: int) -> set[int]:
    """The running child processes of a process."""
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def has_ipv6() -> bool:
    """Return True if this machine has IPv6's loopback; containers often have none."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False
