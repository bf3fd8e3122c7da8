"""Answers of another server, recorded by one Mimic and given again by another: byte for byte but for ids and times."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mimic.testing import free_port
from mimic.testing.processes import listens
from tests.support.node import Command
from tests.support.servers import Server
from tests.support.timing import wait_until

FIXTURES = {
    "fixtures": [
        {
            "match": {"userMessage": "weather"},
            "response": {"toolCalls": [{"name": "get_weather", "arguments": '{"city":"Paris"}'}]},
        },
        {"match": {"userMessage": "hello"}, "response": {"content": "Hello 👍🏽 with some words to stream."}},
    ]
}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
HELLO, WEATHER = {"role": "user", "content": "hello"}, {"role": "user", "content": "weather in Paris"}
IN_CHATS = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}
IN_RESPONSES = {"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": False}
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"messages": [HELLO]}),
    ("/v1/chat/completions", {"messages": [WEATHER], "tools": [IN_CHATS]}),
    ("/v1/responses", {"input": "hello", "store": False}),
    ("/v1/responses", {"input": "weather in Paris", "store": False, "tools": [IN_RESPONSES]}),
]


@pytest.fixture(scope="module")
def service(node: tuple[Command, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server of another project."""
    node_command, packages = node
    fixtures = tmp_path_factory.mktemp("aimock") / "fixtures.json"
    fixtures.write_text(json.dumps(FIXTURES))
    port = free_port()
    program = packages / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
    command = [*map(str, node_command), str(program), "--port", str(port), "--fixtures", str(fixtures)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: listens(port))
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def servers(service: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, str]]:
    """The URLs of the service, of its recorder, and of a Mimic with the recordings alone."""
    folder: Path = tmp_path_factory.mktemp("recorder")
    common = {"MIMIC_STORE": f"sqlite:///{folder}/none.db", "MIMIC_RECORDINGS": str(folder / "kept")}
    asks = {"MIMIC_UPSTREAM": f"{service}/v1", "MIMIC_ON_MISS": "upstream", "MIMIC_RECORD": "new"}
    with Server(folder, **common, **asks) as recorder, Server(folder, **common, MIMIC_MATCH="recorded") as replayer:
        yield service, recorder.url, replayer.url


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("path", "fields"), ASKED, ids=["chat", "call", "response", "response with a call"])
def test_another_server_is_recorded(
    servers: tuple[str, str, str], path: str, fields: dict[str, Any], *, stream: bool
) -> None:
    """The recorder passes the answers on, and the replayer repeats them."""
    body = {"model": f"model{path}-{stream}", **fields, "stream": stream}
    direct, first, again = (httpx.post(f"{url}{path}", json=body, timeout=30) for url in servers)
    assert (direct.status_code, first.status_code, again.status_code) == (200, 200, 200)
    assert (first.headers["x-mimic-match"], again.headers["x-mimic-match"]) == ("upstream", "recorded")
    assert again.content == first.content
    assert without_ids(first.text) == without_ids(direct.text)


def without_ids(text: str) -> str:
    """A body without ids and times."""
    text = re.sub(r'"(created|created_at|completed_at)":[\d.]+', '"at":0', text)
    return re.sub(r'"(chatcmpl|resp|msg|call|fc)[-_][^"]*"', '"id"', text)
