"""Tasks in the background end with their server, also if a library loses a cancellation."""

import asyncio
from contextlib import suppress

import pytest

from mimic.corpus.stores.base import cancel_until_done
from mimic.errors import RecordError, RecordsUnavailable
from mimic.records.off import NoRecords
from mimic.records.periodic import PeriodicTask

pytestmark = pytest.mark.anyio


class Losing(PeriodicTask):
    """A task whose first cancellation is lost, as ``asyncio.wait_for`` of Python 3.11 loses some."""

    def __init__(self, *, goes_on: bool) -> None:
        records = NoRecords()
        records.is_on = True
        super().__init__(records, 0)
        self.goes_on = goes_on
        self.begun = asyncio.Event()

    async def step(self) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self.goes_on:
                await asyncio.Event().wait()

    def failed(self, error: RecordError | RecordsUnavailable) -> None:
        raise AssertionError(error)


async def lose_a_cancellation() -> None:
    """Run until the second cancellation."""
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    await asyncio.Event().wait()


async def test_tasks_are_cancelled_until_they_have_ended() -> None:
    """A lost cancellation is repeated, and the outcomes of all tasks are ignored."""

    async def fail() -> None:
        raise ValueError

    tasks = [asyncio.create_task(work) for work in (lose_a_cancellation(), fail(), asyncio.sleep(60))]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await cancel_until_done(*tasks)
    assert [task.cancelled() for task in tasks] == [True, False, True]


@pytest.mark.parametrize("goes_on", [False, True])
async def test_a_lost_cancellation_does_not_keep_a_server_from_its_end(goes_on: bool) -> None:
    """The task ends with its step, and a step that goes on is cancelled again."""
    task = Losing(goes_on=goes_on)
    async with asyncio.timeout(10):
        async with task:
            await task.begun.wait()
