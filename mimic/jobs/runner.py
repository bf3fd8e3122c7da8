"""The runner finishes jobs that are due. Every process has one; a lease keeps two of them from the same job."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

import structlog

from mimic.errors import RecordChanged, RecordError, RecordsUnavailable
from mimic.records.base import Claim, Records
from mimic.records.periodic import PeriodicTask

log = structlog.get_logger("mimic")

INTERVAL: Final = 1.0
"""Seconds between two looks for jobs: one small query, and none while nothing is stored."""
LEASE_SECONDS: Final = 30.0

Work: TypeAlias = Callable[[Claim], Awaitable[None]]
"""The work on a claimed job. It writes the outcome with the lease, and may be done twice."""


class Runner(PeriodicTask):
    """Finishes due jobs in the background. ``works`` are the works by kinds of records."""

    def __init__(self, records: Records, works: Mapping[str, Work], interval: float = INTERVAL) -> None:
        super().__init__(records, interval)
        self._works = works

    async def step(self) -> None:
        await self.run_due()

    def failed(self, error: RecordError | RecordsUnavailable) -> None:
        if isinstance(error, RecordsUnavailable):
            log.warning("work in the background waits", reason=str(error))
        else:
            log.error("work in the background failed", reason=str(error))

    async def run_due(self) -> int:
        """Finish all jobs that are due. Returns their number. Raises RecordsUnavailable."""
        number = 0
        while claim := await self._records.claim(list(self._works), LEASE_SECONDS):
            await self._do(claim)
            number += 1
        return number

    async def _do(self, claim: Claim) -> None:
        """Do one work. A bug in it leaves the job to a later claim, and other jobs go on."""
        try:
            await self._works[claim.record.kind](claim)
        except RecordChanged:  # a cancellation, or another process
            pass
        except (RecordError, RecordsUnavailable):
            raise
        except Exception:
            log.exception("bug in work in the background", kind=claim.record.kind, id=claim.record.id)
