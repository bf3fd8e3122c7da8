"""Answers to a chat, on every store: the match, the draw, and the end."""

import asyncio
import threading
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mimic import tokens
from mimic.corpus.cache import OutcomeCache
from mimic.corpus.conversation import Choice, Message, role_of
from mimic.corpus.corpus import Corpus
from mimic.corpus.ladder import MatchPolicy
from mimic.corpus.schemas import VERSIONS, Document, Lookup, Version
from mimic.corpus.stores.base import Batches, Store
from mimic.engine import retrieval as answering
from mimic.engine.base import Answer, Answers, ChatMessage, CompletionRequest, ContinuationsRequest, Limits, Prompt
from mimic.engine.matching.rungs import Match, attempts, find_match, spoken_of
from mimic.engine.outcomes import Outcome, weigh
from mimic.engine.retrieval import RetrievalEngine
from mimic.engine.sampling import Sampling, draw, key_of
from mimic.errors import NoCompletion, NotSeeded
from tests.support import corpora
from tests.support.corpora import Dump, Pairs, conversation, reference

pytestmark = pytest.mark.anyio

DUMP: Dump = [
    conversation("a", ("human", "hi"), ("gpt", "hello"), ("human", "continue"), ("gpt", "after hello")),
    conversation("b", ("user", "hi"), ("bing", "hello"), ("user", "continue"), ("bing", "bing after hello")),
    conversation("c", ("human", "hi"), ("chatgpt", "hey"), ("human", "continue"), ("gpt", "after hey")),
    conversation("d", ("gpt", "so on"), ("human", "continue"), ("gpt", "after hey")),
    conversation("e", ("system", "be brief"), ("human", "hi"), ("gpt", "yo")),
    conversation("f", ("human", "weather?"), ("gpt", "rain"), ("tool", "sun"), ("gpt", "sun, then")),
]

DEFAULT = Sampling()


def chat(*said: tuple[str, str]) -> list[Message]:
    """A chat with the senders of the corpus."""
    return [Message(sender, text) for sender, text in said]


async def fill(store: Store, dump: Dump, folder: Path, version: Version = "v3") -> None:
    """Seed one version for exact matches, the only ones of these tests."""
    await corpora.fill(store, dump, folder, [version], depth="last")


async def ask(
    store: Store,
    *said: tuple[str, str],
    version: Version = "v3",
    sampling: Sampling = DEFAULT,
) -> Answers:
    """Answer a chat by exact matches; tests/unit/engine/test_matching.py covers the other rungs."""
    return await answer(RetrievalEngine(Corpus(store)), *said, version=version, sampling=sampling)


async def answer(
    engine: RetrievalEngine, *said: tuple[str, str], version: Version = "v3", sampling: Sampling = DEFAULT
) -> Answers:
    """Ask an engine, with the senders of the corpus."""
    prompt = Prompt([ChatMessage(role_of(sender), text) for sender, text in said])
    request = CompletionRequest(
        model="mimic", version=version, prompts=[prompt], sampling=sampling, policy=MatchPolicy("last")
    )
    return await engine.answer(prompt, request)


async def match(corpus: Corpus, said: Pairs, version: Version, *, kept: int = 100_000) -> Match[Sequence[Outcome]]:
    """Match a chat, and weigh its continuations."""
    look_up = partial(weigh, corpus, version=version, kept_characters=kept)
    return await find_match(corpus, chat(*said), version, MatchPolicy("last"), look_up)


def texts(found: Answers) -> list[str]:
    """The texts of the answers."""
    return [one.text for one in found.answers]


def by_role(said: Pairs, role: dict[str, str]) -> list[tuple[str, str]]:
    """Messages with roles for senders."""
    return [(role.get(sender, sender), text) for sender, text in said]


async def test_the_last_two_messages_win_over_the_last_alone(filled: Store) -> None:
    """In v3 the pair by role wins; the last message alone answers if the pair is unknown."""
    pair = await ask(filled, ("gpt", "hello"), ("human", "continue"), sampling=Sampling(n=2, temperature=0))
    assert (pair.rung, texts(pair)) == ("previous", ["after hello", "bing after hello"])
    alone = await ask(filled, ("gpt", "my own words"), ("human", "continue"), sampling=Sampling(n=3, temperature=0))
    assert (alone.rung, texts(alone)) == ("last", ["after hey", "after hello", "bing after hello"])
    for version in ("v1", "v2"):
        found = await ask(
            filled, ("gpt", "hello"), ("human", "continue"), version=version, sampling=Sampling(temperature=0)
        )
        assert (found.rung, texts(found)) == ("last", ["after hey"])


async def test_messages_of_applications_do_not_stop_a_match(filled: Store) -> None:
    """System messages, a tool's, and an assistant's without text stop no match; but the corpus may have them."""
    assistant = ("system", "You are a helpful assistant.")
    in_front = await ask(filled, assistant, ("human", "continue"))
    assert in_front.rung == "last"
    between = await ask(filled, ("gpt", "hey"), assistant, ("human", "continue"))
    assert (between.rung, texts(between)) == ("previous", ["after hey"])
    called = await ask(filled, ("human", "weather?"), ("gpt", ""), ("tool", '{"sky": "grey"}'))
    assert (called.rung, texts(called)) == ("last", ["rain"])
    known = await ask(filled, ("system", "be brief"), ("human", "hi"))
    assert (known.rung, texts(known)) == ("previous", ["yo"])
    known = await ask(filled, ("human", "weather?"), ("gpt", "rain"), ("tool", "sun"))
    assert (known.rung, texts(known)) == ("previous", ["sun, then"])
    with pytest.raises(NoCompletion):
        await ask(filled, ("system", "be wordy"))


async def test_an_unknown_message_has_no_answer(filled: Store) -> None:
    """Unknown messages, messages in another role, and messages that were always the last have no answer."""
    for said in (("human", "never said"), ("gpt", "hi"), ("human", "hi "), ("gpt", "sun, then")):
        with pytest.raises(NoCompletion):
            await ask(filled, said)


async def test_an_empty_store_has_no_answer(store: Store) -> None:
    """A request before the first seeding gets an error of its own."""
    with pytest.raises(NotSeeded):
        await ask(store, ("human", "hi"))


@pytest.mark.parametrize("version", VERSIONS)
async def test_outcomes_are_the_texts_of_the_reference_with_how_often_they_came(
    filled: Store, version: Version
) -> None:
    """The most frequent come first, then in corpus order; each with the place of its first occurrence."""
    role = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant"}
    plain = [
        conversation(talk["id"], *by_role([(one["from"], one["value"]) for one in talk["conversations"]], role))
        for talk in DUMP
    ]
    for said in ([("human", "hi")], [("human", "continue")], [("gpt", "hello"), ("human", "continue")]):
        counted = Counter(text for _, text in reference(plain, by_role(said, role), version))
        matched = await match(Corpus(filled), said, version)
        found = [(one.choice.message.value, one.count) for one in matched.found if one.choice]
        assert found == counted.most_common()
        for outcome in matched.found:
            assert outcome.choice
            place = next(talk for talk in DUMP if talk["id"] == outcome.choice.conversation)
            there = place["conversations"][outcome.choice.position]
            assert there == {"from": outcome.choice.message.sender, "value": outcome.choice.message.value}


async def test_the_same_request_is_drawn_the_same(filled: Store) -> None:
    """The draw follows the formula on every store; another seed gives another draw, repeatable."""
    ordered = ["after hey", "after hello", "bing after hello"]
    for seed in (None, *range(20)):
        [expected] = draw([2, 1, 1], Sampling(), key_of(chat(("human", "continue")), seed))
        for _ in range(2):
            found = await ask(filled, ("human", "continue"), sampling=Sampling(seed=seed))
            assert texts(found) == [ordered[expected]]
    many = await ask(filled, ("human", "continue"), sampling=Sampling(n=7))
    assert set(texts(many)) == set(ordered)
    assert texts(many)[:1] == texts(await ask(filled, ("human", "continue")))


async def test_long_continuations_are_read_again(store: Store, tmp_path: Path) -> None:
    """With almost no memory for texts the answers are the same."""
    answers = [conversation(str(n), ("human", "continue"), ("gpt", f"answer {n % 40}")) for n in range(300)]
    await fill(store, answers, tmp_path)
    asked = Sampling(n=50, seed=3)
    kept = await ask(store, ("human", "continue"), sampling=asked)
    found = await match(Corpus(store), [("human", "continue")], "v3", kept=30)
    assert sum(outcome.choice is not None for outcome in found.found) == 3
    engine = RetrievalEngine(Corpus(store), kept_characters=30)
    assert await answer(engine, ("human", "continue"), sampling=asked) == kept
    assert [one.source.position for one in kept.answers if one.source] == [1] * 50


async def test_a_corpus_replaced_in_between_is_asked_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the corpus changes between match and reading, the whole answer is of the new one, or there is none."""
    old = [conversation(str(n), ("human", "continue"), ("gpt", f"old {n}")) for n in range(9)]
    new = [conversation(str(n), ("human", "continue"), ("gpt", f"new {n}")) for n in range(5)]
    await fill(store, old, tmp_path)
    dumps = [[*DUMP[4:], conversation("x", ("human", "other"), ("gpt", "words"))], new]

    async def find_and_replace(*arguments: Any) -> Match[Sequence[Outcome]]:
        found: Match[Sequence[Outcome]] = await find_match(*arguments)
        if dumps:
            await fill(store, dumps.pop(), tmp_path)
        return found

    monkeypatch.setattr(answering, "find_match", find_and_replace)
    engine = RetrievalEngine(Corpus(store), kept_characters=0)
    with pytest.raises(NoCompletion):
        await answer(engine, ("human", "continue"), sampling=Sampling(n=9))
    as_long = [conversation(str(n), ("human", "continue"), ("gpt", f"other {n}")) for n in range(9)]
    for dump, word in ((new, "new"), (as_long, "other")):
        dumps.append(dump)
        await fill(store, old, tmp_path)
        found = await answer(engine, ("human", "continue"), sampling=Sampling(n=5))
        assert [text.split()[0] for text in texts(found)] == [word] * 5
        assert len(set(texts(found))) == 5


async def test_long_computations_are_cached(store: Store, tmp_path: Path) -> None:
    """Long results are cached per corpus, up to a number of messages."""
    common = ("continue", "go on", "hi")

    def dump(word: str) -> Dump:
        return [
            conversation(f"{said}{n}", ("human", said), ("gpt", f"{word} {n}")) for said in common for n in range(300)
        ]

    await fill(store, dump("old"), tmp_path, "v2")
    corpus = Corpus(store, OutcomeCache(store.seeded, max_entries=2))
    found = {said: await match(corpus, [("human", said)], "v2") for said in common}
    assert [len(one.found) for one in found.values()] == [300] * 3
    assert len(corpus.outcome_cache) == 2
    again = {said: await match(corpus, [("human", said)], "v2") for said in reversed(common)}
    assert again == found
    assert [again[said].found is found[said].found for said in common] == [False, True, True]
    await fill(store, dump("new"), tmp_path, "v2")
    answered = await answer(RetrievalEngine(corpus), ("human", "go on"), version="v2", sampling=Sampling(n=9))
    assert [text.split()[0] for text in texts(answered)] == ["new"] * 9
    small = Corpus(store, OutcomeCache(store.seeded, max_items=299))
    await match(small, [("human", "hi")], "v2")
    assert len(small.outcome_cache) == 0


async def test_scans_are_cached(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """For v1 the whole corpus is read, which takes seconds for a large one."""
    asked, find = [], filled.find

    async def counted(lookup: Lookup, limit: int | None = None) -> Batches[Document]:
        asked.append(lookup)
        return await find(lookup, limit)

    monkeypatch.setattr(filled, "find", counted)
    corpus = Corpus(filled)
    for _ in range(2):
        [outcome, *_] = await weigh(corpus, [Message("human", "hi")], "v1")
        assert outcome.count == 2
    assert len(asked) == 1


async def test_continuations_of_a_match_are_looked_up_once(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rung returns its continuations, which are not read again after the weighing."""
    asked, find = [], filled.find

    async def counted(lookup: Lookup, limit: int | None = None) -> Batches[Document]:
        asked.append(lookup)
        return await find(lookup, limit)

    monkeypatch.setattr(filled, "find", counted)
    request = ContinuationsRequest([Message("human", "hi")], "v2", policy=MatchPolicy("last"))
    found = await RetrievalEngine(Corpus(filled)).continuations(request)
    assert (found.rung, found.score, len(found.batches.first)) == ("last", 1.0, 4)
    assert len(asked) == 1


async def test_results_of_a_replaced_corpus_are_not_cached(store: Store, tmp_path: Path) -> None:
    """The result may be of the old corpus or of the new one, so it is not cached."""
    answers = [conversation(str(n), ("human", "continue"), ("gpt", f"answer {n}")) for n in range(150)]
    await fill(store, answers, tmp_path, "v2")
    outcome_cache = Corpus(store).outcome_cache

    async def work() -> list[int]:
        await fill(store, answers[1:], tmp_path, "v2")
        return [1, 2, 3]

    asked = chat(("human", "continue"))
    assert await outcome_cache.get_or_compute("v2", asked, work) == [1, 2, 3]
    assert await outcome_cache.get("v2", asked) is None


def said_by(*senders: str) -> list[tuple[str, list[str]]]:
    """The rungs for a chat of these senders, as the senders that each looks for."""
    messages = chat(*((sender, f"{number}") for number, sender in enumerate(senders)))
    return [(rung, [one.sender for one in asked]) for rung, asked in attempts(messages, spoken_of(messages), "v3")]


def test_the_rungs_of_the_ladder() -> None:
    """Two messages and then one, first with all messages, then without those of applications."""
    assert said_by("human") == [("last", ["human"])]
    assert said_by("human", "gpt", "human") == [("previous", ["gpt", "human"]), ("last", ["human"])]
    assert said_by("system", "human") == [("previous", ["system", "human"]), ("last", ["human"]), ("last", ["human"])]
    assert said_by("human", "tool") == [("previous", ["human", "tool"]), ("last", ["tool"]), ("last", ["human"])]
    assert said_by("system") == [("last", ["system"])]
    messages = chat(("gpt", "a"), ("human", "b"))
    assert [rung for rung, _ in attempts(messages, messages, "v2")] == ["last"]


async def ended(text: str, stop: list[str], most: int | None) -> Answer:
    """A text with its end."""
    choice = Choice(Message("gpt", text), "a", 1, 0)
    [answer] = await answering.cut_answers([text], [choice], Limits(stop, most))
    return answer


@pytest.mark.parametrize(
    ("text", "stop", "most", "expected", "reason"),
    [
        ("one two three", [], None, "one two three", "stop"),
        ("one two three", [], 3, "one two three", "stop"),
        ("one two three", [], 2, "one two", "length"),
        ("one two three", ["three"], None, "one two ", "stop"),
        ("one two three", ["three", " two"], None, "one", "stop"),
        ("one two three", ["never"], None, "one two three", "stop"),
        ("one two three", ["three"], 1, "one", "length"),
        ("one two three", ["two"], 2, "one ", "stop"),
        ("one two three", [""], None, "one two three", "stop"),
        ("one two three", ["one"], None, "", "stop"),
        ("", [], 1, "", "stop"),
        ("𒀀 good", [], 1, "", "length"),
    ],
)
async def test_where_answers_end(text: str, stop: list[str], most: int | None, expected: str, reason: str) -> None:
    """An answer ends before the first stop text, or after the limit of tokens, and counts the tokens left."""
    found = await ended(text, stop, most)
    assert (found.text, found.finish_reason) == (expected, reason)
    assert "".join(tokens.decode(found.tokens)) == expected


async def test_a_cut_answer_has_the_tokens_that_were_made() -> None:
    """Whole characters of the beginning are kept; for prose the tokens equal those of the text left."""
    text = "It's 12345.6 o'clock — naïve? 你好吗, don't HTTPServer()\r\n\r\n    indented\tby 4  \n👍🏽"
    for most in range(1, tokens.count(text)):
        found = await ended(text, [], most)
        assert tokens.encode(found.text) == list(found.tokens)
        assert text.startswith(found.text)
        assert len(found.tokens) <= most
    assert len((await ended("| a |\t\t| b |", [], 5)).tokens) == 5


async def test_huge_answers_are_encoded_in_a_thread(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Huge answers, single or several, are encoded in a thread, whole, with all their tokens."""
    threads: list[bool] = []
    encode = tokens.encode

    def watched(text: str) -> list[int]:
        threads.append(threading.current_thread() is not threading.main_thread())
        return encode(text)

    monkeypatch.setattr(tokens, "encode", watched)
    huge, large = "word " * 100_000, "word " * 11_000
    talks = [conversation(str(n), ("human", "large"), ("gpt", f"{n} {large}")) for n in range(3)]
    await fill(store, [conversation("a", ("human", "hi"), ("gpt", huge)), *talks], tmp_path)
    found = await ask(store, ("human", "hi"))
    assert texts(found) == [huge]
    assert len(found.answers[0].tokens) == 100_001
    await ask(store, ("human", "large"), sampling=Sampling(n=2))
    assert threads == [True] * 3
    await ask(store, ("human", "large"))
    assert threads == [True] * 3 + [False]


async def test_others_are_served_while_a_common_message_is_weighed(store: Store, tmp_path: Path) -> None:
    """Requests are served between two batches of answers, on an embedded store too."""
    answers = [conversation(str(n), ("human", "continue"), ("gpt", f"{n} " + "x" * 20_000)) for n in range(400)]
    await fill(store, answers, tmp_path)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await ask(store, ("human", "continue"))
    counting.cancel()
    assert turns >= 30  # 8 MB are 31 batches
