"""Stored chat completions through OpenAI's own SDK: list, retrieve, update, delete, and messages."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.support.corpora import SMALL
from tests.support.servers import Server, SharedServers

HI: Any = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "hi"}]


@pytest.fixture
def server(tmp_path: Any, serve: SharedServers) -> Iterator[Server]:
    """A server with two API keys and with records of its own."""
    settings = {"MIMIC_RECORDS": f"sqlite:///{tmp_path}/records.db", "MIMIC_API_KEYS": "one,two"}
    with Server(tmp_path, MIMIC_STORE=serve.store(SMALL), **settings) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    """The SDK for the first key, with strict types."""
    url = f"{server.url}/v1"
    with OpenAI(base_url=url, api_key="one", max_retries=0, _strict_response_validation=True) as client:
        yield client


def test_a_stored_completion(client: OpenAI) -> None:
    """A completion with ``store`` can be fetched, changed and deleted; without it nothing is stored."""
    chats = client.chat.completions
    answer = chats.create(model="m", messages=HI, store=True, metadata={"a": "b"})
    fetched: Any = chats.retrieve(answer.id)
    assert fetched.metadata == {"a": "b"}
    assert fetched.choices == answer.choices
    assert fetched.usage == answer.usage
    changed: Any = chats.update(answer.id, metadata={"c": "d"})
    assert changed.metadata == {"c": "d"}
    unstored = chats.create(model="m", messages=HI)
    with pytest.raises(openai.NotFoundError):
        chats.retrieve(unstored.id)
    assert chats.delete(answer.id).deleted
    with pytest.raises(openai.NotFoundError, match=answer.id):
        chats.retrieve(answer.id)


def test_a_stored_stream(client: OpenAI) -> None:
    """A streamed completion is stored whole, with the same id."""
    chunks = list(client.chat.completions.create(model="m", messages=HI, store=True, stream=True))
    fetched = client.chat.completions.retrieve(chunks[0].id)
    assert fetched.choices[0].message.content == "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def test_a_list(client: OpenAI) -> None:
    """Completions are listed by time, a page at a time, by model and by metadata."""
    made = [
        client.chat.completions.create(
            model="even" if n % 2 == 0 else "odd", messages=HI, store=True, metadata={"n": str(n), "all": "yes"}
        ).id
        for n in range(5)
    ]
    chats = client.chat.completions
    assert [one.id for one in chats.list(limit=2)] == made
    assert [one.id for one in chats.list(order="desc", limit=2)] == made[::-1]
    assert [one.id for one in chats.list(after="", limit=2)] == made
    assert [one.id for one in chats.list(model="even", limit=1)] == made[::2]
    assert [one.id for one in chats.list(metadata={"n": "3"})] == [made[3]]
    assert [one.id for one in chats.list(metadata={"n": "3", "all": "no"})] == []
    page = chats.list(limit=2)
    assert (len(page.data), page.has_more) == (2, True)
    page = chats.list(limit=0)
    assert (page.data, page.has_more) == ([], True)


def test_messages_of_a_stored_completion(server: Server, client: OpenAI) -> None:
    """The messages of the request have ids, and are listed in order."""
    answer = client.chat.completions.create(model="m", messages=HI, store=True)
    url = f"{server.url}/v1/chat/completions/{answer.id}/messages"
    headers = {"authorization": "Bearer one"}
    found = httpx.get(url, headers=headers).json()
    assert [(one["role"], one["content"]) for one in found["data"]] == [("system", "Be brief"), ("user", "hi")]
    assert (found["first_id"], found["has_more"]) == (found["data"][0]["id"], False)
    rest = httpx.get(url, headers=headers, params={"after": found["first_id"], "limit": 1}).json()
    assert rest["data"] == found["data"][1:]
    newest = httpx.get(url, headers=headers, params={"order": "desc", "limit": 1}).json()
    assert (newest["data"], newest["has_more"]) == (found["data"][1:], True)


def test_another_key_finds_no_chats(server: Server, client: OpenAI) -> None:
    """Completions of another key are a 404, and in no list."""
    answer = client.chat.completions.create(model="m", messages=HI, store=True)
    with OpenAI(base_url=f"{server.url}/v1", api_key="two", max_retries=0) as other:
        assert list(other.chat.completions.list()) == []
        for call in (
            lambda: other.chat.completions.retrieve(answer.id),
            lambda: other.chat.completions.update(answer.id, metadata={}),
            lambda: other.chat.completions.delete(answer.id),
            lambda: other.chat.completions.messages.list(answer.id),
        ):
            with pytest.raises(openai.NotFoundError):
                call()
    assert client.chat.completions.retrieve(answer.id).id == answer.id
    assert httpx.get(f"{server.url}/v1/chat/completions").status_code == 401
