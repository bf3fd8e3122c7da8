"""``python -m tests.golden.record``: play all requests and record the answers again."""

import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Self
from urllib.parse import urlsplit

from mimic.testing import free_port
from tests.golden.cases import GROUPS, Group
from tests.golden.client import ask
from tests.golden.corpus import CORPUS
from tests.golden.masking import ANY, counters, entry_of_journal, increase, recorded
from tests.support.fork_server import fork_server
from tests.support.servers import ForkedMimicServer

FOLDER: Final = Path(__file__).parent
RECORD: Final = FOLDER / "record.json"
OPENAPI: Final = FOLDER / "openapi.json"
SECONDS_TO_START: Final = 30
SECONDS_TO_END: Final = 5
"""Seconds until a request without a client must have ended in the journal."""


class Servers:
    """A context manager with servers by their settings, each started at its first use and stopped at the end."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._ports: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def port(self, group: Group) -> int:
        """The port of the server for a group."""
        key = json.dumps([group.is_seeded, dict(group.settings)])
        if key not in self._ports:
            self._ports[key] = self._stack.enter_context(_seeded(group) if group.is_seeded else _empty(group))
        return self._ports[key]


@contextmanager
def _seeded(group: Group) -> Iterator[int]:
    with ForkedMimicServer(CORPUS, settings=group.settings) as server:
        yield urlsplit(server.url).port or 0


@contextmanager
def _empty(group: Group) -> Iterator[int]:
    """A ``mimic serve`` of an empty store, beside a corpus.json, with the journal of a MimicServer."""
    port = free_port()
    with _folder() as folder, (folder / "log").open("wb") as log:
        (folder / "corpus.json").write_text(json.dumps(CORPUS))
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MIMIC_", "SEED_"))}
        own = {
            "MIMIC_STORE": "sqlite:///corpus.db",
            "MIMIC_PORT": str(port),
            "MIMIC_JOURNAL": "1000",
            "MIMIC_ON_MISS": "404",
        }
        streams = (0, log.fileno(), log.fileno())
        variables = {**environment, **own, **group.settings}
        process = fork_server().fork("mimic", ["serve"], variables, folder, streams, own_group=True)
        try:
            until = time.monotonic() + SECONDS_TO_START
            while not _is_alive(port):
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError((folder / "log").read_text())
                time.sleep(0.05)
            yield port
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # with the seeding that it has started
            process.wait()


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder for a server, which may still write to it during its removal."""
    with TemporaryDirectory(prefix="golden-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _is_alive(port: int) -> bool:
    try:
        _read(port, "/health")
    except OSError:
        return False
    return True


def _read(port: int, path: str, key: str = "", method: str = "GET") -> str:
    connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS_TO_START)
    try:
        connection.request(method, path, headers={"authorization": f"Bearer {key}"} if key else {})
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def play(port: int, group: Group) -> dict[str, Any]:
    """Send all requests of a group, and return everything to record of it."""
    _read(port, "/mimic/requests", group.key, "DELETE")
    before = counters(_read(port, "/metrics"))
    cases = {case.name: recorded(case, ask(port, case), group.unsteady) for case in group.cases}
    journal = _journal(port, group)
    after = counters(_read(port, "/metrics"))
    return {"cases": cases, "journal": journal, "counters": increase(before, after)}


def _journal(port: int, group: Group) -> list[str]:
    """The entries of the journal, once all of them have ended."""
    until = time.monotonic() + SECONDS_TO_END
    while True:
        entries = json.loads(_read(port, "/mimic/requests", group.key)).get("requests", [])
        if all(entry["last_byte_ms"] is not None for entry in entries) or time.monotonic() > until:
            return [entry_of_journal(entry) for entry in entries]
        time.sleep(0.01)


def openapi(port: int) -> str:
    """The description of the API, with its keys sorted, and without the version of Mimic."""
    document = json.loads(_read(port, "/schema/openapi.json"))
    document["info"]["version"] = ANY
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def load() -> Mapping[str, Any]:
    """The record, by the names of the groups."""
    loaded: Mapping[str, Any] = json.loads(RECORD.read_text())
    return loaded


def main() -> None:
    """Record all groups and the description of the API."""
    with Servers() as servers:
        found = {group.name: play(servers.port(group), group) for group in GROUPS}
        OPENAPI.write_text(openapi(servers.port(GROUPS[0])))
    RECORD.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    print(f"{sum(len(group.cases) for group in GROUPS)} requests in {RECORD.name}")  # noqa: T201 - it is a program


if __name__ == "__main__":
    main()
