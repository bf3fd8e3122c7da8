"""The generated dump of benchmarks: the same from the same seed, and like the real one."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks import dataset
from mimic.cli import main as mimic

SIZE = 10_000_000


def dump(size: int, seed: int = 1) -> bytes:
    """A dump of about the given size."""
    file = BytesIO()
    dataset.write_dump(file, size, seed)
    return file.getvalue()


@pytest.fixture(scope="module")
def written() -> bytes:
    """A dump that is large enough for statistics."""
    return dump(SIZE)


@pytest.fixture(scope="module")
def talks(written: bytes) -> Sequence[Sequence[dict[str, str]]]:
    """The messages of each of its conversations."""
    return [element["conversations"] for element in json.loads(written)]


def said_by(talks: Sequence[Sequence[dict[str, str]]], sender: str) -> list[str]:
    """The texts of one sender."""
    return [message["value"] for talk in talks for message in talk if message["from"] == sender]


def test_a_dump_is_the_same_from_the_same_seed(written: bytes) -> None:
    """The same seed gives the same bytes, and a smaller dump is the beginning of a larger one; another seed differs."""
    again, other = dump(200_000), dump(200_000, seed=2)
    assert again == dump(200_000)
    assert written.startswith(again.removesuffix(b"\n]\n"))
    assert not written.startswith(other[:2000])


def test_a_dump_has_the_size_that_was_asked_for(written: bytes) -> None:
    """The size of the dump is within one percent."""
    assert len(written) == pytest.approx(SIZE, rel=0.01)


def test_the_command_writes_a_file_that_can_be_seeded(tmp_path: Path) -> None:
    """The seeder reads the file without a complaint, in strict mode too."""
    file = tmp_path / "dump.json"
    made = CliRunner().invoke(dataset.main, [str(file), "--size", "0.5MB", "--seed", "3"])
    assert made.exit_code == 0, made.output
    assert [file] == list(tmp_path.iterdir())
    arguments = ["seed", str(file), "--store", f"sqlite:///{tmp_path}/corpus.db", "--strict", "--match", "last"]
    seeded = CliRunner().invoke(mimic, [*arguments, "--not-nice"])  # in this process, which has more to do
    assert seeded.exit_code == 0, seeded.output
    assert "Skipped" not in seeded.output


def test_sizes_are_given_as_people_write_them() -> None:
    """A size has a unit or none; anything else is a usage error."""
    written = {"673MB": 673_000_000, "1.5GB": 1_500_000_000, "20kB": 20_000, "3 M": 3_000_000, "7": 7}
    assert {text: dataset.size_in_bytes(text) for text in written} == written
    refused = CliRunner().invoke(dataset.main, ["dump.json", "--size", "much"])
    assert refused.exit_code == 2
    assert "'much' is no size" in refused.output


def test_conversations_are_as_long_as_in_the_real_dump(talks: Sequence[Sequence[dict[str, str]]]) -> None:
    """Most conversations are short, and some have dozens of messages.

    Many are later parts of a chat that begin with an answer.
    """
    lengths = sorted(map(len, talks))
    assert 7 < mean(lengths) < 9
    assert median(lengths) == pytest.approx(6, abs=1)
    assert lengths[int(0.9 * len(lengths))] == pytest.approx(14, abs=4)
    first = Counter(talk[0]["from"] for talk in talks if talk)
    assert 0.25 < first["gpt"] / len(talks) < 0.45
    assert 0 < first["system"] / len(talks) < 0.05


def test_messages_are_as_long_as_in_the_real_dump(talks: Sequence[Sequence[dict[str, str]]]) -> None:
    """Questions are short with a long tail, answers are long, and a few messages are empty."""
    asked, answered = (sorted(map(len, said_by(talks, sender))) for sender in ("human", "gpt"))
    assert 50 < median(asked) < 110
    assert 200 < mean(asked) < 400
    assert 3000 < asked[int(0.99 * len(asked))] < 7000
    assert 900 < median(answered) < 1400
    assert 1100 < mean(answered) < 1450
    assert asked[0] == 0


def test_prompts_come_again_by_zipfs_law(talks: Sequence[Sequence[dict[str, str]]]) -> None:
    """A few prompts are frequent, "continue" most of all, and most occur once."""
    asked = said_by(talks, "human")
    counts = Counter(asked)
    assert 0.01 < sum("continue" in text.lower() and len(text) < 60 for text in asked) / len(asked) < 0.05
    assert counts.most_common(1)[0][0] == "continue"
    ranked = [counts[text] for text in dataset.FIRST_PROMPTS]
    assert ranked[0] > 2 * ranked[3] > 0
    assert sum(ranked[:3]) > 2 * sum(ranked[3:6]) > 2 * sum(ranked[9:12])
    assert 0.8 < sum(count == 1 for count in counts.values()) / len(asked) < 0.95


def test_texts_are_mixed_as_in_the_real_dump(talks: Sequence[Sequence[dict[str, str]]]) -> None:
    """Some texts have code or other scripts; neighbours rarely have the same role."""
    messages = [message["value"] for talk in talks for message in talk]
    assert 0.08 < sum("```" in text for text in messages) / len(messages) < 0.18
    assert 0.04 < sum(not text.isascii() for text in messages) / len(messages) < 0.1
    for script in ("\u3040-\u30ff", "\u4e00-\u9fff", "\u0400-\u04ff", "\u0600-\u06ff"):
        assert any(re.search(f"[{script}]", text) for text in messages), script
    neighbours = [before["from"] == after["from"] for talk in talks for before, after in pairwise(talk)]
    assert 0 < mean(neighbours) < 0.01


def test_ids_say_which_part_of_which_chat_it_is(written: bytes) -> None:
    """Ids end in the number of the first message.

    Parts of a chat are neighbours, and over a third of all parts are not the first.
    """
    elements: Sequence[dict[str, Any]] = json.loads(written)
    assert len({element["id"] for element in elements}) == len(elements)
    assert all(re.fullmatch(r"\w{7}_\d+", element["id"]) for element in elements)
    later = [element["id"] for element in elements if not element["id"].endswith("_0")]
    assert 0.3 < len(later) / len(elements) < 0.55
    for before, after in pairwise(elements):
        (chat, start), (name, number) = before["id"].split("_"), after["id"].split("_")
        if name == chat:
            assert int(number) - int(start) - len(before["conversations"]) in {-1, 0}
