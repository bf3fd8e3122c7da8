"""The pytest plugin: the fixture ``mimic_server``.

Every run of pytest loads this module, so it imports the rest of Mimic only when a test uses the fixture.
"""

import json
import os
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mimic.testing import MimicServer, Seedable, StartMimic

KEPT = 4
"""Maximum number of servers that keep running between tests: the last used, of about 100 MB each."""

BASE_URLS = ("OPENAI_BASE_URL", "OPENAI_API_BASE")
"""Variables for the address of clients. SDKs before 1.0 and LlamaIndex read the second, LangChain and LiteLLM both."""
LEADING_ELSEWHERE = ("OPENAI_API_TYPE", "OPENAI_PROXY", "OPENAI_API_KEY_PATH", "OPENAI_CUSTOM_HEADERS")
"""Variables that make clients use Azure, another key, or a proxy in spite of ``NO_PROXY``."""
UNCALLED_KEY = "mimic"


class _Servers:
    """The servers of a session by corpus and settings, the last used at the end."""

    def __init__(self) -> None:
        self._running: dict[Hashable, MimicServer] = {}

    def get(self, corpus: "Seedable", settings: Mapping[str, str]) -> "MimicServer":
        from mimic.testing import MimicServer  # noqa: PLC0415 - loaded on first use

        key = (_identity(corpus), *sorted(settings.items()))
        server = self._running.pop(key, None)
        if server is None or not server.is_running():  # a test may have stopped it
            server = MimicServer(corpus, settings=settings)
            server.start()
        self._running[key] = server
        return server

    def stop(self, *, keep: int = 0) -> None:
        while len(self._running) > keep:
            self._running.pop(next(iter(self._running))).stop()


def _identity(corpus: "Seedable") -> Hashable:
    """Return a key that is equal for the same corpus. A dump that is written again gets another key."""
    if isinstance(corpus, str | os.PathLike):
        file = Path(corpus).absolute()
        status = file.stat() if file.exists() else None
        return file, status and (status.st_ino, status.st_size, status.st_mtime_ns)
    return json.dumps(corpus)


@pytest.fixture(scope="session")
def _mimic_servers() -> Iterator[_Servers]:
    servers = _Servers()
    yield servers
    servers.stop()


@pytest.fixture(scope="session")
def _mimic_uncalled() -> Iterator[str]:
    from mimic.testing.uncalled import uncalled  # noqa: PLC0415 - loaded on first use

    with uncalled() as base_url:
        yield base_url


@pytest.fixture
def mimic_server(
    _mimic_servers: _Servers, _mimic_uncalled: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator["StartMimic"]:
    """Start a Mimic server with conversations, a dump or the sample corpus, and set OPENAI_BASE_URL for the test.

    Before the first call, OPENAI_BASE_URL is the address of a server that answers with an error.
    """
    used: list[MimicServer] = []

    def start(corpus: "Seedable" = None, *, settings: Mapping[str, str] | None = None) -> "MimicServer":
        server = _mimic_servers.get(corpus, settings or {})
        if server not in used:  # the journal starts empty in every test
            server.reset()
            used.append(server)
        _point_clients(monkeypatch, server.base_url, server.api_key)
        return server

    # Clients must not use a proxy for the server.
    direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")
    for name in ("no_proxy", "NO_PROXY") if direct.strip() != "*" else ():  # "*" must be alone
        monkeypatch.setenv(name, f"127.0.0.1,{direct}")
    for name in LEADING_ELSEWHERE:
        monkeypatch.delenv(name, raising=False)
    _point_clients(monkeypatch, _mimic_uncalled, UNCALLED_KEY)
    yield start
    _mimic_servers.stop(keep=KEPT)


def _point_clients(monkeypatch: pytest.MonkeyPatch, base_url: str, api_key: str) -> None:
    """Set the variables of OpenAI's clients until the test ends, so that no real key is sent."""
    for name in BASE_URLS:
        monkeypatch.setenv(name, base_url)
    monkeypatch.setenv("OPENAI_API_KEY", api_key)
    if "OPENAI_ADMIN_KEY" in os.environ:
        monkeypatch.setenv("OPENAI_ADMIN_KEY", api_key)
