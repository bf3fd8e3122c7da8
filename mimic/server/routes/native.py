"""``POST /conversation/completion``: what really came next."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg, QueryParameter
from prometheus_client import Counter

from mimic.corpus.conversation import Choice, Message
from mimic.corpus.corpus import Corpus
from mimic.corpus.ladder import MatchPolicy, Rung
from mimic.corpus.schemas import VERSIONS, Version
from mimic.corpus.stores.base import Batches
from mimic.engine.matching import find_match
from mimic.errors import NoCompletion
from mimic.gateway.auth import SECURITY_SCHEME, require_key
from mimic.gateway.delivery import Reply
from mimic.gateway.reach import MATCH_HEADER, SCORE_HEADER
from mimic.server.errors import documented
from mimic.server.fastpath import Plain
from mimic.server.observability.requests import Metrics
from mimic.settings import Settings

PATH = "/conversation/completion"
MOST_CHOICES = 1_000_000_000
EXAMPLE = {"messages": [{"from": "human", "value": "Write a haiku about the sea"}]}


class CompletionRequest(msgspec.Struct, frozen=True):
    """The conversation so far. v1 and v2 look at the last message, v3 at the last two."""

    messages: Annotated[Sequence[Message], msgspec.Meta(min_length=1)]


class Completion(msgspec.Struct, frozen=True):
    """Every message that came next, in corpus order, duplicates kept."""

    choices: Sequence[Message]


@post(
    PATH,
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
        **documented(400, 401, 404, 413, 415, 503),
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
    asked = request.state.version = version or settings.version
    policy = MatchPolicy(match, settings.min_score) if match else None
    return (await answered(data, asked, corpus, metrics, limit, policy)).response()


def plain(corpus: Corpus, settings: Settings, metrics: Metrics) -> Plain[CompletionRequest]:
    """The same for those who ask for no more than a version."""
    versions: Mapping[bytes, Version] = {b"version=%s" % version.encode(): version for version in VERSIONS}
    versions = {b"": settings.version, **versions}

    async def answer(data: CompletionRequest, query: bytes, state: dict[str, Any]) -> Reply | None:
        version = versions.get(query)
        if version is None:
            return None
        state["version"] = version
        return await answered(data, version, corpus, metrics)

    return Plain(CompletionRequest, answer)


async def answered(
    data: CompletionRequest,
    version: Version,
    corpus: Corpus,
    metrics: Metrics,
    limit: int | None = None,
    policy: MatchPolicy | None = None,
) -> Reply:
    """The choices; with a ``policy`` those of a match by role, else those of the messages as they are.

    Raises NoCompletion and NotSeeded, with a ``policy`` also RungNotSeeded.
    """
    messages, headers = data.messages, {}
    try:
        if policy:
            found = await find_match(corpus, messages, version, policy)
            messages = found.asked
            headers = {MATCH_HEADER: found.rung, SCORE_HEADER: f"{found.score:.3f}"}
        choices = await corpus.complete(messages, version, limit, by_role=policy is not None)
    except NoCompletion:
        metrics.misses.labels(version).inc()
        raise
    counter = metrics.choices_of(version)
    counter.inc(len(choices.first))
    second = await anext(choices.rest, None) if choices.rest else None
    if second is None:
        return Reply(b'{"choices":[' + _inner(choices.first) + b"]}", headers)
    return Reply(_streamed(choices, second, counter), headers)


async def _streamed(choices: Batches[Choice], second: Sequence[Choice], counter: Counter) -> AsyncIterator[bytes]:
    yield b'{"choices":[' + _inner(choices.first)
    counter.inc(len(second))
    yield b"," + _inner(second)
    if choices.rest:
        async with aclosing(choices.rest):
            async for batch in choices.rest:
                counter.inc(len(batch))
                yield b"," + _inner(batch)
    yield b"]}"


def _inner(choices: Sequence[Choice]) -> bytes:
    """Choices as JSON without the brackets around them."""
    return msgspec.json.encode([choice.message for choice in choices])[1:-1]
