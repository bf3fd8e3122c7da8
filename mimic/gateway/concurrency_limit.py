"""The concurrency limit: how many requests for answers a process works on at a time."""

import asyncio


class ConcurrencyLimit:
    """Places for requests in flight; 0 is no limit. Each worker process has its own.

    A request beyond the limit waits until another one gives its place back.
    """

    def __init__(self, most: int) -> None:
        self._places = asyncio.Semaphore(most) if most else None
        self._in_flight = 0

    @property
    def is_full(self) -> bool:
        """Whether a place has to be waited for."""
        return self._places is not None and self._places.locked()

    def take_now(self) -> int:
        """Take a place where there is no limit. Returns how many requests are in flight, with this one, or else 0."""
        if self._places:
            return 0
        self._in_flight += 1
        return self._in_flight

    async def take(self) -> int:
        """Take a place, once there is one. Returns how many requests are in flight, with this one."""
        if self._places:
            await self._places.acquire()
        self._in_flight += 1
        return self._in_flight

    def give_back(self) -> None:
        """Give a place back."""
        self._in_flight -= 1
        if self._places:
            self._places.release()
