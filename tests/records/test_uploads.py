"""Uploads on each backend: completions that are repeated, and those that meet another request."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from mimic.errors import RequestError
from mimic.records.base import Records
from mimic.stored.files import FileStore
from mimic.stored.options import FileOptions
from mimic.stored.uploads import UploadStore
from mimic.wire.openai.uploads import CompletedParts, NewUpload, UploadObject
from tests.support.records import BACKENDS, open_now, url_of

pytestmark = pytest.mark.anyio

OWNER = "someone"
REQUEST = NewUpload(bytes=10, filename="a", mime_type="text/plain", purpose="user_data")


@pytest.fixture(params=BACKENDS)
async def records(request: pytest.FixtureRequest) -> AsyncIterator[Records]:
    """Empty records on each backend."""
    async with open_now(url_of(request.param, request)) as records:
        yield records


@pytest.fixture
def files(records: Records) -> FileStore:
    """The store of files."""
    return FileStore(records, FileOptions())


@pytest.fixture
def uploads(records: Records, files: FileStore) -> UploadStore:
    """The store of uploads."""
    return UploadStore(records, files)


async def begin(uploads: UploadStore, *parts: bytes) -> tuple[str, list[str]]:
    """Begin an upload with parts; return the ids."""
    upload = (await uploads.create(REQUEST, OWNER)).id
    ids = []
    for data in parts:
        part, content = await uploads.new_part(upload, OWNER)
        async with content:
            await content.write(data)
        ids.append((await uploads.add_part(upload, part, len(data), OWNER)).id)
    return upload, ids


async def content_of(files: FileStore, file_id: str) -> bytes:
    """The bytes of a file."""
    file = await files.find(file_id, OWNER)
    return b"".join([piece async for piece in files.read(file, 0, file.size)])


async def assert_nothing_is_left(records: Records) -> None:
    """Assert that neither a record nor a content is stored."""
    assert await records.sizes() == {}
    assert await (await records.contents()).groups() == []


async def test_a_completion_after_the_deletion_of_its_file(
    records: Records, files: FileStore, uploads: UploadStore
) -> None:
    """The upload ends with its file: completing or cancelling it again is a 404, and no record returns."""
    upload, parts = await begin(uploads, b"01234", b"56789")
    done = await uploads.complete(upload, CompletedParts(parts), OWNER)
    assert done.file
    assert await uploads.complete(upload, CompletedParts(parts), OWNER) == done
    await files.delete(done.file.id, OWNER)
    for call in (uploads.complete(upload, CompletedParts(parts), OWNER), uploads.cancel(upload, OWNER)):
        with pytest.raises(RequestError, match="or with its file") as caught:
            await call
        assert caught.value.status == 404
    await assert_nothing_is_left(records)


async def test_completions_at_the_same_time(records: Records, files: FileStore, uploads: UploadStore) -> None:
    """Of completions with different orders one wins, and all get its file, also after its parts were removed."""
    for _ in range(5):
        upload, parts = await begin(uploads, b"01234", b"56789")
        orders = [CompletedParts(parts), CompletedParts(parts[::-1])]
        found = await asyncio.gather(*(uploads.complete(upload, orders[n % 2], OWNER) for n in range(6)))
        assert all(one == found[0] for one in found)
        assert found[0].file
        assert await content_of(files, found[0].file.id) in {b"0123456789", b"5678901234"}
        assert set(await records.sizes()) == {"upload", "file"}
        await files.delete(found[0].file.id, OWNER)
    await assert_nothing_is_left(records)


async def test_completions_beside_the_deletion_of_the_file(
    records: Records, files: FileStore, uploads: UploadStore
) -> None:
    """A deleted file does not return as a record without bytes, in any order of the requests."""
    for _ in range(10):
        upload, parts = await begin(uploads, b"0123456789")
        done = await uploads.complete(upload, CompletedParts(parts), OWNER)
        assert done.file
        again = [uploads.complete(upload, CompletedParts(parts), OWNER) for _ in range(4)]
        found = await asyncio.gather(*again[:2], files.delete(done.file.id, OWNER), *again[2:], return_exceptions=True)
        for one in found:
            assert one in (done, None) or (isinstance(one, RequestError) and one.status == 404), one
            assert not isinstance(one, UploadObject) or one.file
        await assert_nothing_is_left(records)
