"""Records and several processes: killed, stopped beyond a lease and continued, and writing at the same time."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest

from mimic.records.base import Change, Claim, Draft, Records
from tests.support.fork_server import fork_server
from tests.support.records import WITH_REPLICA_SET, open_now, url_of

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
SECONDS = 30


class Worker:
    """A forked worker. A context manager that kills it."""

    def __init__(self, *arguments: str) -> None:
        (receiver, sender), (said, output) = os.pipe(), os.pipe()
        environment = {"PATH": os.environ["PATH"]}
        streams = (receiver, output, 2)
        self.process = fork_server().fork("tests.records.worker", arguments, environment, ROOT, streams)
        os.close(receiver)
        os.close(output)
        self.input, self.output = os.fdopen(sender, "w"), os.fdopen(said)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        self.input.close()
        self.output.close()

    def end(self) -> str:
        """Let it go on; return its output when it has ended."""
        self.input.write("go on\n")
        self.input.flush()
        self.process.wait(SECONDS)
        return self.output.read()

    def kill(self) -> None:
        """Kill it, and wait until it has ended."""
        self.process.kill()
        self.process.wait(SECONDS)


Start = Callable[[str, object], Worker]


@pytest.fixture(params=WITH_REPLICA_SET)
def url(request: pytest.FixtureRequest) -> str:
    """The URL of empty records."""
    return url_of(request.param, request)


@pytest.fixture
def start(url: str) -> Iterator[Start]:
    """A function that starts a worker; its first line is read."""
    with ExitStack() as stack:

        def start_one(work: str, argument: object) -> Worker:
            worker = stack.enter_context(Worker(url, work, str(argument)))
            assert worker.output.readline()
            return worker

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
        worker.process.send_signal(signal.SIGSTOP)
        assert await records.claim(["job"], 60) is None
        claim = await claim_soon(records)
        assert claim.lease.generation == 2
        worker.process.send_signal(signal.SIGCONT)
        assert worker.end() == "refused\n"
        done = await records.update(claim.record, Change(data=b"by another", due=None), claim.lease)
        assert await records.get("job", "1", None) == done


async def test_a_worker_that_is_not_disturbed_writes(url: str, start: Start) -> None:
    """The same worker, with time enough."""
    async with open_now(url) as records:
        await records.put(Draft(kind="job", id="1", due=0))
        assert start("claim", 60).end() == "written\n"
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
        stored += worker.output.read().splitlines()[:-1]  # the last line may be cut
    assert len(stored) > 30
    async with open_now(url) as records:
        for first in range(0, len(stored), 500):
            part = stored[first : first + 500]
            assert [record.id for record in await records.get_all("a", part, None)] == part
        assert (await records.put(Draft(kind="a", id="after"))).revision == 1
