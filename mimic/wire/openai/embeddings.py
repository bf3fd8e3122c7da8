"""``/v1/embeddings``: OpenAI's format for vectors, as numbers or as base64."""

import sys
from array import array
from base64 import b64encode
from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec

from mimic.engine.base import Known
from mimic.engine.embedding import EmbeddingsRequest, Vectors
from mimic.engine.overrides import Overrides
from mimic.errors import RequestError
from mimic.wire.json import decode
from mimic.wire.openai.base import EMBEDDING_MODEL, Input, Names, OpenAIWire, Texts, inputs_of, unknown_model

PATH: Final = "/v1/embeddings"
DIMENSIONS: Final = 1536
DIMENSIONS_OF: Final = {"text-embedding-3-large": 3072}
TOKENS: Final = "cl100k_base"
"""The encoding that clients use for embeddings, for every model name."""
MAX_INPUTS: Final = 2048
MAX_TOKENS_OF_A_TEXT: Final = 8192
MAX_TOKENS: Final = 300_000


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A text or several, each a string or a list of tokens."""

    model: Annotated[str, msgspec.Meta(min_length=1)]
    input: Texts
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=4096)] | None = None
    encoding_format: Literal["float", "base64"] | None = None


class Embedding(msgspec.Struct, frozen=True, kw_only=True):
    """A vector of length 1, as numbers, or as base64 of little-endian 32-bit floats."""

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


class OpenAIEmbeddingsRequest(EmbeddingsRequest, frozen=True, kw_only=True):
    """A request for vectors, with the format of the answer."""

    as_base64: bool = False


class EmbeddingsWire(OpenAIWire[OpenAIEmbeddingsRequest, Vectors]):
    """OpenAI's embeddings."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._decoder = msgspec.json.Decoder(EmbeddingRequest)

    async def read(self, body: bytes, query: bytes, overrides: Overrides, known: Known) -> OpenAIEmbeddingsRequest:
        data = decode(self._decoder, body)
        known.model = data.model
        if self._names.strict and data.model != EMBEDDING_MODEL:
            raise unknown_model(data.model)
        inputs = await inputs_of(data.input, "input", TOKENS)
        check_inputs(inputs)
        return OpenAIEmbeddingsRequest(
            model=data.model,
            texts=[given.text for given in inputs],
            tokens=sum([given.tokens for given in inputs]),
            dimensions=data.dimensions,
            default_dimensions=DIMENSIONS_OF.get(data.model, DIMENSIONS),
            as_base64=data.encoding_format == "base64",
        )

    def whole(self, request: OpenAIEmbeddingsRequest, result: Vectors) -> bytes:
        data = [
            Embedding(index=index, embedding=_encode(vector, request.as_base64))
            for index, vector in enumerate(result.vectors)
        ]
        usage = EmbeddingUsage(request.tokens, request.tokens)
        return msgspec.json.encode(EmbeddingList(data=data, model=request.model, usage=usage))


def check_inputs(inputs: Sequence[Input]) -> None:
    """Raises RequestError, like OpenAI's API, for too many texts, an empty text, or too many tokens."""
    tokens = [given.tokens for given in inputs]
    empty = next((index for index, given in enumerate(inputs) if not given.text), None)
    code = "invalid_value"
    if len(inputs) > MAX_INPUTS:
        problem, code = f"there are {len(inputs)} texts, more than {MAX_INPUTS}", "array_above_max_length"
    elif empty is not None:
        problem = f"text {empty} is empty"
    elif max(tokens) > MAX_TOKENS_OF_A_TEXT:
        problem = f"text {tokens.index(max(tokens))} has {max(tokens)} tokens, more than {MAX_TOKENS_OF_A_TEXT}"
    elif sum(tokens) > MAX_TOKENS:
        problem = f"the texts have {sum(tokens)} tokens, more than {MAX_TOKENS}"
    else:
        return
    raise RequestError(400, f"Invalid 'input': {problem}.", param="input", code=code)


def _encode(vector: "array[float]", as_base64: bool) -> msgspec.Raw:
    """The JSON of a vector."""
    if not as_base64:
        return msgspec.Raw(msgspec.json.encode(vector.tolist()))
    if sys.byteorder == "big":
        vector = array("f", vector)
        vector.byteswap()
    return msgspec.Raw(b'"' + b64encode(vector.tobytes()) + b'"')
