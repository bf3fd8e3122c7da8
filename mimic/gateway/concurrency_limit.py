"""The concurrency limit: the maximum number of requests for answers in flight in a process."""

import asyncio


class ConcurrencyLimit:
    """Places for requests in flight; 0 means no limit. Each worker process has its own limit.

    A request beyond the limit waits until another request releases its place.
    """

    def __init__(self, most: int) -> None:
        self._places = asyncio.Semaphore(most) if most else None
        self._in_flight = 0

    @property
    def is_full(self) -> bool:
        """True if a request has to wait for a place."""
        return self._places is not None and self._places.locked()

    def take_now(self) -> int:
        """Take a place if there is no limit. Returns the requests in flight, this one included, or else 0."""
        if self._places:
            return 0
        self._in_flight += 1
        return self._in_flight

    async def take(self) -> int:
        """Wait for a place and take it. Returns the requests in flight, this one included."""
        if self._places:
            await self._places.acquire()
        self._in_flight += 1
        return self._in_flight

    def give_back(self) -> None:
        """Release a place."""
        self._in_flight -= 1
        if self._places:
            self._places.release()
