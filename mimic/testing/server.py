"""A Mimic server in a process of its own."""

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
"""How long a server may take to be ready, from the end of its seeding, which may take as long as it needs."""

ATTEMPTS: Final = 5
"""Ports that are tried one after the other, where another program takes each of them first."""
PORT_TAKEN = "address already in use"
DEFAULTS = {"MIMIC_JOURNAL": "1000", "MIMIC_ON_MISS": "404"}
"""Settings of a server for tests: a journal, and an error where the corpus has no answer."""
"""What a server of ours has by default; one that a user starts has none."""
OWN_SETTINGS = ("MIMIC_STORE", "MIMIC_HOST", "MIMIC_PORT")

Seedable: TypeAlias = Sequence[Mapping[str, Any]] | str | os.PathLike[str] | None
"""Conversations in the dump's shape, the path of a dump, or nothing for the corpus that ships with Mimic."""


class RunningProcess(Protocol):
    """What is asked of a server's process: what ``subprocess.Popen`` has of these names."""

    @property
    def returncode(self) -> int | None:
        """Its exit code, once it was asked for."""

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""


class NotStarted(MimicError):
    """The server did not start. The text is the seeding's message, or what the server has said."""


class NotAnswered(MimicError):
    """The server did not answer as it should. The text is what it said."""


class StartMimic(Protocol):
    """What the fixture ``mimic_server`` is."""

    def __call__(self, corpus: Seedable = None, *, settings: Mapping[str, str] | None = None) -> "MimicServer":
        """A server of that corpus, which ``OPENAI_BASE_URL`` leads to until the test ends.

        Raises what :meth:`MimicServer.start` raises.
        """


class MimicServer:
    """A server on a free port of loopback. Use as a context manager, or call :meth:`start` and :meth:`stop`.

    ``settings`` are variables such as ``MIMIC_API_KEYS``; those of the environment do not count. A corpus that is given
    as a list is seeded strictly: a broken conversation in it is an error, while in a dump it is skipped.

    While it runs, ``url`` is where it listens, ``base_url`` what a client of OpenAI's wants, and ``api_key`` a key that
    is accepted. It ends with the program that started it, however that ends.

    Starting tries ``attempts`` ports at most (5), where others take them first. The server may take
    ``seconds_to_start`` (30) from the end of its seeding until it is ready.

    Raises SettingError for a setting that does not exist, does not parse, or is not the caller's to choose.
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
        """Seed and serve, anew where it runs already; returns when the server is ready. Raises NotStarted."""
        self.stop()
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="mimic-")))
            arguments = self._arguments(folder)
            for port in (free_port() for _ in range(self._attempts)):
                process = stack.enter_context(self._launched(arguments, folder, self._environment(folder, port)))
                if _started(process, folder, port, self._seconds_to_start):
                    break
                said = (folder / "log").read_text(errors="replace").strip()
                problem = _problem(process, said, self._seconds_to_start)
                if PORT_TAKEN not in problem.lower():
                    raise NotStarted(problem)
            else:
                raise NotStarted(problem)
            self.url = f"http://127.0.0.1:{port}"
            self.base_url = f"{self.url}/v1"
            self._process = process
            self._running = stack.pop_all()

    def is_running(self) -> bool:
        """Whether it was started, and neither stopped nor ended by itself."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End the process and remove its files, at once."""
        self._running.close()

    def requests(self, route: str | None = None, *, patience: float = 0.25) -> Sequence[Entry]:
        """The requests since the last reset, in the order in which they came; of one route, if that is given.

        For those that are under way it waits so many seconds, since it takes a moment until the server has noticed
        that a client went away; of one that has not ended then, ``last_byte_ms`` is None. Raises NotAnswered.
        """
        query = "?" + urlencode({"route": route}) if route else ""
        until = elapsed() + patience
        while True:
            answered = self._ask("GET", f"/mimic/requests{query}")
            found = msgspec.json.decode(answered, type=Requests, dec_hook=decode_datetime).requests
            if all(entry.last_byte_ms is not None for entry in found) or elapsed() >= until:
                return found
            time.sleep(0.01)

    def reset(self) -> None:
        """Forget all requests, what each key has used up, and which faults a seed had come to. Raises NotAnswered."""
        self._ask("DELETE", "/mimic/requests")

    def _launched(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> AbstractContextManager[RunningProcess]:
        """The process, which is killed in the end."""
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
        """The caller's environment without its settings of Mimic, and without the place for its own metrics."""
        theirs = ("MIMIC_", "SEED_", METRICS_FOLDER)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
        own = {"MIMIC_STORE": "sqlite:///corpus.db", "MIMIC_HOST": "127.0.0.1", "MIMIC_PORT": str(port)}
        return {**inherited, "TMPDIR": str(folder), **DEFAULTS, **self._settings, **own}


def free_port() -> int:
    """A port of loopback that nobody listens on, and that the system gives to nobody for the next half minute or more.

    A connection leaves it in TIME_WAIT (RFC 9293, 3.6.1), in which only who asks for it by its number gets it.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address: tuple[str, int] = listener.getsockname()
        with socket.create_connection(address), listener.accept()[0]:  # the side that closes first is left waiting
            return address[1]


def _parse(settings: Mapping[str, str]) -> Settings:
    known = {name for name, _ in VARIABLES.values()}
    for name, value in settings.items():
        if not isinstance(value, str):
            raise SettingError(name, f"is {value!r}, and is to be a string, as in the environment")
        if name in OWN_SETTINGS:
            raise SettingError(name, "is chosen by MimicServer")
        if name not in known:
            raise SettingError(name, unknown_setting(name, known.difference(OWN_SETTINGS)))
    return Settings.from_environment(settings)


@contextmanager
def _process(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """``python -m mimic.testing`` in a process group of its own, so that a Ctrl-C in a debugger does not reach it."""
    command = (sys.executable, "-m", "mimic.testing", *arguments)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - what runs is ours
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
    """Kill a process with its group; on Windows alone: its worker processes end by themselves when it does."""
    if sys.platform == "win32":
        process.kill()
    else:
        with suppress(PermissionError):  # on macOS, where it has ended since
            os.killpg(process.pid, signal.SIGKILL)


def _started(process: RunningProcess, folder: Path, port: int, seconds: float) -> bool:
    """Wait until the server is ready, at most ``seconds`` from the end of its seeding."""

    def ready() -> bool:
        try:
            return _ask(port, "GET", "/ready", 1)[0] == HTTPStatus.OK
        except (OSError, HTTPException):
            return False

    # The file appears when the seeding is through.
    return _holds((folder / "corpus.db").exists, process, inf) and _holds(ready, process, seconds)


def _ask(port: int, method: str, path: str, seconds: float, **headers: str) -> tuple[int, bytes]:
    """Ask a server of ours; returns the status and the body. Raises OSError and HTTPException.

    The socket is used without a client, since what records or mocks HTTP in tests replaces clients, http.client too.
    """
    headers = {"host": f"127.0.0.1:{port}", "connection": "close", **headers}
    lines = (f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", "")
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall("\r\n".join(lines).encode("latin-1"))
        with closing(HTTPResponse(connection, method=method)) as response:
            response.begin()
            return response.status, response.read()


def _holds(condition: Callable[[], bool], process: RunningProcess, seconds: float) -> bool:
    """Wait until the condition holds; False if the process or the time ends before."""
    until = elapsed() + seconds
    while process.poll() is None and elapsed() < until:
        if condition():
            return True
        time.sleep(0.01)
    return False


def _problem(process: RunningProcess, said: str, seconds: float) -> str:
    if process.poll() is None:
        return f"the server is not ready after {seconds:g} seconds; it has said:\n{said}"
    return said.removeprefix("Error: ") or f"the server ended with exit code {process.returncode} and said nothing"
