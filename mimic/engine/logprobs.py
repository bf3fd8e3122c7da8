"""Log probabilities of the tokens of answers. Pure; docs/guide/sampling.md has the formula."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from heapq import nlargest
from itertools import islice, takewhile
from math import log
from typing import Final, TypeAlias

import msgspec

NEVER: Final = -9999.0
"""The log probability of a token that is never drawn, as OpenAI writes it."""


class TokenLogprob(msgspec.Struct, frozen=True, gc=False):
    """A token, its log probability, and the most likely tokens in its place with theirs, the most likely first."""

    token: int
    logprob: float
    top: Sequence[tuple[int, float]] = ()


Logprobs: TypeAlias = Sequence[TokenLogprob]


def certain(tokens: Iterable[int], top: int) -> Logprobs:
    """Tokens without alternatives: each has the probability 1."""
    known: dict[int, TokenLogprob] = {}
    found = []
    for token in tokens:
        one = known.get(token)
        if one is None:
            one = known[token] = TokenLogprob(token, 0.0, ((token, 0.0),) if top else ())
        found.append(one)
    return found


def logprobs_of(
    answers: Sequence[list[int]], counts: Sequence[int], wanted: Collection[int], temperature: float, top: int
) -> Mapping[int, Logprobs]:
    """The log probabilities of the answers with the indexes ``wanted``, with the ``top`` most likely tokens each.

    ``answers`` are tokens, with their counts in descending order. A token has the weight of all answers that begin
    with the same tokens up to it. Its probability is the share of this weight among the answers that begin with the
    same tokens before it. An answer that ends before the token counts in the whole, but is no token.
    """
    found: dict[int, list[TokenLogprob]] = {index: [] for index in wanted}
    groups = (
        [list(range(len(answers)))] if wanted else []
    )  # answers with the same first tokens, as many as the wanted ones have so far
    while groups:
        group = groups.pop()
        drawn = [index for index in group if index in found]
        known = len(found[drawn[0]])
        position = _shared([answers[index] for index in group], known)
        shared = certain(answers[drawn[0]][known:position], top)
        for index in drawn:
            found[index] += shared
        if all(position == len(answers[index]) for index in drawn):
            continue
        branches, shares = _branches(answers, position, group, _weights(counts, group, temperature))
        best = tuple((token, _log(shares[token])) for token in nlargest(top, shares, key=shares.__getitem__))
        for index in drawn:
            if position < len(answers[index]):
                token = answers[index][position]
                found[index].append(TokenLogprob(token, _log(shares[token]), best))
        groups += [branch for branch in branches if not found.keys().isdisjoint(branch)]
    return found


def _shared(answers: Sequence[list[int]], start: int) -> int:
    """The number of tokens that all answers begin with. At least ``start`` tokens are equal."""
    first, last = min(answers), max(answers)
    pairs = zip(islice(first, start, None), islice(last, start, None), strict=False)
    return start + sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _branches(
    answers: Sequence[Sequence[int]], position: int, group: Sequence[int], weights: Sequence[float]
) -> tuple[Iterable[list[int]], Mapping[int, float]]:
    """The answers of a group by their token at a position, and the share of the group's weight of each token."""
    branches: dict[int, list[int]] = {}
    masses: dict[int, float] = {}
    total = 0.0
    for index, weight in zip(group, weights, strict=True):
        total += weight
        answer = answers[index]
        if position < len(answer):
            token = answer[position]
            if token in branches:
                branches[token].append(index)
                masses[token] += weight
            else:
                branches[token], masses[token] = [index], weight
    return branches.values(), {token: mass / total for token, mass in masses.items()}


def _weights(counts: Sequence[int], group: Sequence[int], temperature: float) -> Sequence[float]:
    """The weights of a group's answers. They are relative to the most frequent one, so that no group weighs nothing."""
    if temperature == 0:
        return [1.0, *[0.0] * (len(group) - 1)]
    most = counts[group[0]]
    powers = {count: (count / most) ** (1 / temperature) for count in {counts[index] for index in group}}
    return [powers[counts[index]] for index in group]


def _log(share: float) -> float:
    return min(log(share), 0.0) if share > 0 else NEVER
