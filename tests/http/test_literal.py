"""Texts that look like queries are plain texts, on every rung and on both stores."""

import random
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimic.corpus.ladder import RUNGS
from mimic.corpus.schemas import VERSIONS
from tests.support.corpora import conversation, seed
from tests.support.servers import Server

TEXTS: Final = [
    *('{"$gt": ""}', '{"$where": "sleep(9999)"}', "$where", "$ne", "a.b.$", "this.x == 1 || true", '[{"$match": {}}]'),
    *("' OR '1'='1", "'; DROP TABLE v2; --", '") UNION SELECT sql FROM sqlite_master --', "%", "_", "?", ":name", "\\"),
    *('"a" AND NOT b~2^3 field:', "*", "[a TO b]", "{* TO *}", "user:continue", "+must -not", "NEAR(near far, 5)"),
    *('"unclosed', "(open", "/.*/", "~", "^", "wild*card", "a\0b", "\0", "${jndi:ldap://x}", "{{7*7}}", "../.."),
]  # fmt: skip
NAMES: Final = ["$where", "a.b", "$", ".", "'", '"', "a\0b", "_id", "messages.0"]
"""Senders that would be query operators in MongoDB."""
LETTERS: Final = 200_000
WORD: Final = "x" * LETTERS
EXACT: Final = "/conversation/completion"
DEPTHS: Final = ("previous", "last", "normalized", "nearest")
"""Rungs that need no embedding model."""
SPELLINGS: Final = {"previous": 1, "last": 1, "normalized": 1, "nearest": 2}
"""Rungs and the number of spellings of each text that a version is asked with."""


@pytest.fixture(scope="module", params=["sqlite", "mongodb"])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server whose corpus has these texts, on each backend."""
    folder = tmp_path_factory.mktemp("literal")
    url = f"sqlite:///{folder}/corpus.db"
    if request.param == "mongodb":
        url = f"{request.getfixturevalue('mongodb_server')}/mimic_literal_{random.getrandbits(48):x}"
    dump = [conversation(f"text {n}", ("human", text), ("gpt", f"after {text}")) for n, text in enumerate(TEXTS)]
    dump += [conversation(f"name {n}", (name, "who"), (name, f"by {name}")) for n, name in enumerate(NAMES)]
    dump += [conversation("word", ("human", WORD), ("gpt", "a word")), conversation("b", ("human", "b"), ("gpt", "b"))]
    seed(url, dump, folder)
    with Server(folder, MIMIC_STORE=url) as server, httpx.Client(base_url=server.url, timeout=30) as client:
        yield client
        assert server.log().partition("Traceback")[2] == ""


def said(client: httpx.Client, text: str, version: str, rung: str | None = None) -> httpx.Response:
    """The answer to a text."""
    body: dict[str, Any] = {"model": f"mimic-{version}", "messages": [{"role": "user", "content": text}]}
    return client.post("/v1/chat/completions", json=body, headers={"x-mimic-match": rung} if rung else {})


@pytest.mark.parametrize("version", VERSIONS)
def test_a_text_is_answered_as_it_is(client: httpx.Client, version: str) -> None:
    """Both routes answer the text, and the search finds it if it has words."""
    for text in TEXTS:
        body = {"messages": [{"from": "human", "value": text}]}
        answer = client.post(EXACT, params={"version": version}, json=body)
        assert answer.json()["choices"] == [{"from": "gpt", "value": f"after {text}"}]
        assert said(client, text, version).json()["choices"][0]["message"]["content"] == f"after {text}"
        found = client.get("/corpus/search", params={"q": text, "version": version})
        assert found.status_code == 200
        values = [hit["value"] for hit in found.json()["results"] if hit["score"] == 1]
        assert text in values or not any(character.isalpha() for character in text)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("rung", "count"), [*SPELLINGS.items(), pytest.param(DEPTHS[-1], 5, marks=pytest.mark.soak)])
def test_an_unknown_text_is_matched_or_a_404(client: httpx.Client, version: str, rung: str, count: int) -> None:
    """An unknown text is matched when normalized, by similarity, or is a 404.

    Each text is asked with the spellings in turn. The three versions of the deepest rung have all of them.
    """
    turn = VERSIONS.index(version) * count + DEPTHS.index(rung)
    for number, text in enumerate(TEXTS, turn):
        spellings = f"  {text.upper()}!", f"{text} {text}", f"{text} nobody", f"{text}{text[::-1]}", f'"{text}"'
        for asked in (spellings[(number + later) % len(spellings)] for later in range(count)):
            answer = said(client, asked, version, rung)
            assert answer.status_code in {200, 404}, answer.text
            if answer.status_code == 200:
                assert answer.json()["choices"][0]["message"]["content"].startswith("after ")
                assert answer.headers["x-mimic-match"] in (*DEPTHS[: DEPTHS.index(rung) + 1], RUNGS[-1])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_sender_is_a_name(client: httpx.Client, version: str) -> None:
    """A sender is a plain name, whatever it would be as a field of a document."""
    for name in NAMES:
        body = {"messages": [{"from": name, "value": "who"}]}
        answer = client.post(EXACT, params={"version": version}, json=body)
        assert answer.json()["choices"] == [{"from": name, "value": f"by {name}"}]
        for match in DEPTHS[1:]:
            matched = client.post(EXACT, params={"version": version, "match": match}, json=body)
            assert matched.json() == answer.json()
        body["messages"][0]["value"] = "$where"
        assert client.post(EXACT, params={"version": version}, json=body).status_code == 404


@pytest.mark.parametrize("value", [{"$gt": ""}, {"$regex": ".*"}, ["hi"], None, True, 1])
def test_a_text_is_no_object(client: httpx.Client, value: object) -> None:
    """Operators of MongoDB in place of a text or a name are a 400."""
    for message in ({"from": "human", "value": value}, {"from": value, "value": "$where"}):
        answer = client.post(EXACT, json={"messages": [message]})
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "invalid_type"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_word_of_many_letters_is_a_word(client: httpx.Client, version: str) -> None:
    """A word of two hundred thousand letters is found as it is, in capitals, or with an addition."""
    for text in (WORD, WORD.upper(), WORD + "y", f"{WORD} y", "y" * LETTERS, "語" * LETTERS, "$" * LETTERS):
        for rung in DEPTHS[1:] if text == WORD else DEPTHS[-1:]:
            answer = said(client, text, version, rung)
            assert answer.status_code in {200, 404}, answer.text[:200]
            if text == WORD:
                assert answer.json()["choices"][0]["message"]["content"] == "a word"
    assert client.get("/corpus/search", params={"q": WORD[:2000], "version": version}).status_code == 200
    assert client.get("/corpus/search", params={"q": WORD[:2001], "version": version}).status_code == 400


SIGNS: Final = st.sampled_from(
    [*"\"'()[]{}*?~^+-:;,.\\/|&!<>=$%_#@ \0\n", "AND", "OR", "NOT", "NEAR", "TO", "IN", "a", "b"]
)


@pytest.mark.parametrize("examples", [50, pytest.param(500, marks=pytest.mark.soak)])
def test_any_signs_are_a_text(client: httpx.Client, examples: int) -> None:
    """Any characters are a valid text for chats and searches."""

    @settings(max_examples=examples, derandomize=True)
    @given(st.lists(SIGNS, min_size=1, max_size=15).map("".join))
    def check(text: str) -> None:
        assert said(client, text, "v3").status_code in {200, 404}
        assert client.post(EXACT, json={"messages": [{"from": text, "value": text}]}).status_code in {200, 404}
        assert client.get("/corpus/search", params={"q": text}).status_code == 200

    check()
