"""``POST /v1/embeddings``: a stand-in, deterministic and without meaning (``mimic.embedding``)."""

import asyncio
import sys
from array import array
from base64 import b64encode
from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec
from litestar import Response, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg

from mimic.answering import encode
from mimic.api.errors import ApiError, documented
from mimic.api.openai.models import EMBEDDING_MODEL, unknown_model
from mimic.api.openai.requests import texts_of
from mimic.embedding import embed
from mimic.settings import Settings

EXAMPLE: Final = {"model": EMBEDDING_MODEL, "input": "Why is the sky blue?", "dimensions": 8}
DIMENSIONS: Final = 1536
DIMENSIONS_OF: Final = {"text-embedding-3-large": 3072}
MOST_INPUTS: Final = 2048
MANY_CHARACTERS: Final = 10_000
"""From so many on, a thread does it: that takes some ten milliseconds."""


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One text or several, each a string or a list of tokens."""

    model: Annotated[str, msgspec.Meta(min_length=1)]
    input: str | Annotated[Sequence[str | int | Sequence[int]], msgspec.Meta(min_length=1)]
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=4096)] | None = None
    encoding_format: Literal["float", "base64"] | None = None


class Embedding(msgspec.Struct, frozen=True, kw_only=True):
    """A vector of length 1, as numbers, or as base64 of 32-bit floats, the least significant byte first."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: Sequence[float] | str


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
    description=(
        "A stand-in for an embedding model: the same text always gets the same vector of length 1, and texts that "
        "share words get similar ones; there is no meaning in it."
    ),
    responses={
        200: ResponseSpec(EmbeddingList, description="The vectors.", generate_examples=False),
        **documented(400, 401, 404, 413),
    },
)
async def embed_texts(
    data: Annotated[EmbeddingRequest, BodyKwarg(media_type="application/json", examples=[Example(value=EXAMPLE)])],
    settings: NamedDependency[Settings],
) -> Response[EmbeddingList]:
    """The corpus has no part in it."""
    if settings.strict_models and data.model != EMBEDDING_MODEL:
        raise unknown_model(data.model)
    texts = texts_of(data.input, "input")
    if "" in texts:
        path = "input" if isinstance(data.input, str) else f"input[{texts.index('')}]"
        raise ApiError(400, f"Invalid '{path}': an empty text cannot be embedded.", param="input", code="invalid_value")
    if len(texts) > MOST_INPUTS:
        expected = f"Expected at most {MOST_INPUTS} texts, but got {len(texts)} instead"
        raise ApiError(
            400, f"Invalid 'input': array too long. {expected}.", param="input", code="array_above_max_length"
        )
    dimensions = data.dimensions or DIMENSIONS_OF.get(data.model, DIMENSIONS)
    if sum(map(len, texts)) > MANY_CHARACTERS:
        vectors = await asyncio.to_thread(lambda: [embed(text, dimensions) for text in texts])
    else:
        vectors = [embed(text, dimensions) for text in texts]
    encoded = [_base64(vector) if data.encoding_format == "base64" else vector.tolist() for vector in vectors]
    used = sum([len(await encode(text)) for text in texts])
    embeddings = [Embedding(index=index, embedding=vector) for index, vector in enumerate(encoded)]
    usage = EmbeddingUsage(prompt_tokens=used, total_tokens=used)
    return Response(EmbeddingList(data=embeddings, model=data.model, usage=usage))


def _base64(vector: "array[float]") -> str:
    if sys.byteorder == "big":
        vector = vector[:]
        vector.byteswap()
    return b64encode(vector.tobytes()).decode()
