"""The benchmark of likeness: splits, figures, and the limits of its judges, without the judges' models."""

import random
from typing import Any

import numpy as np
import pytest

from benchmarks.answers.judge import E5, Judged, area, ask, least_score, prompts_of, shares, split
from tests.support.corpora import conversation


def judged(scores: list[float], cosines: list[float]) -> Judged:
    """Scores and cosines with MiniLM's limits."""
    return Judged(np.array(scores), np.array(cosines), np.array([0.0]), 0.5, 0.25)


def test_the_area_is_the_share_of_pairs_in_the_right_order() -> None:
    """As a plain enumeration has it, in which ties count half."""
    draw = random.Random(1)
    scores = [draw.randrange(10) / 10 for _ in range(60)]
    positive = [draw.random() < score for score in scores]
    pairs = [
        (a, b)
        for a, p in zip(scores, positive, strict=True)
        if p
        for b, q in zip(scores, positive, strict=True)
        if not q
    ]
    expected = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)
    assert abs(area(np.array(scores), np.array(positive)) - expected) < 1e-9


def test_the_least_score_is_the_lowest_from_which_on_enough_is_right() -> None:
    """The shares at the least score count found, right and wrong candidates."""
    right = [0.9] * 9 + [0.1] * 6
    found = judged([1 - number / 100 for number in range(30)], right + [0.3] * 15)
    least = least_score(found)
    assert least == 1 - 14 / 100
    assert shares(found, least, 60) == {"found": 0.25, "same": 0.6, "other": 0.4}
    assert least_score(judged([0.5] * 20, [0.1] * 20)) is None


def test_the_limits_of_a_language_lie_between_its_random_pairs_and_1() -> None:
    """English has a median of 0.8, Chinese one of 0.89."""
    for middle in (0.8, 0.89):
        same, other = E5.limits(E5.__new__(E5), np.array([middle - 0.1, middle, middle + 0.1]))
        assert middle < other < same < 1


@pytest.mark.anyio
async def test_prompts_are_asked_of_other_chats() -> None:
    """The parts of a chat stay together; a prompt that the corpus has is found by a rung above."""
    chats: list[list[dict[str, Any]]] = [
        [conversation(f"abcdefg_{n}", ("human", f"What is {word}?"), ("gpt", "Nice.")) for n in range(2)]
        for word in ("a llama", "a tree", "love", "Python")
    ]
    halves = split(list(chats), None, random.Random(1))
    assert sorted(str(chat) for half in halves for chat in half) == sorted(map(str, chats))
    prompts = [*prompts_of(halves[0]), "what is a llama?!", "what are llamas"]
    found = await ask(chats, prompts)
    assert {one.rung for one in found[:-2]} == {"last"}
    assert [one.rung for one in found[-2:]] == ["normalized", "nearest"]
    assert found[-1].text == "What is a llama?"
