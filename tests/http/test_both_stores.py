"""Servers of MongoDB and SQLite give the same status, headers and body for the same request."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from mimic.corpus.schemas import VERSIONS
from tests.support.corpora import Dump, conversation, seed
from tests.support.servers import Server, SharedServers
from tests.support.stored import STORED

ODD: Final = [
    *(
        ("human", text)
        for text in ("", "NUL \0 within", "$where: 1", "a.b", "\u2028", "e\u0301", "\u00e9", "hi", "hi ")
    ),
    *(("user", "hi"), ("tool", "hi"), ("$or", "hi"), ("human", "x" * 100_000)),
]
DUMP: Final[Dump] = [
    *STORED,
    *(conversation(f"odd_{n}", said, ("gpt", f"odd answer {n}")) for n, said in enumerate(ODD)),
    conversation("end_0", ("gpt", "nothing follows"), ("human", "hi")),
    conversation("long_0", *[("human", "continue")] * 600),
    {"conversations": [{"from": "human", "value": "no id"}, {"from": "gpt", "value": "none"}]},
]
HEADERS: Final = ("content-type", "x-mimic-match", "x-mimic-score", "x-mimic-source", "x-mimic-document")

Request = tuple[str, str, dict[str, Any], Any]


def requests() -> Iterator[Request]:
    """Some hundred requests, for each route and version, for known and unknown things."""
    said = [[(one["from"], one["value"]) for one in element["conversations"]] for element in STORED]
    asked = [talk[max(0, end - 2) : end] for talk in said for end in range(1, len(talk) + 1, 6)]
    asked += [[one] for one in ODD]
    asked += [[("human", "continue")], [("human", "continue")] * 2, [("human", "never said")]]
    for version in VERSIONS:
        for messages in asked:
            body = {"messages": [{"from": sender, "value": value} for sender, value in messages]}
            yield "POST", "/conversation/completion", {"version": version}, body
        yield "POST", "/conversation/completion", {"version": version, "limit": 7}, body
        for document in (0, 5, 10**6, 2**63 - 1):
            yield "GET", f"/corpus/{version}/conversations/{document}", {"count": 3}, None
        for query in ("haiku", '"quoted" NOT x'):
            yield "GET", "/corpus/search", {"q": query, "version": version}, None
        for seed_of_draw, text in enumerate(("continue", "hi", "write a haiku about the SEE", "never said")):
            chat = {"messages": [{"role": "user", "content": text}], "seed": seed_of_draw, "n": 5, "temperature": 2}
            yield "POST", "/v1/chat/completions", {}, {"model": f"mimic-{version}", **chat}
    yield "GET", "/ready", {}, None
    yield "GET", "/v1/models", {}, None
    yield "POST", "/v1/completions", {}, {"model": "mimic-v3", "prompt": ["continue", "hi"], "seed": 1}


def answer(client: httpx.Client, request: Request) -> tuple[int, dict[str, str | None], str]:
    """Status, headers and body, without values that differ each time."""
    method, path, query, body = request
    response = client.request(method, path, params=query, json=body)
    found: Any = json.loads(response.text, object_hook=lambda fields: {**fields, "created": 0})
    if isinstance(found, dict):
        found.pop("id", None)
    return response.status_code, {name: response.headers.get(name) for name in HEADERS}, json.dumps(found)


def test_the_same_requests_get_the_same_answers(serve: SharedServers, mongodb_url: str, tmp_path: Path) -> None:
    """Servers of both stores, seeded with one dump, give equal answers."""
    seed(mongodb_url, DUMP, tmp_path)
    sqlite = serve(DUMP)
    with (
        Server(tmp_path, MIMIC_STORE=mongodb_url) as mongodb,
        httpx.Client(base_url=sqlite.url) as one,
        httpx.Client(base_url=mongodb.url) as other,
    ):
        different = [request for request in requests() if answer(one, request) != answer(other, request)]
    if different:
        pytest.fail(f"{len(different)} requests, such as {str(different[0])[:500]}")
