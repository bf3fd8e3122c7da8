"""The ladder over HTTP: the lowest rung of a request, and the headers about the match."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import NotFoundError, OpenAI

from tests.support.corpora import conversation
from tests.support.servers import Server, SharedServers, run_mimic

DUMP = [
    conversation("a_0", ("human", "Tell me a joke"), ("gpt", "Knock knock."), ("human", "continue"), ("gpt", "Boo.")),
    conversation("b_0", ("human", "Tell me a story"), ("gpt", "Once upon a time."), ("human", "continue")),
    conversation("b_3", ("gpt", "There was a king.")),
]


@pytest.fixture
def corpus(serve: SharedServers) -> str:
    """A corpus for requests."""
    return serve.store(DUMP)


@pytest.fixture
def server(serve: SharedServers) -> Server:
    """A server with all rungs."""
    return serve(DUMP)


def ask(server: Server, text: str, **headers: str) -> httpx.Response:
    """A chat of one message."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {"model": "mimic-v3", "messages": [{"role": "user", "content": text}]}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=given)


def found(response: httpx.Response) -> tuple[str, str, str]:
    """The headers of an answer about its match."""
    assert response.status_code == 200, response.text
    headers = response.headers
    return headers["x-mimic-match"], headers["x-mimic-score"], headers["x-mimic-source"]


def error(response: httpx.Response, status: int) -> dict[str, Any]:
    """The error of an answer."""
    assert response.status_code == status, response.text
    body: dict[str, dict[str, Any]] = response.json()
    return body["error"]


def test_senders_written_otherwise_are_found(serve: SharedServers) -> None:
    """A chat finds all spellings of senders on every rung; the corpus lists senders that no chat can name."""
    dump = [
        conversation(
            "a", ("USER", "Tell me a joke"), ("ASSISTANT", "Knock knock."), ("USER ", "go on"), ("Model", "Boo.")
        ),
        conversation("b", ("Observation", "It rains"), ("gpt", "Take an umbrella.")),
    ]
    server = serve(dump)
    assert found(ask(server, "Tell me a joke")) == ("last", "1.000", "a#1")
    assert found(ask(server, "go ON!")) == ("normalized", "1.000", "a#3")
    assert found(ask(server, "Tell me a juke"))[0] == "nearest"
    chat = [("user", "Tell me a joke"), ("assistant", "Knock knock."), ("user", "go on")]
    body = {"model": "mimic-v3", "messages": [{"role": role, "content": content} for role, content in chat]}
    assert found(httpx.post(f"{server.url}/v1/chat/completions", json=body)) == ("previous", "1.000", "a#3")
    profile = httpx.get(f"{server.url}/corpus").json()["versions"]["v3"]["profile"]
    roles = {one["sender"]: one["role"] for one in profile["senders"]}
    expected = {"USER": "user", "USER ": "user", "ASSISTANT": "assistant", "Model": "assistant", "gpt": "assistant"}
    assert roles == {**expected, "Observation": "result"}


def test_every_answer_says_how_it_was_found(server: Server) -> None:
    """Chats and prompts, whole and streamed, have the rung, the score and the source."""
    assert found(ask(server, "Tell me a joke")) == ("last", "1.000", "a_0#1")
    assert found(ask(server, "TELL ME A JOKE!")) == ("normalized", "1.000", "a_0#1")
    rung, score, source = found(ask(server, "Please tell me some joke"))
    assert (rung, source) == ("nearest", "a_0#1")
    assert 0.4 < float(score) < 1
    body = {"model": "m", "prompt": ["Tell me a story", "tell me a story", "tell me storys"], "stream": True}
    rungs, scores, sources = found(httpx.post(f"{server.url}/v1/completions", json=body))
    assert (rungs, sources) == ("last, normalized, nearest", "b_0#1, b_0#1, b_0#1")
    assert scores.startswith("1.000, 1.000, 0.")
    metrics = httpx.get(f"{server.url}/metrics").text
    assert 'mimic_matches_total{rung="nearest",version="v3"} ' in metrics


def test_a_request_says_how_far_down_it_goes(server: Server) -> None:
    """A header sets the lowest rung; a bad one is named."""
    assert found(ask(server, "tell me a joke", x_mimic_match="normalized"))[0] == "normalized"
    for text, depth in (("tell me a joke", "last"), ("some joke please", "normalized"), ("continue", "previous")):
        refused = error(ask(server, text, x_mimic_match=depth), 404)
        assert refused["code"] == "completion_not_found"
        assert f"compared down to the rung '{depth}'" in refused["message"]
    bad = error(ask(server, "continue", x_mimic_match="deepest"), 400)
    assert (bad["param"], bad["code"]) == ("x-mimic-match", "invalid_value")
    assert "expected one of previous, last, normalized, nearest, meaning, not 'deepest'" in bad["message"]


def test_settings_say_how_far_down_it_goes(corpus: str, tmp_path: Path) -> None:
    """Settings set the lowest rung and the lowest score; a header takes precedence."""
    with Server(tmp_path, MIMIC_STORE=corpus, MIMIC_MATCH="last", MIMIC_LEAST_SCORE="0.9") as server:
        assert error(ask(server, "tell me a joke"), 404)["code"] == "completion_not_found"
        assert found(ask(server, "tell me a joke", x_mimic_match="nearest"))[0] == "normalized"
        refused = error(ask(server, "Please tell me some joke", x_mimic_match="nearest"), 404)
        assert "less than MIMIC_LEAST_SCORE, 0.9" in refused["message"]


def test_a_text_in_a_template_is_found(corpus: str, server: Server, tmp_path: Path) -> None:
    """A prompt that wraps the user's text is found by the text; templates of the settings name its place."""
    wrapped = "You are a comedian on a stage in London. Make them laugh.\n\nQuestion: {}\nAnswer:"
    assert found(ask(server, wrapped.format("tell me a joke"))) == ("part", "1.000", "a_0#1")
    assert found(ask(server, wrapped.format("tell me a joke"), x_mimic_match="nearest"))[0] == "part"
    assert "rung 'normalized'" in error(ask(server, wrapped.format("x"), x_mimic_match="normalized"), 404)["message"]
    assert 'mimic_matches_total{rung="part",version="v3"} ' in httpx.get(f"{server.url}/metrics").text
    bad = error(ask(server, "continue", x_mimic_match="part"), 400)
    assert "expected one of previous, last, normalized, nearest, meaning, not 'part'" in bad["message"]
    body = {"messages": [{"from": "human", "value": wrapped.format("tell me a joke")}]}
    answer = httpx.post(f"{server.url}/conversation/completion?match=nearest", json=body)
    assert (answer.headers["x-mimic-match"], len(answer.json()["choices"])) == ("part", 1)
    templates = json.dumps(["Speak as a {role}. {text}! Or {else}."])
    settings = {"MIMIC_STORE": corpus, "MIMIC_PROMPT_TEMPLATES": templates, "MIMIC_LEAST_SCORE": "0.9"}
    with Server(tmp_path, **settings) as another:
        text = "Speak as a pirate. Continue! Or leave."
        assert found(ask(another, text, x_mimic_match="nearest"))[:2] == ("part", "1.000")
        assert error(ask(server, text, x_mimic_match="last"), 404)["code"] == "completion_not_found"


def test_the_conversation_route_is_exact_unless_it_is_asked_not_to_be(server: Server) -> None:
    """With ``match`` the route answers as /v1 does, by role, with all next messages."""

    def choices(text: str, query: str, sender: str = "human") -> httpx.Response:
        body = {"messages": [{"from": sender, "value": text}]}
        return httpx.post(f"{server.url}/conversation/completion{query}", json=body)

    assert choices("tell me a JOKE", "").status_code == 404
    assert choices("tell me a JOKE", "?match=last").status_code == 404
    answer = choices("tell me a JOKE", "?match=normalized", sender="user")
    assert answer.json() == {"choices": [{"from": "gpt", "value": "Knock knock."}]}
    assert (answer.headers["x-mimic-match"], answer.headers["x-mimic-score"]) == ("normalized", "1.000")
    for version in ("v1", "v2", "v3"):
        answer = choices("a joke, tell me", f"?match=nearest&version={version}")
        assert answer.json() == {"choices": [{"from": "gpt", "value": "Knock knock."}]}
        assert answer.headers["x-mimic-match"] == "nearest"
    bad = error(choices("x", "?match=deepest"), 400)
    assert (bad["param"], bad["code"]) == ("match", "invalid_value")
    assert "previous, last, normalized, nearest, meaning" in bad["message"]


def test_a_named_rung_that_was_not_seeded_is_a_503(tmp_path: Path) -> None:
    """A request for that rung is a 503 with the command to run; others get a 404 with the reason."""
    run(tmp_path, "--match", "last")
    with Server(tmp_path, MIMIC_STORE=f"sqlite:///{tmp_path}/corpus.db") as server:
        assert found(ask(server, "continue"))[0] == "last"
        refused = error(ask(server, "Continue!", x_mimic_match="nearest"), 503)
        assert refused["code"] == "rung_not_seeded"
        assert "mimic seed FILE --match nearest" in refused["message"]
        plain = error(ask(server, "Continue!"), 404)
        assert "seeded without the index for the rung 'normalized'" in plain["message"]


def run(folder: Path, *options: str, **environment: str) -> str:
    """Seed the dump by the command line; return its report."""
    (folder / "dump.json").write_text(json.dumps(DUMP))
    done = run_mimic(["seed", "dump.json", "--store", "sqlite:///corpus.db", *options], environment, folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line_shows_the_cost_of_the_index(tmp_path: Path) -> None:
    """The report has the messages, seconds and bytes of the index; an option or a setting leaves it out."""
    assert "Index of 5 messages down to the rung nearest" in run(tmp_path)
    assert len(list(tmp_path.glob("corpus.db.index-*"))) == 1
    assert "Index of 5 messages down to the rung normalized" in run(tmp_path, "--match", "normalized")
    assert "Index of" not in run(tmp_path, "--match", "last")
    assert "Index of" not in run(tmp_path, MIMIC_MATCH="previous")
    assert list(tmp_path.glob("corpus.db.index-*")) == []


def test_parts_of_a_chat_are_joined_when_it_is_asked_for(tmp_path: Path) -> None:
    """With an option or a setting, the last message of a part has its true next one, in the same conversation."""
    assert "Joined" not in run(tmp_path)
    for options, environment in ((["--join-splits"], {}), ([], {"SEED_JOIN_SPLITS": "on"})):
        assert "Joined 1 parts" in run(tmp_path, *options, **environment)
        with (
            Server(tmp_path, MIMIC_STORE=f"sqlite:///{tmp_path}/corpus.db") as server,
            OpenAI(base_url=f"{server.url}/v1", api_key="unused") as client,
        ):
            raw = client.chat.completions.with_raw_response.create(
                model="mimic-v3",
                messages=[
                    {"role": "assistant", "content": "Once upon a time."},
                    {"role": "user", "content": "continue"},
                ],
            )
            assert raw.parse().choices[0].message.content == "There was a king."
            assert (raw.headers["x-mimic-match"], raw.headers["x-mimic-source"]) == ("previous", "b_0#3")
            with pytest.raises(NotFoundError):
                client.chat.completions.create(model="mimic-v3", messages=[{"role": "user", "content": "xyzzy"}])
    assert "Joined" not in run(tmp_path, "--no-join-splits", SEED_JOIN_SPLITS="on")
