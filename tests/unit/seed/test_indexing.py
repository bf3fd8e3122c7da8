"""The making of the index: in this process, or in one of its own."""

import json
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from mimic.corpus.conversation import Conversation, Coordinates, Message
from mimic.corpus.schemas import VERSIONS
from mimic.corpus.similar.index import MatchIndex
from mimic.corpus.sizes import PART_SIZE
from mimic.corpus.stores import open_store
from mimic.errors import StoreFull, StoreUnavailable, UnusableStore
from mimic_seed import index_process
from mimic_seed.index_process import Indexing
from mimic_seed.index_worker import pack, send
from mimic_seed.loader import load
from mimic_seed.source import Source
from tests.support.corpora import SMALL, ask, conversation, fill

pytestmark = pytest.mark.anyio

TALKS = [
    Conversation(
        str(n), [Message("human", f"what is number {n}? 你好 {n % 7}"), Message("gpt", "x"), Message("gpt", "y")]
    )
    for n in range(300)
]


async def found(folder: Path, pack_characters: int) -> tuple[list[list[Coordinates]], int]:
    """Make an index of the talks; return the results of some messages, and its number of messages."""
    async with Indexing(folder, "nearest", pack_characters=pack_characters) as made:
        for talk in TALKS:
            await made.add(talk)
        await made.finish()
    index = MatchIndex(folder)
    asked = [talk.messages[0] for talk in TALKS[::50]]
    places = [find for message in asked for find in (index.equal(message, None, 5), index.similar(message, 5))]
    return places, made.seeded("name").messages


async def test_a_process_makes_the_same_index(tmp_path: Path) -> None:
    """Packs of any size give the same index."""
    folders = [tmp_path / name for name in ("here", "packs", "singly")]
    results = []
    for folder, characters in zip(folders, (10**9, 1000, 1), strict=True):
        folder.mkdir()
        results.append(await found(folder, characters))
    assert results[0] == results[1] == results[2]
    places, messages = results[0]
    assert places[2] == [Coordinates(150, 50, 0)]
    assert messages == 600


async def test_messages_without_text_count_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names and ids count as well: otherwise a dump of them would be held in memory as a whole."""
    packs = []

    def counted(conversations: Sequence[Conversation]) -> bytes:
        packs.append(len(conversations))
        return pack(conversations)

    monkeypatch.setattr(index_process, "pack", counted)
    nothing = Conversation(None, [Message("", ""), Message("", "")])
    async with Indexing(tmp_path, "nearest", pack_characters=10_000) as made:
        for talk in (
            *[nothing] * 1000,
            Conversation("i" * 10_000, []),
            Conversation(None, [Message("f" * 10_000, "")]),
        ):
            await made.add(talk)
        await made.finish()
    assert max(packs) <= 10_000 / (3 * PART_SIZE) + 1
    assert packs[-3:] == [packs[-3], 1, 0]


async def test_a_dead_process_is_an_error(tmp_path: Path) -> None:
    """The seeding fails in the middle and at the end, and the old corpus stays."""
    async with Indexing(tmp_path, "nearest", pack_characters=1) as made:
        await made.add(TALKS[0])
        assert made._process
        made._process.kill()
        with pytest.raises(StoreUnavailable, match="the process that makes the index ended with -9"):
            for talk in TALKS * 10:
                await made.add(talk)


async def test_no_space_in_the_process_keeps_the_old_corpus(store_url: str, tmp_path: Path) -> None:
    """A limit on the size of files gives the same error as in this process."""
    limit = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))"
    start = f"os.execv(sys.executable, [sys.executable, *{index_process.COMMAND}, *sys.argv[1:]])"
    limited = partial(Indexing, pack_characters=1000, command=("-c", f"{limit}; {start}"))
    file = tmp_path / "large.json"
    file.write_text(json.dumps([conversation("a", ("human", "hi"), ("gpt", "x" * 500))] * 300))
    async with open_store(store_url) as store:
        await fill(store, SMALL, tmp_path)
        with pytest.raises(StoreFull, match="no space left for the index"):
            await load(Source(file), store, VERSIONS, make_index=limited)
        assert await ask(store, [("gpt", "and so on")], "v3") == [("human", "continue")]


def test_the_process_ends_with_its_parent(tmp_path: Path) -> None:
    """Without a complete input it leaves no index."""
    command = [sys.executable, *index_process.COMMAND, str(tmp_path), "nearest"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin
    send(process.stdin, pack(TALKS))  # type: ignore[arg-type]
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (1, b"no process waits for the index any more\n")
    with pytest.raises(UnusableStore):
        MatchIndex(tmp_path / "nothing")
    assert MatchIndex(tmp_path).equal(TALKS[0].messages[0], None, 5) == []
