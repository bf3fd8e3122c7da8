"""The conversation of an answer, over HTTP."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from mimic.corpus.corpus import Corpus
from mimic.corpus.excerpts import LONGEST_TEXT, excerpt
from mimic.corpus.schemas import VERSIONS, Document, Version
from mimic.corpus.stores.base import Store
from mimic.errors import NoConversation
from tests.support.corpora import SMALL, conversation, fill, seed
from tests.support.servers import Server

LONG = conversation("long", *((("human", "gpt")[n % 2], f"message {n}") for n in range(130)))
BIG = conversation("big", ("human", "how much?"), ("gpt", "x" * 1_000_000))
TOOLS = conversation(
    "tools",
    ("human", "Weather in Paris?"),
    ("function_call", '{"name": "get_weather", "arguments": {"location": "Paris", "days": 12345678901234567890}}'),
    ("observation", "rain"),
    ("gpt", '<tool_call>{"name": "say", "parameters": "hi"}</tool_call>'),
    ("narrator", "Time passes."),
    ("tool_call", "no JSON"),
    ("tool_call", f'{{"name": "deep", "arguments": {{"a": {"[" * 5000}{"]" * 5000}}}}}'),
)
DUMP = [TOOLS, *SMALL, LONG, BIG, conversation("same"), conversation("big", ("human", "another of this id"))]


@pytest.fixture(scope="module", params=["sqlite", "mongodb"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of a corpus with a long conversation and a big one, on each backend."""
    folder = tmp_path_factory.mktemp("browsing")
    url = f"sqlite:///{folder}/corpus.db"
    if request.param == "mongodb":
        url = f"{request.getfixturevalue('mongodb_server')}/mimic_browsing"
    seed(url, DUMP, folder)
    with Server(folder, MIMIC_STORE=url, MIMIC_API_KEYS="sk-test") as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """A client with a key."""
    with httpx.Client(base_url=server.url, headers={"authorization": "Bearer sk-test"}) as client:
        yield client


def documents() -> Iterator[tuple[dict[str, Any], int]]:
    """The conversation and the position of each message: the documents of v2 and v3, in order."""
    for element in DUMP:
        for position, _ in enumerate(element["conversations"]):
            yield element, position


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_every_document_leads_to_its_conversation(client: httpx.Client, version: str) -> None:
    """Each document leads to its conversation, whole and in order if it fits, from its first message on."""
    for document, (element, position) in enumerate(documents()):
        if len(element["conversations"]) > 100 or element["id"] == "big":
            continue
        found = client.get(f"/corpus/{version}/conversations/{document}").json()
        assert [{"from": m["from"], "value": m["value"]} for m in found["messages"]] == element["conversations"]
        found.pop("messages")
        expected = {"version": version, "conversation": element["id"], "position": position, "first": 0, "next": None}
        assert found == expected


def test_in_v1_a_document_is_a_conversation(client: httpx.Client) -> None:
    """In v1 a document is a conversation, also one without messages."""
    for document, element in enumerate(DUMP[:-4]):
        found = client.get(f"/corpus/v1/conversations/{document}").json()
        assert [{"from": m["from"], "value": m["value"]} for m in found["messages"]] == element["conversations"]
        assert (found["conversation"], found["position"], found["next"]) == (element["id"], 0, None)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_long_conversation_is_read_in_pages(client: httpx.Client, version: str) -> None:
    """Pages begin at any message, and together they are the conversation."""
    places = enumerate(element for element, _ in documents()) if version != "v1" else enumerate(DUMP)
    document = next(place for place, element in places if element is LONG)
    read: list[str] = []
    first: int | None = 0
    while first is not None:
        query = {"first": first, "count": 60}
        page = client.get(f"/corpus/{version}/conversations/{document}", params=query).json()
        assert page["first"] == first
        read += [message["value"] for message in page["messages"]]
        first = page["next"]
    assert read == [message["value"] for message in LONG["conversations"]]
    beyond = client.get(f"/corpus/{version}/conversations/{document}?first=130").json()
    assert (beyond["messages"], beyond["next"]) == ([], None)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_huge_message_is_cut_with_its_length(client: httpx.Client, version: str) -> None:
    """A page stays small: a huge message is cut, with its full length."""
    places = enumerate(element for element, _ in documents()) if version != "v1" else enumerate(DUMP)
    document = next(place for place, element in places if element is BIG)
    [_, answer] = client.get(f"/corpus/{version}/conversations/{document}").json()["messages"]
    assert (len(answer["value"]), answer["characters"]) == (LONGEST_TEXT, 1_000_000)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_answer_names_the_document_it_came_from(client: httpx.Client, version: str) -> None:
    """x-mimic-document leads to the conversation, x-mimic-source to the message in it."""
    asked = {"model": f"mimic-{version}", "messages": [{"role": "user", "content": "how much?"}], "max_tokens": 1}
    answer = client.post("/v1/chat/completions", json=asked)
    assert answer.headers["x-mimic-source"] == "big#1"
    found = client.get(f"/corpus/{version}/conversations/{answer.headers['x-mimic-document']}").json()
    assert (found["conversation"], found["messages"][1]["from"]) == ("big", "gpt")


@pytest.mark.parametrize(
    ("path", "status", "param", "code"),
    [
        ("v3/conversations/99999", 404, None, "conversation_not_found"),
        ("v3/conversations/9007199254740993", 400, "document", "integer_above_max_value"),
        ("v4/conversations/0", 400, "version", "invalid_value"),
        ("v3/conversations/0?first=-1", 400, "first", "integer_below_min_value"),
        ("v3/conversations/0?count=101", 400, "count", "integer_above_max_value"),
    ],
)
def test_unknown_documents_are_errors(
    client: httpx.Client, path: str, status: int, param: str | None, code: str
) -> None:
    """Unknown documents get errors in the one shape."""
    answer = client.get(f"/corpus/{path}")
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (status, param, code)


@pytest.mark.parametrize("version", VERSIONS)
def test_tool_calls_are_shown(client: httpx.Client, version: str) -> None:
    """Each message has the role of its sender in a chat, and its tool calls with their arguments."""
    messages = client.get(f"/corpus/{version}/conversations/0").json()["messages"]
    roles = ["user", "call", "result", "assistant", None, "call", "call"]
    assert [message["role"] for message in messages] == roles
    arguments = '{"location":"Paris","days":12345678901234567890}'
    expected = {1: [{"name": "get_weather", "arguments": arguments}], 3: [{"name": "say", "arguments": "hi"}]}
    assert [message["tool_calls"] for message in messages] == [expected.get(number, []) for number in range(7)]
    profile = client.get("/corpus").json()["versions"][version]["profile"]
    assert {"user", "assistant", "call", "result", "other"} <= {role["role"] for role in profile["roles"]}
    found = client.get("/corpus/search", params={"q": "weather in paris", "version": version}).json()["results"]
    assert found[0]["value"] == "Weather in Paris?"


def test_conversations_are_for_those_with_a_key(server: Server) -> None:
    """Conversations need a key, as answers do."""
    assert httpx.get(f"{server.url}/corpus/v3/conversations/0").status_code == 401


def test_the_corpus_shows_its_profile(client: httpx.Client) -> None:
    """Each version has the profile that the seeding made."""
    versions = client.get("/corpus").json()["versions"]
    for version in VERSIONS:
        profile = versions[version]["profile"]
        assert {item["sender"]: item["messages"] for item in profile["senders"]}["tool"] == 1
        [common, *_] = [role for role in profile["roles"] if role["role"] == "user"]
        assert common["common"][0] == {"text": "hi", "characters": 2, "count": 4}
    assert len(json.dumps(versions)) < 50_000


def test_without_a_key_no_text_of_the_corpus_is_visible(server: Server, client: httpx.Client) -> None:
    """A client without a key sees the counts of the corpus, but no text of it."""
    with_key, without = client.get("/corpus").json(), httpx.get(f"{server.url}/corpus").json()
    for version in VERSIONS:
        roles = without["versions"][version]["profile"]["roles"]
        assert [role.pop("common") for role in roles] == [[] for _ in roles]
        for role in with_key["versions"][version]["profile"]["roles"]:
            assert role.pop("common")
    assert with_key == without


def test_a_search_finds_similar_texts(client: httpx.Client) -> None:
    """A search lists similar texts, the most similar first, each once, with its sources; of all roles or of one."""
    found = client.get("/corpus/search", params={"q": "hello, how much"}).json()
    assert found["version"] == "v3"
    first, *others = found["results"]
    scores = [result["score"] for result in found["results"]]
    assert scores == sorted(scores, reverse=True)
    assert (first["from"], first["value"], first["conversation"], first["position"]) == ("human", "how much?", "big", 0)
    assert 0 < first["score"] < 1
    assert ("gpt", "hello") in {(other["from"], other["value"]) for other in others}
    texts = [(result["from"], result["value"]) for result in found["results"]]
    assert len(texts) == len(set(texts))
    of_one = client.get("/corpus/search", params={"q": "hello, how much", "role": "assistant"}).json()["results"]
    assert {result["from"] for result in of_one} == {"gpt"}


@pytest.mark.parametrize("version", VERSIONS)
def test_tool_calls_and_results_are_found(client: httpx.Client, version: str) -> None:
    """A search finds tool calls and results among all roles, and alone by their roles, also with typing errors."""
    expected = {"call": ("get_weather paris", "function_call", 1), "result": ("rain", "observation", 2)}
    for role, (query, sender, position) in expected.items():
        for asked in ({"q": query}, {"q": query, "role": role}):
            found = client.get("/corpus/search", params={**asked, "version": version}).json()["results"]
            assert (sender, "tools", position) in {(hit["from"], hit["conversation"], hit["position"]) for hit in found}
        alone = client.get("/corpus/search", params={"q": query, "role": role, "version": version}).json()["results"]
        assert {hit["from"] for hit in alone} == {sender}
    misspelt = client.get("/corpus/search", params={"q": "raim", "role": "result", "version": version}).json()
    assert [hit["value"] for hit in misspelt["results"]] == ["rain"]
    chat = {"model": f"mimic-{version}", "messages": [{"role": "user", "content": "get_weather paris"}]}
    assert client.post("/v1/chat/completions", json=chat).headers.get("x-mimic-source") != "tools#2"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_result_leads_to_its_conversation(client: httpx.Client, version: str) -> None:
    """A result names its document in each version."""
    results = client.get(f"/corpus/search?q=message%2017&limit=3&version={version}").json()["results"]
    assert len(results) == 3
    [exact] = [result for result in results if result["value"] == "message 17"]
    assert exact["score"] == 1
    path = f"/corpus/{version}/conversations/{exact['document']}"
    [message] = client.get(path, params={"first": exact["position"], "count": 1}).json()["messages"]
    assert (message["from"], message["value"]) == ("gpt", "message 17")


def test_a_misspelled_text_has_results(client: httpx.Client) -> None:
    """A search finds texts with typing errors, as chats do."""
    [first, *_] = client.get("/corpus/search", params={"q": "contineu"}).json()["results"]
    assert (first["value"], first["score"] < 1) == ("continue", True)


@pytest.mark.parametrize("text", ["\u00a0", "?!", "qqqqqqqqq", "\0", "(", "zq:*", "x" * 2000])
def test_unknown_texts_have_no_results(client: httpx.Client, text: str) -> None:
    """Any query is plain text, not a query language."""
    answer = client.get("/corpus/search", params={"q": text})
    assert answer.status_code == 200
    assert answer.json()["results"] == []


@pytest.mark.parametrize(
    ("query", "param", "code"),
    [
        ("", "q", "missing_required_parameter"),
        ("q=", "q", "empty_string"),
        ("q=a&role=nobody", "role", "invalid_value"),
        ("q=a&version=v4", "version", "invalid_value"),
        ("q=a&limit=51", "limit", "integer_above_max_value"),
        (f"q={'x' * 2001}", "q", "string_above_max_length"),
    ],
)
def test_bad_searches_name_the_error(client: httpx.Client, query: str, param: str, code: str) -> None:
    """Bad searches get errors in the one shape."""
    answer = client.get(f"/corpus/search?{query}")
    assert answer.status_code == 400
    assert (answer.json()["error"]["param"], answer.json()["error"]["code"]) == (param, code)


def test_searches_are_for_those_with_a_key(server: Server) -> None:
    """Searches need a key, as answers do."""
    assert httpx.get(f"{server.url}/corpus/search?q=hi").status_code == 401


def test_without_an_index_there_is_no_search(store_url: str, tmp_path: Path) -> None:
    """The answer names the command that seeds an index."""
    seed(store_url, SMALL, tmp_path, depth="last")
    with Server(tmp_path, MIMIC_STORE=store_url) as server:
        answer = httpx.get(f"{server.url}/corpus/search?q=hi")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "rung_not_seeded")
        assert "mimic seed FILE --match nearest" in answer.json()["error"]["message"]


@pytest.mark.anyio
async def test_a_conversation_is_of_one_corpus(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the corpus is replaced during a read, the conversation is read again, or there is none."""
    talks = {name: [(("human", "gpt")[n % 2], f"{name} {n}") for n in range(6)] for name in ("old", "new")}
    dumps = {
        "old": [conversation("old", *talks["old"])],
        "new": [conversation("other", ("human", "hi"), ("gpt", "ho")), conversation("new", *talks["new"])],
        "short": [conversation("short", ("human", "hi"), ("gpt", "ho"))],
    }
    corpus, read = Corpus(store), type(store).documents
    replaced = ""

    async def documents(self: Store, version: Version, positions: Sequence[int]) -> Sequence[Document]:
        nonlocal replaced
        found = await read(self, version, positions)
        if replaced:
            dump, replaced = dumps[replaced], ""
            await fill(store, dump, tmp_path)
        return found

    monkeypatch.setattr(type(store), "documents", documents)
    await fill(store, dumps["old"], tmp_path)
    replaced = "new"
    found = await excerpt(corpus, "v2", 4, 0, 9)
    assert (found.conversation, found.position) == ("new", 2)
    assert [(message.sender, message.value) for message in found.messages] == talks["new"]
    replaced = "short"
    with pytest.raises(NoConversation):
        await excerpt(corpus, "v2", 4, 0, 9)
