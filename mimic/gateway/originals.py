"""Answers that are sent as another service gave them, byte for byte."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from mimic.engine.base import Completion
from mimic.gateway.context import RequestContext
from mimic.gateway.delivery import STREAM_HEADERS, Reply, headers_of
from mimic.wire.base import EVENTS, AnyWire


class Original(msgspec.Struct, frozen=True):
    """The body of another service's answer: its id there, and its pieces with their times in seconds."""

    id: str
    chunks: Sequence[tuple[float, bytes]]
    media_type: str


class OriginalCompletion(Completion, frozen=True):
    """A completion with its original, if this has the form that the request wants."""

    original: Original | None = None


def identified(wire: AnyWire, request: Any, result: Any) -> Any:
    """The request with the id of the original answer, under which the answer is stored."""
    if isinstance(result, OriginalCompletion) and result.original is not None and request.stored:
        return wire.identified(request, result.original.id)
    return request


async def original_reply(result: Any, context: RequestContext, *, is_paced: bool) -> Reply | None:
    """The original as a reply. None if the result must be rendered: for a fault, for a pace, or without an original.

    ``is_paced`` is true if the request has a pace. The pace ``recorded`` repeats the times of the original.
    Raises RequestError (499) if the client leaves before a whole answer is due.
    """
    original = result.original if isinstance(result, OriginalCompletion) else None
    if original is None or is_paced or (not context.is_plain and context.inject()):
        return None
    headers = headers_of(result)
    if original.media_type == EVENTS:
        headers = {**STREAM_HEADERS, **headers}
        if context.keeps_pace:
            return Reply(_in_time(original.chunks), headers, media_type=original.media_type)
    elif context.keeps_pace:
        await context.wait_until(asyncio.get_running_loop().time() + original.chunks[-1][0])
    return Reply(b"".join(part for _, part in original.chunks), headers, media_type=original.media_type)


async def _in_time(chunks: Sequence[tuple[float, bytes]]) -> AsyncIterator[bytes]:
    """Yield each piece at its time."""
    clock = asyncio.get_running_loop().time
    began = clock()
    for seconds, part in chunks:
        await asyncio.sleep(max(0.0, began + seconds - clock()))
        yield part
