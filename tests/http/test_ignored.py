"""Fields that Mimic does not act on: named in a header and in the log, or refused where MIMIC_STRICT is on."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.corpora import SMALL
from tests.support.servers import Server, SharedServers

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
GRAMMAR = {
    "type": "custom",
    "custom": {"name": "note", "format": {"type": "grammar", "grammar": {"syntax": "regex", "definition": "a+"}}},
}
PICTURE = {"type": "image_url", "image_url": {"url": "data:,"}}


def ask(server: Server, path: str = "/v1/chat/completions", **fields: Any) -> httpx.Response:
    """A request with more fields, of a chat or of a prompt."""
    body = {"model": "m", "prompt": "hi"} if path.endswith("/v1/completions") else CHAT
    return httpx.post(f"{server.url}{path}", json={**body, **fields})


@pytest.fixture
def server(serve: SharedServers) -> Server:
    """A server that answers everything."""
    return serve(SMALL, MIMIC_ON_MISS="any")


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"frequency_penalty": 0.5, "logit_bias": {"50256": -100}}, "frequency_penalty, logit_bias"),
        ({"presence_penalty": -1, "reasoning_effort": "low"}, "presence_penalty, reasoning_effort"),
        ({"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}, "modalities, audio"),
        ({"verbosity": "low", "web_search_options": {}}, "verbosity, web_search_options"),
        ({"moderation": {"model": "omni-moderation-latest"}, "tools": [GRAMMAR]}, "moderation, tools.custom.format"),
        ({"tools": [{"type": "custom", "custom": {"name": "note", "format": {"type": "text"}}}]}, None),
        ({"prediction": {"type": "content", "content": "hi"}, "prompt_cache_key": "a"}, None),
        ({"frequency_penalty": 0, "logit_bias": {}, "modalities": ["text"], "verbosity": "medium"}, None),
        ({"store": True, "metadata": {"a": "b"}, "user": "me", "service_tier": "auto", "unknown": 1}, None),
        ({"frequency_penalty": None, "logit_bias": None, "audio": None}, None),
    ],
)
def test_fields_that_matter_are_named(server: Server, fields: dict[str, Any], names: str | None) -> None:
    """In a whole answer and in a stream; a value that changes nothing is not worth a word."""
    for stream in (False, True):
        answer = ask(server, stream=stream, **fields)
        assert answer.status_code == 200, answer.text
        assert answer.headers.get("x-mimic-ignored") == names


def test_fields_of_prompts_are_named(server: Server) -> None:
    """Fields that only prompts have are named as well."""
    answer = ask(server, "/v1/completions", suffix="!", best_of=3, presence_penalty=1)
    assert answer.headers["x-mimic-ignored"] == "presence_penalty, best_of, suffix"
    assert "x-mimic-ignored" not in ask(server, "/v1/completions", best_of=1, suffix="").headers


def test_parts_with_a_text_count_as_text(server: Server) -> None:
    """The type does not matter, and strings count too; any other part is passed over and named."""
    parts = [{"type": "input_text", "text": "h"}, "i", PICTURE, {"type": "video_url", "video_url": {}}, PICTURE]
    answer = ask(server, messages=[{"role": "user", "content": parts}])
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-mimic-ignored"] == "messages.content.image_url, messages.content.video_url"
    plain = ask(server)
    assert answer.headers["x-mimic-source"] == plain.headers["x-mimic-source"]
    hostile = ask(server, messages=[{"role": "user", "content": [{"type": "x\r\nset-cookie: a=b"}]}])
    assert hostile.headers["x-mimic-ignored"] == "messages.content.other"
    missing = ask(server, messages=[{"role": "user", "content": [{"type": "text"}]}]).json()["error"]
    assert missing["param"] == "messages[0].content[0].text"


def test_strict_refuses_what_is_ignored(serve: SharedServers) -> None:
    """With the name of the field; a value that changes nothing passes."""
    server = serve(SMALL, MIMIC_ON_MISS="any", MIMIC_STRICT="on")
    refused = ask(server, frequency_penalty=1)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["param"], error["code"]) == ("frequency_penalty", "unsupported_parameter")
    assert "MIMIC_STRICT" in error["message"]
    picture = ask(server, messages=[{"role": "user", "content": ["hi", PICTURE]}]).json()["error"]
    assert picture["param"] == "messages.content.image_url"
    assert ask(server, frequency_penalty=0).status_code == 200


def test_a_process_logs_each_field_once(tmp_path: Path, serve: SharedServers) -> None:
    """The log has a field once, even if many requests have it."""
    with Server(tmp_path, MIMIC_STORE=serve.store(SMALL)) as server:
        for _ in range(3):
            ask(server, logit_bias={"1": 1}, frequency_penalty=1)
        log = server.log()
    assert log.count('"field": "logit_bias"') == 1
    assert log.count('"field": "frequency_penalty"') == 1
