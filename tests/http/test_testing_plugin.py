"""The pytest plugin, in a pytest of its own, as users run it."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import httpx
import pytest

from tests.support.corpora import SMALL, conversation
from tests.support.timing import wait_until

START = f"""
import os, pytest, sys

SMALL = {SMALL!r}
OTHER = [{conversation("o_0", ("human", "hi"), ("gpt", "who is there?"))!r}]
"""
CLIENT = """
from openai import APIConnectionError, AsyncOpenAI, OpenAI

def ask(client, question="hi"):
    messages = [{"role": "user", "content": question}]
    return client.chat.completions.create(model="gpt-4o-mini", messages=messages)

def answer(question="hi", **options):
    with OpenAI(**options) as client:
        return ask(client, question).choices[0].message.content
"""
"""Imports for tests with a client; they take half a second."""


def command(*options: str) -> list[str]:
    """A pytest with warnings as errors, and without other plugins, which take long to load."""
    names = ("cacheprovider", "faker", "hypothesispytest", "langsmith_plugin", "locust", "schemathesis")
    return [sys.executable, "-W", "error", "-m", "pytest", "-W", "error", *(f"-pno:{name}" for name in names), *options]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A user's project, and its folder of temporary files, in which Mimic leaves nothing."""
    (tmp_path / "tmp").mkdir()
    yield tmp_path
    assert list((tmp_path / "tmp").glob("mimic-*")) == []


def environment(project: Path, **variables: str) -> dict[str, str]:
    """The environment of the project's pytest."""
    return {"PATH": os.environ["PATH"], "TMPDIR": str(project / "tmp"), **variables}


def run(project: Path, code: str, *options: str, **variables: str) -> str:
    """Run these tests with the plugin; return the output of pytest. They must pass."""
    client = CLIENT if "answer(" in code or "ask(" in code else ""
    (project / "test_app.py").write_text(START + client + dedent(code))
    done = start_pytest(project, *options, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def start_pytest(project: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in the project to its end."""
    return subprocess.run(
        command(*options),
        cwd=project,
        env=environment(project, **variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def listens(url: str) -> bool:
    """Return True if a server listens on the port."""
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", httpx.URL(url).port)) == 0


FORKED = """
import mimic.testing
from tests.support.servers import ForkedMimicServer

mimic.testing.MimicServer = ForkedMimicServer
"""
"""Starts servers with a tenth of the processor time: sessions of other tests start them as users do."""
IN_ONE_SESSION = {
    "shared": """
        # Tests of a session share a server by corpus and settings, unless a dump was written again.
        import json, pathlib
        urls = set()

        @pytest.mark.parametrize("number", range(20))
        def test_one(mimic_server, number):
            urls.add(mimic_server(list(SMALL)).url)
            assert answer() == "hello"
            assert len(urls) == 1

        def test_two_at_a_time(mimic_server):
            small = mimic_server(SMALL)
            other = mimic_server(OTHER)
            assert answer() == "who is there?"
            assert answer(base_url=small.base_url) == "hello"
            assert mimic_server(SMALL) is small
            assert answer() == "hello"
            assert mimic_server(SMALL, settings={"MIMIC_VERSION": "v2"}) is not small

        def test_an_outage(mimic_server):
            mimic_server(SMALL).stop()
            with pytest.raises(APIConnectionError):
                answer(max_retries=0)

        def test_after_the_outage(mimic_server):
            mimic_server(SMALL)
            assert answer() == "hello"

        def test_a_dump(mimic_server):
            dump = pathlib.Path("dump.json")
            dump.write_text(json.dumps(SMALL))
            first = mimic_server(dump)
            assert mimic_server("dump.json") is first
            dump.write_text(json.dumps(OTHER))
            mimic_server(dump)
            assert answer() == "who is there?"
    """,
    "kept": """
        # The servers used last are kept, and within a test all that it has started.
        import httpx, mimic.pytest_plugin

        urls = []

        @pytest.fixture(scope="module", autouse=True)
        def keep_one():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(mimic.pytest_plugin, "KEPT", 1)
                yield

        def test_both_run(mimic_server):
            urls.extend(mimic_server(corpus).url for corpus in (SMALL, OTHER))
            for url in urls:
                httpx.get(f"{url}/health").raise_for_status()

        def test_one_is_left(mimic_server):
            assert mimic_server(OTHER).url == urls[1]
            with pytest.raises(httpx.ConnectError):
                httpx.get(urls[0])
    """,
    "settings": """
        # Settings and keys reach the server; clients use the first key.
        import openai

        def test_keys(mimic_server):
            server = mimic_server(SMALL, settings={"MIMIC_API_KEYS": ", sk-one, sk-two", "MIMIC_WORKERS": "2"})
            assert server.api_key == os.environ["OPENAI_API_KEY"] == "sk-one"
            assert answer() == "hello"
            with pytest.raises(openai.AuthenticationError):
                answer(api_key="sk-three")

        def test_misspelt(mimic_server):
            with pytest.raises(Exception, match="MIMIC_API_KEY: is not a setting"):
                mimic_server(SMALL, settings={"MIMIC_API_KEY": "sk-one"})

        def test_no_text(mimic_server):
            with pytest.raises(Exception, match="MIMIC_RPM: is 3: expected a string"):
                mimic_server(SMALL, settings={"MIMIC_RPM": 3})
    """,
    "journal": """
        # A shared server has an empty journal and unused limits for each test.
        import openai
        SETTINGS = {"MIMIC_RPM": "1"}

        @pytest.mark.parametrize("number", range(2))
        def test_tries(mimic_server, number):
            server = mimic_server(SMALL, settings=SETTINGS)
            assert server.requests() == []
            assert answer() == "hello"
            assert mimic_server(SMALL, settings=SETTINGS) is server
            with pytest.raises(openai.RateLimitError):
                answer(max_retries=0)
            assert [request.status for request in server.requests()] == [200, 429]
            server.reset()
            assert answer() == "hello"
    """,
    "async": """
        # A server starts within an event loop, too.
        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.mark.anyio
        async def test_it(mimic_server):
            mimic_server(SMALL)
            async with AsyncOpenAI() as client:
                assert (await ask(client)).choices[0].message.content == "hello"
    """,
}
"""Files of tests that share a session, by name; the first line is their fact."""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The output of a pytest that has run the files of IN_ONE_SESSION."""
    project = tmp_path_factory.mktemp("session")
    (project / "tmp").mkdir()
    (project / "conftest.py").write_text(FORKED)
    for name, code in IN_ONE_SESSION.items():
        (project / f"test_{name}.py").write_text(START + CLIENT + dedent(code))
    done = start_pytest(project, "-v")
    assert list((project / "tmp").glob("mimic-*")) == []
    return done.stdout


@pytest.mark.parametrize(
    ("name", "tests"), [("shared", 24), ("kept", 2), ("settings", 3), ("journal", 2), ("async", 1)]
)
def test_facts_of_one_session(session: str, name: str, tests: int) -> None:
    """The facts of IN_ONE_SESSION: shared servers, their number, settings and keys, journals, and event loops."""
    assert len(re.findall(rf"^test_{name}\.py::.* PASSED", session, re.MULTILINE)) == tests, session


def test_nothing_of_the_developer_counts(project: Path) -> None:
    """Settings, a proxy and a .env file of the developer have no effect, and a real key is not sent."""
    (project / ".env").write_text("MIMIC_PORT=nonsense\n")
    code = """
        def test_it(mimic_server):
            server = mimic_server(SMALL)
            assert answer() == "hello"
            assert os.environ["OPENAI_API_KEY"] == "mimic"
            assert os.environ["OPENAI_BASE_URL"] == server.base_url
            assert os.environ["no_proxy"].split(",") == ["127.0.0.1", "example.org"]

        def test_afterwards():
            assert os.environ["OPENAI_API_KEY"] == "sk-real"
            assert os.environ["OPENAI_API_BASE"] == "https://example.org"
            assert not {"OPENAI_BASE_URL", "no_proxy"} & set(os.environ)
            os.environ["NO_PROXY"] = "*"

        def test_everything_is_direct(mimic_server):
            mimic_server(SMALL)
            assert answer() == "hello"
            assert os.environ["NO_PROXY"] == "*"
    """
    theirs = {"MIMIC_STORE": "mongodb://example.org/x", "MIMIC_VERSION": "v9", "SEED_BATCH_SIZE": "none"}
    openai = {"OPENAI_API_KEY": "sk-real", "OPENAI_API_BASE": "https://example.org"}
    proxy = {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "example.org"}
    (project / "metrics").mkdir()
    run(project, code, **theirs, **openai, **proxy, PROMETHEUS_MULTIPROC_DIR=str(project / "metrics"))
    assert list((project / "metrics").iterdir()) == []


def test_clients_get_an_error_before_the_fixture_is_called(project: Path) -> None:
    """A client that is used or made before the fixture is called gets an error; nothing is sent to the real API."""
    code = """
        import openai, urllib.error, urllib.request

        BEFORE = dict(os.environ)

        def test_it(mimic_server):
            client = OpenAI()
            for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE"):
                assert os.environ[name].startswith("http://127.0.0.1:")
            assert os.environ["OPENAI_API_KEY"] == os.environ["OPENAI_ADMIN_KEY"] == "mimic"
            assert not {"OPENAI_API_TYPE", "OPENAI_PROXY", "OPENAI_API_KEY_PATH"} & set(os.environ)
            told = "The pytest fixture mimic_server was not called when this client was made."
            with pytest.raises(openai.BadRequestError, match=told) as raised:
                answer("hi" * 1_000_000)
            assert raised.value.code == "mimic_server_not_called"
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(os.environ["OPENAI_API_BASE"] + "/models")
            refused.value.close()

            server = mimic_server(SMALL, settings={"MIMIC_API_KEYS": "sk-one"})
            for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE"):
                assert os.environ[name] == server.base_url
            assert os.environ["OPENAI_API_KEY"] == os.environ["OPENAI_ADMIN_KEY"] == "sk-one"
            assert answer() == "hello"
            with client, pytest.raises(openai.BadRequestError, match=told):
                ask(client)

        def test_afterwards():
            for environment in (BEFORE, os.environ):
                environment.pop("PYTEST_CURRENT_TEST", None)
            assert os.environ == BEFORE
    """
    theirs = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "OPENAI_API_KEY": "sk-real", "OPENAI_ADMIN_KEY": "sk-real"}
    elsewhere = {"OPENAI_API_TYPE": "azure", "OPENAI_PROXY": "http://127.0.0.1:9", "OPENAI_API_KEY_PATH": "key"}
    run(project, code, **theirs, **elsewhere, HTTP_PROXY="http://127.0.0.1:9")


def test_frozen_clocks(project: Path) -> None:
    """Mimic works if loaded with a frozen clock, then and later; a wait ends although the clock stands still."""
    code = """
        import contextlib, datetime, freezegun, json, time_machine, urllib.request

        def post(base_url, key, **headers):
            asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
            headers = {"authorization": f"Bearer {key}", "content-type": "application/json", **headers}
            request = urllib.request.Request(f"{base_url}/chat/completions", json.dumps(asked).encode(), headers)
            return urllib.request.urlopen(request)

        @pytest.fixture(scope="session", autouse=True)
        def loaded():
            with freezegun.freeze_time("2020-01-01"):
                from mimic.testing import MimicServer
                with MimicServer(SMALL) as server:
                    post(server.base_url, "any").close()
                    [request] = server.requests()
                    assert request.at.year > 2020

        @pytest.mark.parametrize("how", ["freezegun", "time-machine", None])
        def test_it(mimic_server, how):
            clocks = {
                "freezegun": freezegun.freeze_time("2020-01-01"),
                "time-machine": time_machine.travel("2020-01-01", tick=False),
                None: contextlib.nullcontext(),
            }
            with clocks[how]:
                server = mimic_server(SMALL, settings={"MIMIC_API_KEYS": f"sk-{how}"})
                with post(server.base_url, server.api_key, **{"x-mimic-fault": "stall; after=0; seconds=30"}):
                    [request] = server.requests(patience=0.1)
                assert request.last_byte_ms is None
            assert type(request.at) is datetime.datetime
            assert abs(request.at - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(minutes=2)
    """
    run(project, code)


def test_with_xdist(project: Path) -> None:
    """Each process of xdist has servers of its own."""
    code = """
        import httpx

        @pytest.mark.parametrize("number", range(6))
        def test_it(mimic_server, number):
            url = f"{mimic_server(SMALL).url}/conversation/completion"
            asked = {"messages": [{"from": "human", "value": "hi"}]}
            assert httpx.post(url, json=asked).json()["choices"][0]["value"] == "hello"
    """
    assert "6 passed" in run(project, code, "--numprocesses", "2")


def test_the_plugin_costs_nothing_that_is_not_used(project: Path) -> None:
    """Without Mimic's fixture pytest loads the plugin alone; with it no server, no framework and no driver."""
    code = """
        LARGE = {"litestar", "uvicorn", "pymongo", "bson", "splintr", "click"}

        def test_before():
            assert {name for name in sys.modules if name.startswith("mimic")} == {"mimic", "mimic.pytest_plugin"}

        def test_used(mimic_server):
            mimic_server(SMALL)
            assert not LARGE & set(sys.modules)
    """
    run(project, code)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_an_interrupted_session(project: Path, how: signal.Signals) -> None:
    """After Ctrl-C, SIGTERM or SIGKILL to pytest no process and no file is left."""
    workers = 2 if how == signal.SIGKILL else 1
    code = f"""
        import pathlib, signal, time

        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored, in the background

        def test_it(mimic_server):
            pathlib.Path("url.new").write_text(mimic_server(SMALL, settings={{"MIMIC_WORKERS": "{workers}"}}).url)
            pathlib.Path("url.new").rename("url")
            time.sleep(100)
    """
    (project / "test_app.py").write_text(START + dedent(code))
    session = subprocess.Popen(command(), cwd=project, env=environment(project), stdout=subprocess.DEVNULL)
    wait_until((project / "url").exists)
    url = (project / "url").read_text()
    assert listens(url)
    session.send_signal(how)
    session.wait(timeout=30)
    wait_until(lambda: not listens(url) and not list((project / "tmp").glob("mimic-*")))
