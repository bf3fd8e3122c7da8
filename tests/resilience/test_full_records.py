"""Stored objects on a full disk: an error that names the file, nothing half-written, and success with space again."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import openai
import pytest
from openai import OpenAI

from tests.support.disks import empty, leave
from tests.support.mongod import Mongod, skip_without_mongod
from tests.support.sdk import sdk
from tests.support.servers import Server, SharedServers

pytestmark = pytest.mark.timeout(120)

FULL: Final = "no space left"
LARGE: Final = bytes(3_000_000)


@pytest.fixture
def server(disk: Path, tmp_path: Path, serve: SharedServers) -> Iterator[Server]:
    """A server with its records on the disk."""
    settings = {"MIMIC_RECORDS": f"sqlite:///{disk}/records.db", "MIMIC_ON_MISS": "any"}
    with Server(tmp_path, MIMIC_STORE=serve.store(), **settings) as server:
        yield server
    assert "Traceback" not in server.log()


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    """The SDK."""
    with sdk(server) as client:
        yield client


def contents(disk: Path) -> dict[str, int]:
    """The contents on the disk, with their sizes."""
    return {str(path): path.stat().st_size for path in (disk / "records.db.files").rglob("*") if path.is_file()}


def assert_full(caught: pytest.ExceptionInfo[openai.InternalServerError]) -> None:
    """Assert that an error is a 503 that names what is full."""
    assert (caught.value.status_code, caught.value.code) == (503, "records_unavailable")
    assert f"{FULL} for records.db" in caught.value.message


def test_files_and_parts(disk: Path, client: OpenAI) -> None:
    """A file and a part that do not fit are a 503 and leave nothing; other requests go on, and space ends it."""
    kept = client.files.create(file=b"kept", purpose="user_data")
    upload = client.uploads.create(filename="a", bytes=len(LARGE), mime_type="text/plain", purpose="user_data")
    before = contents(disk)
    for left in (2_000_000, 0):
        leave(disk, left)
        with pytest.raises(openai.InternalServerError) as caught:
            client.files.create(file=LARGE, purpose="user_data")
        assert_full(caught)
        with pytest.raises(openai.InternalServerError) as caught:
            client.uploads.parts.create(upload.id, data=LARGE)
        assert_full(caught)
        assert contents(disk) == before
        assert client.files.content(kept.id).read() == b"kept"
        assert [one.id for one in client.files.list()] == [kept.id]
    empty(disk)
    part = client.uploads.parts.create(upload.id, data=LARGE)
    done = client.uploads.complete(upload.id, part_ids=[part.id])
    assert done.file
    made = client.files.create(file=LARGE, purpose="user_data")
    assert sum(contents(disk).values()) == 2 * len(LARGE) + 4
    for one in (done.file, made):
        assert client.files.content(one.id).read() == LARGE
        client.files.delete(one.id)
    assert contents(disk) == before


def test_a_file_whose_record_does_not_fit(disk: Path, client: OpenAI, tmp_path: Path, serve: SharedServers) -> None:
    """A file that fits without its record is a 503, and its bytes are removed at once. A new server can read."""
    kept = client.files.create(file=b"kept", purpose="user_data")
    before, failures = contents(disk), list[str]()
    while not failures:
        leave(disk, len(LARGE) + 4096)  # each success fills the log of SQLite, until a record needs more space
        try:
            made = client.files.create(file=LARGE, purpose="user_data")
        except openai.InternalServerError as exc:
            failures.append(exc.message)
        else:
            empty(disk)
            client.files.delete(made.id)
        assert contents(disk) == before
    assert f"{FULL} for records.db" in failures[0]
    with Server(tmp_path, MIMIC_STORE=serve.store(), MIMIC_RECORDS=f"sqlite:///{disk}/records.db") as second:
        assert [one["id"] for one in httpx.get(f"{second.url}/v1/files").json()["data"]] == [kept.id]


def test_records_that_grow(disk: Path, client: OpenAI, server: Server) -> None:
    """A stored response without space is a 503; an answer that is not stored, and stored ones, are given."""
    text = "x" * 200_000
    first = client.responses.create(model="mimic-v2", input="hi")
    leave(disk, 500_000)
    stored: list[str] = []
    with pytest.raises(openai.InternalServerError) as caught:
        while len(stored) < 100:
            stored.append(client.responses.create(model="mimic-v2", input=text + "hi", store=True).id)
    assert_full(caught)
    leave(disk, 0)
    assert client.responses.create(model="mimic-v2", input="hi", store=False).output_text
    for one in (first.id, *stored):
        assert client.responses.retrieve(one).id == one
    empty(disk)
    last = client.responses.create(model="mimic-v2", input=text + "hi").id
    assert client.responses.retrieve(last).id == last
    assert httpx.get(f"{server.url}/health").status_code == 200


def line(number: int) -> str:
    """A line of a batch."""
    body: dict[str, Any] = {"model": "mimic-v2", "messages": [{"role": "user", "content": "hi"}]}
    return json.dumps({"custom_id": str(number), "method": "POST", "url": "/v1/chat/completions", "body": body})


def wait_for(client: OpenAI, batch: str, *states: str) -> Any:
    """Wait until a batch has one of some states."""
    until = time.monotonic() + 60
    while (found := client.batches.retrieve(batch)).status not in states:
        assert time.monotonic() < until, found
        time.sleep(0.05)
    return found


def test_a_batch_waits_for_space(disk: Path, client: OpenAI, server: Server) -> None:
    """A batch whose results do not fit waits, with a warning, and is complete with space again."""
    data = "\n".join(map(line, range(300))).encode()
    file = client.files.create(file=("a.jsonl", data), purpose="batch")
    leave(disk, 0)
    with pytest.raises(openai.InternalServerError) as caught:
        client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert_full(caught)
    leave(disk, 80_000)
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    until = time.monotonic() + 60
    while "work in the background waits" not in server.log():
        assert time.monotonic() < until
        time.sleep(0.05)
    assert client.batches.retrieve(batch.id).status in {"validating", "in_progress"}
    empty(disk)
    done = wait_for(client, batch.id, "completed", "failed", "expired")
    assert (done.status, done.request_counts.completed) == ("completed", 300)
    results = [json.loads(one)["custom_id"] for one in client.files.content(done.output_file_id).text.splitlines()]
    assert results == [str(number) for number in range(300)]
    assert not [name for name in contents(disk) if name.endswith(".incomplete")]


@pytest.mark.parametrize("disk", [450], indirect=True)
def test_a_mongod_without_space(disk: Path, tmp_path: Path, serve: SharedServers) -> None:
    """A file whose pieces do not fit is a 503, and leaves no record; the restarted mongod takes it."""
    skip_without_mongod()
    mongod = Mongod(disk)
    mongod.start()
    try:
        url = f"{mongod.url}/mimic?serverSelectionTimeoutMS=1000"
        with Server(tmp_path, MIMIC_STORE=serve.store(), MIMIC_RECORDS=url) as server, sdk(server) as client:
            kept = client.files.create(file=b"kept", purpose="user_data")
            leave(disk, 500_000)
            with pytest.raises(openai.InternalServerError) as caught:
                while True:
                    client.files.create(file=bytes(20_000_000), purpose="user_data")
            assert (caught.value.status_code, caught.value.code) == (503, "records_unavailable")
            assert "records" in caught.value.message  # a mongod ends when it cannot write its journal
            empty(disk)
            mongod.kill()
            mongod.start()
            before = {one.id for one in client.files.list()}
            assert client.files.content(kept.id).read() == b"kept"
            made = client.files.create(file=bytes(20_000_000), purpose="user_data")
            assert {one.id for one in client.files.list()} == {made.id, *before}
            for one in (*before, made.id):
                assert len(client.files.content(one).read()) == client.files.retrieve(one).bytes
    finally:
        mongod.kill()
