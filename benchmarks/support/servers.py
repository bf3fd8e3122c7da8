"""The programs that benchmarks run, each in a process of its own: a seeding, a server, a MongoDB."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import urlsplit

import click
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.support.outcomes import Seeding
from mimic.testing import NotStarted
from mimic.testing.processes import SECONDS_TO_START, MongodProcess, ServerProcess

OURS: Final = ("MIMIC_", "SEED_")


def seed(dump: Path, store: str, version: str, folder: Path) -> None:
    """Seed one version, without the index for similar messages, and show its progress."""
    arguments = ("seed", str(dump.absolute()), "--store", store, "--versions", version, "--match", "last")
    if code := run_module("mimic", arguments, folder):
        raise click.ClickException(f"mimic seed ended with exit code {code}")


def run_module(module: str, arguments: Sequence[str], folder: Path) -> int:
    """Run ``python -m`` in a folder without its standard output; return its exit code."""
    command = (sys.executable, "-P", "-m", module, *arguments)
    return subprocess.run(command, cwd=folder, env=_environment(), stdout=subprocess.DEVNULL, check=False).returncode  # noqa: S603


class Server:
    """A ``mimic serve`` that is running."""

    def __init__(self, url: str, secret: str, pid: int) -> None:
        self.url = url
        self.pid = pid
        self._secret = secret

    def seeding(self, version: str) -> tuple[Seeding, int, int]:
        """The cost of the last seeding, and its numbers of conversations and messages."""
        report = self._get("/conversation/seed")["report"]
        cost = report["versions"][version]
        size, megabytes = cost["size"], report["source"]["bytes"] / 1e6
        seeding = Seeding(
            documents=cost["documents"],
            seconds=report["seconds"],
            megabytes_per_second=megabytes / report["seconds"],
            peak_memory_bytes=report["peak_memory_bytes"],
            **size,
        )
        return seeding, report["conversations"], report["messages"]

    def is_ready(self) -> bool:
        """Return True if the server can answer."""
        try:
            self._get("/ready")
        except (OSError, HTTPException, ValueError):
            return False
        return True

    def metrics(self) -> dict[str, dict[str, float]]:
        """The metrics of each process that has any, by its number."""
        found: dict[str, dict[str, float]] = {}
        for family in text_string_to_metric_families(self._body("/metrics").decode()):
            for sample in family.samples:
                if "pid" in sample.labels:
                    found.setdefault(sample.labels["pid"], {})[sample.name] = sample.value
        return found

    def _get(self, path: str) -> Any:
        return msgspec.json.decode(self._body(path))

    def _body(self, path: str) -> bytes:
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=10)
        try:
            connection.request("GET", path, headers={"authorization": f"Bearer {self._secret}"})
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.status >= 400:  # noqa: PLR2004 - errors begin there
            raise ValueError(f"{path} is answered with {response.status}: {body!r}")
        return body


@contextmanager
def serving(store: str, version: str, folder: Path, workers: int = 1, **settings: str) -> Iterator[Server]:
    """A server of one version, as its users start it, with further settings."""
    secret = secrets.token_hex()
    given = {
        "MIMIC_STORE": store,
        "MIMIC_VERSION": version,
        "MIMIC_WORKERS": str(workers),
        "MIMIC_ON_MISS": "404",
        "SEED_SECRET": secret,
        **settings,
    }
    with _as_click(), ServerProcess(folder, _environment() | given) as process:
        server = Server(process.url, secret, process.process.pid)
        _wait_for(server, process)
        yield server


def _wait_for(server: Server, process: ServerProcess) -> None:
    until = time.monotonic() + SECONDS_TO_START
    while process.process.poll() is None and time.monotonic() < until:
        if server.is_ready():
            return
        time.sleep(0.05)
    raise NotStarted(f"the server is not ready:\n{process.log()}")


def _environment() -> dict[str, str]:
    """The environment without settings of Mimic's: defaults are measured."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OURS)}


@contextmanager
def mongodb(folder: Path) -> Iterator[str]:
    """The URL of a MongoDB of the development dependencies, with its data in a folder."""
    with _as_click(), TemporaryDirectory(dir=folder, prefix="mongod-") as data:
        mongod = MongodProcess(Path(data))
        mongod.start()
        try:
            yield mongod.url
        finally:
            mongod.kill()


@contextmanager
def _as_click() -> Iterator[None]:
    """Turn errors at the start into errors of a command."""
    try:
        yield
    except NotStarted as exc:
        raise click.ClickException(str(exc)) from exc


def locust(arguments: Sequence[str]) -> int:
    """Run locust without its web page and its own tables; return its exit code, 1 if answers were wrong."""
    folder = Path(__file__).parents[1]
    options = ("-f", str(folder / "locustfile.py"), "--headless", "--only-summary", "--skip-log-setup")
    return run_module("locust", (*options, *arguments), folder)
