"""``mimic.testing`` in a user's tests: a server of their own."""

import asyncio
import json
import os
import socket
import tempfile
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from mimic.errors import SettingError
from mimic.testing import MimicServer, NotStarted, Seedable
from mimic.testing import server as testing
from tests.support.corpora import SMALL
from tests.support.servers import ForkedMimicServer, children


def listens(url: str) -> bool:
    """Return True if a server listens on the port."""
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", httpx.URL(url).port)) == 0


def completion(server: MimicServer, text: str) -> list[str]:
    """The server's answer to a message."""
    body = {"messages": [{"from": "human", "value": text}]}
    choices = httpx.post(f"{server.url}/conversation/completion", json=body).json()["choices"]
    return [choice["value"] for choice in choices]


@pytest.mark.parametrize("kind", ["list", "path", "text", "sample"])
def test_a_server_from_a_list_a_dump_or_nothing(tmp_path: Path, kind: str) -> None:
    """A server answers from a list, a dump or an empty corpus; its port is closed after the stop."""
    dump = tmp_path / "dump.json"
    dump.write_text(json.dumps([*SMALL, {"conversations": "skipped"}]))
    corpora: dict[str, Seedable] = {"list": SMALL, "path": dump, "text": str(dump), "sample": None}
    with MimicServer(corpora[kind]) as server:
        assert server.base_url == f"{server.url}/v1"
        if kind == "sample":
            assert len(completion(server, "continue")) > 20
        else:
            assert completion(server, "continue") == ["more", "even more", "so"]
    assert not listens(server.url)


def test_a_server_can_be_started_again_and_within_an_event_loop() -> None:
    """A server can be started and stopped twice, and within an event loop."""
    server = MimicServer(SMALL)

    async def start() -> None:
        server.start()

    for _ in range(2):
        assert not server.is_running()
        asyncio.run(start())
        first = server.url
        server.start()
        assert not listens(first)
        assert server.is_running()
        assert completion(server, "hi") == ["hello", "hello", "hi", "hello"]
        server.stop()
        server.stop()
        assert not listens(server.url)


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        ([], "corpus.json: the input holds no conversation; nothing was replaced"),
        ([{"conversations": [{"from": "human"}]}], "corpus.json: conversation 0: message 0 has no `value`"),
        ("/nowhere/dump.json", "/nowhere/dump.json: cannot be read: No such file or directory"),
    ],
)
def test_a_broken_corpus_has_the_error_of_the_seeding(corpus: Seedable, message: str) -> None:
    """The error has the words of the seeding, and for a list the first broken conversation."""
    with pytest.raises(NotStarted) as raised, ForkedMimicServer(corpus):
        pass
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "MIMIC_API_KEY",
            "sk",
            "MIMIC_API_KEY: is not a setting; did you mean MIMIC_API_KEYS? The settings are MIMIC_ACCESS_LOG, ",
        ),
        ("MIMIC_WEATHER", "x", "MIMIC_WEATHER: is not a setting; the settings are MIMIC_ACCESS_LOG, MIMIC_API_KEYS, "),
        ("MIMIC_VERSION", "v9", "MIMIC_VERSION: expected one of v1, v2, v3, not 'v9'"),
        ("MIMIC_STORE", "sqlite:///x.db", "MIMIC_STORE: is chosen by MimicServer"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str, message: str) -> None:
    """A wrong setting is an error before anything is started."""
    with pytest.raises(SettingError) as raised:
        MimicServer(SMALL, settings={name: value})
    assert str(raised.value).startswith(message)


def test_a_port_that_was_taken_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another port is tried, up to a limit."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = iter([taken.getsockname()[1], testing.free_port()])
        monkeypatch.setattr(testing, "free_port", lambda: next(ports))
        with ForkedMimicServer(SMALL) as server:
            assert completion(server, "hi")
        monkeypatch.setattr(testing, "free_port", lambda: taken.getsockname()[1])
        with pytest.raises(NotStarted, match="cannot listen"), ForkedMimicServer(SMALL, attempts=2):
            pass


def test_a_server_that_is_not_ready_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the server's output; no process and no file is left."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(NotStarted, match="not ready after 0 seconds"), MimicServer(SMALL, seconds_to_start=0):
        pass
    assert list(tmp_path.iterdir()) == []


def test_tools_that_replace_http_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tools that record or mock the requests of a test, http.client's too, see none of a server's own."""

    def intercepted(*_: object, **__: object) -> None:
        raise AssertionError("a client was used")

    for name in ("request", "putrequest", "connect"):
        monkeypatch.setattr(HTTPConnection, name, intercepted)
    with MimicServer(SMALL) as server:
        server.reset()
        assert server.requests() == []


def test_a_server_runs_as_readily_as_the_tests() -> None:
    """A server runs at normal priority, although the seeding before it runs at a lower one."""
    before = children(os.getpid())
    with MimicServer(SMALL):
        [server] = children(os.getpid()) - before
        assert os.getpriority(os.PRIO_PROCESS, server) == os.getpriority(os.PRIO_PROCESS, 0)
