"""``POST /v1/embeddings``: a stand-in, deterministic and without meaning (``mimic.engine.embedding``)."""

import asyncio
import sys
from array import array
from base64 import b64encode
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg

from mimic.engine.embedding import embed
from mimic.gateway.throttle import Limited, spend
from mimic.server.errors import ApiError, documented
from mimic.settings import Settings
from mimic.wire.openai.models import EMBEDDING_MODEL, unknown_model
from mimic.wire.openai.requests import Input, Texts, inputs_of

EXAMPLE: Final = {"model": EMBEDDING_MODEL, "input": "Why is the sky blue?", "dimensions": 8}
DIMENSIONS: Final = 1536
DIMENSIONS_OF: Final = {"text-embedding-3-large": 3072}
MOST_INPUTS: Final = 2048
MOST_TOKENS_OF_A_TEXT: Final = 8192
MOST_TOKENS: Final = 300_000
MUCH: Final = 10_000
"""Tokens and coordinates from which on a thread does it."""


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One text or several, each a string or a list of tokens."""

    model: Annotated[str, msgspec.Meta(min_length=1)]
    input: Texts
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=4096)] | None = None
    encoding_format: Literal["float", "base64"] | None = None


class Embedding(msgspec.Struct, frozen=True, kw_only=True):
    """A vector of length 1, as numbers, or as base64 of 32-bit floats, the least significant byte first."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: Annotated[msgspec.Raw, msgspec.Meta(description="numbers or base64")]


class EmbeddingUsage(msgspec.Struct, frozen=True):
    """Tokens of ``o200k_base``."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(msgspec.Struct, frozen=True, kw_only=True):
    """A vector for each text, in order."""

    object: Literal["list"] = "list"
    data: Sequence[Embedding]
    model: str
    usage: EmbeddingUsage


@post(
    "/embeddings",
    status_code=200,
    summary="Embed texts",
    tags=["OpenAI"],
    operation_class=Limited,
    description=(
        "A stand-in for an embedding model: the same text always gets the same vector of length 1, and texts that "
        "share words get similar ones; there is no meaning in it."
    ),
    responses={
        200: ResponseSpec(EmbeddingList, description="The vectors.", generate_examples=False),
        **documented(400, 401, 404, 413, 415, 429),
    },
)
async def embed_texts(
    data: Annotated[EmbeddingRequest, BodyKwarg(media_type="application/json", examples=[Example(value=EXAMPLE)])],
    request: Request[Any, Any, Any],
    settings: NamedDependency[Settings],
) -> Response[EmbeddingList]:
    """The corpus has no part in it."""
    request.state.model = data.model
    if settings.strict_models and data.model != EMBEDDING_MODEL:
        raise unknown_model(data.model)
    inputs = await inputs_of(data.input, "input")
    check_inputs(inputs)
    dimensions = data.dimensions or DIMENSIONS_OF.get(data.model, DIMENSIONS)
    as_base64 = data.encoding_format == "base64"

    def embeddings() -> list[Embedding]:
        return [
            Embedding(index=n, embedding=_encoded(embed(one.text, dimensions), as_base64))
            for n, one in enumerate(inputs)
        ]

    used = sum(one.tokens for one in inputs)
    usage = EmbeddingUsage(prompt_tokens=used, total_tokens=used)
    spend(request, usage)
    # In a thread where it would keep others waiting.
    vectors = await asyncio.to_thread(embeddings) if used + len(inputs) * dimensions > MUCH else embeddings()
    return Response(EmbeddingList(data=vectors, model=data.model, usage=usage))


def check_inputs(inputs: Sequence[Input]) -> None:
    """Raises ApiError where there are too many texts, an empty one, or too many tokens, as OpenAI's API does."""
    tokens = [one.tokens for one in inputs]
    empty = next((index for index, one in enumerate(inputs) if not one.text), None)
    code = "invalid_value"
    if len(inputs) > MOST_INPUTS:
        problem, code = f"there are {len(inputs)} texts, more than {MOST_INPUTS}", "array_above_max_length"
    elif empty is not None:
        problem = f"text {empty} is empty"
    elif max(tokens) > MOST_TOKENS_OF_A_TEXT:
        problem = f"text {tokens.index(max(tokens))} has {max(tokens)} tokens, more than {MOST_TOKENS_OF_A_TEXT}"
    elif sum(tokens) > MOST_TOKENS:
        problem = f"the texts have {sum(tokens)} tokens, more than {MOST_TOKENS}"
    else:
        return
    raise ApiError(400, f"Invalid 'input': {problem}.", param="input", code=code)


def _encoded(vector: "array[float]", as_base64: bool) -> msgspec.Raw:
    """As JSON already, which for many vectors takes long."""
    if not as_base64:
        return msgspec.Raw(msgspec.json.encode(vector.tolist()))
    if sys.byteorder == "big":
        vector.byteswap()
    return msgspec.Raw(b'"' + b64encode(vector.tobytes()) + b'"')
