"""The runner finishes jobs that are due. Every process has one; a lease keeps two of them from the same job."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final, TypeAlias

import structlog

from mimic.errors import RecordChanged, RecordError, RecordsUnavailable
from mimic.records.base import Claim, Lease, Records
from mimic.records.periodic import PeriodicTask

log = structlog.get_logger("mimic")

INTERVAL: Final = 1.0
"""Seconds between two looks for jobs: one small query, and none while nothing is stored."""
LEASE_SECONDS: Final = 30.0
MOST_SLOW: Final = 32
"""Slow jobs that a process works on at the same time."""
SECONDS_TO_END: Final = 3.0
"""Seconds that slow work may go on when the server ends."""

Work: TypeAlias = Callable[[Claim], Awaitable[None]]
"""The work on a claimed job. It writes the outcome with the lease, and may be done twice."""


class Runner(PeriodicTask):
    """Finishes due jobs in the background, by the works for their kinds of records.

    Jobs of ``works`` are done one after another. Jobs of ``slow_works`` wait for other servers: they are done at the
    same time, up to a limit, and delay no others.
    """

    def __init__(
        self,
        records: Records,
        works: Mapping[str, Work],
        slow_works: Mapping[str, Work] | None = None,
        interval: float = INTERVAL,
    ) -> None:
        super().__init__(records, interval)
        self._slow = list(slow_works or ())
        self._fast = list(works)
        self._works = {**works, **(slow_works or {})}
        self._tasks: set[asyncio.Task[None]] = set()
        self._given_up: list[Lease] = []

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await super().__aexit__(exc_type, exc, traceback)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=SECONDS_TO_END)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def step(self) -> None:
        await self.run_due()

    def failed(self, error: RecordError | RecordsUnavailable) -> None:
        if isinstance(error, RecordsUnavailable):
            log.warning("work in the background waits", reason=str(error))
        else:
            log.error("work in the background failed", reason=str(error))

    async def run_due(self) -> None:
        """Finish all jobs that are due, and begin slow ones. Raises RecordsUnavailable."""
        while self._given_up:
            lease = self._given_up[-1]
            await self._records.release(lease)
            self._given_up.remove(lease)  # others may have come meanwhile
        while claim := await self._records.claim(self._kinds(), LEASE_SECONDS):
            if claim.record.kind in self._slow:
                self._begin(claim)
            else:
                await self._work(claim)

    def _kinds(self) -> list[str]:
        return self._fast if len(self._tasks) >= MOST_SLOW else [*self._fast, *self._slow]

    async def _work(self, claim: Claim) -> None:
        """Do one work. A bug in it leaves the job to a later claim, and other jobs go on."""
        try:
            await self._works[claim.record.kind](claim)
        except RecordChanged:  # a cancellation, or another process
            pass
        except RecordsUnavailable:  # the next look for jobs releases it, so that it is repeated when the store is back
            self._given_up.append(claim.lease)
            raise
        except RecordError:
            raise
        except Exception:
            log.exception("bug in work in the background", kind=claim.record.kind, id=claim.record.id)

    def _begin(self, claim: Claim) -> None:
        task = asyncio.create_task(self._work_on(claim))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _work_on(self, claim: Claim | None) -> None:
        """Do a slow job, and then further ones."""
        with suppress(RecordsUnavailable):  # the next look for jobs logs it
            while claim:
                await self._work(claim)
                claim = None if self.is_ending else await self._records.claim(self._slow, LEASE_SECONDS)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("work in the background failed", exc_info=error)
