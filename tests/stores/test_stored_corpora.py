"""A corpus of an earlier Mimic is answered from, with a warning, until the next seeding."""

import asyncio
import subprocess
import time
from pathlib import Path

import httpx
import pymongo
import pytest

from mimic.corpus.conversation import Message
from mimic.corpus.corpus import Corpus
from mimic.corpus.layout import LAYOUT, UNNUMBERED, check_layout
from mimic.corpus.manifest import warnings_of
from mimic.corpus.schemas import SCHEMAS, VERSIONS
from mimic.corpus.search import search
from mimic.corpus.similar.index import SPOKEN
from mimic.corpus.stores import open_store
from mimic.corpus.stores.base import Store
from mimic.errors import UnusableStore
from tests.support.corpora import SMALL, assert_equals_reference, conversation, fill, reference, seed
from tests.support.servers import Server, seed_command
from tests.support.stored import STORED, restore
from tests.support.stores import open_quickly

BEFORE = "seeded by an earlier Mimic in layout 2"


@pytest.mark.anyio
async def test_it_is_answered_from(store_url: str) -> None:
    """Every message and every pair, by sender and by role, concurrent too, has its former answer."""
    await asyncio.to_thread(restore, store_url)
    async with open_store(store_url) as store:
        assert {version: entry.layout for version, entry in (await store.seeded()).items()} == dict.fromkeys(
            VERSIONS, 2
        )
        await store.check()
        await assert_equals_reference(store, STORED)
        asked = [[(one["from"], one["value"])] for element in STORED for one in element["conversations"][:-1]]
        for version in ("v2", "v3"):
            lookups = [SCHEMAS[version].lookup([Message(*one) for one in messages], by_role=True) for messages in asked]
            found = await asyncio.gather(*map(store.find, lookups))
            for messages, documents in zip(asked, found, strict=True):
                values = [(one["nextMessageType"], one["nextMessageValue"]) for one in documents.first]
                assert values == reference(STORED, messages, version)
        assert (await Corpus(store).index("v3")).searched == SPOKEN
        assert await search(Corpus(store), "v3", "hi", "call", 9) == []


@pytest.mark.anyio
@pytest.mark.parametrize("versions", [["v3"], ["v2"]])
async def test_a_version_keeps_its_layout_until_it_is_seeded(
    store_url: str, tmp_path: Path, versions: list[str]
) -> None:
    """Both layouts lie in one store, each with its own lookups; a whole seeding ends the warnings."""
    await asyncio.to_thread(restore, store_url)
    chosen = [version for version in VERSIONS if version in versions]
    kept = [version for version in VERSIONS if version not in versions]
    async with open_quickly(store_url) as store:
        await fill(store, STORED, tmp_path, chosen)
        seeded = await store.seeded()
        assert {version: entry.layout for version, entry in seeded.items()} == {
            version: LAYOUT if version in versions else UNNUMBERED for version in VERSIONS
        }
        [warning] = warnings_of(seeded)
        assert warning.startswith(f"{', '.join(kept)}: {BEFORE}")
        await assert_equals_reference(store, STORED)
        await fill(store, SMALL, tmp_path)
        assert not warnings_of(await store.seeded())
        await assert_equals_reference(store, SMALL)


def test_a_server_warns(store_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The warning is once in the log, in the banner, and in every status; similar messages are found, too."""
    restore(store_url)
    with Server(tmp_path, MIMIC_STORE=store_url) as server, httpx.Client(base_url=server.url) as client:
        for route in ("/ready", "/corpus"):
            answer = client.get(route)
            assert answer.status_code == 200
            [warning] = answer.json()["warnings"]
            assert warning.startswith(f"v1, v2, v3: {BEFORE} (now {LAYOUT})")
        assert {entry["layout"] for entry in client.get("/corpus").json()["versions"].values()} == {2}
        for text, rung in (("Write a haiku about the sea", "last"), ("write a haiku about the SEE", "nearest")):
            body = {"model": "mimic-v3", "messages": [{"role": "user", "content": text}]}
            answer = client.post("/v1/chat/completions", json=body)
            assert answer.status_code == 200
            assert answer.headers["x-mimic-match"] == rung
        assert server.log().count(BEFORE) == 1
        assert capfd.readouterr().out.count(BEFORE) == 1
        again = seed_command("--sample", "--if-empty", "--store", store_url)
        done = subprocess.run(again, capture_output=True, text=True, check=True, cwd=tmp_path)
        assert BEFORE in done.stderr
        seed(store_url, [conversation("a_0", ("human", "hi"), ("gpt", "hello"))], tmp_path)
        answer = client.get("/ready")
        while "warnings" in answer.json():  # MongoDB: the catalogue is cached for a second
            time.sleep(0.05)
            answer = client.get("/ready")
        assert answer.json() == {"versions": ["v1", "v2", "v3"], "status": "ready"}


@pytest.mark.anyio
async def test_a_dropped_index_is_an_error(mongodb_url: str, tmp_path: Path) -> None:
    """A dropped index, as in a backup without indexes, is neither a miss nor a reason for a full scan."""
    async with open_quickly(mongodb_url) as store:
        await fill(store, SMALL, tmp_path, ["v2"], depth="last")
        await asyncio.to_thread(drop_indexes, mongodb_url)
        with pytest.raises(UnusableStore, match="an index of the corpus is missing: seed again"):
            await lookup_hi(store)


async def lookup_hi(store: Store) -> None:
    """Ask for one message."""
    await store.find(SCHEMAS["v2"].lookup([Message("human", "hi")]))


def drop_indexes(url: str) -> None:
    """Drop the indexes and keep the documents."""
    with pymongo.MongoClient(url) as client:  # type: ignore[var-annotated]
        database = client.get_default_database()
        for name in database.list_collection_names(filter={"name": {"$regex": "^v2"}}):
            database[name].drop_indexes()


@pytest.mark.parametrize(
    ("layout", "told"),
    [
        (UNNUMBERED - 1, "x has layout 1 of an earlier Mimic, this Mimic reads layouts 2 to .*: seed anew"),
        (LAYOUT + 1, "x has layout .* of a newer Mimic, this Mimic reads layouts 2 to .*: upgrade Mimic"),
    ],
)
def test_an_unknown_layout_is_refused_with_a_remedy(layout: int, told: str) -> None:
    """The remedy for an old layout is a seeding, for a newer one an upgrade."""
    for readable in (UNNUMBERED, LAYOUT):
        check_layout(readable, "x", "x", "seed anew")
    with pytest.raises(UnusableStore, match=told) as refused:
        check_layout(layout, "/folder/x", "x", "seed anew")
    assert "/folder/" not in refused.value.public
