"""The runner finishes jobs that are due. Every process has one; a lease keeps two of them from the same job."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final, Self, TypeAlias

import structlog

from mimic.errors import RecordChanged, RecordError, RecordsUnavailable
from mimic.records.base import Claim, Records

log = structlog.get_logger("mimic")

INTERVAL: Final = 1.0
"""Seconds between two looks for jobs: one small query, and none while nothing is stored."""
LEASE_SECONDS: Final = 30.0

Work: TypeAlias = Callable[[Claim], Awaitable[None]]
"""The work on a claimed job. It writes the outcome with the lease, and may be done twice."""


class Runner:
    """A task in the background, as an async context manager. ``works`` are the works by kinds of records."""

    def __init__(self, records: Records, works: Mapping[str, Work], interval: float = INTERVAL) -> None:
        self._records = records
        self._works = works
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

    async def run_due(self) -> int:
        """Finish all jobs that are due. Returns their number. Raises RecordsUnavailable."""
        number = 0
        while claim := await self._records.claim(list(self._works), LEASE_SECONDS):
            with suppress(RecordChanged):  # a cancellation, or another process
                await self._works[claim.record.kind](claim)
            number += 1
        return number

    async def _run(self) -> None:
        is_failing = False
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self.run_due()
                is_failing = False
            except RecordsUnavailable as exc:
                if not is_failing:
                    log.warning("work in the background waits", reason=str(exc))
                is_failing = True
            except RecordError as exc:
                log.error("work in the background failed", reason=str(exc))  # noqa: TRY400 - no bug
