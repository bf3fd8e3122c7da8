"""A task in the background that repeats a step, and goes on after failures of the records."""

import asyncio
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

import structlog

from mimic.corpus.stores.base import cancel_until_done
from mimic.errors import RecordError, RecordsUnavailable
from mimic.records.base import Records

log = structlog.get_logger("mimic")


class PeriodicTask(ABC):
    """An async context manager. It does nothing if records are off. An outage is logged once, until it ends."""

    def __init__(self, records: Records, interval: float) -> None:
        self._records = records
        self._interval = interval
        self._task: asyncio.Task[None] | None = None
        self.is_ending = False
        """True from the moment when the task is to end."""

    async def __aenter__(self) -> Self:
        if self._records.is_on:
            self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.is_ending = True
        if self._task:
            await cancel_until_done(self._task)

    @abstractmethod
    async def step(self) -> None:
        """Do the work that is due. Raises RecordsUnavailable and RecordError, which end the step and not the task."""

    @abstractmethod
    def failed(self, error: RecordError | RecordsUnavailable) -> None:
        """Log a failure: of an outage, the first one only."""

    async def _run(self) -> None:
        is_failing = False
        while not self.is_ending:
            await asyncio.sleep(self._interval)
            try:
                await self.step()
                is_failing = False
            except RecordsUnavailable as exc:
                if not is_failing:
                    self.failed(exc)
                is_failing = True
            except RecordError as exc:
                self.failed(exc)
            except Exception:  # a record that cannot be worked on must not stop the work on others
                log.exception("work in the background failed")
