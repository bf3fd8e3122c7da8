"""The sweeper removes expired records. It is a job among the records, so one process at a time does it."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import structlog

from mimic.errors import RecordError, RecordsUnavailable
from mimic.records.base import SWEEPER, Change, Draft, Records

log = structlog.get_logger("mimic")

INTERVAL: Final = 60.0
"""Seconds between two sweeps, by whatever process."""
LEASE_SECONDS: Final = 300.0


class Sweeper:
    """A task in the background, as an async context manager. It does nothing while nothing is stored."""

    def __init__(self, records: Records, interval: float = INTERVAL) -> None:
        self._records = records
        self._interval = interval
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._records.is_on:
            self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def sweep_if_due(self) -> int | None:
        """Sweep if the job is due and no other process has it. Returns the number of removed records, or None."""
        claim = await self._records.claim([SWEEPER], LEASE_SECONDS)
        if claim is None:
            if await self._records.sizes() and not await self._records.get(SWEEPER, SWEEPER, None):
                await self._records.put(Draft(kind=SWEEPER, id=SWEEPER, lives=None, due=self._interval))
            return None
        removed = await self._records.sweep()
        await self._records.update(claim.record, Change(due=self._interval), claim.lease)
        return removed

    async def _run(self) -> None:
        is_failing = False
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self.sweep_if_due()
                is_failing = False
            except RecordError:  # full, or another process took over
                pass
            except RecordsUnavailable as exc:
                if not is_failing:
                    log.warning("expired records cannot be removed", reason=str(exc))
                is_failing = True
