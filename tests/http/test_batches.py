"""``/v1/batches`` through OpenAI's own SDK: validation, results, errors, cancellation and expiry."""

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import openai
import pytest
from openai import OpenAI
from openai.types import Batch

from tests.support.keyed import keyed_server
from tests.support.sdk import sdk
from tests.support.servers import Server, SharedServers

CHAT: Final = "/v1/chat/completions"
HI: Final = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0}
MISS: Final = {"model": "m", "messages": [{"role": "user", "content": "never said"}]}
ENDED: Final = frozenset({"completed", "failed", "expired", "cancelled"})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, serve: SharedServers) -> Iterator[Server]:
    """A server with two API keys, a rate limit, and records of its own."""
    folder = tmp_path_factory.mktemp("batches")
    with keyed_server(serve, folder, MIMIC_RPM="1") as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    """The SDK for the first key."""
    with sdk(server) as client:
        yield client


def line(custom_id: Any, body: Any = HI, url: str = CHAT, **fields: Any) -> str:
    """A line of an input."""
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": body, **fields})


def start(client: OpenAI, lines: Sequence[str], endpoint: Any = CHAT, **fields: Any) -> Batch:
    """A new batch."""
    file = client.files.create(file=("lines.jsonl", "\n".join(lines).encode()), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **fields)


def wait(client: OpenAI, batch: Batch, *states: str) -> Batch:
    """The batch, when it has ended or has one of the states."""
    deadline = time.monotonic() + 40
    while batch.status not in ENDED.union(states):
        assert time.monotonic() < deadline, batch
        time.sleep(0.05)
        batch = client.batches.retrieve(batch.id)
    return batch


def results(client: OpenAI, file_id: str | None) -> list[Any]:
    """The lines of a file of results."""
    assert file_id
    return [json.loads(one) for one in client.files.content(file_id).read().splitlines()]


def test_a_batch_of_chats(client: OpenAI) -> None:
    """Answers are in the output and failures in the errors, each in the order of the input; the metadata stay."""
    lines = [line(f"id-{n}", MISS if n % 50 == 7 else HI | {"user": str(n)}) for n in range(250)]
    lines.insert(120, "")
    batch = start(client, lines, metadata={"a": "b"})
    assert (batch.status, batch.metadata, batch.errors) == ("validating", {"a": "b"}, None)
    assert batch.expires_at == batch.created_at + 86_400
    batch = wait(client, batch)
    assert (batch.status, batch.model) == ("completed", "m")
    assert batch.request_counts
    assert batch.request_counts.to_dict() == {"total": 250, "completed": 245, "failed": 5}
    assert batch.usage
    assert batch.usage.total_tokens == batch.usage.input_tokens + batch.usage.output_tokens > 245
    output, errors = results(client, batch.output_file_id), results(client, batch.error_file_id)
    assert [one["custom_id"] for one in output] == [f"id-{n}" for n in range(250) if n % 50 != 7]
    assert [one["custom_id"] for one in errors] == [f"id-{n}" for n in range(7, 250, 50)]
    assert {one["response"]["body"]["choices"][0]["message"]["content"] for one in output} == {"hello"}
    assert {one["response"]["status_code"] for one in errors} == {404}
    assert {one["response"]["body"]["error"]["code"] for one in errors} == {"completion_not_found"}
    assert all(one["error"] is None and one["id"].startswith("batch_req_") for one in output)
    assert len({one["response"]["body"]["id"] for one in output}) == 245
    file = client.files.retrieve(batch.output_file_id or "")
    assert (file.purpose, file.filename) == ("batch_output", f"{batch.id}_output.jsonl")
    assert client.batches.retrieve(batch.id) == batch


@pytest.mark.parametrize(
    ("endpoint", "body", "path"),
    [
        ("/v1/completions", {"model": "m", "prompt": "hi"}, ("choices", 0, "text")),
        ("/v1/embeddings", {"model": "m", "input": "hi", "dimensions": 2}, ("data", 0, "embedding")),
        ("/v1/moderations", {"input": "hi"}, ("results", 0, "flagged")),
        ("/v1/responses", {"model": "m", "input": "hi"}, ("output", 0, "content", 0, "text")),
    ],
)
def test_other_endpoints(client: OpenAI, endpoint: str, body: Any, path: Sequence[Any]) -> None:
    """Each endpoint answers the lines of its batches; a response is stored, and its owner finds it."""
    batch = wait(client, start(client, [line("a", body, endpoint)], endpoint))
    [result] = results(client, batch.output_file_id)
    assert batch.error_file_id is None
    found = result["response"]["body"]
    for step in path:
        found = found[step]
    assert found is not None
    if endpoint == "/v1/responses":
        assert client.responses.retrieve(result["response"]["body"]["id"]).output_text == found == "hello"


def test_an_invalid_input(client: OpenAI) -> None:
    """Invalid lines fail the whole batch, with their numbers."""
    batch = wait(client, start(client, [line("a"), "{", line("a"), line("b", url="/v1/embeddings")]))
    assert batch.status == "failed"
    assert batch.failed_at
    assert batch.errors
    assert batch.errors.data
    found = [(error.code, error.line, error.param) for error in batch.errors.data]
    assert found == [
        ("invalid_json_line", 2, None),
        ("duplicate_custom_id", 3, "custom_id"),
        ("mismatched_endpoint", 4, "url"),
    ]
    assert (batch.output_file_id, batch.error_file_id) == (None, None)


def test_batches_that_cannot_be_created(client: OpenAI) -> None:
    """The input must be a file for batches, and endpoint and window must be known ones."""
    file = client.files.create(file=b"{}", purpose="user_data")
    whole: dict[str, Any] = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h"}
    for changes, param in (
        ({}, "input_file_id"),
        ({"input_file_id": "file-x"}, "input_file_id"),
        ({"endpoint": "/v1/models"}, "endpoint"),
        ({"completion_window": "48h"}, "completion_window"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            client.batches.create(**{**whole, **changes})
        assert caught.value.param == param


def test_lists_and_owners(server: Server, client: OpenAI) -> None:
    """Lists are newest first, and another key finds nothing."""
    first, second = (start(client, [line("a")]) for _ in range(2))
    assert [one.id for one in client.batches.list(limit=1).data] == [second.id]
    assert [one.id for one in client.batches.list(limit=1, after=second.id).data] == [first.id]
    with sdk(server, "two") as other:
        assert other.batches.list().data == []
        for call in (other.batches.retrieve, other.batches.cancel):
            with pytest.raises(openai.NotFoundError):
                call(first.id)
        with pytest.raises(openai.BadRequestError):
            other.batches.create(input_file_id=first.input_file_id, endpoint=CHAT, completion_window="24h")
    with pytest.raises(openai.BadRequestError, match="completed"):
        client.batches.cancel(wait(client, first).id)


def test_a_deleted_input(client: OpenAI) -> None:
    """A batch whose input was deleted fails, unless it has ended."""
    batch = start(client, [line("a")])
    client.files.delete(batch.input_file_id)
    batch = wait(client, batch)
    assert batch.status in {"failed", "completed"}


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory, serve: SharedServers) -> Iterator[OpenAI]:
    """The SDK for a server with slow answers and a short window."""
    folder = tmp_path_factory.mktemp("slow-batches")
    settings = {"MIMIC_RECORDS": f"sqlite:///{folder}/r.db", "MIMIC_TTFT_MS": "1000", "MIMIC_BATCH_WINDOW": "4"}
    with Server(folder, MIMIC_STORE=serve.store(), **settings) as server, sdk(server) as client:
        yield client


def test_an_expired_batch(slow: OpenAI) -> None:
    """Lines that the window was too short for are errors, and the others are in the output."""
    batch = wait(slow, start(slow, [line(str(n)) for n in range(100)]))
    assert (batch.status, batch.expires_at) == ("expired", batch.created_at + 4)
    assert batch.expired_at
    output, errors = results(slow, batch.output_file_id), results(slow, batch.error_file_id)
    assert 10 <= len(output) <= 50
    assert len(output) + len(errors) == 100
    assert {one["error"]["code"] for one in errors} == {"batch_expired"}


def test_a_cancelled_batch(slow: OpenAI) -> None:
    """A cancelled batch ends soon, without its last lines."""
    batch = wait(slow, start(slow, [line(str(n)) for n in range(300)]), "in_progress")
    batch = slow.batches.cancel(batch.id)
    assert batch.status == "cancelling"
    assert slow.batches.cancel(batch.id).id == batch.id
    batch = wait(slow, batch)
    assert (batch.status, batch.output_file_id) == ("cancelled", None)
    assert batch.request_counts
    assert batch.request_counts.total == 300
    assert batch.cancelled_at
    assert batch.cancelling_at
