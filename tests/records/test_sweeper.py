"""The sweeper: one process at a time, nothing while nothing is stored, and again after failures."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from structlog.testing import capture_logs

from mimic.errors import RecordsUnavailable
from mimic.records.base import SWEEPER, Draft, Records
from mimic.records.sweeper import Sweeper
from tests.support.records import BACKENDS, open_now, url_of

pytestmark = pytest.mark.anyio


@pytest.fixture(params=BACKENDS)
async def both(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Records, Records]]:
    """The records of two processes."""
    url = url_of(request.param, request)
    async with AsyncExitStack() as stack:
        yield (await stack.enter_async_context(open_now(url)), await stack.enter_async_context(open_now(url)))


async def test_one_process_at_a_time_sweeps(both: tuple[Records, Records]) -> None:
    """The first call plans the job, and of two calls when it is due one sweeps."""
    sweepers = [Sweeper(records, 0.5) for records in both]
    assert [await sweeper.sweep_if_due() for sweeper in sweepers] == [None, None]
    assert await both[0].get(SWEEPER, SWEEPER, None) is None
    await both[0].put(Draft(kind="a", id="1", lives=0.01))
    assert await sweepers[0].sweep_if_due() is None
    assert await sweepers[1].sweep_if_due() is None
    await asyncio.sleep(0.6)
    swept = await asyncio.gather(*(sweeper.sweep_if_due() for sweeper in sweepers))
    assert sorted(swept, key=str) == [1, None]


async def test_a_task_sweeps_in_the_background(both: tuple[Records, Records]) -> None:
    """Expired records are gone soon, also after all records were cleared."""
    records = both[0]
    async with Sweeper(records, 0.02):
        for _ in range(2):
            await records.put(Draft(kind="a", id="1", lives=0.01))
            async with asyncio.timeout(10):
                while await records.sizes():
                    await asyncio.sleep(0.01)
            await records.clear()


async def test_a_failing_store_is_a_warning_once(
    both: tuple[Records, Records], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task goes on."""
    calls = []

    async def fail(*_: object) -> None:
        calls.append(1)
        raise RecordsUnavailable("away")

    monkeypatch.setattr(both[0], "claim", fail)
    with capture_logs() as logs:
        async with Sweeper(both[0], 0.001):
            while len(calls) < 5:
                await asyncio.sleep(0.001)
    assert len(logs) == 1
