"""Benchmarks: questions and expectations agree with the dump, and a small run works from end to end."""

import json
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pymongo
import pytest
from click.testing import CliRunner, Result

from benchmarks import questions
from benchmarks.dataset import make_dump
from benchmarks.questions import Question, fingerprint
from mimic.corpus.conversation import Message
from mimic.corpus.schemas import Version
from tests.support.corpora import Dump, conversation, reference

# Not to be imported: locust replaces Python's sockets and threads, and matplotlib takes half a second.
if not (find_spec("locust") and find_spec("matplotlib")):
    pytest.skip("locust or matplotlib is not installed", allow_module_level=True)

from benchmarks import run, sizes


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dump."""
    file = tmp_path_factory.mktemp("dump") / "small.json"
    make_dump(file, 300_000, seed=1)
    return file


def bench(*arguments: object) -> Result:
    """Run the command."""
    return CliRunner().invoke(run.main, [str(argument) for argument in arguments], catch_exceptions=False)


def bench_long_enough(*arguments: object) -> Result:
    """Run the command with two users, for a second or longer: a busy machine may give no answer after the warm-up."""
    for seconds in (1, 5, 25):
        ended = bench(*arguments, "--duration", seconds, "--users", 2)
        if "locust ended" not in ended.output:
            break
    return ended


def folders(folder: Path) -> Sequence[str]:
    """Options that keep the files of a benchmark below a folder."""
    return "--data", str(folder / "data"), "--results", str(folder)


def fingerprints(dump: Dump, messages: Sequence[Message], version: Version) -> list[str]:
    """The fingerprints of an expected completion."""
    pairs = [(message.sender, message.value) for message in messages]
    return [fingerprint(*choice) for choice in reference(dump, pairs, version)]


def test_expected_answers_are_those_of_the_dump(dump: Path) -> None:
    """The expectations are those of the reference that stores are held to, for each version."""
    elements = json.loads(dump.read_text())
    asked = questions.draw(dump)
    assert len(asked) > 100
    for one in asked:
        assert one.after_last == fingerprints(elements, [one.last], "v2")[: one.limit]
        assert one.after_both == fingerprints(elements, one.both, "v3")[: one.limit]
        assert bool(one.texts) == bool(one.after_last) == (one.kind != "miss")
        pairs = [(message.sender, message.value) for message in one.both]
        answers = reference(elements, pairs, "v3") or reference(elements, pairs, "v2")
        assert set(one.texts) == {fingerprint(text) for _, text in answers}


def test_questions_are_mixed_as_stated(dump: Path) -> None:
    """Questions are each user message once, "continue" with the message before it, and unknown messages."""
    asked = questions.draw(dump)
    assert asked == questions.draw(dump)
    kinds = Counter[str](one.kind for one in asked)
    for kind, share in questions.MIXTURE.items():
        assert kinds[kind] / len(asked) == pytest.approx(share, abs=0.01)
    hits = [one.last.value for one in asked if one.kind == "hit"]
    assert len(hits) == len(set(hits))
    assert all(one.previous for one in asked if one.kind == "continue")
    assert len(questions.draw(dump, 50)) == 50


def test_a_chat_is_answered_by_the_last_two_messages_or_else_by_the_last(tmp_path: Path) -> None:
    """A chat matches the sender by role; a completion matches the exact sender."""
    talks = [
        conversation("a_0", ("gpt", "one"), ("human", "and?"), ("gpt", "two")),
        conversation("b_0", ("chatgpt", "one"), ("user", "and?"), ("bard", "three")),
    ]
    file = tmp_path / "dump.json"
    file.write_text(json.dumps(talks))
    [asked] = questions.draw(file, 1)
    assert asked.last.value == "and?"
    assert len(asked.after_last) == len(asked.after_both) == 1
    assert set(asked.texts) == {fingerprint("two"), fingerprint("three")}


def stream(*texts: str, end: str = "data: [DONE]\n\n") -> bytes:
    """A chat completion in chunks."""
    chunks: list[dict[str, Any]] = [{"choices": [{"delta": {"content": text}}]} for text in texts]
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in [*chunks, {"choices": []}]).encode() + end.encode()


def test_answers_are_looked_at_closely() -> None:
    """Another text, another order, a missing choice, a broken stream and an answer in place of a 404 are all wrong."""
    a, b = (Message("gpt", "a"), Message("gpt", "b"))
    expected = [fingerprint(one.sender, one.value) for one in (a, b)]
    bodies = [
        msgspec.json.encode({"choices": choices}) for choices in ([a, b], [b, a], [a], [a, Message("human", "b")])
    ]
    problems = [questions.problem_with_choices(expected, 200, body) for body in (*bodies, b"{}", b"<html>")]
    assert problems[0] is None
    assert all(problems[1:])
    assert questions.problem_with_choices([], 404, b"") is None
    assert questions.problem_with_choices([], 200, bodies[0])
    assert questions.problem_with_choices(expected, 404, b"")

    texts = [fingerprint("hello"), fingerprint("bye")]
    for text, is_right in (("bye", True), ("good bye", False)):
        whole = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
        assert (questions.problem_with_chat(texts, 200, whole) is None) is is_right
        assert (questions.problem_with_stream(texts, 200, stream(*text)) is None) is is_right
    assert questions.problem_with_stream(texts, 200, stream(*"bye", end=""))
    assert questions.problem_with_stream(texts, 200, b"")


@pytest.mark.usefixtures("forked")
def test_a_small_benchmark_runs_from_end_to_end(dump: Path, tmp_path: Path) -> None:
    """Every version and route is asked, no answer is wrong, and the results are written in three formats."""
    ended = bench_long_enough("--dump", dump, *folders(tmp_path))
    assert ended.exit_code == 0, ended.output
    found = json.loads((tmp_path / "sqlite-small.json").read_text())
    assert list(found["seedings"]) == ["v1", "v2", "v3"]
    assert list(found["loads"]) == ["v1", "v2", "v3", "chat", "stream"]
    for load in found["loads"].values():
        assert load["wrong"] == 0 < load["answers"]
        assert 0 < load["p50_ms"] <= load["p95_ms"] <= load["p99_ms"]
    for cost in found["seedings"].values():
        assert min(cost[name] for name in ("documents", "seconds", "peak_memory_bytes", "data_bytes")) > 0
    table = (tmp_path / "sqlite-small.md").read_text()
    assert table in ended.output
    assert "cannot be compared" in table
    assert (tmp_path / "sqlite-small.png").read_bytes().startswith(b"\x89PNG")
    assert list((tmp_path / "data").iterdir()) == []


def test_a_wrong_answer_makes_it_fail(dump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single wrong expectation ends the benchmark with exit code 1, and the figures count it."""

    def tampered(dump: Path) -> list[Question]:
        [first, *others] = draw(dump)
        return [msgspec.structs.replace(first, after_last=["0"]), *others]

    draw = questions.draw
    monkeypatch.setattr(questions, "draw", tampered)
    ended = bench_long_enough("--dump", dump, "--versions", "v2", *folders(tmp_path))
    assert ended.exit_code == 1
    found = json.loads((tmp_path / "sqlite-small.json").read_text())["loads"]["v2"]
    assert 1 <= found["wrong"] < found["answers"]


@pytest.mark.usefixtures("forked")
def test_sizes_are_compared_on_a_mongodb(mongodb_url: str, tmp_path: Path) -> None:
    """Databases are created for the benchmark, and dropped afterwards."""
    options = ["--store", mongodb_url, "--sizes", "50kB,100kB", "--versions", "v2", "--duration", "1", "--users", "2"]
    ended = CliRunner().invoke(sizes.main, [*options, *folders(tmp_path)], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    found = json.loads((tmp_path / "mongodb-sizes.json").read_text())["results"]
    assert [result["dump"] for result in found] == ["50kB", "100kB"]
    assert (tmp_path / "mongodb-sizes.png").read_bytes().startswith(b"\x89PNG")
    with pymongo.MongoClient[dict[str, Any]](mongodb_url) as client:
        name = client.get_default_database().name
        assert [other for other in client.list_database_names() if other.startswith(name)] == []
