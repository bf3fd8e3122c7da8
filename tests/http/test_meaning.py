"""The rung `meaning` and the vectors of an embedding model, over HTTP, on both stores."""

import base64
import json
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pymongo
import pytest

from tests.support.corpora import conversation, seed
from tests.support.model import make_model_folder
from tests.support.servers import Server, run_mimic

pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")

from mimic.corpus.similar.embedding_model import EmbeddingModel

DUMP = [
    conversation(
        "slim", ("human", "How can I lose weight fast?"), ("gpt", "Eat less."), ("human", "continue"), ("gpt", "Walk.")
    ),
    conversation("sea", ("human", "Write a poem about the sea"), ("gpt", "Waves, waves.")),
    conversation("again", ("human", "How can I lose weight fast?"), ("gpt", "Sleep more.")),
    conversation("bot", ("gpt", "Ways to get slimmer quickly"), ("human", "Thanks")),
    conversation("list", ("human", "Sort a list in Python"), ("gpt", "sorted(values)"), ("human", "unanswered")),
]
PARAPHRASE = "Ways to get slim quickly"
"""A message without a common word."""
MODEL = "MIMIC_EMBEDDING_MODEL"
WRAPPED = "You are the helpful assistant of a bank in Zurich. Customer: {text} Answer with numbers, if any."
"""A template of prompts."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model."""
    return make_model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module", params=["sqlite", "mongodb"])
def url(request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a corpus with vectors, on each store."""
    at = tmp_path_factory.mktemp("corpus")
    with ExitStack() as stack:
        if request.param == "sqlite":
            store = f"sqlite:///{at}/corpus.db"
        else:
            mongod, name = request.getfixturevalue("mongodb_server"), f"mimic_test_{uuid4().hex[:12]}"
            client = stack.enter_context(pymongo.MongoClient[dict[str, Any]](mongod))
            stack.callback(client.drop_database, name)
            store = f"{mongod}/{name}"
        report = seed_by_command(at, store, **{MODEL: str(folder)})
        assert "Index of 8 messages down to the rung meaning" in report
        assert "Vectors of 4 different texts of users" in report
        yield store


@pytest.fixture(scope="module")
def server(url: str, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of that corpus with the model and a template."""
    settings = {"MIMIC_STORE": url, MODEL: str(folder), "MIMIC_PROMPT_TEMPLATES": WRAPPED}
    with Server(tmp_path_factory.mktemp("server"), **settings) as started:
        yield started


@pytest.fixture(scope="module")
def model(folder: Path) -> EmbeddingModel:
    """The model, loaded once."""
    return EmbeddingModel(folder)


def seed_by_command(tmp_path: Path, store: str, **environment: str) -> str:
    """Seed the dump down to the rung `meaning` by the command line. Return its report."""
    (tmp_path / "dump.json").write_text(json.dumps(DUMP))
    done = run_mimic(["seed", tmp_path / "dump.json", "--store", store, "--match", "meaning"], environment)
    assert done.returncode == 0, done.stderr
    assert "embedding: 4 of 4 texts, " in done.stderr
    assert "0:00:00 left" in done.stderr
    return done.stdout


def ask(server: Server, text: str, *before: str, version: str = "v3", match: str | None = None) -> httpx.Response:
    """A chat of a user, with messages before the last one."""
    roles = ("user", "assistant")
    messages = [{"role": roles[number % 2], "content": content} for number, content in enumerate((*before, text))]
    headers = {"x-mimic-match": match} if match else {}
    body = {"model": f"mimic-{version}", "messages": messages}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=60)


def rung(response: httpx.Response) -> str:
    """The rung of an answer."""
    assert response.status_code == 200, response.text
    return str(response.headers["x-mimic-match"])


def error(response: httpx.Response, status: int) -> dict[str, Any]:
    """The error of an answer."""
    assert response.status_code == status, response.text
    found: dict[str, Any] = response.json()["error"]
    return found


def test_a_paraphrase_is_found_by_its_meaning(server: Server) -> None:
    """A paraphrase without a common word is found in every version; words and an explicit rung take precedence."""
    for version in ("v1", "v2", "v3"):
        answer = ask(server, PARAPHRASE, version=version)
        assert rung(answer) == "meaning"
        assert 0.45 <= float(answer.headers["x-mimic-score"]) < 1
        assert answer.json()["choices"][0]["message"]["content"] in {"Eat less.", "Sleep more."}
        assert rung(ask(server, PARAPHRASE, version=version, match="meaning")) == "meaning"
    assert rung(ask(server, "Write a poem about the see")) == "nearest"
    assert rung(ask(server, "HOW can I lose weight fast")) == "normalized"
    assert error(ask(server, PARAPHRASE, match="nearest"), 404)["code"] == "completion_not_found"
    far = error(ask(server, "Zebra crossing", match="meaning"), 404)
    assert "score less than" in far["message"]
    native = {"messages": [{"from": "human", "value": PARAPHRASE}]}
    found = httpx.post(f"{server.url}/conversation/completion?match=meaning", json=native)
    assert (found.status_code, found.headers["x-mimic-match"]) == (200, "meaning")
    assert rung(ask(server, PARAPHRASE, "Hello", "Hi, what do you want?")) == "meaning"
    assert "previous, last, normalized, nearest, meaning" in error(ask(server, "x", match="deep"), 400)["message"]
    [index] = {json.dumps(one["index"]) for one in httpx.get(f"{server.url}/corpus").json()["versions"].values()}
    assert (json.loads(index)["depth"], json.loads(index)["vectors"]) == ("meaning", 4)
    assert httpx.get(f"{server.url}/ready").status_code == 200


def test_embeddings_are_those_of_the_model(server: Server, model: EmbeddingModel) -> None:
    """Vectors equal the model's for every model name, as numbers, as base64, and cut to fewer dimensions."""
    texts = ["How can I lose weight fast?", PARAPHRASE]
    expected = [model.vector(text) for text in texts]

    def embeddings(**fields: Any) -> list[Any]:
        body = {"model": "text-embedding-3-large", "input": texts, **fields}
        answer = httpx.post(f"{server.url}/v1/embeddings", json=body)
        assert answer.status_code == 200, answer.text
        return [item["embedding"] for item in answer.json()["data"]]

    assert embeddings() == [pytest.approx(vector.tolist(), abs=1e-6) for vector in expected]
    encoded = [list(struct.unpack("<384f", base64.b64decode(one))) for one in embeddings(encoding_format="base64")]
    assert encoded == [vector.tolist() for vector in expected]
    for vector, whole in zip(embeddings(dimensions=100, model="any"), expected, strict=True):
        length = float((whole[:100] ** 2).sum()) ** 0.5
        assert vector == pytest.approx((whole[:100] / length).tolist(), abs=1e-6)
    body = {"model": "m", "input": "x", "dimensions": 385}
    refused = error(httpx.post(f"{server.url}/v1/embeddings", json=body), 400)
    assert (refused["param"], refused["code"]) == ("dimensions", "invalid_value")
    assert "the model has 384 dimensions" in refused["message"]


def test_a_server_without_the_model_answers_by_words(url: str, tmp_path: Path) -> None:
    """Vectors are not needed for other rungs; one warning names the setting, and the rung itself is a 503."""
    with Server(tmp_path, MIMIC_STORE=url) as server:
        assert rung(ask(server, "Write a poem about the see")) == "nearest"
        assert ask(server, PARAPHRASE).status_code == 404
        refused = error(ask(server, PARAPHRASE, match="meaning"), 503)
        assert refused["code"] == "model_unusable"
        assert MODEL in refused["message"]
        assert httpx.get(f"{server.url}/ready").status_code == 200
        assert server.log().count("set MIMIC_EMBEDDING_MODEL to the model of the seeding") == 1


def test_another_model_is_refused(url: str, folder: Path, tmp_path: Path) -> None:
    """A model with another fingerprint is not used: the error names the way out, and other rungs answer."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "tokenizer.json").symlink_to((folder / "tokenizer.json").resolve())
    (other / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"\0")
    with Server(tmp_path, MIMIC_STORE=url, MIMIC_EMBEDDING_MODEL=str(other)) as server:
        for match in (None, "meaning"):
            refused = error(ask(server, PARAPHRASE, match=match), 503)
            assert refused["code"] == "model_unusable"
            assert "mimic seed FILE --match meaning" in refused["message"]
        assert httpx.get(f"{server.url}/ready").status_code == 503
        assert rung(ask(server, "Write a poem about the see", match="nearest")) == "nearest"
        assert rung(ask(server, "Write a poem about the sea")) == "last"


def test_templates_show_the_text_with_the_meaning(server: Server) -> None:
    """The vector of a prompt that a template fits is that of the text in its hole."""
    assert rung(ask(server, WRAPPED.format(text=PARAPHRASE))) == "meaning"


def test_seeding_needs_a_model(sqlite_url: str, folder: Path, tmp_path: Path) -> None:
    """Without the setting, or with broken files, the seeding fails before it changes anything."""
    (tmp_path / "dump.json").write_text(json.dumps(DUMP))
    command: list[str | Path] = ["seed", tmp_path / "dump.json", "--store", sqlite_url, "--match", "meaning"]
    done = run_mimic(command, {})
    assert (done.returncode, MODEL in done.stderr) == (2, True)
    broken = tmp_path / "broken"
    broken.mkdir()
    done = run_mimic(command, {MODEL: str(broken)})
    assert (done.returncode, "is no file" in done.stderr) == (2, True)
    (broken / "model.onnx").write_bytes(b"")
    (broken / "tokenizer.json").symlink_to((folder / "tokenizer.json").resolve())
    done = run_mimic(command, {MODEL: str(broken)})
    assert (done.returncode, "cannot be loaded" in done.stderr) == (2, True)
    assert not list(tmp_path.glob("corpus.db*"))


def test_a_corpus_without_vectors_names_the_command(sqlite_url: str, folder: Path, tmp_path: Path) -> None:
    """The rung is a 503 on a corpus that was seeded without it; other requests are answered by words."""
    seed(sqlite_url, DUMP, tmp_path)
    with Server(tmp_path, MIMIC_STORE=sqlite_url, MIMIC_EMBEDDING_MODEL=str(folder)) as server:
        refused = error(ask(server, PARAPHRASE, match="meaning"), 503)
        assert refused["code"] == "rung_not_seeded"
        assert "mimic seed FILE --match meaning" in refused["message"]
        assert rung(ask(server, "Write a poem about the see")) == "nearest"
        assert error(ask(server, PARAPHRASE), 404)["code"] == "completion_not_found"
