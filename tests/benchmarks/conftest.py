"""Programs of benchmarks that are forked: to load them takes longer than a short run."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.support import servers
from tests.support.locust_server import LocustServer
from tests.support.servers import Server, run_mimic


@pytest.fixture(scope="session")
def locust() -> Iterator[LocustServer]:
    """A process that has loaded locust."""
    with closing(LocustServer()) as locust:
        yield locust


@pytest.fixture
def forked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers, seedings and locust are forked, and the users of locust pause between two questions."""

    def run(module: str, arguments: Sequence[str], folder: Path) -> int:
        if module == "locust":
            locust: LocustServer = request.getfixturevalue("locust")
            return locust.run(arguments)
        return run_mimic(arguments, {}).returncode

    def serve(folder: Path, environment: Mapping[str, str]) -> Server:
        own = {name: value for name, value in environment.items() if value != os.environ.get(name)}
        return Server(folder, **own)

    monkeypatch.setattr(servers, "run_module", run)
    monkeypatch.setattr(servers, "ServerProcess", serve)
