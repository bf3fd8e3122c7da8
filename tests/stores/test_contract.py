"""The contract of stores, tested on each backend through each driver."""

import asyncio
import json
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo import AsyncMongoClient

from mimic.corpus import schemas
from mimic.corpus.conversation import Message, former_role_of
from mimic.corpus.corpus import Corpus
from mimic.corpus.ladder import Depth
from mimic.corpus.manifest import Report
from mimic.corpus.schemas import SCHEMAS, VERSIONS, Version
from mimic.corpus.stores import Driver
from mimic.corpus.stores.base import Replacement, Store
from mimic.corpus.stores.mongodb.store import MongoDBStore
from mimic.corpus.stores.mongodb.timings import Timings
from mimic.errors import BrokenDump, NoCompletion, NotSeeded, SeedingInProgress
from mimic.tokens import count
from mimic_seed.loader import load
from mimic_seed.source import Source
from tests.support.corpora import (
    SMALL,
    Dump,
    Pairs,
    ask,
    assert_equals_reference,
    conversation,
    fill,
    seed_text,
)
from tests.support.stores import STORES, open_quickly, store_named

pytestmark = pytest.mark.anyio

ODD_TEXTS = [
    "",
    "NUL \0 in the middle",
    "\0",
    'it\'s "quoted" and `ticked` \\ and back\\\\slashed',
    "emoji \U0001f9d1\u200d\U0001f680 and flags \U0001f1e9\U0001f1ea",
    "e\u0301 is not \u00e9",
    "$where: 1",
    '{"$gt": ""}',
    "a.b.c $set",
    "'; DROP TABLE v2; --",
    "% _ * ? [a-z]",
    "line\nbreak\r\n\ttab",
    "\u4f60\u597d\uff0c\u4e16\u754c",
    "\u2028\u2029\ufeff\uffff",
]
LONG_TEXTS = ["x" * 1_000_000, "x" * 999_999 + "y"]


async def test_answers_are_those_of_the_reference(store: Store, tmp_path: Path) -> None:
    """Each message and each pair of a small corpus gets the answers of plain lists, in each version."""
    await fill(store, SMALL, tmp_path)
    await assert_equals_reference(store, SMALL)


async def test_tokens_are_kept_where_they_were_counted(store: Store, tmp_path: Path) -> None:
    """With a count each message has its number of tokens, in each version; answers are the same; without one, none."""
    file = tmp_path / "dump.json"
    file.write_text(json.dumps(SMALL[3:]))
    for count_tokens in (count, None):
        report = await load(Source(file), store, VERSIONS, depth="last", count_tokens=count_tokens)
        await assert_equals_reference(store, SMALL[3:])
        for version, schema in SCHEMAS.items():
            documents = await store.documents(version, range(report.versions[version].documents))
            kept = [number for document in documents for number in schema.tokens(document)]
            said = [message.value for document in documents for message in schema.messages(document)]
            assert kept == ([count(text) for text in said] if count_tokens else [])
            assert len(said) == report.messages


SENDERS = st.sampled_from(["human", "gpt", "system", "$or"])
TEXTS = st.sampled_from(["continue", "hi", "", "a\0b", "$x.y"]) | st.text(st.characters(exclude_categories=["Cs"]))
MESSAGES = st.builds(lambda sender, value: {"from": sender, "value": value}, SENDERS, TEXTS)
DUMPS = st.lists(st.builds(lambda said: {"id": "x", "conversations": said}, st.lists(MESSAGES, max_size=6)), max_size=6)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("backend", "number"),
    [
        ("sqlite", 12),
        ("mongodb-pymongo", 4),
        ("mongodb-motor", 2),
        *(pytest.param(*many, marks=pytest.mark.soak) for many in (("sqlite", 500), ("mongodb-pymongo", 100))),
    ],
)
async def test_answers_equal_the_reference_on_generated_dumps(
    backend: str, number: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """On any dump v1 and v2 agree, v3's choices are among v2's, and order and duplicates are kept."""
    name, _, driver = backend.partition("-")
    url = request.getfixturevalue(f"{name}_url")
    chosen: Driver = "motor" if driver == "motor" else "pymongo"

    async def check(dump: list[dict[str, Any]]) -> None:
        async with open_quickly(url, chosen) as store:
            at_least_one = conversation("0", ("human", "at least one"))
            # An index is made without the store, so generated texts on one backend are enough for it.
            depth: Depth = "nearest" if name == "sqlite" else "last"
            await fill(store, [at_least_one, *dump], tmp_path, batch_size=3, depth=depth)
            await assert_equals_reference(store, dump)
            for element in dump:
                said = [(message["from"], message["value"]) for message in element["conversations"]]
                for pair in pairwise(said):
                    with suppress(NoCompletion):
                        assert set(await ask(store, pair, "v3")) <= set(await ask(store, pair, "v2"))

    @settings(
        max_examples=number,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(DUMPS)
    def run(dump: list[dict[str, Any]]) -> None:
        asyncio.run(check(dump))

    await asyncio.to_thread(run)


async def test_documents_come_by_their_position(store: Store, tmp_path: Path) -> None:
    """Documents have all fields, from a position on; a choice names its document."""
    with pytest.raises(NotSeeded):
        await store.documents("v3", [0])
    await fill(store, SMALL, tmp_path, ["v1", "v3"], depth="last")
    with pytest.raises(NotSeeded):
        await store.documents("v2", [0])
    said = [message for element in SMALL for message in element["conversations"]]
    found = await store.documents("v3", range(1000))
    assert [{"from": one["from"], "value": one["value"]} for one in found] == said
    assert [one["position"] for one in found] == list(range(len(said)))
    assert await store.documents("v3", [4, 3]) == found[3:5]
    assert await store.documents("v3", [len(said)]) == []
    [talk] = await store.documents("v1", [2])
    assert (talk["position"], talk["externalId"], talk["conversations"]) == (2, "b_0", SMALL[2]["conversations"])
    async for batch in await Corpus(store).complete([Message("human", "continue")], "v3"):
        for choice in batch:
            [holder] = await store.documents("v3", [choice.document])
            assert (holder["value"], holder["nextMessageValue"]) == ("continue", choice.message.value)
    async for batch in await Corpus(store).complete([Message("human", "continue")], "v1"):
        for choice in batch:
            [talk] = await store.documents("v1", [choice.document])
            assert talk["conversations"][choice.position]["value"] == choice.message.value


async def test_texts_come_back_as_they_were(store: Store, tmp_path: Path) -> None:
    """NUL, quotes, emoji, 1 MB and query operators are kept in the text, the sender and the answer."""
    odd, long = (
        [conversation(str(index), ("human", text), ("gpt", text)) for index, text in enumerate(texts)]
        for texts in (ODD_TEXTS, LONG_TEXTS)
    )
    odd.append(conversation("senders", ("$gt", "who?"), ("a.b\0c", "me"), ("'\"", "you")))
    for dump in (odd, long):  # apart: each question reads all of v1
        await fill(store, dump, tmp_path)
        await assert_equals_reference(store, dump)


async def test_equal_digests_do_not_make_equal_texts(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers equal the reference's even if all digests are the same."""
    monkeypatch.setattr(schemas, "_as_integer", lambda _: 7)
    await fill(store, SMALL, tmp_path)
    await assert_equals_reference(store, SMALL)


WRITTEN_OTHERWISE: Dump = [
    conversation("a", ("USER", "hi"), ("ASSISTANT", "hello"), (" User", "more"), ("Assistant\n", "of it")),
    conversation("b", ("human", "hi"), ("gpt", "hello"), ("human", "more"), ("gpt", "from a human")),
    conversation("c", ("prompter", "hi"), ("model", "welcome"), ("Bot", "hi"), ("HUMAN", "from a bot")),
    conversation("d", ("Tool", "hi"), ("gpt", "from a tool"), ("tool", "hi"), ("gpt", "from another")),
]


async def by_role(store: Store, messages: Pairs, version: Version) -> list[tuple[str, str]]:
    """The choices for a chat."""
    asked = [Message(sender, value) for sender, value in messages]
    try:
        found = await Corpus(store).complete(asked, version, by_role=True)
    except NoCompletion:
        return []
    return [(choice.message.sender, choice.message.value) for choice in found.first]


async def test_senders_are_compared_by_role_and_kept_as_they_are(store: Store, tmp_path: Path) -> None:
    """Roles ignore case and white space; a request for an exact sender gets that one alone."""
    await fill(store, WRITTEN_OTHERWISE, tmp_path)
    await assert_equals_reference(store, WRITTEN_OTHERWISE)
    for version in VERSIONS:
        hi = [("ASSISTANT", "hello"), ("gpt", "hello"), ("model", "welcome")]
        assert await by_role(store, [("human", "hi")], version) == hi
        assert await by_role(store, [(" USER ", "hi")], version) == hi
        assert await by_role(store, [("gpt", "hi")], version) == [("HUMAN", "from a bot")]
        assert await by_role(store, [("tool", "hi")], version) == [("gpt", "from a tool"), ("gpt", "from another")]
        both = await by_role(store, [("gpt", "hello"), ("human", "more")], version)
        assert both == [("Assistant\n", "of it"), ("gpt", "from a human")]
    found = await store.documents("v2", [0, 2, 3])
    assert [document["from"] for document in found] == ["USER", " User", "Assistant\n"]
    profile = (await store.seeded())["v3"].profile
    assert profile
    assert profile.unreachable_messages == 0
    roles = {one.sender: one.role for one in profile.senders}
    assert (roles["USER"], roles["Bot"], roles["Tool"], roles["tool"]) == ("user", "assistant", "result", "result")


async def test_a_corpus_with_digests_of_former_roles_answers_as_before(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mimic 0.1 knew fewer names, and took each spelling for a role of its own.

    MongoDB finds a last message by its text, whatever its digest; the pair of the last two by a digest as well.
    """
    with monkeypatch.context() as patch:
        patch.setattr(schemas, "role_of", former_role_of)
        await fill(store, WRITTEN_OTHERWISE, tmp_path)
    await assert_equals_reference(store, WRITTEN_OTHERWISE)
    is_by_text = isinstance(store, MongoDBStore)
    hi = [("ASSISTANT", "hello"), ("gpt", "hello"), ("model", "welcome")]
    tool = [("gpt", "from a tool"), ("gpt", "from another")]
    for version in ("v2", "v3"):
        assert await by_role(store, [("human", "hi")], version) == (hi if is_by_text else hi[1:2])
        assert await by_role(store, [("Tool", "hi")], version) == (tool if is_by_text else tool[:1])
        assert await by_role(store, [("Bot", "hi")], version) == [("HUMAN", "from a bot")]
    both = await by_role(store, [("gpt", "hello"), ("human", "more")], "v3")
    assert both == [("gpt", "from a human")]
    corpus = Corpus(store)
    for sender, text in (("Assistant\n", "hello"), ("Bot", "HI!")):
        index = await corpus.index("v3", "normalized")
        places = index.equal(Message(sender, text), None, 10)
        assert [place.index for place in places] == ([1] if text == "hello" else [2])


async def test_many_answers_come_in_bounded_batches_in_order(store: Store, tmp_path: Path) -> None:
    """400 answers of 'continue' come whole, in corpus order, never many at a time; a limit takes the first."""
    dump = [conversation(str(n), ("human", "continue"), ("gpt", f"answer {n}")) for n in range(400)]
    await fill(store, dump, tmp_path, depth="last")
    expected = [("gpt", f"answer {n}") for n in range(400)]
    for version in VERSIONS:
        lookup = SCHEMAS[version].lookup([Message("human", "continue")])
        batches = [batch async for batch in await store.find(lookup)]
        assert max(len(batch) for batch in batches) <= 128
        assert min(len(batch) for batch in batches) > 0
        assert await ask(store, [("human", "continue")], version) == expected
        for limit in (1, 128, 129, 400, 5000):
            assert await ask(store, [("human", "continue")], version, limit) == expected[:limit]


async def test_limit_cuts_within_a_conversation(store: Store, tmp_path: Path) -> None:
    """v1 finds several choices in one document; a limit counts choices, not documents."""
    dump = [conversation("a", *[("human", "continue"), ("gpt", "x")] * 5)]
    await fill(store, dump, tmp_path, depth="last")
    for version in VERSIONS:
        assert await ask(store, [("human", "continue")], version, 3) == [("gpt", "x")] * 3


async def test_nothing_is_seeded_at_first(store: Store) -> None:
    """An empty store reports that no seeding was ever tried."""
    assert await store.seeded() == {}
    assert await store.seeding() is None
    with pytest.raises(NotSeeded, match="nothing has been seeded"):
        await ask(store, [("human", "hi")], "v2")


async def test_versions_are_replaced_one_by_one(store: Store, tmp_path: Path) -> None:
    """Seeding v2 alone replaces v2 and keeps the others; a missing version is named."""
    await fill(store, [conversation("a", ("human", "hi"), ("gpt", "old"))], tmp_path, ["v1", "v2"], depth="last")
    with pytest.raises(NotSeeded, match="v3 has not been seeded"):
        await ask(store, [("human", "hi")], "v3")
    await fill(store, [conversation("a", ("human", "hi"), ("gpt", "new"))], tmp_path, ["v2", "v3"], depth="last")
    assert await ask(store, [("human", "hi")], "v1") == [("gpt", "old")]
    assert await ask(store, [("human", "hi")], "v2") == [("gpt", "new")]
    assert await ask(store, [("human", "hi")], "v3") == [("gpt", "new")]
    assert sorted(await store.seeded()) == ["v1", "v2", "v3"]


async def test_seeded_has_the_counts_and_the_source(store: Store, tmp_path: Path) -> None:
    """The record has counts, sizes, and the file's name, size and SHA-256."""
    report = await fill(store, SMALL, tmp_path)
    seeded = await store.seeded()
    assert {version: entry.documents for version, entry in seeded.items()} == {"v1": 7, "v2": 21, "v3": 21}
    for version, entry in seeded.items():
        assert (entry.conversations, entry.messages) == (7, 21)
        assert entry.source == report.source
        assert entry.size == report.versions[version].size
        assert entry.size.disk_bytes > 0
        assert (entry.size.index_bytes > 0) == bool(SCHEMAS[version].indexes)


async def test_a_seeding_that_fails_leaves_the_old_corpus(store: Store, tmp_path: Path) -> None:
    """No document of a broken dump is visible, and the failure is recorded."""
    await fill(store, SMALL[:3], tmp_path)
    before = await store.seeded()
    with pytest.raises(BrokenDump):
        await seed_text(store, json.dumps([conversation("x", ("human", "hi"), ("gpt", "new"))])[:-1] + ",", tmp_path)
    assert await store.seeded() == before
    await assert_equals_reference(store, SMALL[:3])
    seeding = await store.seeding()
    assert seeding
    assert seeding.state == "failed"
    assert "byte" in (seeding.error or "")


async def test_a_seeding_that_is_stopped_leaves_the_old_corpus(store: Store, tmp_path: Path) -> None:
    """Cancelled between reading and publishing, the seeding is recorded as interrupted."""
    await fill(store, SMALL[:3], tmp_path)

    async def stopped() -> None:
        async with store.replace(["v2"]) as replacement:
            await replacement.add("v2", [{"externalId": "x", "from": "human", "value": "hi", "messageDigest": 1}])
            await asyncio.sleep(60)

    task = asyncio.create_task(stopped())
    async with asyncio.timeout(20):
        while not (seeding := await store.seeding()) or seeding.state != "running":
            await asyncio.sleep(0.02)
    while not task.done():  # asyncio.wait_for, which the driver uses, may swallow a cancellation (before Python 3.12)
        task.cancel()
        await asyncio.wait([task], timeout=0.5)
    seeding = await store.seeding()
    assert seeding
    assert seeding.state == "interrupted"
    await assert_equals_reference(store, SMALL[:3])


async def test_the_second_seeder_is_refused(store: Store, tmp_path: Path) -> None:
    """The error names the holder and its start, also after many tries; afterwards the store is free."""
    async with asyncio.timeout(30), store.replace(["v2"]):
        for _ in range(3):
            with pytest.raises(SeedingInProgress, match=r"held by process \d+ on .* since 20"):
                await fill(store, SMALL[:3], tmp_path)
        seeding = await store.seeding()
        assert seeding
        assert seeding.state == "running"
    await fill(store, SMALL[:3], tmp_path)
    await assert_equals_reference(store, SMALL[:3])


@pytest.mark.parametrize("backend", STORES)
async def test_a_reader_on_its_way_reads_the_old_corpus_to_its_end(
    backend: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """An answer that began before a replacement is all of the old corpus, one that begins after it all of the new."""
    texts = {name: [f"{name} {n}" for n in range(300)] for name in ("first", "second", "third", "fourth")}
    dumps = {
        name: [conversation(str(n), ("human", "continue"), ("gpt", text)) for n, text in enumerate(answers)]
        for name, answers in texts.items()
    }
    async with store_named(backend, request, Timings(catalogue_seconds=0.02, grace_seconds=0.7)) as store:
        await fill(store, dumps["first"], tmp_path, depth="last")
        for version, (old, new) in zip(VERSIONS, pairwise(dumps), strict=True):
            lookup = SCHEMAS[version].lookup([Message("human", "continue")])
            batches = await store.find(lookup)
            before = (await store.seeded())[version].seeded_at
            seeding = asyncio.create_task(fill(store, dumps[new], tmp_path, depth="last"))
            while (await store.seeded())[version].seeded_at == before:
                await asyncio.sleep(0.01)
            documents = [document async for batch in batches for document in batch]
            choices = [
                choice.message.value for document in documents for choice in SCHEMAS[version].choices(document, lookup)
            ]
            assert choices == texts[old]
            await seeding
            assert await ask(store, [("human", "continue")], version) == [("gpt", text) for text in texts[new]]


async def test_concurrent_readers_all_get_their_own_answer(store: Store, tmp_path: Path) -> None:
    """Many concurrent reads in all versions through one store are right."""
    dump = [conversation(str(n), ("human", f"question {n}"), ("gpt", f"answer {n}")) for n in range(50)]
    await fill(store, dump, tmp_path, depth="last")
    answers = await asyncio.gather(
        *(ask(store, [("human", f"question {n}")], version) for n in range(50) for version in VERSIONS)
    )
    assert answers == [[("gpt", f"answer {n}")] for n in range(50) for _ in VERSIONS]


async def test_an_abandoned_answer_leaves_nothing_open(store: Store, tmp_path: Path) -> None:
    """A caller that leaves after the first batch leaves no open file, and no cursor on the server."""
    dump = [conversation(str(n), ("human", "continue"), ("gpt", "x" * 1000)) for n in range(500)]
    await fill(store, dump, tmp_path, depth="last")
    await ask(store, [("human", "continue")], "v2")
    before = await open_things(store)
    for version in VERSIONS:
        answers = [await Corpus(store).complete([Message("human", "continue")], version) for _ in range(5)]
        if isinstance(store, MongoDBStore):
            assert await open_things(store) > before
        for answer in answers:
            await answer.aclose()
    assert await open_things(store) == before


@pytest.mark.parametrize("rounds", [7, pytest.param(20, marks=pytest.mark.soak)])
async def test_an_answer_that_is_cancelled_leaves_nothing_open(store: Store, tmp_path: Path, rounds: int) -> None:
    """Cancellation at every await leaves nothing open, as when a client leaves."""
    dump = [conversation(str(n), ("human", "continue"), ("gpt", "x" * 1000)) for n in range(3000)]
    await fill(store, dump, tmp_path, ["v2"], depth="last")

    async def read() -> None:
        answer = await Corpus(store).complete([Message("human", "continue")], "v2")
        assert answer.rest
        async for _ in answer.rest:
            pass

    await read()
    before = await open_things(store)
    for number in range(rounds):
        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await asyncio.sleep(0.06 / rounds * number)
            group.cancel_scope.cancel()
    assert await open_things(store) == before


async def open_things(store: Store) -> int:
    """Open files of the corpus in this process, or cursors in the server."""
    if isinstance(store, MongoDBStore):
        async with AsyncMongoClient[dict[str, Any]](store._url) as client:
            return int((await client.admin.command("serverStatus"))["metrics"]["cursor"]["open"]["total"])
    links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sum(link.endswith("corpus.db") for link in links)


async def test_a_large_answer_is_cut_into_batches_by_its_size(store: Store, tmp_path: Path) -> None:
    """Texts of 1 MB come one at a time, whatever the documents of a batch."""
    dump = [conversation(str(n), ("human", "continue"), ("gpt", "x" * 1_000_000)) for n in range(4)]
    await fill(store, dump, tmp_path, depth="last")
    for version in VERSIONS:
        lookup = SCHEMAS[version].lookup([Message("human", "continue")])
        assert [len(batch) async for batch in await store.find(lookup)] == [1] * 4


@pytest.mark.parametrize("backend", STORES)
@pytest.mark.parametrize("steps", [n if n % 5 == 0 else pytest.param(n, marks=pytest.mark.soak) for n in range(12)])
async def test_a_seeding_cancelled_around_its_publication_is_all_or_nothing(
    backend: str, request: pytest.FixtureRequest, tmp_path: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled at any point, the old or the new corpus answers whole, and the record agrees."""
    publishing = asyncio.Event()
    publish = Replacement.publish

    async def observed(self: Replacement, report: Report) -> None:
        publishing.set()
        await publish(self, report)

    async with store_named(backend, request, Timings(grace_seconds=0.2)) as store:
        await fill(store, [conversation("a", ("human", "hi"), ("gpt", "old"))], tmp_path, depth="last")
        monkeypatch.setattr(Replacement, "publish", observed)
        task = asyncio.create_task(fill(store, [conversation("a", ("human", "hi"), ("gpt", "new"))], tmp_path))
        await publishing.wait()
        for _ in range(steps * steps):
            await asyncio.sleep(0.0002)
        task.cancel()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        seeding = await store.seeding()
        assert seeding
        [(_, answer)] = await ask(store, [("human", "hi")], "v3")
        assert (seeding.state, answer) in {("done", "new"), ("interrupted", "old")}
        await fill(store, SMALL[:2], tmp_path, depth="last")
        await assert_equals_reference(store, SMALL[:2])
