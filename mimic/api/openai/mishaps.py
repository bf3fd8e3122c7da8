"""Faults on purpose in the middle of an answer, or in place of what it says."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.response import Stream

from mimic.answering import Answers
from mimic.api.moods import error_of
from mimic.api.openai.streams import Script, frames, paced
from mimic.moods import Mood
from mimic.server.http11.asgi import hang_up

NOT_JSON: Final = b'data: {"choices": [{"index": 0, "delta": {"content": "\n\n'
STATUS_OF_ERROR: Final = 500


def emptied(found: Sequence[Answers], request: Request[Any, Any, Any]) -> Sequence[Answers]:
    """The answers, or where that is what befalls the request as many that say nothing."""
    mood: Mood | None = request.scope["state"].get("mood")
    if mood is None or mood.kind != "empty":
        return found
    replace = msgspec.structs.replace
    return [
        replace(one, answers=[replace(each, text="", tokens=(), finish_reason="stop") for each in one.answers])
        for one in found
    ]


async def beset(
    script: Script, due: Iterator[float] | None, mood: Mood, request: Request[Any, Any, Any]
) -> AsyncIterator[bytes]:
    """A stream with a fault after so many of its steps, or before the last one where there are no more."""
    if mood.after is None:
        rest = script
    else:
        taken = list(islice(script.steps, mood.after + 1))
        async for part in paced(Script(script.opening, iter(taken[:-1]), end=b""), due):
            yield part
        rest = Script(b"", chain(taken[-1:], script.steps), script.ending)
    if mood.kind == "disconnect":
        await hang_up(request.scope, request.receive)
        return
    if mood.kind == "error":
        yield frames([error_of(mood, STATUS_OF_ERROR)])
        return
    if mood.kind == "malformed":
        yield NOT_JSON
    if mood.kind == "stall":
        seconds = mood.seconds or 0.0
        await asyncio.sleep(seconds)
        due = (moment + seconds for moment in due) if due else None
    async for part in paced(rest, due):
        yield part


def spoilt(
    completion: msgspec.Struct, headers: Mapping[str, str], mood: Mood, request: Request[Any, Any, Any]
) -> Response[Any]:
    """A whole answer, with a fault in the middle; an error in its place where in a stream there would be one."""
    if mood.kind == "error":
        return Response(error_of(mood, STATUS_OF_ERROR), status_code=STATUS_OF_ERROR, media_type="application/json")
    if mood.kind not in {"disconnect", "malformed", "stall"}:
        return Response(completion, headers=headers)
    body = msgspec.json.encode(completion)
    first, second = body[: len(body) // 2], body[len(body) // 2 :]
    if mood.kind == "malformed":
        return Response(first, headers=headers, media_type="application/json")

    async def halves() -> AsyncIterator[bytes]:
        yield first
        if mood.kind == "disconnect":
            await hang_up(request.scope, request.receive)
        else:
            await asyncio.sleep(mood.seconds or 0.0)
            yield second

    return Stream(halves(), headers={**headers, "content-length": str(len(body))}, media_type="application/json")
