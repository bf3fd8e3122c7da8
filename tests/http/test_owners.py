"""Stored objects belong to their API key: on every route with an id, another key finds nothing."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx
import pytest

from tests.golden.record import OPENAPI
from tests.support.corpora import SMALL
from tests.support.servers import Server, SharedServers

NOT_STORED: Final = ("/corpus/", "/v1/models/")
"""Routes with parameters that are no ids of stored objects."""
ANY_ID: Final = "GET /v1/assistants/{assistant_id}"
"""A route that accepts every id of another service, as routes of models do."""
BETA: Final = {"openai-beta": "assistants=v2"}
BODIES: Final[Mapping[str, Any]] = {
    "POST /v1/chat/completions/{completion_id}": {"metadata": {}},
    "POST /v1/conversations/{conversation_id}": {"metadata": {}},
    "POST /v1/conversations/{conversation_id}/items": {"items": [{"role": "user", "content": "hi"}]},
    "POST /v1/uploads/{upload_id}/complete": {"part_ids": ["part_1"]},
    "POST /v1/threads/{thread_id}/messages": {"role": "user", "content": "hi"},
    "POST /v1/threads/{thread_id}/runs": {"assistant_id": "a"},
    "POST /v1/threads/{thread_id}/runs/{run_id}/submit_tool_outputs": {"tool_outputs": []},
    "POST /v1/webhook_endpoints/{webhook_endpoint_id}/test": {"event_type": "response.completed"},
}
"""Bodies of routes that need one."""
FORMS: Final[Mapping[str, Any]] = {"POST /v1/uploads/{upload_id}/parts": {"data": ("part", b"hi")}}
"""Files of routes that need one."""
ACTIONS: Final = re.compile(r"/(cancel|complete|parts|test|rotate_secret|submit_tool_outputs)$")
UNKNOWN: Final = "unknown_123"


def routes() -> list[str]:
    """Method and path of each route with an id, the deletions last."""
    paths = json.loads(OPENAPI.read_text())["paths"]
    found = [
        f"{method.upper()} {path}"
        for path, item in paths.items()
        for method in item
        if "{" in path and not path.startswith(NOT_STORED) and f"{method.upper()} {path}" != ANY_ID
    ]
    return sorted(found, key=lambda route: route.startswith("DELETE"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, serve: SharedServers) -> Iterator[Server]:
    """A server with two API keys and with records of its own."""
    folder = tmp_path_factory.mktemp("owners")
    settings = {"MIMIC_RECORDS": f"sqlite:///{folder}/records.db", "MIMIC_API_KEYS": "one,two"}
    with Server(folder, MIMIC_STORE=serve.store(SMALL), **settings) as server:
        yield server


def client_of(server: Server, key: str) -> httpx.Client:
    """A client with a key."""
    return httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {key}", **BETA}, timeout=30)


@pytest.fixture(scope="module")
def ids(server: Server) -> Mapping[str, str]:
    """The ids of objects of the first key, by the names of parameters."""

    def created(path: str, body: Any) -> str:
        answer = client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    with client_of(server, "one") as client:
        conversation = created("/v1/conversations", {"items": [{"role": "user", "content": "hi"}]})
        chat = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "store": True}
        hook = {"name": "a", "url": "https://a.example", "event_types": ["response.completed"]}
        line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": chat}
        form = {"file": ("lines.jsonl", json.dumps(line).encode())}
        file = str(client.post("/v1/files", files=form, data={"purpose": "batch"}).json()["id"])
        batch = {"input_file_id": file, "endpoint": line["url"], "completion_window": "24h"}
        thread = created("/v1/threads", {"messages": [{"role": "user", "content": "hi"}]})
        messages = f"/v1/threads/{thread}/messages"
        run = created(f"/v1/threads/{thread}/runs", {"assistant_id": "a"})
        steps = client.get(f"/v1/threads/{thread}/runs/{run}/steps").json()["data"]
        upload = {"filename": "a.txt", "purpose": "user_data", "bytes": 2, "mime_type": "text/plain"}
        return {
            "file_id": file,
            "batch_id": created("/v1/batches", batch),
            "upload_id": created("/v1/uploads", upload),
            "response_id": created("/v1/responses", {"model": "m", "input": "hi"}),
            "completion_id": created("/v1/chat/completions", chat),
            "conversation_id": conversation,
            "item_id": client.get(f"/v1/conversations/{conversation}/items").json()["data"][0]["id"],
            "webhook_endpoint_id": created("/v1/webhook_endpoints", hook),
            "assistant_id": created("/v1/assistants", {"model": "m"}),
            "thread_id": thread,
            "message_id": client.get(messages).json()["data"][-1]["id"],
            "run_id": run,
            "step_id": steps[0]["id"],
        }


@pytest.mark.parametrize("route", routes())
def test_another_key_finds_nothing(server: Server, ids: Mapping[str, str], route: str) -> None:
    """The answer is a 404, the same as for an id that does not exist, and the object stays."""
    method, path = route.split(" ")
    known = path.format_map(ids)
    unknown = path.format_map(dict.fromkeys(ids, UNKNOWN))
    with client_of(server, "two") as other, client_of(server, "one") as client:
        sent = {"files": FORMS[route]} if route in FORMS else {"json": BODIES.get(route, {})}
        answers = [other.request(method, one, **sent) for one in (known, unknown)]
        assert [answer.status_code for answer in answers] == [404, 404]
        texts = [answer.text for answer in answers]
        for one in ids.values():
            texts = [text.replace(one, UNKNOWN) for text in texts]
        assert texts[0] == texts[1]
        if "upload_id" not in path:  # no route gives an upload
            assert client.get(ACTIONS.sub("", path).format_map(ids)).status_code == 200


@pytest.mark.parametrize("route", routes())
def test_no_key_finds_nothing(server: Server, ids: Mapping[str, str], route: str) -> None:
    """Without a key, every route with an id is a 401."""
    method, path = route.split(" ")
    assert httpx.request(method, server.url + path.format_map(ids), json={}).status_code == 401


def test_lists_have_own_objects_only(server: Server, ids: Mapping[str, str]) -> None:
    """Lists of another key are empty; an id of the first key is an unknown cursor there."""
    with client_of(server, "two") as other, client_of(server, "one") as client:
        for path, name in (
            ("/v1/chat/completions", "completion_id"),
            ("/v1/webhook_endpoints", "webhook_endpoint_id"),
        ):
            assert ids[name] in [one["id"] for one in client.get(path).json()["data"]]
            assert other.get(path).json()["data"] == []
            answer = other.get(path, params={"after": ids[name]})
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_cursor")
        assert other.get("/mimic/webhook_deliveries").json()["data"] == []


def test_a_request_uses_own_objects_only(server: Server, ids: Mapping[str, str]) -> None:
    """Another key can neither continue a response, nor use a conversation or an item."""
    with client_of(server, "two") as other:
        for fields in (
            {"previous_response_id": ids["response_id"]},
            {"conversation": ids["conversation_id"]},
            {"input": [{"type": "item_reference", "id": ids["item_id"]}]},
        ):
            answer = other.post("/v1/responses", json={"model": "m", "input": "hi", **fields})
            assert answer.status_code in {400, 404}, answer.text
