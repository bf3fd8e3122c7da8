"""``/v1/uploads`` through OpenAI's own SDK."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import md5
from pathlib import Path

import openai
import pytest
from openai import OpenAI

from tests.support.sdk import sdk
from tests.support.servers import Server, SharedServers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the records."""
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def server(folder: Path, serve: SharedServers) -> Iterator[Server]:
    """A server of two processes with two API keys, and with records and files of its own."""
    settings = {
        "MIMIC_RECORDS": f"sqlite:///{folder}/records.db",
        "MIMIC_API_KEYS": "one,two",
        "MIMIC_WORKERS": "2",
        "MIMIC_FILES_BYTES": "100000000",
    }
    with Server(folder, MIMIC_STORE=serve.store(), **settings) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    """The SDK for the first key."""
    with sdk(server) as client:
        yield client


def begin(client: OpenAI, size: int) -> str:
    """Begin an upload; return its id."""
    upload = client.uploads.create(bytes=size, filename="a.txt", mime_type="text/plain", purpose="user_data")
    assert (upload.status, upload.file, upload.expires_at - upload.created_at) == ("pending", None, 3600)
    return upload.id


def contents(folder: Path, upload: str) -> set[str]:
    """The names of the contents of an upload."""
    group = folder / "records.db.files" / upload.removeprefix("upload_")
    return {path.name for path in group.iterdir()} if group.exists() else set()


def test_parts_become_a_file(client: OpenAI, folder: Path) -> None:
    """Parts that came at the same time are joined in the order of the completion, and other parts are deleted."""
    upload = begin(client, 50)
    texts = [f"{number:010}".encode() for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        parts = [part.id for part in pool.map(lambda data: client.uploads.parts.create(upload, data=data), texts)]
    wanted, whole = [*parts[3:], *parts[:2]], b"".join([*texts[3:], *texts[:2]])
    checksum = md5(whole).hexdigest()
    done = client.uploads.complete(upload, part_ids=wanted, md5=checksum.upper())
    assert done.file
    assert (done.status, done.file.bytes, done.file.filename) == ("completed", 50, "a.txt")
    assert client.files.content(done.file.id).read() == whole
    assert contents(folder, upload) == set(wanted)
    assert client.uploads.complete(upload, part_ids=wanted) == done
    for call in (client.uploads.cancel, lambda one: client.uploads.parts.create(one, data=b"a")):
        with pytest.raises(openai.BadRequestError, match="completed"):
            call(upload)
    client.files.delete(done.file.id)
    assert contents(folder, upload) == set()


def test_a_cancelled_upload(client: OpenAI, folder: Path) -> None:
    """The parts are deleted, and the upload cannot be completed."""
    upload = begin(client, 1)
    part = client.uploads.parts.create(upload, data=b"a").id
    assert contents(folder, upload) == {part}
    for _ in range(2):
        assert client.uploads.cancel(upload).status == "cancelled"
    assert contents(folder, upload) == set()
    with pytest.raises(openai.BadRequestError, match="cancelled"):
        client.uploads.complete(upload, part_ids=[part])


def test_wrong_parts(client: OpenAI) -> None:
    """A size or a checksum that is wrong, and parts of other uploads, are a 400; the upload stays as it is."""
    upload, other = begin(client, 5), begin(client, 5)
    part = client.uploads.parts.create(upload, data=b"hello").id
    foreign = client.uploads.parts.create(other, data=b"hello").id
    for parts, checksum, param in (
        ([part, part], openai.omit, "part_ids"),
        ([foreign], openai.omit, "part_ids"),
        (["x"], openai.omit, "part_ids"),
        ([], openai.omit, "part_ids"),
        ([part], "0" * 32, "md5"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            client.uploads.complete(upload, part_ids=parts, md5=checksum)
        assert caught.value.param == param
    assert client.uploads.complete(upload, part_ids=[part]).status == "completed"


def test_bounds_of_uploads(client: OpenAI) -> None:
    """A file beyond the bound of all files is a 400, and a part of more than 64 MB a 413."""
    with pytest.raises(openai.BadRequestError) as caught:
        begin(client, 100_000_001)
    assert caught.value.param == "bytes"
    with pytest.raises(openai.APIStatusError) as too_large:
        client.uploads.parts.create(begin(client, 70_000_000), data=bytes(66 * 1024 * 1024))
    assert too_large.value.status_code == 413


def test_uploads_of_another_key(server: Server, client: OpenAI) -> None:
    """Another key finds none of them."""
    upload = begin(client, 5)
    part = client.uploads.parts.create(upload, data=b"hello").id
    with sdk(server, "two") as other:
        for call in (
            lambda: other.uploads.parts.create(upload, data=b"a"),
            lambda: other.uploads.complete(upload, part_ids=[part]),
            lambda: other.uploads.cancel(upload),
        ):
            with pytest.raises(openai.NotFoundError):
                call()
