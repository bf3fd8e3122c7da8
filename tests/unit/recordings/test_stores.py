"""The contract of recordings in a folder and in the records of both backends."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mimic.errors import RecordingsUnusable
from mimic.recordings.base import MOST_ALIKE, Chunk, Recording, Recordings
from mimic.recordings.folder import FolderRecordings
from mimic.recordings.identity import Identity
from mimic.recordings.options import IgnoreRules
from mimic.recordings.place import open_recordings
from mimic.recordings.promotion import promoted
from mimic.records import open_records
from mimic.records.base import RecordOptions
from mimic.wire.base import GivenAnswer, GivenCall, GivenChoice
from tests.support.fork_server import fork_server
from tests.unit.recordings.writer import NUMBER


def recording(text: str = "Hello", reply: str = "Hi", **changes: Any) -> Recording:
    """A recording of a short chat."""
    request = {"model": "gpt-4o", "messages": [{"role": "user", "text": text}]}
    fields: dict[str, Any] = {
        "key": Identity.of(request).key,
        "request": request,
        "answer": GivenAnswer([GivenChoice(reply)]),
        "path": "/v1/chat/completions",
        "id": f"chatcmpl-{reply}",
        "chunks": [Chunk(0.1, reply)],
    }
    return Recording(**{**fields, **changes})


@pytest.fixture(params=["folder", "sqlite", "mongodb"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """A place for recordings, and the store of the corpus."""
    if request.param == "folder":
        return str(tmp_path / "kept"), "sqlite:///none.db"
    if request.param == "sqlite":
        return "", f"sqlite:///{tmp_path}/corpus.db"
    return "", request.getfixturevalue("mongodb_url")


@asynccontextmanager
async def opened(place: tuple[str, str]) -> AsyncIterator[Recordings]:
    """The recordings in a place."""
    async with open_records("", place[1], RecordOptions()) as records, open_recordings(place[0], records) as kept:
        yield kept


async def found(kept: Recordings, text: str = "Hello") -> Sequence[Recording]:
    """The recordings of a short chat."""
    return await kept.find(Identity.of(recording(text).request))


def test_what_was_added_is_found(place: tuple[str, str]) -> None:
    """By its request, also after the store was opened again, and nothing else is."""

    async def check() -> None:
        async with opened(place) as kept:
            assert not await found(kept)
            assert await kept.all() == []
            assert await kept.add(recording())
            assert await kept.add(recording("Bye", "See you"))
        async with opened(place) as kept:
            assert await found(kept) == [recording()]
            assert sorted(one.id for one in await kept.all()) == ["chatcmpl-Hi", "chatcmpl-See you"]
            assert not await found(kept, "hello")

    asyncio.run(check())


def test_an_equal_answer_changes_nothing(place: tuple[str, str]) -> None:
    """A new id and new times are no new answer; a stream, another path or another text is."""

    async def check() -> None:
        async with opened(place) as kept:
            assert await kept.add(recording())
            assert not await kept.add(recording(id="chatcmpl-new", chunks=[Chunk(9.0, "Hi")]))
            assert await kept.add(recording(stream=True))
            assert await kept.add(recording(reply="Hey"))
            assert [one.id for one in await found(kept)] == ["chatcmpl-Hi", "chatcmpl-Hi", "chatcmpl-Hey"]

    asyncio.run(check())


def test_the_oldest_ones_go(place: tuple[str, str]) -> None:
    """Of the recordings of one request, so many are kept."""

    async def check() -> None:
        async with opened(place) as kept:
            for number in range(MOST_ALIKE + 2):
                await kept.add(recording(reply=str(number)))
            assert [one.id for one in await found(kept)] == [f"chatcmpl-{n}" for n in range(2, MOST_ALIKE + 2)]

    asyncio.run(check())


def test_deleted_ones_are_gone(place: tuple[str, str]) -> None:
    """All recordings of a key, and of no other."""

    async def check() -> None:
        async with opened(place) as kept:
            for one in (recording(), recording(reply="Hey"), recording("Bye")):
                await kept.add(one)
            assert await kept.delete(recording().key) == 2
            assert await kept.delete(recording().key) == 0
            assert await kept.all() == [recording("Bye")]

    asyncio.run(check())


def test_two_processes_lose_nothing(place: tuple[str, str]) -> None:
    """Two writers of the same requests and of others, at the same time."""
    writers = [
        fork_server().fork("tests.unit.recordings.writer", [*place, name], {}, Path.cwd(), (0, 1, 2))
        for name in ("left", "right")
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0]

    async def check() -> None:
        async with opened(place) as kept:
            texts = [one.request["messages"][0]["text"] for one in await kept.all()]
            assert sorted(texts) == sorted(
                ["shared", "shared", *(f"{name} {number}" for name in ("left", "right") for number in range(NUMBER))]
            )

    asyncio.run(check())


def test_files_are_made_to_be_read(tmp_path: Path) -> None:
    """A file for each conversation, in the order of its turns, with a name that says its beginning."""
    kept = FolderRecordings(tmp_path)
    turns: list[dict[str, str]] = [{"role": "user", "text": "Hello, you!"}]
    longer = [*turns, {"role": "assistant", "text": "Hi"}, {"role": "user", "text": "Bye"}]
    for messages in (longer, turns):
        request = {"model": "gpt-4o", "messages": messages}
        asyncio.run(kept.add(recording(request=request, key=Identity.of(request).key)))
    [file] = tmp_path.iterdir()
    assert file.name.startswith("hello-you-")
    assert file.suffix == ".json"
    content = json.loads(file.read_text())
    assert [len(one["request"]["messages"]) for one in content["recordings"]] == [1, 3]
    assert file.read_text().count("\n") > 20


def test_an_edited_file_counts(tmp_path: Path) -> None:
    """The request in a file decides, not its key; so a recording can be written by hand."""
    asyncio.run(FolderRecordings(tmp_path).add(recording()))
    [file] = tmp_path.iterdir()
    file.write_text(file.read_text().replace("Hello", "Good morning"))
    kept = FolderRecordings(tmp_path)
    assert [one.id for one in asyncio.run(found(kept, "Good morning"))] == ["chatcmpl-Hi"]
    assert not asyncio.run(found(kept))


def test_rules_may_change_later(tmp_path: Path) -> None:
    """A folder that was recorded without rules is searched under the rules of now."""
    asyncio.run(FolderRecordings(tmp_path).add(recording("On 2026-11-28?")))
    rules = IgnoreRules.parse("dates")
    later = FolderRecordings(tmp_path, rules)
    wanted = Identity.of(recording("On 2027-01-01?").request, rules)
    assert [one.id for one in asyncio.run(later.find(wanted))] == ["chatcmpl-Hi"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        *((content, "is no file of recordings") for content in ("{", "[]", "{}")),
        ('{"mimic_recordings": 2, "recordings": []}', "was written by a newer version"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, content: str, problem: str) -> None:
    """A broken file is never taken for an empty one."""
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(RecordingsUnusable, match=rf"bad.json {problem}"):
        asyncio.run(FolderRecordings(tmp_path).all())


def test_a_text_beside_a_call_is_promoted() -> None:
    """As a message before the call."""
    answer = GivenAnswer([GivenChoice("Let me look.", [GivenCall("clock", "{}")], "tool_calls")])
    [found] = promoted([recording(answer=answer)])
    assert [one.sender for one in found.messages] == ["human", "gpt", "function_call"]


def test_chats_become_conversations() -> None:
    """With tool calls and results, and without the beginnings of longer chats."""
    call = {"id": 1, "name": "clock", "arguments": {"zone": "CET"}}
    first: dict[str, list[dict[str, Any]]] = {"messages": [{"role": "user", "text": "Time?"}]}
    more = [{"role": "assistant", "calls": [call]}, {"role": "tool", "text": "17:00", "result_of": 1}]
    calls = GivenAnswer([GivenChoice(calls=[GivenCall("clock", '{"zone":"CET"}')], finish_reason="tool_calls")])
    last = GivenAnswer([GivenChoice("Five.")])
    longer = {"messages": [*first["messages"], *more]}
    found = list(promoted([recording(request=first, answer=calls), recording(request=longer, answer=last)]))
    assert [[(one.sender, one.value) for one in conversation.messages] for conversation in found] == [
        [
            ("human", "Time?"),
            ("function_call", '{"name": "clock", "arguments": {"zone": "CET"}}'),
            ("tool", "17:00"),
            ("gpt", "Five."),
        ]
    ]
