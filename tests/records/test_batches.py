"""Batches whose processes are killed at each of their steps: the results are those of an undisturbed run."""

import json
import os
import signal
from pathlib import Path
from typing import Final

import pytest

from mimic.records.base import Draft, Records
from mimic.stored.batches import KIND, VALIDATING, BatchStore, StoredBatch, Tally, batch_in, written
from mimic.stored.files import FilePart, FileStore, StoredFile, stored_in
from mimic.stored.options import BatchOptions, FileOptions
from mimic.wire.openai.batches import NewBatch
from tests.support.fork_server import ForkedProcess, fork_server
from tests.support.records import BACKENDS, open_now, url_of
from tests.support.servers import SharedServers

pytestmark = pytest.mark.anyio

INPUT: Final = "c" * 48
BATCH: Final = StoredBatch(
    request=NewBatch(input_file_id=f"file-{INPUT}", endpoint="/v1/chat/completions", completion_window="24h"),
    group="ab" * 24,
    created_at=1_700_000_000,
    window=86_400,
)
"""The same batch in each run, so that the ids in its results are the same."""
KILLS: Final = (("claim", 2), ("result", 2), ("file", 1), ("status", 1), ("cleanup", 1))
"""The steps before which a process is killed, one after the other."""


async def plant(records: Records, lines: int) -> None:
    """Store the input of a batch, and the batch."""
    files = FileStore(records, FileOptions())
    texts = ("hi", "never said", "continue")
    async with await files.new_content(INPUT) as content:
        for number in range(lines):
            messages = [{"role": "user", "content": texts[number % len(texts)]}]
            body = {"model": "mimic-v2", "messages": messages, "n": 2}
            line = {"custom_id": str(number), "method": "POST", "url": "/v1/chat/completions", "body": body}
            await content.write(json.dumps(line).encode() + b"\n")
    file = StoredFile(created_at=1, filename="a", purpose="batch", group=INPUT, parts=[FilePart("whole", content.size)])
    await files.create(file, "someone")
    await files.pin(f"file-{INPUT}", "someone", BATCH.id, 60)
    await records.put(Draft(kind=KIND, id=BATCH.id, owner="someone", state=VALIDATING, data=written(BATCH), due=0))


def start(store: str, url: str, *kill: object) -> ForkedProcess:
    """Start a process that works on the batch."""
    arguments = [store, url, BATCH.id, *map(str, kill)]
    environment = {"PATH": os.environ["PATH"]}
    return fork_server().fork("tests.records.batch_worker", arguments, environment, Path.cwd(), (0, 1, 2))


async def results(records: Records) -> tuple[Tally, bytes, bytes]:
    """The counts of the ended batch, its output and its errors. Checks that nothing else is left."""
    record = await records.get(KIND, BATCH.id, None)
    assert record
    batch, files = batch_in(record), FileStore(records, FileOptions())
    assert (record.state, batch.has_output, batch.has_errors) == ("completed", True, True)
    found = []
    for group in (BATCH.group, BATCH.error_group):
        file = await files.find(f"file-{group}", "someone")
        found.append(b"".join([piece async for piece in files.read(file, 0, file.size)]))
    assert set(await records.sizes()) == {"batch", "file"}
    source = await records.get("file", f"file-{INPUT}", None)
    assert source
    assert (source.is_finished, list(stored_in(source).readers)) == (True, [])
    store = BatchStore(records, files, BatchOptions())
    assert (await store.get(BATCH.id, "someone")).request_counts.total == batch.total
    return batch.tally, found[0], found[1]


@pytest.fixture(scope="module")
def store(serve: SharedServers) -> str:
    """The URL of a corpus."""
    return serve.store()


@pytest.fixture(scope="module")
def undisturbed() -> dict[int, tuple[Tally, bytes, bytes]]:
    """The results of undisturbed runs, by the number of lines."""
    return {}


@pytest.mark.parametrize(
    ("lines", "beside"), [(250, 0), pytest.param(10_000, 2, marks=[pytest.mark.soak, pytest.mark.timeout(600)])]
)
@pytest.mark.parametrize("backend", BACKENDS)
async def test_killed_processes_change_no_byte(
    backend: str,
    lines: int,
    beside: int,
    request: pytest.FixtureRequest,
    store: str,
    tmp_path: Path,
    undisturbed: dict[int, tuple[Tally, bytes, bytes]],
) -> None:
    """Processes are killed at each step, alone or with others beside them, and the files of results are the same."""
    if lines not in undisturbed:
        url = f"sqlite:///{tmp_path}/undisturbed.db"
        async with open_now(url) as records:
            await plant(records, lines)
            assert start(store, url).wait(300) == 0
            undisturbed[lines] = await results(records)
    tally, output, errors = undisturbed[lines]
    assert (tally.completed + tally.failed, len(output.splitlines())) == (lines, tally.completed)
    assert [json.loads(line)["custom_id"] for line in errors.splitlines()] == [str(n) for n in range(1, lines, 3)]
    url = url_of(backend, request)
    async with open_now(url) as records:
        await plant(records, lines)
        others = [start(store, url) for _ in range(beside)]
        for kill in KILLS:
            process = start(store, url, *kill)
            assert process.wait(300) in ({-signal.SIGKILL} if not beside else {-signal.SIGKILL, 0})
        for process in [*others, start(store, url)]:
            assert process.wait(300) == 0
        assert await results(records) == undisturbed[lines]
