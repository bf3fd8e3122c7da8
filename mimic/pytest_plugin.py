"""The pytest plugin: the fixture ``mimic_server``.

Every run of pytest loads this module, so it loads nothing else of Mimic until it is used.
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
"""Servers that are left running from one test to the next: those used last, of about 100 MB each."""

BASE_URLS = ("OPENAI_BASE_URL", "OPENAI_API_BASE")
"""Where clients send requests. SDKs before 1.0 and LlamaIndex read the second, LangChain and LiteLLM both."""
LEADING_ELSEWHERE = ("OPENAI_API_TYPE", "OPENAI_PROXY", "OPENAI_API_KEY_PATH", "OPENAI_CUSTOM_HEADERS")
"""Variables by which clients choose Azure, a proxy whatever ``NO_PROXY`` says, or another key."""
UNCALLED_KEY = "mimic"


class _Servers:
    """The servers of a session, by what they serve; the one used last is the last."""

    def __init__(self) -> None:
        self._running: dict[Hashable, MimicServer] = {}

    def get(self, corpus: "Seedable", settings: Mapping[str, str]) -> "MimicServer":
        from mimic.testing import MimicServer  # noqa: PLC0415 - only where it is used

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
    """Equal for corpora that are the same; a dump that is written anew is another one."""
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
    from mimic.testing.uncalled import uncalled  # noqa: PLC0415 - only where it is used

    with uncalled() as base_url:
        yield base_url


@pytest.fixture
def mimic_server(
    _mimic_servers: _Servers, _mimic_uncalled: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator["StartMimic"]:
    """Starts a Mimic server from conversations, a dump or nothing, and points OPENAI_BASE_URL at it for the test.

    Before it is called, OPENAI_BASE_URL leads to an error that tells to call it.
    """
    used: list[MimicServer] = []

    def start(corpus: "Seedable" = None, *, settings: Mapping[str, str] | None = None) -> "MimicServer":
        server = _mimic_servers.get(corpus, settings or {})
        if server not in used:  # what other tests have asked is none of this one's business
            server.reset()
            used.append(server)
        _point_clients(monkeypatch, server.base_url, server.api_key)
        return server

    # Where the way to the network is a proxy, the server is not to be sought behind it.
    direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")
    for name in ("no_proxy", "NO_PROXY") if direct.strip() != "*" else ():  # which counts only where it is alone
        monkeypatch.setenv(name, f"127.0.0.1,{direct}")
    for name in LEADING_ELSEWHERE:
        monkeypatch.delenv(name, raising=False)
    _point_clients(monkeypatch, _mimic_uncalled, UNCALLED_KEY)
    yield start
    _mimic_servers.stop(keep=KEPT)


def _point_clients(monkeypatch: pytest.MonkeyPatch, base_url: str, api_key: str) -> None:
    """Set the variables of OpenAI's clients until the test ends; a key of the developer's is sent nowhere."""
    for name in BASE_URLS:
        monkeypatch.setenv(name, base_url)
    monkeypatch.setenv("OPENAI_API_KEY", api_key)
    if "OPENAI_ADMIN_KEY" in os.environ:
        monkeypatch.setenv("OPENAI_ADMIN_KEY", api_key)
