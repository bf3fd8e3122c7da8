"""The soak: a short one runs from end to end, and its checks find problems."""

import json
from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from benchmarks.support.load import post, taken_apart
from benchmarks.support.outcomes import Sample

if not (find_spec("locust") and find_spec("matplotlib")):
    pytest.skip("locust or matplotlib is not installed", allow_module_level=True)

from benchmarks import questions, soak

MB = 1_000_000


def sample(
    seconds: float, memory: int, handles: int = 20, wrong: int = 0, pids: tuple[str, ...] = ("1", "2")
) -> Sample:
    """An interval with the given memory in MB and open files of the first process."""
    return Sample(
        seconds=seconds,
        answers=100,
        wrong=wrong,
        rate=20.0,
        p50_ms=1.0,
        p99_ms=2.0,
        is_seeding=False,
        memory_bytes={pid: (memory if pid == "1" else 100) * MB for pid in pids},
        handles={pid: handles if pid == "1" else 20 for pid in pids},
    )


@pytest.mark.usefixtures("forked")
def test_a_short_soak_runs_from_end_to_end(tmp_path: Path) -> None:
    """A server under load is seeded again: no answer is wrong, and figures and picture are written."""
    arguments = ["--minutes", "0.02", "--size", "300kB", "--interval", "0.2", "--reseed", "0.2"]
    arguments += ["--data", str(tmp_path / "data"), "--results", str(tmp_path)]
    ended = CliRunner().invoke(soak.main, arguments, catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    found = json.loads((tmp_path / "soak-sqlite.json").read_text())
    assert found["seedings"] >= 1
    assert found["problems"] == []
    assert sum(one["wrong"] for one in found["samples"]) == 0
    assert sum(one["answers"] for one in found["samples"]) > 20
    assert found["rate"] == found["peak"] / 2
    for one in found["samples"]:
        assert len(one["memory_bytes"]) == len(one["handles"]) == 2
        assert min(one["memory_bytes"].values()) > 10 * MB
        assert min(one["handles"].values()) > 3
    assert (tmp_path / "soak-sqlite.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("samples", "problem"),
    [
        ([sample(n, 100 + n % 2) for n in range(20)], ""),
        ([sample(n, 60 if n < 5 else 100) for n in range(20)], ""),
        ([sample(n, 100 + 2 * n) for n in range(20)], "worker 1 grew from 114 to 134 MB"),
        ([sample(n, 100, 20 + 2 * n) for n in range(20)], "worker 1 had 34 open files, and has 54"),
        ([sample(n, 100, wrong=int(n == 7)) for n in range(20)], "1 wrong answers"),
        ([sample(n, 100, pids=("1", "2" if n < 9 else "3")) for n in range(20)], "not the same worker processes"),
        ([sample(n, 100, pids=("1",)) for n in range(20)], "not the same worker processes"),
    ],
)
def test_problems_are_found(samples: list[Sample], problem: str) -> None:
    """The soak reports growth after the caches are full, wrong answers, and dead processes."""
    found = soak.problems_of(samples, 2)
    assert [one.startswith(problem) for one in found] == [True] * bool(problem)


def test_answers_are_compared_with_the_dump(tmp_path: Path) -> None:
    """Answers of each route are compared, in chunks and in one piece."""
    file = tmp_path / "dump.json"
    file.write_text(json.dumps([{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}]))
    asked = soak.Asked(questions.draw(file, 1))
    completion, chat, stream = (next(asked.requests) for _ in range(3))
    assert completion == post("/conversation/completion?version=v3", {"messages": [{"from": "human", "value": "a"}]})
    head = b"HTTP/1.1 200 OK\r\n"
    for said, is_right in (("b", True), ("c", False)):
        whole = msgspec.json.encode({"choices": [{"from": "gpt", "value": said}]})
        in_chunks = b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n"
        answer = head + in_chunks % (5, whole[:5], len(whole) - 5, whole[5:])
        assert taken_apart(answer) == (200, whole)
        assert asked.is_right(completion, answer) is is_right
        answer = msgspec.json.encode({"choices": [{"message": {"content": said}}]})
        assert asked.is_right(chat, head + b"content-length: %d\r\n\r\n" % len(answer) + answer) is is_right
        events = b"data: " + msgspec.json.encode({"choices": [{"delta": {"content": said}}]}) + b"\n\ndata: [DONE]\n\n"
        assert asked.is_right(stream, head + b"x: y\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(events), events)) is is_right
    assert not asked.is_right(chat, b"HTTP/1.1 503 \r\ncontent-length: 0\r\n\r\n")
    assert asked.problems == ["the first wrong answer (completion, hit): another answer than the dump has"]
