"""Draws from a distribution, by OpenAI's parameters."""

from collections import Counter
from math import isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimic.corpus.conversation import Message
from mimic.engine.sampling import Sampling, draw, key_of, nucleus

COUNTS = st.lists(st.integers(1, 10_000), min_size=1, max_size=50).map(lambda counts: sorted(counts, reverse=True))
SAMPLINGS = st.builds(
    Sampling, temperature=st.just(0.0) | st.floats(5e-324, 2), top_p=st.floats(0, 1), n=st.integers(1, 128)
)
DRAWS = 8_000
PINNED = [[0, 1, 2, 3], [1, 2, 0, 3], [0, 1, 2, 3], [1, 0, 2, 3]]
PINNED_KEY = 5323546499304263587


@pytest.mark.parametrize("temperature", [0.25, 0.5, 1.0, 2.0])
def test_weights_are_counts_to_the_power_of_one_over_temperature(temperature: float) -> None:
    """In 8,000 draws each text gets its share, within four standard deviations."""
    counts = [6, 3, 2, 1]
    drawn = Counter(draw(counts, Sampling(temperature=temperature), key)[0] for key in range(DRAWS))
    weights = [count ** (1 / temperature) for count in counts]
    for index, weight in enumerate(weights):
        share = weight / sum(weights)
        assert abs(drawn[index] - DRAWS * share) <= 4 * (DRAWS * share * (1 - share)) ** 0.5


def test_several_answers_are_drawn_without_replacement() -> None:
    """The second answer is drawn from the rest, in proportion."""
    counts = [6, 3, 1]
    drawn = Counter(tuple(draw(counts, Sampling(n=2), key)) for key in range(DRAWS))
    for first in range(3):
        for second in range(3):
            share = counts[first] / 10 * counts[second] / (10 - counts[first]) if first != second else 0
            assert abs(drawn[first, second] - DRAWS * share) <= 4 * (DRAWS * share * (1 - share)) ** 0.5


def test_temperature_zero_takes_the_most_frequent() -> None:
    """The first of equally frequent texts is taken; with n, the n most frequent."""
    assert draw([5, 5, 2], Sampling(temperature=0), 1) == [0]
    assert draw([5, 5, 2], Sampling(temperature=0, n=2), 1) == [0, 1]
    assert draw([5, 5, 2], Sampling(temperature=0, n=2, top_p=0.5), 1) == [0, 0]


@pytest.mark.parametrize(
    ("counts", "temperature", "top_p", "size"),
    [
        ([5, 3, 2], 1, 1, 3),
        ([5, 3, 2], 1, 0.81, 3),
        ([5, 3, 2], 1, 0.8, 2),
        ([5, 3, 2], 1, 0.5, 1),
        ([5, 3, 2], 1, 0.51, 2),
        ([5, 3, 2], 1, 0, 1),
        ([1] * 10, 1, 0.3, 3),
        ([1] * 10, 1, 0.7, 7),
        ([4, 2, 2], 0.5, 0.66, 1),  # 16, 4, 4 of 24
        ([4, 2, 2], 0.5, 0.67, 2),
        ([5, 3, 2], 0, 0.99, 1),
        ([5, 3, 2], 0, 1, 3),
    ],
)
def test_top_p_keeps_the_nucleus(counts: list[int], temperature: float, top_p: float, size: int) -> None:
    """The nucleus is the fewest texts whose probabilities, after the temperature, add up to top_p."""
    assert nucleus(counts, Sampling(temperature=temperature, top_p=top_p)) == size


@given(COUNTS, SAMPLINGS, st.integers(0, 2**64 - 1))
def test_a_draw_is_of_the_nucleus_different_and_repeatable(counts: list[int], sampling: Sampling, key: int) -> None:
    """Answers repeat only after all came once; a larger n begins with the same answers."""
    drawn = draw(counts, sampling, key)
    size = nucleus(counts, sampling)
    assert 1 <= size <= len(counts)
    assert len(drawn) == sampling.n
    assert set(drawn) <= set(range(size))
    assert len(set(drawn)) == min(sampling.n, size)
    assert drawn == draw(counts, sampling, key)
    alone = Sampling(temperature=sampling.temperature, top_p=sampling.top_p)
    assert draw(counts, alone, key) == drawn[:1]


def test_a_temperature_next_to_zero_is_zero() -> None:
    """A temperature near zero does not overflow."""
    assert draw([3, 2, 2, 1], Sampling(temperature=5e-324, n=1), 9) == [0]
    assert nucleus([3, 2, 1], Sampling(temperature=5e-324, top_p=0.999)) == 1


def test_a_draw_is_the_same_everywhere() -> None:
    """The draws are the same on every machine and version of Python."""
    assert [draw([3, 2, 2, 1], Sampling(n=4), key) for key in range(4)] == PINNED
    assert key_of([Message("human", "hi")], None) == PINNED_KEY


def test_a_draw_depends_on_the_request() -> None:
    """The seed, the texts and the roles fix a draw, but not the names of senders."""
    chat = [Message("human", "hi"), Message("gpt", "hello")]
    key = key_of(chat, None)
    assert key == key_of([Message("user", "hi"), Message("bard", "hello")], None)
    others = [
        key_of(chat, 0),
        key_of(chat, 1),
        key_of(chat[:1], None),
        key_of(chat[::-1], None),
        key_of([Message("human", "hi|5:9:assistant"), Message("gpt", "hello")], None),
        key_of([Message("gpt", "hi"), Message("gpt", "hello")], None),
    ]
    assert len({key, *others}) == 7
    assert isclose(sum(key_of([Message("human", str(n))], None) for n in range(1000)) / 1000 / 2**63, 1, abs_tol=0.1)
