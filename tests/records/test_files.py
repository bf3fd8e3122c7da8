"""The contract of contents on each backend: written once, read by ranges, deleted by groups."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from mimic.errors import RecordsUnavailable
from mimic.records.base import Draft, Records
from mimic.records.files.base import PIECE_BYTES, Contents
from mimic.stored.files import ANY_AGE, FilePart, FileStore, FileSweeper, StoredFile
from mimic.stored.options import FileOptions
from tests.support.records import BACKENDS, open_now, url_of

pytestmark = pytest.mark.anyio

LARGE = bytes(range(256)) * (PIECE_BYTES // 256 * 2) + b"end"
"""Three pieces."""


@pytest.fixture(params=BACKENDS)
async def records(request: pytest.FixtureRequest) -> AsyncIterator[Records]:
    """Empty records on each backend."""
    async with open_now(url_of(request.param, request)) as records:
        yield records


@pytest.fixture
async def contents(records: Records) -> Contents:
    """Empty contents on each backend."""
    return await records.contents()


async def write(contents: Contents, group: str, name: str, data: bytes) -> None:
    """Write a content in parts that are no pieces."""
    async with contents.new(group, name) as writer:
        for start in range(0, len(data), 100_001):
            await writer.write(data[start : start + 100_001])
    assert writer.size == len(data)


async def read(contents: Contents, group: str, name: str, start: int, end: int) -> bytes:
    """Read a range."""
    async with aclosing(contents.read(group, name, start, end)) as pieces:
        return b"".join([piece async for piece in pieces])


async def test_ranges_of_a_content(contents: Contents) -> None:
    """Every range has its bytes, also across pieces; an empty content has none."""
    await write(contents, "a", "large", LARGE)
    await write(contents, "a", "empty", b"")
    for start, end in ((0, len(LARGE)), (5, 6), (PIECE_BYTES - 1, PIECE_BYTES + 1), (2 * PIECE_BYTES, len(LARGE))):
        assert await read(contents, "a", "large", start, end) == LARGE[start:end]
    assert await read(contents, "a", "empty", 0, 0) == b""
    with pytest.raises(RecordsUnavailable):
        await read(contents, "a", "large", 0, len(LARGE) + 1)
    with pytest.raises(RecordsUnavailable):
        await read(contents, "a", "missing", 0, 1)


async def test_groups(contents: Contents) -> None:
    """Groups have sizes and ages; a content and a group are deleted, and missing ones are no error."""
    assert await contents.groups() == []
    for group, name in (("a", "1"), ("a", "10"), ("b", "1")):
        await write(contents, group, name, b"12345")
    found = {group.name: group for group in await contents.groups()}
    assert {name: group.bytes for name, group in found.items()} == {"a": 10, "b": 5}
    assert all(-1 < group.age < 60 for group in found.values())
    for _ in range(2):
        await contents.delete("a", "1")
    assert await read(contents, "a", "10", 0, 5) == b"12345"
    for _ in range(2):
        await contents.delete("a")
    assert [(group.name, group.bytes) for group in await contents.groups()] == [("b", 5)]


async def test_a_content_that_breaks_off_is_removed(contents: Contents) -> None:
    """Neither an error nor a cancellation in the middle leaves bytes."""
    with pytest.raises(ValueError, match="broke off"):
        async with contents.new("a", "1") as writer:
            await writer.write(LARGE)
            raise ValueError("broke off")

    async def write_forever() -> None:
        async with contents.new("a", "2") as writer:
            while True:
                await writer.write(LARGE)

    task = asyncio.create_task(write_forever())
    while not await contents.groups():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await contents.groups() == []


async def test_orphans_are_swept(records: Records, contents: Contents) -> None:
    """Old contents without a record are deleted; those of files, and young ones, stay."""
    files = FileStore(records, FileOptions())
    sweeper = FileSweeper(records, [files.holds])
    for group in ("kept", "orphan"):
        await write(contents, group, "whole", b"12345")
    await files.create(file("kept"), "")
    assert await sweeper.sweep() == 0
    assert await sweeper.sweep(0) == 1
    assert [group.name for group in await contents.groups()] == ["kept"]


async def test_a_file_whose_contents_are_swept_meanwhile(records: Records, contents: Contents) -> None:
    """A sweep of any age deletes a content that is being written; its file is an error, and leaves no record."""
    files = FileStore(records, FileOptions())
    sweeper = FileSweeper(records, [files.holds])
    for group in ("whole", "broken"):
        with pytest.raises(RecordsUnavailable, match="deleted while it was written"):
            async with contents.new(group, "whole") as writer:
                await writer.write(LARGE)
                if group == "broken":
                    assert await sweeper.sweep(ANY_AGE) == 1
                    await writer.write(LARGE)
            if group == "whole":
                assert await sweeper.sweep(ANY_AGE) == 1
            await files.create(file(group, writer.size), "")
    assert await records.sizes() == {}
    assert await contents.groups() == []


async def test_sweeps_beside_new_files(records: Records, contents: Contents) -> None:
    """Beside sweeps of any age, each record of a file that stays has its bytes."""
    files = FileStore(records, FileOptions())
    sweeper = FileSweeper(records, [files.holds])
    over = asyncio.Event()

    async def sweep() -> None:
        while not over.is_set():
            await sweeper.sweep(ANY_AGE)
            await asyncio.sleep(0)

    async def create(group: str) -> None:
        with suppress(RecordsUnavailable):
            await write(contents, group, "whole", b"12345")
            await files.create(file(group), "")

    sweeping = asyncio.create_task(sweep())
    for start in range(0, 60, 6):
        await asyncio.gather(*(create(f"g{number}") for number in range(start, start + 6)))
    over.set()
    await sweeping
    kept = {one.filename for one in (await files.page("", 100, None, "asc", None)).data}
    assert kept <= {group.name for group in await contents.groups()}
    for group in kept:
        assert await read(contents, group, "whole", 0, 5) == b"12345"


def file(group: str, size: int = 5) -> StoredFile:
    """A file with a content."""
    parts = [FilePart("whole", size)]
    return StoredFile(created_at=1, filename=group, purpose="batch", group=group, parts=parts)


async def test_the_bound_removes_the_oldest_files(records: Records, contents: Contents) -> None:
    """Beyond the bound, the oldest files go first, but not a file that a batch reads."""
    files = FileStore(records, FileOptions(most_bytes=12))
    for group in ("first", "second", "third"):
        await write(contents, group, "whole", b"12345")
        await files.create(file(group), "someone")
        if group == "first":
            await files.pin("file-first", "someone", "batch_1", 60)
    assert {group.name for group in await contents.groups()} == {"first", "third"}
    await files.unpin("file-first", "batch_1")
    await write(contents, "fourth", "whole", b"1234567890")
    await files.create(file("fourth", 10), "someone")
    assert [one.id for one in (await files.page("someone", 10, None, "asc", None)).data] == ["file-fourth"]


async def test_files_of_parts(records: Records, contents: Contents) -> None:
    """A file of several parts reads as one, in every range."""
    files = FileStore(records, FileOptions())
    stored = StoredFile(
        created_at=1,
        filename="a",
        purpose="batch",
        group="g",
        parts=[FilePart("1", 3), FilePart("2", 0), FilePart("3", 4)],
    )
    for part, data in zip(stored.parts, (b"abc", b"", b"defg"), strict=True):
        await write(contents, "g", part.name, data)
    for start in range(8):
        for end in range(start, 8):
            assert b"".join([piece async for piece in files.read(stored, start, end)]) == b"abcdefg"[start:end]


async def test_contents_are_private(tmp_path: Path) -> None:
    """On SQLite, they lie beside the records, and only their owner may read them."""
    async with open_now(f"sqlite:///{tmp_path}/records.db") as records:
        await write(await records.contents(), "a", "1", b"1")
        await records.put(Draft(kind="k", id="1"))
    folder = tmp_path / "records.db.files"
    modes = [path.stat().st_mode & 0o777 for path in (folder, folder / "a", folder / "a" / "1")]
    assert modes == [0o700, 0o700, 0o600]
