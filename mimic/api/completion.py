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
from mimic.api.reach import MATCH_HEADER, SCORE_HEADER
from mimic.conversations import Choice, Message
from mimic.corpus import Corpus
from mimic.errors import NoCompletion
from mimic.ladder import Reach, Rung
from mimic.matching import find_match
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
    match: Annotated[
        Rung | None,
        QueryParameter(description="Match as /v1 does, by role, down to this rung; without it, exactly."),
    ] = None,
) -> Response[Any]:
    """One small answer in one piece; one that takes several batches as a stream, a batch at a time."""
    asked = version or settings.version
    request.state.version = asked
    messages, headers = data.messages, {}
    try:
        if match:
            found = await find_match(corpus, messages, asked, Reach(match, settings.least_score))
            messages = found.asked
            headers = {MATCH_HEADER: found.rung, SCORE_HEADER: f"{found.score:.3f}"}
        batches = corpus.complete(messages, asked, limit, by_role=match is not None)
        first = await anext(batches)
    except NoCompletion:
        metrics.misses.labels(asked).inc()
        raise
    counter = metrics.choices.labels(asked)
    counter.inc(len(first))
    second = await anext(batches, None)
    if second is None:
        choices = Completion([choice.message for choice in first])
        return Response(choices, media_type="application/json", headers=headers)

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

    return Stream(body(), media_type="application/json", headers=headers)


def _inner(choices: Sequence[Choice]) -> bytes:
    """Choices as JSON without the brackets around them."""
    return msgspec.json.encode([choice.message for choice in choices])[1:-1]
