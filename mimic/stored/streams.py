"""Streams of stored objects, which end early when the object is cancelled."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

SECONDS_BETWEEN_CHECKS: Final = 1.0
"""Seconds after which a stream looks for a cancellation again."""


async def until_cancelled(
    parts: AsyncGenerator[bytes], is_cancelled: Callable[[], Awaitable[bool]]
) -> AsyncGenerator[bytes]:
    """Yield the parts of a stream that are not empty, until the object is cancelled, maybe by another process."""
    checked = time.monotonic()
    async with aclosing(parts):
        async for part in parts:
            if time.monotonic() - checked > SECONDS_BETWEEN_CHECKS:
                checked = time.monotonic()
                if await is_cancelled():
                    return
            if part:
                yield part
