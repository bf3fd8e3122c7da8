"""The measure of likeness: rare words, order, spelling, short messages, and languages without blanks."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimic.corpus.conversation import Conversation, Message
from mimic.corpus.ladder import MIN_SCORE
from mimic.corpus.similar import index as match_index
from mimic.corpus.similar.index import IndexWriter, MatchIndex
from mimic.corpus.similar.measure import Measure, weight

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
MESSAGES = 10_000
HAVING = {"the": 5_000, "is": 5_000, "what": 3_000, "of": 4_000, "how": 3_000, "continue": 1_000, "in": 4_000}


def weigh(words: Iterable[str]) -> Mapping[str, float]:
    """Weights in a corpus of many messages, in which words that are not named are in two."""
    return {word: weight(word, HAVING.get(word, 2), MESSAGES) for word in words}


def score(one: str, other: str) -> float:
    """The score of two texts in that corpus."""
    return Measure(one, weigh).score(other)


def test_a_score_of_1_is_for_texts_that_are_equal_when_normalized() -> None:
    """Texts that only have the same trigrams score less, as does everything else."""
    assert score("Hello, World!", "hello,  world") == 1
    assert score("?!", "?!") == score("", "") == score("👍", "👍") == 1
    assert score("ha ha ha", "ha ha ha ha ha ha") < 1
    assert score("What is the capital of France?", "What is the capital of Peru?") < 1


def test_rare_words_weigh_more_than_common_ones() -> None:
    """A message that shares the rare word scores higher than one that shares all others."""
    asked = "What is the capital of Mongolia?"
    assert score(asked, "Mongolia capital") > score(asked, "What is the colour of honey?")
    assert score(asked, "What is the population of Mongolia?") > score(asked, "What is the meaning of love?")
    assert weight("mongolia", 2, MESSAGES) > 2 * weight("what", 3_000, MESSAGES)


def test_order_counts() -> None:
    """The same words in another order score less, but still as about the same."""
    asked = "Convert a string to an integer!"
    assert MIN_SCORE < score(asked, "convert integer to string") < score(asked, "convert string to integer") < 1


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("helo", "Hello"),
        ("contineu", "continue"),
        ("How do I revrese a linkd list in Pyhton?", "How do I reverse a linked list in Python?"),
        ("Waht is the captial of Frnace?", "What is the capital of France?"),
        ("我最近睡不好，怎么办", "我最近总是睡不好觉，该怎么办？"),  # noqa: RUF001
        ("你好啊", "你好"),
    ],
)
def test_short_messages_with_a_mistake_are_recognised(asked: str, meant: str) -> None:
    """A common word with a mistake, which makes it a rare word, is found, also in a language without blanks."""
    assert MIN_SCORE < score(asked, meant) < 1


@pytest.mark.parametrize(
    ("asked", "other"),
    [
        ("What is the weather in Paris?", "what is the PATH variable in this context?"),
        ("Hi", "Hi, my bike has a flat tyre"),
        ("你好", "再见"),
        ("我最近总是睡不好觉", "我想学习编程"),
    ],
)
def test_messages_about_something_else_are_not(asked: str, other: str) -> None:
    """Though they share common words."""
    assert score(asked, other) < MIN_SCORE


def test_a_score_means_the_same_for_any_length() -> None:
    """A message that has half of the other's rare words scores alike, whether they are few or many."""
    words = [
        f"{first}{second}" for first in ("mar", "kel", "don", "fis", "tup") for second in ("gov", "bex", "wiq", "zuy")
    ]
    scores = [score(" ".join(words[:n]), " ".join(words[:n][::2])) for n in (4, 8, 12, 16, 20)]
    assert max(scores) - min(scores) < 0.2


def test_of_messages_that_differ_in_their_end_the_continued_one_is_the_best() -> None:
    """A message that was cut off has the beginning of its own text, and most words of many others."""
    asked = "Write a poem about the li"
    texts = ["write a poem about the japanese knotweed", "Write a poem about the life of a restaurant worker"]
    assert Measure(asked, weigh).best(texts)[1] == 1


@given(TEXTS, TEXTS)
def test_it_is_a_share(one: str, other: str) -> None:
    """For any texts, empty ones and punctuation included; the text itself is the best of several."""
    assert 0 <= score(one, other) <= 1
    assert Measure(one, weigh).best([other, one])[0] == score(one, one)


@given(st.lists(st.lists(st.sampled_from(["how", "reverse", "list", "lists", "pyhton", "python"])), min_size=1))
def test_the_best_is_the_one_with_the_highest_score(texts: list[list[str]]) -> None:
    """Though the order is not compared where it cannot matter."""
    compared = Measure("how reverse list python", weigh)
    scores = [compared.score(" ".join(text)) for text in texts]
    best, position = compared.best([" ".join(text) for text in texts])
    assert best == scores[position] == max(scores)


def test_weights_are_those_of_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By role; remembered up to a number of words; a corpus of one message does not make each word a rare one."""
    monkeypatch.setattr(match_index, "MOST_WEIGHTS", 2)
    with IndexWriter(tmp_path) as writer:
        for number in range(20):
            said = [Message("human", f"the llama {number}"), Message("gpt", "the alpaca"), Message("human", "bye")]
            writer.add(Conversation(None, said))
        writer.finish()
    index = MatchIndex(tmp_path)
    for _ in range(2):
        weights = index.weigh("user", ["the", "llama", "alpaca", "7"])
        assert weights == {word: weight(word, count, 40) for word, count in zip(weights, (20, 20, 0, 1), strict=True)}
    assert index.weigh("assistant", ["alpaca"]) == {"alpaca": weight("alpaca", 20, 40)}
    assert all(len(known) <= 2 for known in index._weights.values())
    assert weight("the", 1, 1) < weight("llama", 1, 1)
