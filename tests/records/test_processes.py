"""Records and several processes: killed, stopped beyond a lease and continued, and writing at the same time."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mimic.records.base import Change, Claim, Draft, Records
from tests.support.records import WITH_REPLICA_SET, open_now, url_of

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
Start = Callable[[str, object], "subprocess.Popen[str]"]


@pytest.fixture(params=WITH_REPLICA_SET)
def url(request: pytest.FixtureRequest) -> str:
    """The URL of empty records."""
    return url_of(request.param, request)


@pytest.fixture
def start(url: str) -> Iterator[Start]:
    """A function that starts a worker; its first line is read."""
    with ExitStack() as stack:

        def start_one(work: str, argument: object) -> "subprocess.Popen[str]":
            command = [sys.executable, "-m", "tests.records.worker", url, work, str(argument)]
            process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout
            assert process.stdout.readline()
            return process

        yield start_one


async def claim_soon(records: Records, seconds: float = 30) -> Claim:
    """Claim the job as soon as it is free."""
    until = time.monotonic() + seconds
    while not (claim := await records.claim(["job"], 60)):
        assert time.monotonic() < until
        await asyncio.sleep(0.02)
    return claim


async def test_a_stopped_worker_that_continues_cannot_write(url: str, start: Start) -> None:
    """A worker is stopped beyond its lease, another one does the work, and the first one continues."""
    async with open_now(url) as records:
        await records.put(Draft(kind="job", id="1", due=0))
        worker = start("claim", 1)
        worker.send_signal(signal.SIGSTOP)
        assert await records.claim(["job"], 60) is None
        claim = await claim_soon(records)
        assert claim.lease.generation == 2
        worker.send_signal(signal.SIGCONT)
        assert worker.communicate("go on\n", timeout=30)[0] == "refused\n"
        done = await records.update(claim.record, Change(data=b"by another", due=None), claim.lease)
        assert await records.get("job", "1", None) == done


async def test_a_worker_that_is_not_disturbed_writes(url: str, start: Start) -> None:
    """The same worker, with time enough."""
    async with open_now(url) as records:
        await records.put(Draft(kind="job", id="1", due=0))
        assert start("claim", 60).communicate("go on\n", timeout=30)[0] == "written\n"
        found = await records.get("job", "1", None)
        assert found
        assert (found.data, found.is_finished) == (b"by the worker", True)


async def test_a_killed_worker_loses_its_lease(url: str, start: Start, tmp_path: Path) -> None:
    """At once on SQLite, and when the lease expires on MongoDB. No lock file is left."""
    async with open_now(url) as records:
        await records.put(Draft(kind="job", id="1", due=0))
        worker = start("claim", 1 if url.startswith("mongodb") else 1000)
        assert await records.claim(["job"], 60) is None
        worker.kill()
        worker.wait()
        claim = await claim_soon(records)
        assert claim.lease.generation == 2
        await records.sweep()
    assert list(tmp_path.glob("*.lock")) == []


async def test_stored_records_survive_kills(url: str, start: Start) -> None:
    """Three processes write at the same time until they are killed: each record that was reported is there."""
    workers = [start("put", name) for name in ("a", "b", "c")]
    await asyncio.sleep(0.5)
    stored = []
    for worker in workers:
        worker.kill()
        stored += worker.communicate()[0].splitlines()[:-1]  # the last line may be cut
    assert len(stored) > 30
    async with open_now(url) as records:
        for first in range(0, len(stored), 500):
            part = stored[first : first + 500]
            assert [record.id for record in await records.get_all("a", part, None)] == part
        assert (await records.put(Draft(kind="a", id="after"))).revision == 1
