"""``POST /conversation/completion``: what really came next."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg, QueryParameter
from litestar.response import Stream

from mimic.api.errors import documented
from mimic.api.keys import SECURITY_SCHEME, require_key
from mimic.api.observation import Metrics
from mimic.conversations import Choice, Message
from mimic.corpus import Corpus
from mimic.errors import NoCompletion
from mimic.schemas import Version
from mimic.settings import Settings

MOST_CHOICES = 1_000_000_000
EXAMPLE = {"messages": [{"from": "human", "value": "Write a haiku about the sea"}]}


class CompletionRequest(msgspec.Struct, frozen=True):
    """The conversation so far. v1 and v2 look at the last message, v3 at the last two."""

    messages: Annotated[Sequence[Message], msgspec.Meta(min_length=1)]


class Completion(msgspec.Struct, frozen=True):
    """Every message that came next, in corpus order, duplicates kept."""

    choices: Sequence[Message]


@post(
    "/conversation/completion",
    status_code=200,
    summary="What came next",
    tags=["Conversations"],
    guards=[require_key],
    security=[{SECURITY_SCHEME: []}, {}],
    description=(
        "Every message of the corpus that came next after the last message (v1, v2) or the last two (v3), "
        "matched byte for byte, in corpus order."
    ),
    responses={
        200: ResponseSpec(Completion, description="The choices.", generate_examples=False),
        **documented(400, 401, 404, 413, 503),
    },
)
async def complete(
    data: Annotated[CompletionRequest, BodyKwarg(media_type="application/json", examples=[Example(value=EXAMPLE)])],
    request: Request[Any, Any, Any],
    corpus: NamedDependency[Corpus],
    settings: NamedDependency[Settings],
    metrics: NamedDependency[Metrics],
    version: Annotated[Version | None, QueryParameter(description="The schema version; default MIMIC_VERSION.")] = None,
    limit: Annotated[int | None, QueryParameter(description="At most so many choices.", ge=1, le=MOST_CHOICES)] = None,
) -> Response[Any]:
    """One small answer in one piece; one that takes several batches as a stream, a batch at a time."""
    asked = version or settings.version
    request.state.version = asked
    batches = corpus.complete(data.messages, asked, limit)
    try:
        first = await anext(batches)
    except NoCompletion:
        metrics.misses.labels(asked).inc()
        raise
    counter = metrics.choices.labels(asked)
    counter.inc(len(first))
    second = await anext(batches, None)
    if second is None:
        return Response(Completion([choice.message for choice in first]), media_type="application/json")

    async def body() -> AsyncIterator[bytes]:
        yield b'{"choices":[' + _inner(first)
        counter.inc(len(second))
        yield b"," + _inner(second)
        async with aclosing(batches):
            async for batch in batches:
                await asyncio.sleep(0)  # others are served between two batches, however fast this client reads
                counter.inc(len(batch))
                yield b"," + _inner(batch)
        yield b"]}"

    return Stream(body(), media_type="application/json")


def _inner(choices: Sequence[Choice]) -> bytes:
    """Choices as JSON without the brackets around them."""
    return msgspec.json.encode([choice.message for choice in choices])[1:-1]
