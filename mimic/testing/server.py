"""A Mimic server in a separate process."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Protocol, Self, TypeAlias
from urllib.parse import urlencode, urlsplit

import msgspec

from mimic.errors import MimicError, SettingError
from mimic.gateway.journal import Entry, Requests
from mimic.server.observability import METRICS_FOLDER
from mimic.settings import VARIABLES, Settings, unknown_setting
from mimic.testing.clock import decode_datetime, elapsed

SECONDS_TO_START: Final = 30
"""Timeout in seconds from the end of seeding until the server is ready. Seeding itself has no timeout."""

ATTEMPTS: Final = 5
"""Ports to try in turn, if other programs take them first."""
PORT_TAKEN = "address already in use"
DEFAULTS = {"MIMIC_JOURNAL": "1000", "MIMIC_ON_MISS": "404"}
"""The defaults of test servers: a journal, and an error for a miss. Other servers have neither by default."""
OWN_SETTINGS = ("MIMIC_STORE", "MIMIC_HOST", "MIMIC_PORT")

Seedable: TypeAlias = Sequence[Mapping[str, Any]] | str | os.PathLike[str] | None
"""Conversations in the format of a dump, the path of a dump, or None for the sample corpus of Mimic."""


class RunningProcess(Protocol):
    """Interface of a server's process: a part of ``subprocess.Popen``."""

    @property
    def returncode(self) -> int | None:
        """The exit code at the last poll or wait, or None."""

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""


class NotStarted(MimicError):
    """The server did not start. The text is the error of the seeding, or the log of the server."""


class NotAnswered(MimicError):
    """The server answered with an error. The text is the message of the error."""


class StartMimic(Protocol):
    """The type of the fixture ``mimic_server``."""

    def __call__(self, corpus: Seedable = None, *, settings: Mapping[str, str] | None = None) -> "MimicServer":
        """Start a server with a corpus, and set ``OPENAI_BASE_URL`` to its address until the test ends.

        Raises the errors of :meth:`MimicServer.start`.
        """


class MimicServer:
    """A server on a free port of loopback. Use as a context manager, or call :meth:`start` and :meth:`stop`.

    ``settings`` are variables such as ``MIMIC_API_KEYS``; variables of the environment are ignored. A broken
    conversation in a list is an error; in a dump it is skipped.

    While the server runs, ``url`` is its address, ``base_url`` the base URL for OpenAI clients, and ``api_key`` an
    accepted key. The server ends with the program that started it, also after a crash.

    If other programs take a port first, starting tries up to ``attempts`` ports (5). The server must be ready within
    ``seconds_to_start`` (30) seconds after its seeding.

    Raises SettingError for a setting that is unknown, invalid or reserved for MimicServer.
    """

    url: str
    base_url: str

    def __init__(
        self,
        corpus: Seedable = None,
        *,
        settings: Mapping[str, str] | None = None,
        attempts: int = ATTEMPTS,
        seconds_to_start: float = SECONDS_TO_START,
    ) -> None:
        self._corpus = corpus
        self._attempts = attempts
        self._seconds_to_start = seconds_to_start
        self._settings = dict(settings or {})
        self.api_key = next(iter(_parse(self._settings).api_keys), "mimic")
        self._process: RunningProcess | None = None
        self._running = ExitStack()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Seed and serve, or restart a running server; return when it is ready. Raises NotStarted."""
        self.stop()
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="mimic-")))
            arguments = self._arguments(folder)
            for port in (free_port() for _ in range(self._attempts)):
                process = stack.enter_context(self._launch(arguments, folder, self._environment(folder, port)))
                if _wait_until_ready(process, folder, port, self._seconds_to_start):
                    break
                output = (folder / "log").read_text(errors="replace").strip()
                problem = _problem(process, output, self._seconds_to_start)
                if PORT_TAKEN not in problem.lower():
                    raise NotStarted(problem)
            else:
                raise NotStarted(problem)
            self.url = f"http://127.0.0.1:{port}"
            self.base_url = f"{self.url}/v1"
            self._process = process
            self._running = stack.pop_all()

    def is_running(self) -> bool:
        """Return True while the process of the server runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Kill the process and remove its files."""
        self._running.close()

    def requests(self, route: str | None = None, *, patience: float = 0.25) -> Sequence[Entry]:
        """Return the requests since the last reset in order of arrival, optionally of one route only.

        Wait up to ``patience`` seconds for requests in flight, since the server needs a moment to notice that a client
        left. A request that has not ended by then has None as ``last_byte_ms``. Raises NotAnswered.
        """
        query = "?" + urlencode({"route": route}) if route else ""
        until = elapsed() + patience
        while True:
            body = self._ask("GET", f"/mimic/requests{query}")
            entries = msgspec.json.decode(body, type=Requests, dec_hook=decode_datetime).requests
            if all(entry.last_byte_ms is not None for entry in entries) or elapsed() >= until:
                return entries
            time.sleep(0.01)

    def reset(self) -> None:
        """Delete the journal, refill all rate limits, and restart the faults of a seed. Raises NotAnswered."""
        self._ask("DELETE", "/mimic/requests")

    def _launch(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> AbstractContextManager[RunningProcess]:
        """Return a context manager that starts the process and kills it at the end."""
        return _process(arguments, folder, environment)

    def _ask(self, method: str, path: str) -> bytes:
        port = urlsplit(self.url).port
        assert port is not None
        status, body = _ask(port, method, path, SECONDS_TO_START, authorization=f"Bearer {self.api_key}")
        if status >= HTTPStatus.BAD_REQUEST:
            raise NotAnswered(msgspec.json.decode(body)["error"]["message"])
        return body

    def _arguments(self, folder: Path) -> tuple[str, ...]:
        if self._corpus is None:
            return ("--sample",)
        if isinstance(self._corpus, str | os.PathLike):
            return (str(Path(self._corpus).absolute()),)
        (folder / "corpus.json").write_text(json.dumps(self._corpus))
        return ("--strict", "corpus.json")

    def _environment(self, folder: Path, port: int) -> dict[str, str]:
        """Return the caller's environment without Mimic's settings and without the caller's metrics folder."""
        theirs = ("MIMIC_", "SEED_", METRICS_FOLDER)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
        own = {"MIMIC_STORE": "sqlite:///corpus.db", "MIMIC_HOST": "127.0.0.1", "MIMIC_PORT": str(port)}
        return {**inherited, "TMPDIR": str(folder), **DEFAULTS, **self._settings, **own}


def free_port() -> int:
    """Return a free port of loopback that the system assigns to no other program for at least half a minute.

    A closed connection keeps the port in TIME_WAIT (RFC 9293, 3.6.1). A program then gets it only by its number.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address: tuple[str, int] = listener.getsockname()
        with socket.create_connection(address), listener.accept()[0]:  # the side that closes first is in TIME_WAIT
            return address[1]


def _parse(settings: Mapping[str, str]) -> Settings:
    known = {name for name, _ in VARIABLES.values()}
    for name, value in settings.items():
        if not isinstance(value, str):
            raise SettingError(name, f"is {value!r}: expected a string, as in the environment")
        if name in OWN_SETTINGS:
            raise SettingError(name, "is chosen by MimicServer")
        if name not in known:
            raise SettingError(name, unknown_setting(name, known.difference(OWN_SETTINGS)))
    return Settings.from_environment(settings)


@contextmanager
def _process(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``python -m mimic.testing`` in a separate process group, so that a Ctrl-C in a debugger does not reach it."""
    command = (sys.executable, "-m", "mimic.testing", *arguments)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - a command without user input
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its group. On Windows, kill the process only: its worker processes then end by themselves."""
    if sys.platform == "win32":
        process.kill()
    else:
        with suppress(PermissionError):  # on macOS, if the process has just ended
            os.killpg(process.pid, signal.SIGKILL)


def _wait_until_ready(process: RunningProcess, folder: Path, port: int, seconds: float) -> bool:
    """Wait until the server is ready. Returns False after ``seconds`` from the end of its seeding."""

    def ready() -> bool:
        try:
            return _ask(port, "GET", "/ready", 1)[0] == HTTPStatus.OK
        except (OSError, HTTPException):
            return False

    # The file appears at the end of the seeding.
    return _wait_for((folder / "corpus.db").exists, process, inf) and _wait_for(ready, process, seconds)


def _ask(port: int, method: str, path: str, seconds: float, **headers: str) -> tuple[int, bytes]:
    """Send a request to a test server. Returns the status and the body. Raises OSError and HTTPException.

    Use the socket without a client, since libraries that mock HTTP in tests replace clients, http.client included.
    """
    headers = {"host": f"127.0.0.1:{port}", "connection": "close", **headers}
    lines = (f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", "")
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall("\r\n".join(lines).encode("latin-1"))
        with closing(HTTPResponse(connection, method=method)) as response:
            response.begin()
            return response.status, response.read()


def _wait_for(condition: Callable[[], bool], process: RunningProcess, seconds: float) -> bool:
    """Wait until the condition holds. Returns False if the process ends or the time is over before."""
    until = elapsed() + seconds
    while process.poll() is None and elapsed() < until:
        if condition():
            return True
        time.sleep(0.01)
    return False


def _problem(process: RunningProcess, output: str, seconds: float) -> str:
    if process.poll() is None:
        return f"the server is not ready after {seconds:g} seconds; its output:\n{output}"
    return output.removeprefix("Error: ") or f"the server ended with exit code {process.returncode} and without output"
