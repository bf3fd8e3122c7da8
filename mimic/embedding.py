"""Embeddings that stand in for a model's: deterministic, of unit length, and alike where texts share words.

Feature hashing (Weinberger et al. 2009, "Feature Hashing for Large Scale Multitask Learning") of a text's tokens and of
neighbouring pairs of them. There is no meaning in it: synonyms are as far apart as any other words.
"""

from array import array
from hashlib import blake2b
from itertools import pairwise
from math import sqrt
from struct import unpack
from typing import Final

from mimic import tokens

PLACES: Final = 4
"""Coordinates that each feature moves, by 1 up or down."""

_HASH: Final = f"<{PLACES}I"


def embed(text: str, dimensions: int) -> "array[float]":
    """A vector of 32-bit floats of length 1 for a text."""
    encoded = tokens.encode(text)
    vector = [0.0] * dimensions
    for feature in [*encoded, *pairwise(encoded)]:
        digest = blake2b(repr(feature).encode(), digest_size=4 * PLACES).digest()
        for number in unpack(_HASH, digest):
            vector[(number >> 1) % dimensions] += 1.0 if number & 1 else -1.0
    length = sqrt(sum(value * value for value in vector))
    if length == 0:
        vector[0] = length = 1.0
    return array("f", [value / length for value in vector])
