"""The runner of jobs: one that cannot be finished does not stop the others."""

import asyncio

import pytest
from structlog.testing import capture_logs

from mimic.jobs.runner import Runner
from mimic.records.base import Change, Claim, Draft
from tests.support.records import BACKENDS, open_now, url_of

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_job_that_fails_does_not_stop_the_others(backend: str, request: pytest.FixtureRequest) -> None:
    """The error of the job is logged, and its lease keeps it away until later."""
    async with open_now(url_of(backend, request)) as records:

        async def work(claim: Claim) -> None:
            if claim.record.id == "broken":
                raise ValueError("cannot be read")
            await records.update(claim.record, Change(due=None), claim.lease)

        await records.put_all([Draft(kind="job", id="broken", due=-10), Draft(kind="job", id="whole", due=-1)])
        with capture_logs() as logs:
            async with Runner(records, {"job": work}, interval=0.001), asyncio.timeout(10):
                while not (found := await records.get("job", "whole", None)) or not found.is_finished:
                    await asyncio.sleep(0.001)
        assert [entry["log_level"] for entry in logs] == ["error"]
        broken = await records.get("job", "broken", None)
        assert broken
        assert not broken.is_finished
