"""``/v1/conversations`` through OpenAI's own SDK: conversations, their items, and responses in them."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from openai import BadRequestError, OpenAI

from tests.support.corpora import Dump, conversation
from tests.support.sdk import sdk
from tests.support.servers import Server, SharedServers

DUMP: Dump = [
    conversation("a", ("human", "hi"), ("gpt", "hello"), ("human", "and now?"), ("gpt", "goodbye")),
    conversation("b", ("human", "and now?"), ("gpt", "a wrong answer")),
]
HI: Any = {"type": "message", "role": "user", "content": "hi"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, serve: SharedServers) -> Iterator[Server]:
    """A server with two API keys and with records of its own."""
    folder = tmp_path_factory.mktemp("conversations")
    settings = {"MIMIC_RECORDS": f"sqlite:///{folder}/records.db", "MIMIC_API_KEYS": "one,two"}
    with Server(folder, MIMIC_STORE=serve.store(DUMP), **settings) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    """The SDK for the first key."""
    with sdk(server) as client:
        yield client


def texts(client: OpenAI, conversation_id: str) -> list[str]:
    """The texts of all items, in order."""
    items: list[Any] = list(client.conversations.items.list(conversation_id, order="asc", limit=2))
    assert len({item.id for item in items}) == len(items)
    return [item.content[0].text if item.type == "message" else item.type for item in items]


def test_the_life_of_a_conversation(client: OpenAI) -> None:
    """A conversation is created with items and metadata, changed, and deleted with its items."""
    made = client.conversations.create(items=[HI, {"role": "assistant", "content": "hello"}], metadata={"a": "b"})
    assert made.id.startswith("conv_")
    assert (made.object, made.metadata) == ("conversation", {"a": "b"})
    assert client.conversations.retrieve(made.id) == made
    assert client.conversations.update(made.id, metadata={"c": "d"}).metadata == {"c": "d"}
    assert texts(client, made.id) == ["hi", "hello"]
    assert client.conversations.delete(made.id).deleted
    for call in (client.conversations.retrieve, client.conversations.delete, client.conversations.items.list):
        with pytest.raises(openai.NotFoundError, match=made.id):
            call(made.id)


def test_items(client: OpenAI) -> None:
    """Items are appended with new ids, listed a page at a time, retrieved and deleted."""
    made = client.conversations.create()
    numbered: list[Any] = [{**HI, "content": f"number {n}"} for n in range(5)]
    added = client.conversations.items.create(made.id, items=numbered)
    assert (len(added.data), added.has_more, added.first_id) == (5, False, added.data[0].id)
    assert texts(client, made.id) == [f"number {n}" for n in range(5)]
    newest = client.conversations.items.list(made.id, limit=1)
    assert newest.data[0].id == added.last_id
    second = added.data[1].id or ""
    assert client.conversations.items.retrieve(second, conversation_id=made.id) == added.data[1]
    assert client.conversations.items.delete(second, conversation_id=made.id).id == made.id
    with pytest.raises(openai.NotFoundError):
        client.conversations.items.retrieve(second, conversation_id=made.id)
    assert texts(client, made.id) == ["number 0", "number 2", "number 3", "number 4"]
    with pytest.raises(BadRequestError) as caught:
        client.conversations.items.create(made.id, items=[{"type": "message", "role": "user"}])  # type: ignore[list-item]
    assert caught.value.param == "items[0].content"
    with pytest.raises(BadRequestError):
        client.conversations.items.create(made.id, items=[HI] * 21)


def test_responses_in_a_conversation(client: OpenAI) -> None:
    """A response reads the items before its input, and adds its input and its output."""
    made = client.conversations.create()
    first = client.responses.create(model="m", input="hi", conversation=made.id)
    assert first.conversation
    assert first.conversation.id == made.id
    second: Any = client.responses.create(
        model="m", input="and now?", conversation={"id": made.id}, temperature=0, store=False
    )
    assert second.output_text == "goodbye"
    assert texts(client, made.id) == ["hi", "hello", "and now?", "goodbye"]
    [item] = client.conversations.items.list(made.id, limit=1).data
    assert item.id == second.output[0].id
    referred: Any = [{"type": "item_reference", "id": item.id}, {"role": "user", "content": "hi"}]
    assert client.responses.create(model="m", input=referred).output_text == "hello"
    count = client.responses.input_tokens.count(input="hi", conversation=made.id)
    assert count.input_tokens > client.responses.input_tokens.count(input="hi").input_tokens


def test_a_response_in_the_background_of_a_conversation(client: OpenAI) -> None:
    """The items of the response are added when it ends."""
    made = client.conversations.create()
    pace = {"x-mimic-ttft-ms": "300"}
    answer = client.responses.create(model="m", input="hi", conversation=made.id, background=True, extra_headers=pace)
    assert answer.status == "queued"
    assert texts(client, made.id) == []
    deadline = time.monotonic() + 20
    while texts(client, made.id) != ["hi", "hello"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_errors_of_conversations(client: OpenAI) -> None:
    """An unknown conversation is a 404, and a previous response besides it a 400."""
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="m", input="hi", conversation="conv_unknown")
    made = client.conversations.create()
    previous = client.responses.create(model="m", input="hi")
    with pytest.raises(BadRequestError) as caught:
        client.responses.create(model="m", input="hi", conversation=made.id, previous_response_id=previous.id)
    assert caught.value.code == "mutually_exclusive_parameters"


def test_conversations_of_another_key(server: Server, client: OpenAI) -> None:
    """Everything of another key is a 404; without a key it is a 401."""
    made = client.conversations.create(items=[HI])
    [item] = client.conversations.items.list(made.id).data
    with sdk(server, "two") as other:
        for call in (
            lambda: other.conversations.retrieve(made.id),
            lambda: other.conversations.update(made.id, metadata={}),
            lambda: other.conversations.delete(made.id),
            lambda: other.conversations.items.list(made.id),
            lambda: other.conversations.items.create(made.id, items=[HI]),
            lambda: other.conversations.items.retrieve(item.id or "", conversation_id=made.id),
            lambda: other.conversations.items.delete(item.id or "", conversation_id=made.id),
            lambda: other.responses.create(model="m", input="hi", conversation=made.id),
        ):
            with pytest.raises(openai.NotFoundError):
                call()
        with pytest.raises(openai.NotFoundError):
            mine = other.conversations.create()
            other.conversations.items.retrieve(item.id or "", conversation_id=mine.id)
    assert texts(client, made.id) == ["hi"]
    assert httpx.get(f"{server.url}/v1/conversations/{made.id}").status_code == 401


def test_concurrent_responses_keep_every_item(server: Server, client: OpenAI) -> None:
    """Items of responses at the same time are all there, each pair together."""
    made = client.conversations.create()
    body = {"model": "m", "input": "hi", "conversation": made.id}

    def ask(_: int) -> int:
        url = f"{server.url}/v1/responses"
        return httpx.post(url, json=body, headers={"authorization": "Bearer one"}, timeout=30).status_code

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(ask, range(16))) == {200}
    assert texts(client, made.id) == ["hi", "hello"] * 16
