"""Draws from the distribution of answers to a message. Pure; docs/guide/sampling.md has the formula."""

from collections.abc import Sequence
from hashlib import blake2b
from heapq import nlargest
from itertools import accumulate, cycle, islice
from math import log
from random import Random
from typing import Final

import msgspec

from mimic.corpus.conversation import Message, role_of

_TOLERANCE: Final = 1e-9
"""The relative error that a sum of floating point numbers may have."""
_LEAST: Final = 2.0**-54
"""Replaces a random 0, which has no logarithm."""


class Sampling(msgspec.Struct, frozen=True):
    """OpenAI's sampling parameters: ``n`` answers, ``temperature`` 0 to 2, ``top_p`` 0 to 1, and a ``seed``."""

    temperature: float = 1.0
    top_p: float = 1.0
    n: int = 1
    seed: int | None = None


def draw(counts: Sequence[int], sampling: Sampling, key: int) -> list[int]:
    """Draw the indexes of ``n`` outcomes. ``counts`` are in descending order.

    The draw is without replacement, and each outcome has the weight count^(1/temperature). It takes the ``n`` largest
    of ln(count)/temperature + G, with G from the standard Gumbel distribution. Source: Kool, van Hoof and Welling 2019,
    "Stochastic Beams and Where to Find Them", section 2.2. The same ``key`` gives the same draw. If ``n`` is larger
    than the nucleus, its outcomes repeat in the same order.
    """
    size = nucleus(counts, sampling)
    order: Sequence[int] = range(size)
    if sampling.temperature > 0 and size > 1:
        random = Random(key).random  # noqa: S311 - must be repeatable, not secret
        weights = {count: log(count / counts[0]) / sampling.temperature for count in set(counts[:size])}
        scores = [weights[count] - log(-log(random() or _LEAST)) for count in counts[:size]]
        order = nlargest(sampling.n, order, key=scores.__getitem__)
    return list(islice(cycle(order), sampling.n))


def nucleus(counts: Sequence[int], sampling: Sampling) -> int:
    """The number of most frequent outcomes whose probabilities add up to ``top_p``."""
    if sampling.top_p >= 1:
        return len(counts)
    if sampling.temperature == 0:
        return 1
    weights = [(count / counts[0]) ** (1 / sampling.temperature) for count in counts]
    enough = sampling.top_p * sum(weights) * (1 - _TOLERANCE)
    return next(size for size, weight in enumerate(accumulate(weights), 1) if weight >= enough)


def key_of(messages: Sequence[Message], seed: int | None) -> int:
    """The key of a draw, from the seed and the roles and texts of the chat. A 64-bit BLAKE2b digest (RFC 7693)."""
    hashed = blake2b(f"{seed}".encode(), digest_size=8)
    for message in messages:
        role = role_of(message.sender)
        hashed.update(f"|{len(role)}:{len(message.value)}:{role}{message.value}".encode())
    return int.from_bytes(hashed.digest())
