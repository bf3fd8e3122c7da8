"""Log probabilities: exact against a plain enumeration of all answers."""

from collections.abc import Sequence
from math import exp, isclose, log, nextafter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimic import tokens
from mimic.corpus.corpus import Corpus
from mimic.corpus.ladder import MatchPolicy
from mimic.corpus.stores.base import Store
from mimic.engine import outcomes, retrieval
from mimic.engine.base import Answers, ChatMessage, CompletionRequest, Limits, Prompt
from mimic.engine.logprobs import NEVER, TokenLogprob, certain, logprobs_of
from mimic.engine.retrieval import RetrievalEngine
from mimic.engine.sampling import Sampling, nucleus
from tests.support.corpora import Dump, conversation

ANSWERS = st.lists(st.lists(st.integers(0, 3), max_size=6), min_size=1, max_size=12)
COUNTS = st.lists(st.integers(1, 10_000), min_size=12, max_size=12).map(lambda counts: sorted(counts, reverse=True))
TEMPERATURES = st.sampled_from([0.1, 0.5, 1.0, 2.0])

SAID = {"Yes, it is.": 5, "Yes, it was.": 3, "Yes": 2, "No.": 2, "Perhaps. Yes, it is.": 1}
"""Answers to the same question, with their counts."""
CALL = '{"name": "look_up", "arguments": {"word": "sky"}}'
DUMP: Dump = [
    *(
        conversation(f"{text}{number}", ("human", "blue?"), ("gpt", text))
        for text, count in SAID.items()
        for number in range(count)
    ),
    *(conversation(f"call{n}", ("human", "grey?"), ("function_call", CALL), ("gpt", "It is.")) for n in range(3)),
    conversation("plain", ("human", "grey?"), ("gpt", "No.")),
]


def enumerated(
    answers: Sequence[Sequence[int]], weights: Sequence[float], index: int, top: int
) -> list[tuple[int, float, list[tuple[int, float]]]]:
    """Each token of an answer, its probability and the most likely ones: plain sums over all answers."""
    found = []
    for position, token in enumerate(answers[index]):
        before = list(answers[index][:position])
        same = [
            (answer, weight) for answer, weight in zip(answers, weights, strict=False) if answer[:position] == before
        ]
        whole = sum(weight for _, weight in same)
        shares = {
            other: sum(weight for answer, weight in same if answer[: position + 1] == [*before, other]) / whole
            for other in range(4)
            if any(answer[: position + 1] == [*before, other] for answer, _ in same)
        }
        best = sorted(shares.items(), key=lambda item: -item[1])[:top]
        found.append((token, shares[token], best))
    return found


@given(ANSWERS, COUNTS, TEMPERATURES, st.integers(0, 5))
def test_the_probabilities_are_those_of_an_enumeration(
    answers: list[list[int]], counts: list[int], temperature: float, top: int
) -> None:
    """Of every answer, whatever others begin with it or are equal to it; the most likely tokens too."""
    weights = [(count / counts[0]) ** (1 / temperature) for count in counts]
    found = logprobs_of(answers, counts, range(len(answers)), temperature, top)
    for index in range(len(answers)):
        expected = enumerated(answers, weights, index, top)
        assert [one.token for one in found[index]] == [token for token, _, _ in expected]
        for one, (_, share, best) in zip(found[index], expected, strict=True):
            assert isclose(exp(one.logprob), share, rel_tol=1e-9)
            assert one.logprob <= 0
            assert [exp(logprob) for _, logprob in one.top] == pytest.approx([other for _, other in best])


@given(ANSWERS, COUNTS, TEMPERATURES, st.data())
def test_an_answer_alone_has_the_same_probabilities(
    answers: list[list[int]], counts: list[int], temperature: float, data: st.DataObject
) -> None:
    """The other answers that were drawn change nothing."""
    index = data.draw(st.integers(0, len(answers) - 1))
    everything = logprobs_of(answers, counts, range(len(answers)), temperature, 2)
    assert logprobs_of(answers, counts, [index], temperature, 2) == {index: everything[index]}


def test_the_end_of_an_answer_counts() -> None:
    """A half of the answers ends after the first token, so the second token has a half; the end itself is no token."""
    found = logprobs_of([[1], [1, 2]], [1, 1], [0, 1], 1.0, 5)
    assert found[0] == [TokenLogprob(1, 0.0, ((1, 0.0),))]
    assert found[1] == [*found[0], TokenLogprob(2, log(0.5), ((2, log(0.5)),))]


def test_temperature_zero_is_certain() -> None:
    """The most frequent answer has the probability 1, and others never come; among answers that begin alike, too."""
    found = logprobs_of([[1, 2], [1, 3], [4, 5], [4, 6], [4]], [2, 2, 1, 1, 1], [0, 3], 0.0, 5)
    assert found[0] == [
        TokenLogprob(1, 0.0, ((1, 0.0), (4, NEVER))),
        TokenLogprob(2, 0.0, ((2, 0.0), (3, NEVER))),
    ]
    assert [one.logprob for one in found[3]] == [NEVER, NEVER]
    assert found[3][1].top == ((5, 0.0), (6, NEVER))


@pytest.mark.parametrize("temperature", [nextafter(0, 1), 1e-300, 1e-3])
def test_a_temperature_near_zero_divides_nothing_by_zero(temperature: float) -> None:
    """Answers that weigh nothing beside the first one have shares among themselves."""
    found = logprobs_of([[1], [2, 3], [2, 4]], [3, 1, 1], [0, 1], temperature, 5)
    assert [one.logprob for one in found[0]] == [0.0]
    assert found[1][0].logprob < -1000
    assert found[1][1].logprob == log(0.5)


def test_certain_tokens_have_no_rivals() -> None:
    """Each token has the probability 1."""
    assert certain([7, 7], 0) == [TokenLogprob(7, 0.0), TokenLogprob(7, 0.0)]
    assert certain([7], 3) == [TokenLogprob(7, 0.0, ((7, 0.0),))]


@pytest.fixture
def corpus(filled: Store) -> Corpus:
    """The corpus of these tests."""
    return Corpus(filled)


async def ask(engine: RetrievalEngine, text: str = "blue?", top: int = 20, **fields: Any) -> Answers:
    """Answers with log probabilities."""
    request = CompletionRequest(
        model="mimic", version="v2", prompts=(), policy=MatchPolicy("last"), logprobs=top, **fields
    )
    return await engine.answer(Prompt([ChatMessage("user", text)]), request)


def probability(found: Answers, index: int) -> float:
    """The product of the probabilities of an answer's tokens."""
    return exp(sum(one.logprob for one in found.answers[index].logprobs))


@pytest.mark.anyio
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
async def test_an_answer_has_its_share_of_the_corpus(corpus: Corpus, temperature: float) -> None:
    """The product over an answer's tokens is its own share and the shares of answers that begin with it."""
    found = await ask(RetrievalEngine(corpus), sampling=Sampling(n=len(SAID), temperature=temperature))
    weights = {text: count ** (1 / temperature) for text, count in SAID.items()}
    whole = sum(weights.values())
    assert {answer.text for answer in found.answers} == set(SAID)
    for index, answer in enumerate(found.answers):
        encoded = tokens.encode(answer.text)
        assert [one.token for one in answer.logprobs] == encoded
        begun = sum(weight for text, weight in weights.items() if tokens.encode(text)[: len(encoded)] == encoded)
        assert isclose(probability(found, index), begun / whole)
    assert not found.is_partial


@pytest.mark.anyio
async def test_only_the_nucleus_counts(corpus: Corpus) -> None:
    """With top_p, rarer answers have no share."""
    sampling = Sampling(n=2, top_p=0.6)
    assert nucleus(list(SAID.values()), sampling) == 2
    found = await ask(RetrievalEngine(corpus), sampling=sampling)
    shares = {answer.text: probability(found, index) for index, answer in enumerate(found.answers)}
    assert shares == pytest.approx({"Yes, it is.": 5 / 8, "Yes, it was.": 3 / 8})


@pytest.mark.anyio
async def test_cut_answers_count_as_the_client_gets_them(corpus: Corpus) -> None:
    """Answers that are equal before a stop text count together; a limit of tokens leaves out the rest."""
    stopped = await ask(RetrievalEngine(corpus), limits=Limits((",",)), sampling=Sampling(temperature=0))
    assert stopped.answers[0].text == "Yes"
    drawn = await ask(RetrievalEngine(corpus), limits=Limits((",",)), sampling=Sampling(n=13))
    shares = {answer.text: probability(drawn, index) for index, answer in enumerate(drawn.answers)}
    assert shares == pytest.approx({"Yes": 10 / 13, "No.": 2 / 13, "Perhaps. Yes": 1 / 13})
    [answer] = (
        await ask(RetrievalEngine(corpus), limits=Limits(max_tokens=1), sampling=Sampling(temperature=0))
    ).answers
    assert (answer.text, len(answer.logprobs)) == ("Yes", 1)
    assert [tokens.text_of([token]) for token, _ in answer.logprobs[0].top] == ["Yes", "No", "Perhaps"]


@pytest.mark.anyio
@pytest.mark.parametrize("inline", [0, 1_000_000])
async def test_answers_are_read_again(corpus: Corpus, monkeypatch: pytest.MonkeyPatch, inline: int) -> None:
    """Answers that are not kept in memory count all the same, on the event loop and in a thread."""
    monkeypatch.setattr(retrieval, "INLINE_CHARACTERS", inline)
    monkeypatch.setattr(outcomes, "READ_AT_ONCE", 2)
    sampling = Sampling(n=3)
    expected = await ask(RetrievalEngine(corpus), sampling=sampling)
    assert await ask(RetrievalEngine(corpus, kept_characters=0), sampling=sampling) == expected


@pytest.mark.anyio
@pytest.mark.parametrize(("name", "most"), [("MAX_ANSWERS", 2), ("MAX_CHARACTERS", 25)])
async def test_the_most_frequent_answers_count(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, name: str, most: int
) -> None:
    """Beyond a limit, rare answers are left out unless they were drawn; the result says so."""
    monkeypatch.setattr(retrieval, name, most)
    frequent = await ask(RetrievalEngine(corpus), sampling=Sampling(temperature=0))
    assert frequent.is_partial
    for seed in range(100):
        drawn = await ask(RetrievalEngine(corpus), sampling=Sampling(temperature=2, seed=seed))
        if drawn.answers[0].text == "No.":
            break
    assert drawn.is_partial
    weights = [count**0.5 for count in (5, 3, 2)]
    assert isclose(probability(drawn, 0), weights[2] / sum(weights))
    every = await ask(RetrievalEngine(corpus), sampling=Sampling(n=len(SAID)))
    assert not every.is_partial


@pytest.mark.anyio
async def test_tool_calls_of_the_corpus_have_no_share(corpus: Corpus) -> None:
    """The text after a call is certain; another answer has no call among its rivals."""
    found = await ask(RetrievalEngine(corpus), "grey?", sampling=Sampling(n=2))
    by_text = {answer.text: answer for answer in found.answers}
    assert by_text["It is."].logprobs == ()
    assert by_text["No."].logprobs == certain(tokens.encode("No."), 20)


@pytest.mark.anyio
async def test_a_single_answer_is_certain(corpus: Corpus) -> None:
    """No log probabilities are computed for it, and none without a request for them."""
    found = await ask(RetrievalEngine(corpus), sampling=Sampling(n=1, top_p=0))
    assert all(one.logprob == 0 for one in found.answers[0].logprobs)
    plain = await RetrievalEngine(corpus).answer(
        Prompt([ChatMessage("user", "blue?")]),
        CompletionRequest(model="mimic", version="v2", prompts=(), policy=MatchPolicy("last")),
    )
    assert plain.answers[0].logprobs == ()
