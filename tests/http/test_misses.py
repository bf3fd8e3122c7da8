"""MIMIC_ON_MISS=any, the default: chats that nothing in the corpus is like get a real answer to another message."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from mimic.testing import MimicServer
from tests.support.corpora import SeededStores, conversation
from tests.support.servers import ForkedMimicServer, Server, SharedServers, run_mimic

DUMP = [
    conversation("e0", ("human", "Tell me a joke"), ("gpt", "Knock knock."), ("human", "go on"), ("gpt", "Boo.")),
    conversation("e1", ("human", "How far is the moon?"), ("gpt", "384,400 km."), ("human", "and the sun?")),
    conversation("e2", ("human", "Explain the tides to me, slowly, please. " * 20), ("gpt", "The moon pulls.")),
    conversation("e3", ("human", "Repeat exactly: no"), ("gpt", "Nope.")),
    conversation("r0", ("human", "Расскажи шутку"), ("gpt", "Тук-тук."), ("human", "дальше"), ("gpt", "Бу.")),
    conversation("z0", ("human", "讲个笑话"), ("gpt", "咚咚。"), ("human", "继续"), ("gpt", "哈。")),
]
FOLLOWED = {
    before["value"]: after["value"] for talk in DUMP for before, after in pairwise(talk["conversations"]) if before
}


@pytest.fixture(scope="module", params=["sqlite", "mongodb"])
def server(
    request: pytest.FixtureRequest,
    serve: SharedServers,
    seeded: SeededStores,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """A server with the default for misses, on each store."""
    if request.param == "sqlite":
        yield serve(DUMP, MIMIC_ON_MISS="any")
        return
    folder = tmp_path_factory.mktemp("misses")
    with Server(folder, MIMIC_STORE=seeded("mongodb", DUMP), MIMIC_ON_MISS="any") as server:
        yield server


def chat(server: Server | MimicServer, text: str, *, model: str = "mimic-v3", **more: Any) -> httpx.Response:
    """A chat of one message."""
    headers = more.pop("headers", None)
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers)


def text_of(response: httpx.Response) -> str:
    """The text of an answer that is no match."""
    assert response.status_code == 200, response.text
    assert response.headers["x-mimic-match"] == "none"
    content: str = response.json()["choices"][0]["message"]["content"]
    return content


def test_a_message_may_dictate_its_answer(server: Server) -> None:
    """The text is the answer, complete and streamed, without an exact match, and without a rung in the request."""
    assert text_of(chat(server, "reply exactly PONG")) == "PONG"
    assert '"content":"OK"' in chat(server, "respond with only the word OK", stream=True).text
    assert chat(server, "Say exactly nothing", headers={"x-mimic-match": "last"}).status_code == 404
    known = chat(server, "Repeat exactly: no")
    assert (known.headers["x-mimic-match"], known.json()["choices"][0]["message"]["content"]) == ("last", "Nope.")


def test_a_miss_gets_a_real_answer(server: Server) -> None:
    """The headers name its source, and no match. The same request gets the same answer, complete and streamed."""
    for model in ("mimic-v1", "mimic-v2", "mimic-v3"):
        answer = chat(server, "qqq www zzz", model=model, seed=3)
        assert text_of(answer) in FOLLOWED.values()
        assert answer.headers["x-mimic-score"] == "none"
        name, _, position = answer.headers["x-mimic-source"].partition("#")
        [talk] = [one["conversations"] for one in DUMP if one["id"] == name]
        assert talk[int(position)]["value"] == text_of(answer)
        assert (
            chat(server, "qqq www zzz", model=model, seed=3).content.split(b'"choices"')[1]
            == answer.content.split(b'"choices"')[1]
        )
        streamed = chat(server, "qqq www zzz", model=model, seed=3, stream=True)
        assert streamed.headers["x-mimic-source"] == answer.headers["x-mimic-source"]


def test_different_requests_get_different_answers(server: Server) -> None:
    """The request draws: its text, and its seed."""
    assert len({text_of(chat(server, f"qqq{n} www{n}")) for n in range(12)}) > 1
    assert len({text_of(chat(server, "qqq www", seed=n)) for n in range(12)}) > 1


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ("Щщщ ъъъ?", {"Тук-тук.", "Бу."}),
        ("龘龘龘!", {"咚咚。", "哈。"}),
    ],
)
def test_the_answer_is_in_the_script_of_the_message(server: Server, text: str, answers: set[str]) -> None:
    """Candidates in the same script come first; this corpus is so small that every message is a candidate."""
    found = [text_of(chat(server, text * n)) for n in (1, 2, 3)]
    assert set(found) <= answers


def test_the_answer_is_in_the_language_of_the_message(serve: SharedServers) -> None:
    """A message in the language is drawn even if it is rare."""
    english = [conversation(f"e{n}", ("human", f"What is the number {n}?"), ("gpt", f"It is {n}.")) for n in range(90)]
    rare = conversation("d", ("human", "Wie ist das Wetter?"), ("gpt", "Nass."))
    server = serve([*english, rare], MIMIC_ON_MISS="any")
    for text in ("Was kannst du für mich tun?", "Wer bist du?", "Ich habe eine Frage."):
        answers = [chat(server, text, seed=seed).json()["choices"][0]["message"]["content"] for seed in range(8)]
        assert answers == ["Nass."] * 8


def test_the_nearest_messages_come_first(serve: SharedServers) -> None:
    """The score is that of the nearest message, which is below the least score."""
    server = serve(DUMP, MIMIC_ON_MISS="any", MIMIC_LEAST_SCORE="0.99")
    answer = chat(server, "How far is the moon from Mars?")
    assert text_of(answer)
    assert 0 < float(answer.headers["x-mimic-score"]) < 0.99


def test_a_request_that_names_a_rung_keeps_its_miss(server: Server) -> None:
    """The route /conversation/completion keeps its miss too. The error names the best candidates and the ways out."""
    missed = chat(server, "How far is the sea?", headers={"x-mimic-match": "last"})
    assert missed.status_code == 404
    native = {"messages": [{"from": "human", "value": "qqq www zzz"}]}
    assert httpx.post(f"{server.url}/conversation/completion", json=native).status_code == 404
    assert httpx.post(f"{server.url}/conversation/completion?match=nearest", json=native).status_code == 404


def test_a_miss_names_the_candidates_and_the_ways_out(serve: SharedServers) -> None:
    """The text of the error lists them."""
    server = serve(DUMP, MIMIC_LEAST_SCORE="0.99")
    message = chat(server, "How far is the moon from Mars?").json()["error"]["message"]
    assert "'How far is the moon?' (0." in message
    assert "MIMIC_ON_MISS=any" in message
    assert "MIMIC_LEAST_SCORE" in message
    assert "/corpus/search?q=" in message
    nothing = chat(server, "qqq www zzz").json()["error"]["message"]
    assert "No message is similar" in nothing


def test_chats_without_text_and_with_limits_are_answered(server: Server) -> None:
    """A picture alone gets an answer; max_tokens, n and stop hold; usage is counted."""
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]
    body = {"model": "mimic-v2", "messages": image, "n": 2, "max_tokens": 1}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body)
    assert text_of(answer) != ""
    assert [choice["finish_reason"] for choice in answer.json()["choices"]] == ["length", "length"]
    assert answer.json()["usage"]["completion_tokens"] == 2


def test_a_corpus_without_index_is_drawn_from(serve: SharedServers, tmp_path: Path) -> None:
    """As one that was seeded with --match last, and as long as it holds any answer; an empty one is a 503."""
    (tmp_path / "dump.json").write_text(
        '[{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}]'
    )
    url = f"sqlite:///{tmp_path}/plain.db"
    assert run_mimic(["seed", "--match", "last", "--store", url, tmp_path / "dump.json"], {}).returncode == 0
    with Server(tmp_path, MIMIC_STORE=url, MIMIC_ON_MISS="any") as server:
        for model in ("mimic-v1", "mimic-v2", "mimic-v3"):
            assert text_of(chat(server, "qqq", model=model)) == "b"
    with Server(tmp_path, MIMIC_STORE=f"sqlite:///{tmp_path}/none.db", MIMIC_ON_MISS="any") as server:
        assert chat(server, "qqq").status_code == 503


def test_servers_of_tests_keep_the_error() -> None:
    """MimicServer answers a miss with a 404, unless its settings say otherwise."""
    with ForkedMimicServer(DUMP) as server:
        assert chat(server, "qqq www zzz").status_code == 404
