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


@pytest.fixture
def mimic_server(_mimic_servers: _Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator["StartMimic"]:
    """Starts a Mimic server from conversations, a dump or nothing, and points OPENAI_BASE_URL at it for the test."""
    used: list[MimicServer] = []

    def start(corpus: "Seedable" = None, *, settings: Mapping[str, str] | None = None) -> "MimicServer":
        server = _mimic_servers.get(corpus, settings or {})
        if server not in used:  # what other tests have asked is none of this one's business
            server.reset()
            used.append(server)
        # The older name of the variable is what some clients look at first.
        for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE"):
            monkeypatch.setenv(name, server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", server.api_key)  # a real one stays at home
        return server

    # Where the way to the network is a proxy, the server is not to be sought behind it.
    direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")
    for name in ("no_proxy", "NO_PROXY") if direct.strip() != "*" else ():  # which counts only where it is alone
        monkeypatch.setenv(name, f"127.0.0.1,{direct}")
    yield start
    _mimic_servers.stop(keep=KEPT)
