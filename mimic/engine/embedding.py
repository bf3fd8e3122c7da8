"""Embeddings that stand in for a model's: deterministic, of unit length, and similar if texts share words.

Feature hashing (Weinberger et al. 2009, "Feature Hashing for Large Scale Multitask Learning") of a text's words, of
neighbouring pairs of them, and, with little weight, of the whole text. Meaning does not count: synonyms are as far
apart as any other words.
"""

import asyncio
import re
from array import array
from collections import defaultdict
from collections.abc import Sequence
from hashlib import blake2b
from itertools import pairwise
from math import sqrt
from struct import unpack
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec

from mimic.engine.base import Usage
from mimic.errors import RequestError

if TYPE_CHECKING:
    from mimic.corpus.similar.embedding_model import EmbeddingModel

PLACES: Final = 4
"""Coordinates that each feature moves, up or down."""
PAIR: Final = 0.5
WHOLE: Final = 0.25
"""Weights of a pair of words and of the whole text; a word weighs 1."""

MUCH: Final = 10_000
"""Tokens and coordinates of a request that a thread computes."""

_CJK: Final = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# In scripts without blanks between words, each character is a word.
_WORD: Final = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")
_HASH: Final = f"<{PLACES}I"


class EmbeddingsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a vector of each text; ``tokens`` is the number for all texts.

    ``dimensions`` is None if the request leaves them open; the stand-in then has ``default_dimensions``.
    """

    model: str
    texts: Sequence[str]
    tokens: int
    dimensions: int | None
    default_dimensions: int

    @property
    def usage(self) -> Usage:
        """The tokens of all texts, known before the vectors."""
        return Usage(self.tokens)


class Vectors(msgspec.Struct, frozen=True):
    """A vector for each text; ``is_large`` means that their encoding takes long."""

    usage: ClassVar[None] = None

    vectors: Sequence["array[float]"]
    is_large: bool


async def embed_all(request: EmbeddingsRequest) -> Vectors:
    """Compute the vectors of all texts; a large request runs in a thread."""
    dimensions = request.dimensions or request.default_dimensions

    def vectors() -> list["array[float]"]:
        return [embed(text, dimensions) for text in request.texts]

    is_large = request.tokens + len(request.texts) * dimensions > MUCH
    made = await asyncio.to_thread(vectors) if is_large else vectors()
    return Vectors(made, is_large)


class ModelEmbedding:
    """Vectors of an embedding model, as they are, or cut to the dimensions of the request and normalized again."""

    def __init__(self, model: "EmbeddingModel") -> None:
        self._model = model

    async def embed_all(self, request: EmbeddingsRequest) -> Vectors:
        """Compute the vectors of all texts. Raises UnusableModel, and RequestError for too many dimensions."""
        made = []
        for text in request.texts:
            vector = await self._model.embed(text)
            size = len(vector)
            if request.dimensions and request.dimensions > size:
                problem = f"the model has {size} dimensions, less than {request.dimensions}"
                raise RequestError(400, f"Invalid 'dimensions': {problem}.", param="dimensions", code="invalid_value")
            made.append(_cut(array("f", vector.tobytes()), request.dimensions))
        return Vectors(made, sum(map(len, made)) > MUCH)


def _cut(vector: "array[float]", dimensions: int | None) -> "array[float]":
    """The first dimensions of a vector, with length 1."""
    if not dimensions or dimensions == len(vector):
        return vector
    length = sqrt(sum(value * value for value in vector[:dimensions])) or 1.0
    return array("f", [value / length for value in vector[:dimensions]])


def embed(text: str, dimensions: int) -> "array[float]":
    """The vector of a text: 32-bit floats, length 1."""
    words = _WORD.findall(text.casefold())
    features: defaultdict[str, float] = defaultdict(float, {f"\n{text}": WHOLE})  # no word begins with a line break
    for word in words:
        features[word] += 1
    for first, second in pairwise(words):
        features[f"{first} {second}"] += PAIR
    vector = [0.0] * dimensions
    for feature, weight in features.items():
        digest = blake2b(feature.encode(), digest_size=4 * PLACES).digest()
        for number in unpack(_HASH, digest):
            vector[(number >> 1) % dimensions] += weight if number & 1 else -weight
    length = sqrt(sum(value * value for value in vector))
    if length == 0:
        vector[0] = length = 1.0
    return array("f", [value / length for value in vector])
