"""Replies: whole or streamed, when they are due, and with the fault that they are to have."""

import asyncio
import re
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain, islice
from typing import Any, Final
from urllib.parse import quote

import msgspec

from mimic.corpus.conversation import Choice
from mimic.engine.base import Answers, Completion, CompletionRequest, Continuations
from mimic.engine.overrides import MATCH_HEADER
from mimic.errors import RequestError
from mimic.gateway.context import RequestContext
from mimic.gateway.faults import Fault, injected_error
from mimic.wire.base import EVENTS, JSON, AnyWire, EventPlan

OK: Final = 200
SCORE_HEADER: Final = "x-mimic-score"
IGNORED_HEADER: Final = "x-mimic-ignored"
"""Fields of the request that were left out, and that would have changed a model's answer."""
STREAM_HEADERS: Final = {"cache-control": "no-cache", "x-accel-buffering": "no"}
BYTES_AT_ONCE: Final = 64 * 1024
"""Frames of a stream that nobody has to wait for are sent together, up to so many bytes."""
TOKENS_AT_ONCE: Final = 1000
"""Tokens of all the answers in a stream that is short enough to be sent in one piece."""
LONGEST_NAME: Final = 100
"""Characters of a conversation's id that are shown in a header."""
LONGEST_HEADER: Final = 2000
"""Characters of a header: some clients take no more than 16 KB of all headers together."""
_is_safe: Final = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch
"""Whether a text is all of characters that a URL leaves as they are, as most ids: it takes a third of the time."""


class Reply(msgspec.Struct, frozen=True):
    """An answer that is ready to be sent: its status, its body, whole or piece by piece, and its headers."""

    body: bytes | AsyncIterator[bytes]
    headers: Mapping[str, str] = {}
    status: int = OK
    media_type: str = JSON


def failed(wire: AnyWire, error: RequestError) -> Reply:
    """An error in the shape of a wire."""
    return Reply(wire.error(error), error.headers, error.status)


def reply(wire: AnyWire, request: Any, result: Any, context: RequestContext, due: Iterator[float] | None) -> Reply:
    """A result as the wire has it, with the fault that it gets."""
    headers, fault = headers_of(result), None if context.is_plain else context.inject()
    if isinstance(request, CompletionRequest) and request.ignored:
        headers = {**headers, IGNORED_HEADER: _listed(request.ignored)}
    if wire.streams(request):
        return _streamed(wire, wire.events(request, result), headers, context, due)
    body = wire.whole(request, result)
    return _spoiled(wire, body, headers, fault, context) if fault and isinstance(body, bytes) else Reply(body, headers)


async def wait_until_due(
    wire: AnyWire, request: Any, result: Completion, context: RequestContext, due: Iterator[float]
) -> Iterator[float]:
    """Wait until the first part of a reply is due, with which its headers are sent; of a whole answer, until the last.

    Returns when the parts are due, the first one included. Raises RequestError where the client does not wait.
    """
    steps = 1 if wire.streams(request) else max([1, *(len(answer.tokens) for answer in result.answers)])
    context.inject()
    moment = next(islice(due, steps - 1, None))
    await context.wait_until(moment)
    return chain([moment], due)


def _streamed(
    wire: AnyWire, plan: EventPlan, headers: Mapping[str, str], context: RequestContext, due: Iterator[float] | None
) -> Reply:
    body: bytes | AsyncIterator[bytes]
    if context.injected:
        body = _interrupted(wire, plan, due, context.injected, context)
    elif due is None and plan.tokens <= TOKENS_AT_ONCE:
        body = plan.whole()
    else:
        body = paced(plan.opening, plan.steps, plan.ending, due)
    return Reply(body, {**STREAM_HEADERS, **headers}, media_type=EVENTS)


async def paced(
    opening: bytes, steps: Iterable[bytes], ending: bytes, due: Iterator[float] | None
) -> AsyncIterator[bytes]:
    """Each step when it is due, with the opening before the first one and the ending behind the last one.

    Frames that nobody has to wait for go out together, up to so many bytes.
    """
    clock = asyncio.get_running_loop().time
    waiting, size = [opening], len(opening)
    left = iter(steps)
    del steps  # the tokens, of which there may be a million, are not needed any more
    try:
        for step in left:
            seconds = next(due) - clock() if due else 0.0
            if seconds > 0 or size >= BYTES_AT_ONCE:
                if size:
                    yield b"".join(waiting)
                    waiting, size = [], 0
                await asyncio.sleep(max(seconds, 0))  # also 0: others are served, however fast this client reads
            waiting.append(step)
            size += len(step)
        yield b"".join((*waiting, ending))
    finally:
        del left, waiting  # where the client left, the error keeps this frame until the garbage collector comes


async def _interrupted(
    wire: AnyWire, plan: EventPlan, due: Iterator[float] | None, fault: Fault, context: RequestContext
) -> AsyncIterator[bytes]:
    """A stream with a fault after so many of its steps, or before the last one where there are no more."""
    opening, steps = plan.opening, iter(plan.steps)
    if fault.after is not None:
        taken = list(islice(steps, fault.after + 1))
        async for part in paced(opening, taken[:-1], b"", due):
            yield part
        opening, steps = b"", chain(taken[-1:], steps)
    if fault.kind == "disconnect":
        await context.hang_up()
        return
    if fault.kind in {"error", "malformed"}:
        yield wire.broken("error" if fault.kind == "error" else "malformed", injected_error(fault))
    if fault.kind == "error":
        return
    if fault.kind == "stall":
        seconds = fault.seconds or 0.0
        await asyncio.sleep(seconds)
        due = (moment + seconds for moment in due) if due else None
    async for part in paced(opening, steps, plan.ending, due):
        yield part


def _spoiled(wire: AnyWire, body: bytes, headers: Mapping[str, str], fault: Fault, context: RequestContext) -> Reply:
    """A whole answer with a fault in its middle; an error in its place where in a stream there would be one."""
    if fault.kind == "error":
        return failed(wire, injected_error(fault))
    if fault.kind not in {"disconnect", "malformed", "stall"}:
        return Reply(body, headers)
    first, second = body[: len(body) // 2], body[len(body) // 2 :]
    if fault.kind == "malformed":
        return Reply(first, headers)

    async def halves() -> AsyncIterator[bytes]:
        yield first
        if fault.kind == "disconnect":
            await context.hang_up()
        else:
            await asyncio.sleep(fault.seconds or 0.0)
            yield second

    return Reply(halves(), {**headers, "content-length": str(len(body))})


def headers_of(result: Any) -> Mapping[str, str]:
    """The headers that tell where an answer came from; none for one that the corpus has no part in."""
    if isinstance(result, Completion):
        results = result.results
        if len(results) == 1 and len(results[0].answers) == 1:  # as most: this way takes a third of the time
            return _headers_of_one(results[0])
        return _match_headers(results)
    if isinstance(result, Continuations) and result.rung is not None:
        return {MATCH_HEADER: result.rung, SCORE_HEADER: f"{result.score:.3f}"}
    return {}


def _match_headers(results: Sequence[Answers]) -> Mapping[str, str]:
    """Per prompt the rung and the score, per answer conversation, position and document; as many as fit."""
    sources = [answer.source for answers in results for answer in answers.answers]
    return {
        MATCH_HEADER: _listed([answers.rung or "none" for answers in results]),
        SCORE_HEADER: _listed(["none" if answers.score is None else f"{answers.score:.3f}" for answers in results]),
        "x-mimic-source": _listed([_place(source) for source in sources]),
        "x-mimic-document": _listed([str(source.document) if source else "none" for source in sources]),
    }


def _headers_of_one(result: Answers) -> Mapping[str, str]:
    source, score = result.answers[0].source, result.score
    return {
        MATCH_HEADER: result.rung or "none",
        SCORE_HEADER: "1.000" if score == 1 else "none" if score is None else f"{score:.3f}",
        "x-mimic-source": _place(source),
        "x-mimic-document": "none" if source is None else str(source.document),
    }


def _place(source: Choice | None) -> str:
    if source is None:
        return "none"
    name = (source.conversation or "")[:LONGEST_NAME]
    if not _is_safe(name):
        name = quote(name, safe="")
    return f"{name}#{source.position}"


def _listed(items: Sequence[str]) -> str:
    text = ", ".join(items)
    if len(text) + len(", ") <= LONGEST_HEADER:
        return text
    ends = list(accumulate(len(item) + len(", ") for item in items))
    fitting = bisect_right(ends, LONGEST_HEADER)
    return ", ".join([*items[:fitting], "..."])
