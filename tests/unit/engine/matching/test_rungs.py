"""The rungs below exact matches, on every store: their matches, choices and needs."""

import re
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mimic.corpus.conversation import Conversation, Message
from mimic.corpus.corpus import Corpus
from mimic.corpus.ladder import DEPTHS, Depth, MatchPolicy
from mimic.corpus.schemas import VERSIONS, Version
from mimic.corpus.similar import index as match_index
from mimic.corpus.similar.index import IndexWriter, MatchIndex
from mimic.corpus.stores import Driver, open_store
from mimic.corpus.stores.base import Store
from mimic.corpus.stores.mongodb.timings import Timings
from mimic.engine.matching.rungs import Match, find_match
from mimic.engine.outcomes import Outcome, weigh
from mimic.errors import Detached, NoCompletion, RungNotSeeded, StoreFull, UnusableStore
from tests.support.corpora import Dump, conversation, fill
from tests.support.stores import open_quickly

pytestmark = pytest.mark.anyio

DEFAULT_POLICY = MatchPolicy()
LIST = "How do I reverse a linked list in Python?"
FRANCE = "What is the capital of France, and how many people live there?"
DUMP: Dump = [
    conversation("list", ("human", LIST), ("gpt", "Walk along it, and turn each pointer around.")),
    conversation("paris", ("human", FRANCE), ("gpt", "Paris, two million.")),
    conversation("haiku", ("human", "Write a haiku"), ("gpt", "Old pond"), ("human", "continue"), ("gpt", "a frog")),
    conversation("code", ("human", "Write code"), ("gpt", "print(1)"), ("human", "continue"), ("gpt", "print(2)")),
    conversation("shout", ("human", "CONTINUE!"), ("gpt", "go on yourself")),
    conversation("zh", ("human", "我最近总是睡不好觉，该怎么办？"), ("gpt", "睡前不要看手机。")),  # noqa: RUF001
    conversation("role", ("gpt", "what is love"), ("human", "a song")),
    conversation("tool", ("tool", "It is 20 degrees outside"), ("gpt", "Nice weather.")),
    conversation("last", ("human", "Hello"), ("gpt", "Hi"), ("human", "Nobody answered this question about llamas")),
]


@pytest.fixture
def corpus(filled: Store) -> Corpus:
    """The corpus of DUMP, on each backend."""
    return Corpus(filled)


async def find(
    corpus: Corpus, *said: tuple[str, str], version: Version = "v3", policy: MatchPolicy = DEFAULT_POLICY
) -> Match[Sequence[Outcome]]:
    """Match a chat of a user."""
    return await match_in(corpus, [Message(sender, text) for sender, text in said], version, policy)


async def match_in(
    corpus: Corpus, messages: list[Message], version: Version = "v3", policy: MatchPolicy = DEFAULT_POLICY
) -> Match[Sequence[Outcome]]:
    """Match a chat, and weigh its continuations."""
    return await find_match(corpus, messages, version, policy, partial(weigh, corpus, version=version))


def answers(match: Match[Sequence[Outcome]]) -> list[str]:
    """The texts of the next messages."""
    return [outcome.choice.message.value for outcome in match.found if outcome.choice]


@pytest.mark.parametrize("version", VERSIONS)
async def test_another_spelling_is_found(corpus: Corpus, version: Version) -> None:
    """The rung `normalized` has the score 1 in every version; an exact text is on the rung above."""
    for text in (LIST.lower(), f"  {LIST.upper()}!!", LIST.replace(" ", "\n"), f"“{LIST}”"):
        match = await find(corpus, ("human", text), version=version)
        assert (match.rung, match.score) == ("normalized", 1)
        assert match.asked == (Message("human", LIST),)
        assert answers(match) == ["Walk along it, and turn each pointer around."]
    match = await find(corpus, ("human", LIST), version=version)
    assert (match.rung, match.score) == ("last", 1)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_similar_message_is_found(corpus: Corpus, version: Version) -> None:
    """Misspelled, reordered and halved texts, Chinese too, are on the rung `nearest`, with a score below 1."""
    for text, answer in (
        ("How do I revrese a linkd list in Pyhton?", "Walk along it, and turn each pointer around."),
        ("in Python a linked list how do I reverse?", "Walk along it, and turn each pointer around."),
        (FRANCE[: len(FRANCE) // 2], "Paris, two million."),
        ("我最近睡不好，怎么办", "睡前不要看手机。"),  # noqa: RUF001
    ):
        match = await find(corpus, ("human", text), version=version)
        assert match.rung == "nearest"
        assert 0.4 < match.score < 1
        assert answers(match) == [answer]


async def test_a_short_word_with_a_mistake_is_found_by_its_parts(corpus: Corpus) -> None:
    """A misspelled word is found by its parts, although it shares no whole word."""
    match = await find(corpus, ("human", "helo"))
    assert (match.rung, answers(match)) == ("nearest", ["Hi"])


async def test_among_equal_matches_the_previous_message_decides(corpus: Corpus) -> None:
    """A similar previous message is enough; without one the most frequent spelling answers, from all of the corpus."""
    for asked in ("Continue.", "contnue"):
        for before, answer in (("old ponds", "a frog"), ("print( 1 )", "print(2)")):
            match = await find(corpus, ("human", "whatever"), ("gpt", before), ("human", asked))
            assert (match.asked[-1], answers(match)) == (Message("human", "continue"), [answer])
            assert len(match.asked) == 2
        match = await find(corpus, ("gpt", "of something else entirely"), ("human", asked))
        assert len(match.asked) == 1
    match = await find(corpus, ("human", "Continue."))
    assert (match.asked, answers(match)) == ((Message("human", "continue"),), ["a frog", "print(2)"])
    for version in ("v1", "v2"):
        match = await find(corpus, ("gpt", "print( 1 )"), ("human", "Continue."), version=version)
        assert answers(match) == ["a frog", "print(2)"]


async def test_the_one_message_before_among_many_is_found(store: Store, tmp_path: Path) -> None:
    """The message is found in the index, not among the first few."""
    words = [f"{first}{second}" for first in "bdfgklmnprst" for second in ("ab", "el", "im", "on", "ur")]
    dump = [
        conversation(
            str(n),
            ("human", f"Tell me {n}"),
            ("gpt", f"The {words[n % 60]} and the {words[n // 60]} {n}"),
            ("human", "continue"),
            ("gpt", f"answer {n}"),
        )
        for n in range(1000)
    ]
    await fill(store, dump, tmp_path, ["v3"])
    corpus = Corpus(store)
    for n in (0, 555, 999):
        before = f"the {words[n % 60]} and the {words[n // 60]}, {n}!"
        match = await find(corpus, ("gpt", before), ("human", "Continue!"))
        assert (match.rung, answers(match)) == ("normalized", [f"answer {n}"])
        match = await find(corpus, ("gpt", before), ("human", "contineu"))
        assert (match.rung, answers(match)) == ("nearest", [f"answer {n}"])


async def test_a_message_of_another_role_is_no_match(corpus: Corpus) -> None:
    """Another role, or a message without a next one, is no match; unknown roles match when normalized only."""
    assert (await find(corpus, ("human", "What is love?"), policy=MatchPolicy(min_score=0))).asked[-1].value == FRANCE
    with pytest.raises(NoCompletion, match="No message is similar"):
        await find(corpus, ("human", "Nobody answered this question about llamas"))
    assert answers(await find(corpus, ("gpt", "What is love?"))) == ["a song"]
    assert (await find(corpus, ("tool", "it is 20 degrees outside"))).rung == "normalized"
    with pytest.raises(NoCompletion):
        await find(corpus, ("tool", "it is 25 degrees outside"))


async def test_messages_of_applications_are_ignored(corpus: Corpus) -> None:
    """A system message and the last message of a tool are ignored."""
    match = await find(corpus, ("system", "You are helpful."), ("human", LIST.lower()), ("tool", "{}"))
    assert answers(match) == ["Walk along it, and turn each pointer around."]


async def test_a_message_without_similar_ones_has_no_answer(corpus: Corpus) -> None:
    """The error has the best score and the required one."""
    for text in ("xyzzy", "", "?!", "👍", "\0", "x" * 200_000, "AND OR (", 'user:"x" -y', "[* TO *]", '{"$gt": ""}'):
        with pytest.raises(
            NoCompletion,
            match=r"(The most similar messages score less than MIMIC_LEAST_SCORE, 0\.45: .*|No message is similar)\.",
        ):
            await find(corpus, ("human", text))
    with pytest.raises(NoCompletion):
        await find(corpus, ("human", "How do I revrese a linkd list in Pyhton?"), policy=MatchPolicy(min_score=0.99))


async def test_it_stops_at_the_lowest_rung(corpus: Corpus) -> None:
    """The search stops at the lowest rung, and the error names it."""
    chats: dict[Depth, list[tuple[str, str]]] = {
        "previous": [("gpt", "Old pond"), ("human", "continue")],
        "last": [("gpt", "something"), ("human", "continue")],
        "normalized": [("gpt", "something"), ("human", "Continue?")],
        "nearest": [("human", "contineu")],
    }
    depths = list(chats)
    for number, depth in enumerate(depths):
        for rung in depths[: number + 1]:
            assert (await find(corpus, *chats[rung], policy=MatchPolicy(depth))).rung == rung
        for rung in depths[number + 1 :]:
            with pytest.raises(NoCompletion, match=f"compared down to the rung '{depth}'"):
                await find(corpus, *chats[rung], policy=MatchPolicy(depth))


RULES = "Follow the house rules, quote no sources, and keep a friendly tone in every sentence that you write."


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_part_of_a_wrapped_text_is_found(corpus: Corpus, version: Version) -> None:
    """A part answers if it is equal, or more similar than the whole."""
    walk = ["Walk along it, and turn each pointer around."]
    for text in (LIST, LIST.lower()):
        match = await find(corpus, ("human", f"{RULES}\n\n{text}"), version=version)
        assert (match.rung, match.score, answers(match)) == ("part", 1, walk)
    match = await find(corpus, ("human", f"{RULES}\nQuestion: How do I revrese a linked list in Python?\nAnswer:"))
    assert (match.rung, answers(match)) == ("part", walk)
    assert 0.6 < match.score < 1


async def test_a_whole_message_takes_precedence_over_its_parts(store: Store, tmp_path: Path) -> None:
    """In every version, also in another spelling."""
    whole = f"{RULES}\n\n{LIST}"
    await fill(store, [*DUMP, conversation("wrapped", ("human", whole), ("gpt", "as a whole"))], tmp_path)
    for version in VERSIONS:
        for text, rung in ((whole, "last"), (whole.upper(), "normalized")):
            match = await find(Corpus(store), ("human", text), version=version)
            assert (match.rung, answers(match)) == (rung, ["as a whole"])


async def test_a_part_has_its_exact_spelling_and_its_previous_message(store: Store, tmp_path: Path) -> None:
    """Among equal messages, the spelling of the part and the message before it decide, as for whole messages."""
    dump = [
        conversation("a", ("human", "What is love?"), ("gpt", "a feeling")),
        *(conversation(f"b{n}", ("human", "what is love"), ("gpt", "a song")) for n in range(3)),
        conversation("c", ("gpt", "About dogs."), ("human", "What is love?"), ("gpt", "a walk")),
    ]
    await fill(store, dump, tmp_path, ["v3"])
    match = await find(Corpus(store), ("human", "The question: What is love?"))
    assert (match.rung, set(answers(match))) == ("part", {"a feeling", "a walk"})
    assert answers(await find(Corpus(store), ("human", "The question: WHAT IS LOVE"))) == ["a song"]
    for before in ("About dogs.", "about dogs"):
        match = await find(Corpus(store), ("gpt", before), ("human", "The question: What is love?"))
        assert (match.rung, len(match.asked)) == ("part", 2 if before == "About dogs." else 1)


async def test_parts_belong_to_the_depth_nearest(store: Store, tmp_path: Path) -> None:
    """A search that ends above it, or a corpus without its index, seeks no parts; templates are of the policy."""
    text = f"Please answer the question: {LIST}"
    await fill(store, DUMP, tmp_path, ["v3"])
    for depth in DEPTHS[: DEPTHS.index("nearest")]:
        with pytest.raises(NoCompletion):
            await find(Corpus(store), ("human", text), policy=MatchPolicy(depth))
    assert (await find(Corpus(store), ("human", text), policy=MatchPolicy("nearest"))).rung == "part"
    shouted = "Say it in other words, and add nothing: Hello"
    templates = ("Say it in other words, and add nothing: {text}",)
    with pytest.raises(NoCompletion):
        await find(Corpus(store), ("human", shouted), policy=MatchPolicy(min_score=0.9))
    policy = MatchPolicy(min_score=0.9, templates=templates)
    assert answers(await find(Corpus(store), ("human", shouted), policy=policy)) == ["Hi"]
    await fill(store, DUMP, tmp_path, ["v3"], depth="normalized")
    with pytest.raises(NoCompletion, match="without the index for the rung 'nearest'"):
        await find(Corpus(store), ("human", text))


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_chat_that_ends_with_an_answer_is_cut(corpus: Corpus, version: Version) -> None:
    """The assistant's message is sought byte for byte; else the user's last message before it, down the ladder."""
    walk = ["Walk along it, and turn each pointer around."]
    match = await find(corpus, ("human", LIST), ("gpt", "what is love"), version=version)
    assert (match.rung, answers(match)) == ("last", ["a song"])
    for text, rung in ((LIST, "last"), (LIST.upper(), "normalized"), ("How do I revrese a linkd list?", "nearest")):
        for rest in ([("gpt", "Sure,")], [("gpt", "Sure,"), ("gpt", "here it is")], [("gpt", "{"), ("system", "JSON")]):
            match = await find(corpus, ("human", "Hello"), ("human", text), *rest, version=version)
            assert (match.rung, answers(match)) == (rung, walk)
    match = await find(corpus, ("human", ""), ("gpt", "What is love?"), version=version)
    assert (match.rung, answers(match)) == ("normalized", ["a song"])
    chat = [("human", LIST), ("gpt", "Sure,"), ("function_call", "{}"), ("observation", "done")]
    assert answers(await find(corpus, *chat, version=version)) == walk
    with pytest.raises(NoCompletion, match="nothing follows 'done' of the role 'result'"):
        await find(corpus, *chat, version=version, policy=MatchPolicy(keeps_tools=True))
    with pytest.raises(NoCompletion, match="nothing follows 'xyzzy' of the role 'user'"):
        await find(corpus, ("human", "xyzzy"), ("gpt", "Walk along"), version=version)


@pytest.mark.parametrize("seeded", ["last", "normalized"])
async def test_a_rung_that_was_not_seeded_is_an_error(store: Store, tmp_path: Path, seeded: Depth) -> None:
    """A request for that rung gets an error of its own, if needed; others get a miss with the reason."""
    await fill(store, DUMP, tmp_path, ["v3"], depth=seeded)
    assert (await find(Corpus(store), ("human", LIST), policy=MatchPolicy("nearest"))).rung == "last"
    missing = "normalized" if seeded == "last" else "nearest"
    with pytest.raises(RungNotSeeded, match=f"v3 was seeded without the index for the rung '{missing}'"):
        await find(Corpus(store), ("human", "contineu"), policy=MatchPolicy("nearest"))
    with pytest.raises(NoCompletion, match=f"since v3 was seeded without the index for the rung '{missing}'"):
        await find(Corpus(store), ("human", "contineu"))
    if seeded == "normalized":
        assert (await find(Corpus(store), ("human", "Continue?"))).rung == "normalized"


async def test_versions_keep_the_index_they_were_seeded_with(store: Store, tmp_path: Path) -> None:
    """Versions seeded together share an index, which is removed with the last of them."""
    await fill(store, DUMP, tmp_path)
    other: Dump = [conversation("other", ("human", "Where are the llamas?"), ("gpt", "In the Andes."))]
    await fill(store, other, tmp_path, ["v3"])
    seeded = await store.seeded()
    first, second = seeded["v1"].index, seeded["v3"].index
    assert first and second and seeded["v2"].index == first != second  # noqa: PT018
    assert (first.depth, first.messages) == ("nearest", sum(len(one["conversations"]) - 1 for one in DUMP))
    assert answers(await find(Corpus(store), ("human", "where are the llamas"))) == ["In the Andes."]
    assert answers(await find(Corpus(store), ("human", LIST.upper()), version="v2"))[0].startswith("Walk")
    with pytest.raises(NoCompletion):
        await find(Corpus(store), ("human", LIST.upper()))
    await fill(store, other, tmp_path, ["v1", "v2"])
    with pytest.raises(Detached):
        async with store.attached(first.id):
            pass


async def test_an_open_corpus_sees_the_new_index(store: Store, tmp_path: Path) -> None:
    """The index that the corpus had open is closed."""
    corpus = Corpus(store)
    for number in range(3):
        text = f"Where are the llamas number {number} {'abc'[number]}?"
        await fill(store, [conversation("x", ("human", text), ("gpt", f"{number}"))], tmp_path, ["v3"])
        match = await match_in(corpus, [Message("human", text.upper())])
        assert answers(match) == [str(number)]
        assert len(corpus._indexes) == 1


async def test_a_replaced_index_is_closed(store: Store, tmp_path: Path) -> None:
    """The space of a replaced index is freed, also if the new corpus has none."""
    corpus = Corpus(store)
    await fill(store, DUMP, tmp_path, ["v3"])
    assert (await match_in(corpus, [Message("human", LIST.upper())])).rung == "normalized"
    assert len(corpus._indexes) == 1
    await fill(store, DUMP, tmp_path, ["v3"], depth="last")
    with pytest.raises(NoCompletion):
        await match_in(corpus, [Message("human", LIST.upper())])
    assert corpus._indexes == {}


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
async def test_an_index_that_was_just_replaced_is_not_damaged(mongodb_url: str, driver: Driver, tmp_path: Path) -> None:
    """A reader with an outdated catalogue asks again."""
    timings = Timings(catalogue_seconds=600, grace_seconds=0)
    async with (
        open_quickly(mongodb_url, driver, timings) as reader,
        open_quickly(mongodb_url, driver, timings) as seeder,
    ):
        await fill(seeder, DUMP, tmp_path, ["v3"])
        before = await reader.seeded()
        await fill(seeder, DUMP, tmp_path, ["v3"])
        assert await reader.seeded() == before
        await Corpus(reader).index("v3")
        assert await reader.seeded() != before


async def test_a_corpus_replaced_in_between_is_asked_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the corpus changes between search and reading, the answer is in the corpus."""
    old = [conversation(str(n), ("human", f"Old question about llamas {n}"), ("gpt", f"old {n}")) for n in range(40)]
    new = [conversation("n", ("human", "x")), conversation("m", ("human", "Old question about LLAMAS"), ("gpt", "new"))]
    await fill(store, old, tmp_path, ["v3"])
    said, corpus = Corpus.messages_at, Corpus(store)
    replacements = [new]

    async def replace_first(*arguments: object) -> object:
        if replacements:
            await fill(store, replacements.pop(), tmp_path, ["v3"])
        return await said(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Corpus, "messages_at", replace_first)
    match = await match_in(corpus, [Message("human", "old questions about llamas")])
    assert answers(match) == ["new"]


async def test_both_stores_answer_the_same(tmp_path: Path, sqlite_url: str, mongodb_url: str) -> None:
    """Rung, score and messages are the same for all questions."""
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"]
    dump = [
        conversation(
            str(n),
            ("human", f"{words[n % 8]} {words[n * 3 % 8]} {n % 50}"),
            ("gpt", f"{words[n * 5 % 8]}"),
            ("human", "go on"),
            ("gpt", f"{n}"),
        )
        for n in range(300)
    ]
    async with open_store(sqlite_url) as one, open_store(mongodb_url) as other:
        for store in (one, other):
            await fill(store, dump, tmp_path)
        corpora = (Corpus(one), Corpus(other))
        asked = [
            [("human", f"{words[n % 8]}, {words[n % 7]}! {n}"), ("gpt", f"{words[n % 5]}s"), ("human", text)]
            for n, text in enumerate(["go on", "GO ON", "goo on", *(f"{word} {n}" for n in range(2) for word in words)])
        ]
        for chat in asked:
            for version in VERSIONS:
                policy = MatchPolicy(min_score=0)
                matches = [await find(corpus, *chat, version=version, policy=policy) for corpus in corpora]
                assert matches[0] == matches[1]


async def test_a_damaged_or_missing_index_is_an_error(sqlite_url: str, tmp_path: Path) -> None:
    """Exact matches still answer. A copied file without its folder lacks the index, too."""
    async with open_store(sqlite_url) as store:
        await fill(store, DUMP, tmp_path)
        [folder] = tmp_path.glob("corpus.db.index-*")
        for file in folder.iterdir():
            file.write_bytes(b"not an index")
        with pytest.raises(
            UnusableStore, match="the index of the corpus is damaged, or of another version of Mimic: seed again"
        ):
            await find(Corpus(store), ("human", "contineu"))
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
        with pytest.raises(UnusableStore, match=f"{re.escape(str(folder))} is missing"):
            await find(Corpus(store), ("human", "contineu"))
        assert (await find(Corpus(store), ("human", LIST))).rung == "last"


async def test_a_read_only_folder_is_enough(sqlite_url: str, tmp_path: Path) -> None:
    """Opening an index writes nothing beside it."""
    async with open_store(sqlite_url) as store:
        await fill(store, DUMP, tmp_path)
        [folder] = tmp_path.glob("corpus.db.index-*")
        before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
        assert (await find(Corpus(store), ("human", "contineu"))).rung == "nearest"
        assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before


async def test_the_index_is_searched_in_threads_of_its_own(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other requests are served during a long search."""
    threads: list[str] = []
    for name in ("equal", "similar", "misspelt"):
        search = getattr(MatchIndex, name)

        def watched(*arguments: object, search: Any = search) -> object:
            threads.append(threading.current_thread().name.partition("_")[0])
            return search(*arguments)

        monkeypatch.setattr(MatchIndex, name, watched)
    async with open_store(sqlite_url) as store:
        await fill(store, DUMP, tmp_path)
        await find(Corpus(store), ("human", "helo"))
    assert threads == ["mimic-search"] * 3


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    """/dev/full, in place of the disk, gives the store's error for a full disk."""
    with pytest.raises(StoreFull, match="no space left for the index"), match_index._writing():
        Path("/dev/full").write_bytes(b"x" * 10_000)


def test_an_index_is_searched_by_rare_terms(tmp_path: Path) -> None:
    """Of a long message only the rarest terms are searched."""
    with IndexWriter(tmp_path) as writer:
        for n in range(50):
            text = f"the same words in every message and one that is rare {n}"
            writer.add(Conversation(str(n), [Message("human", text), Message("gpt", "x")]))
        writer.finish()
    index = MatchIndex(tmp_path, max_terms=3)
    asked = Message("human", "these are the same words in every message and " + "more " * 10_000 + "rare 33")
    assert [place.conversation for place in index.similar(asked, 1)] == [33]
