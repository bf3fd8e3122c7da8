"""Embeddings that stand in for a model's: deterministic, of unit length, and alike where texts share words.

Feature hashing (Weinberger et al. 2009, "Feature Hashing for Large Scale Multitask Learning") of a text's words, of
neighbouring pairs of them, and, with little weight, of the text as it is. There is no meaning in it: synonyms are as
far apart as any other words.
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
from typing import ClassVar, Final

import msgspec

from mimic.engine.base import Usage

PLACES: Final = 4
"""Coordinates that each feature moves, up or down."""
PAIR: Final = 0.5
WHOLE: Final = 0.25
"""What a pair of words and the text as a whole weigh, in words."""

MUCH: Final = 10_000
"""Tokens and coordinates from which on a thread does it."""

_CJK: Final = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# In scripts without blanks between words each character is one.
_WORD: Final = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")
_HASH: Final = f"<{PLACES}I"


class EmbeddingsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a vector of each text; ``tokens`` counts those of all texts."""

    model: str
    texts: Sequence[str]
    tokens: int
    dimensions: int

    @property
    def usage(self) -> Usage:
        """The tokens of all texts, which are known before there are vectors."""
        return Usage(self.tokens)


class Vectors(msgspec.Struct, frozen=True):
    """A vector for each text; ``is_large`` where to write them takes long."""

    usage: ClassVar[None] = None

    vectors: Sequence["array[float]"]
    is_large: bool


async def embed_all(request: EmbeddingsRequest) -> Vectors:
    """The vectors of some texts; made in a thread where that would keep others waiting."""

    def vectors() -> list["array[float]"]:
        return [embed(text, request.dimensions) for text in request.texts]

    is_large = request.tokens + len(request.texts) * request.dimensions > MUCH
    made = await asyncio.to_thread(vectors) if is_large else vectors()
    return Vectors(made, is_large)


def embed(text: str, dimensions: int) -> "array[float]":
    """A vector of 32-bit floats of length 1 for a text."""
    words = _WORD.findall(text.casefold())
    features: defaultdict[str, float] = defaultdict(float, {f"\n{text}": WHOLE})  # and no word begins like this
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
