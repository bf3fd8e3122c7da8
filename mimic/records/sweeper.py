"""The sweeper removes expired records. It is a job among the records, so one process at a time does it."""

from typing import Final

import structlog

from mimic.errors import RecordError, RecordsUnavailable
from mimic.records.base import SWEEPER, Change, Draft, Records
from mimic.records.periodic import PeriodicTask

log = structlog.get_logger("mimic")

INTERVAL: Final = 60.0
"""Seconds between two sweeps, by whatever process."""
LEASE_SECONDS: Final = 300.0


class Sweeper(PeriodicTask):
    """Removes expired records in the background. It does nothing while nothing is stored."""

    def __init__(self, records: Records, interval: float = INTERVAL) -> None:
        super().__init__(records, interval)

    async def step(self) -> None:
        await self.sweep_if_due()

    def failed(self, error: RecordError | RecordsUnavailable) -> None:
        if isinstance(error, RecordsUnavailable):  # otherwise the records are full, or another process took over
            log.warning("expired records cannot be removed", reason=str(error))

    async def sweep_if_due(self) -> int | None:
        """Sweep if the job is due and no other process has it. Returns the number of removed records, or None."""
        claim = await self._records.claim([SWEEPER], LEASE_SECONDS)
        if claim is None:
            if not await self._records.get(SWEEPER, SWEEPER, None) and await self._records.sizes():
                await self._records.put(Draft(kind=SWEEPER, id=SWEEPER, lives=None, due=self._interval))
            return None
        removed = await self._records.sweep()
        await self._records.update(claim.record, Change(due=self._interval), claim.lease)
        return removed
