"""Conversations for tests, and the reference for every store."""

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import pymongo
import pytest

from mimic.corpus.conversation import Message
from mimic.corpus.corpus import Corpus
from mimic.corpus.ladder import Depth
from mimic.corpus.manifest import Report
from mimic.corpus.schemas import VERSIONS, Version
from mimic.corpus.stores.base import Store
from mimic.corpus.stores.mongodb.timings import DEFAULT_TIMINGS, Timings
from mimic.errors import NoCompletion
from mimic_seed.loader import load
from mimic_seed.source import Source
from tests.support.stores import open_quickly

Dump: TypeAlias = Sequence[dict[str, Any]]
Pairs: TypeAlias = Sequence[tuple[str, str]]


def reference(dump: Dump, messages: Pairs, version: Version) -> list[tuple[str, str]]:
    """The choices of a completion, by plain lists."""
    wanted = list(messages[-2:] if version == "v3" else messages[-1:])
    choices = []
    for conversation in dump:
        said = [(message["from"], message["value"]) for message in conversation["conversations"]]
        for start in range(len(said) - len(wanted)):
            if said[start : start + len(wanted)] == wanted:
                choices.append(said[start + len(wanted)])
    return choices


def conversation(name: str, *messages: tuple[str, str]) -> dict[str, Any]:
    """An element of a dump."""
    return {"id": name, "conversations": [{"from": sender, "value": value} for sender, value in messages]}


def twin(name: str, conversations: int) -> Dump:
    """A dump with the same questions as its twins of other names, and with answers of its own."""
    return [
        conversation(
            str(n),
            ("human", f"question {n}"),
            ("gpt", f"{name} answer {n} " + "of some words " * 20),
            ("human", "continue"),
            ("gpt", f"{name} more {n}"),
        )
        for n in range(conversations)
    ]


SMALL: Dump = [
    conversation("a_0", ("human", "hi"), ("gpt", "hello"), ("human", "continue"), ("gpt", "more")),
    conversation("a_1", ("gpt", "and so on"), ("human", "continue"), ("gpt", "even more")),
    conversation(
        "b_0", ("system", "be brief"), ("human", "hi"), ("gpt", "hello"), ("human", "continue"), ("gpt", "so")
    ),
    conversation("c_0", ("human", "hi"), ("human", "hi"), ("gpt", "hello"), ("gpt", "")),
    conversation("d_0", ("human", "alone")),
    conversation("e_0"),
    conversation("f_0", ("human", ""), ("gpt", "you said nothing"), ("tool", "hi"), ("gpt", "from a tool")),
]


async def fill(
    store: Store,
    dump: Dump,
    folder: Path,
    versions: Sequence[Version] = VERSIONS,
    *,
    batch_size: int = 1000,
    depth: Depth = "nearest",
) -> Report:
    """Seed a store from a file, as users do."""
    return await seed_text(store, json.dumps(dump), folder, versions, batch_size=batch_size, depth=depth)


async def seed_text(
    store: Store,
    text: str,
    folder: Path,
    versions: Sequence[Version] = VERSIONS,
    *,
    batch_size: int = 1000,
    strict: bool = False,
    depth: Depth = "nearest",
) -> Report:
    """Seed a store from a file with exactly this text."""
    file = folder / "dump.json"
    file.write_text(text)
    return await load(Source(file), store, versions, batch_size=batch_size, strict=strict, depth=depth)


async def ask(store: Store, messages: Pairs, version: Version, limit: int | None = None) -> list[tuple[str, str]]:
    """Every choice of a completion; raises NoCompletion if there is none."""
    asked = [Message(sender, value) for sender, value in messages]
    choices = []
    async for batch in await Corpus(store).complete(asked, version, limit):
        choices += [(choice.message.sender, choice.message.value) for choice in batch]
    return choices


async def assert_equals_reference(store: Store, dump: Dump) -> None:
    """Ask for every message and every neighbouring pair of the dump."""
    asked = set()
    for element in dump:
        said = [(message["from"], message["value"]) for message in element["conversations"]]
        asked |= {(message,) for message in said} | set(pairwise(said))
    for messages in asked:
        for version in VERSIONS:
            expected = reference(dump, messages, version)
            if expected:
                assert await ask(store, messages, version) == expected
                assert await ask(store, messages, version, 1) == expected[:1]
            else:
                with pytest.raises(NoCompletion):
                    await ask(store, messages, version)


def seed(
    url: str,
    dump: Dump,
    folder: Path,
    versions: Sequence[Version] = VERSIONS,
    *,
    depth: Depth = "nearest",
    timings: Timings = DEFAULT_TIMINGS,
) -> None:
    """Fill a store that a server serves, now or later. ``timings`` are those of a seeder of MongoDB."""

    async def run() -> None:
        async with open_quickly(url, timings=timings) as store:
            await fill(store, dump, folder, versions, depth=depth)

    asyncio.run(run())


class SeededStores:
    """Stores that the tests of a session share, by backend and dump: each is seeded once, in all versions.

    Tests read, and change nothing. ``mongodb_server`` returns the URL of a server when it is needed.
    """

    def __init__(self, folder: Path, mongodb_server: Callable[[], str]) -> None:
        self._folder = folder
        self._mongodb_server = mongodb_server
        self._urls: dict[tuple[str, str], str] = {}

    def __call__(self, backend: str, dump: Dump) -> str:
        """The URL of a store of that corpus, on ``sqlite`` or ``mongodb``."""
        key = backend, json.dumps(dump)
        if key not in self._urls:
            folder = self._folder / f"store-{len(self._urls)}"
            folder.mkdir()
            url = f"sqlite:///{folder}/corpus.db"
            if backend == "mongodb":
                url = f"{self._mongodb_server()}/mimic_shared_{uuid4().hex[:12]}"
            seed(url, dump, folder)
            self._urls[key] = url
        return self._urls[key]

    def close(self) -> None:
        """Remove the databases from a server that goes on."""
        for url in self._urls.values():
            if url.startswith("mongodb"):
                with pymongo.MongoClient[dict[str, Any]](url) as client:
                    client.drop_database(client.get_default_database().name)


def assert_no_leftovers(url: str, folder: Path) -> None:
    """Assert one corpus, without leftovers of unpublished ones."""
    if url.startswith("sqlite"):
        names = sorted(file.name.partition("-")[0] for file in folder.glob("corpus.db*"))
        assert names == ["corpus.db", "corpus.db.index", "corpus.db.lock", "corpus.db.seeding"]
        return
    with pymongo.MongoClient[dict[str, Any]](url) as client:
        names = client.get_default_database().list_collection_names()
    assert sorted(name.partition("_")[0] for name in names) == ["index", "mimic", "v1", "v2", "v3"]


def expire_lease(url: str) -> None:
    """Let the lease of a dead seeder end: in MongoDB it lasts ten seconds."""
    if url.startswith("mongodb"):
        with pymongo.MongoClient[dict[str, Any]](url) as client:
            catalogue = client.get_default_database()["mimic"]
            catalogue.update_one({"_id": "corpus"}, {"$set": {"seeding.heartbeat": datetime(2000, 1, 1, tzinfo=UTC)}})
