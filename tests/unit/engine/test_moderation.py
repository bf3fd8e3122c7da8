"""The stand-in for a moderation model: words decide, and scores depend on the text alone."""

import pytest

from mimic.engine.moderation import CATEGORIES, WORDS, ModerationRequest, Moderator, Verdict, parse_words

pytestmark = pytest.mark.anyio


async def check(text: str, words: str = "violence: kill, c++; self-harm/intent: end it") -> Verdict:
    """The verdict on a text."""
    [verdict] = (await Moderator(parse_words(words)).moderate(ModerationRequest(model="m", texts=[text]))).verdicts
    return verdict


@pytest.mark.parametrize(
    ("text", "flagged"),
    [
        ("Kill it", {"violence"}),
        ("skill, killer and kill_it", set()),
        ("I like C++.", {"violence"}),
        ("END IT: kill", {"violence", "self-harm/intent"}),
        ("end  it", set()),
        ("", set()),
    ],
)
async def test_whole_words_are_flagged(text: str, flagged: set[str]) -> None:
    """A word counts in any case, and not within another word."""
    assert (await check(text)).flagged == flagged


async def test_scores_depend_on_the_text_alone() -> None:
    """Every category has a score: high with a word, higher with two, and low without one."""
    one, two, none = await check("kill"), await check("kill kill"), await check("a")
    assert list(one.scores) == list(CATEGORIES)
    assert (one.scores["violence"], two.scores["violence"]) == (0.75, 0.9375)
    assert all(0 <= score < 0.001 for score in none.scores.values())
    assert none == await check("a")
    assert none.scores != (await check("b")).scores


def test_lists_are_read() -> None:
    """A list has entries by semicolon or by line, and a category may come twice."""
    assert parse_words("hate: a, b;\n\nhate: c\nviolence:") == {"hate": ["a", "b", "c"], "violence": []}
    assert set(WORDS) <= set(CATEGORIES)
    for wrong in ("hate", "anger: a", "hate: a; x"):
        with pytest.raises(ValueError, match="expected entries like"):
            parse_words(wrong)


async def test_a_category_without_words_is_never_flagged() -> None:
    """An empty entry switches the category off."""
    assert not (await check("kill", "violence:")).flagged
