"""Fit the constants of the measure of likeness to what sentence embeddings say about real prompts.

    python -m benchmarks.answers.calibrate dump.json [--judge minilm] [--chats 2000]

The halves of the dump are those of :mod:`benchmarks.answers.judge`, and each half is asked the prompts of the other. A
logistic regression over all pairs of a prompt and a candidate of the index gives the weights. A second regression, over
the best candidate of each prompt, scales the weights: a score is then about the share of right answers.
"""

import asyncio
import random
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.answers.judge import JUDGES, Chat, Judge, prompts_of, read_chats, seed, split
from mimic.corpus.conversation import Message
from mimic.corpus.corpus import Corpus
from mimic.corpus.similar.measure import Measure
from mimic.corpus.stores import open_store
from mimic.engine.matching.nearest import MOST_SIMILAR

Floats: TypeAlias = NDArray[np.float64]

STEPS: Final = 50
RIDGE: Final = 1.0
"""Strength of the penalty on large weights of standardized features."""


class Pair(NamedTuple):
    """A prompt, a candidate for it, and the features of their likeness."""

    prompt: str
    text: str
    features: tuple[float, ...]


@click.command()
@click.argument("dump", type=click.Path(exists=True, path_type=Path))
@click.option("--judge", "judge_name", type=click.Choice(list(JUDGES)), default="minilm", show_default=True)
@click.option("--chats", type=int, help="Chats that are taken at most, drawn at random with a fixed seed.")
def main(dump: Path, judge_name: str, chats: int | None) -> None:
    """Print the constants."""
    one, other = split(read_chats(dump), chats, random.Random(1))  # noqa: S311 - not a secret
    pairs = asyncio.run(pairs_of(one, prompts_of(other))) + asyncio.run(pairs_of(other, prompts_of(one)))
    constants = calibrate(pairs, judgements(JUDGES[judge_name](), pairs))
    for name, value in zip(("BIAS", "SHARE", "SMALL_SHARE", "ORDER"), constants, strict=True):
        click.echo(f"{name} = {value:.2f}")


async def pairs_of(seeded: Sequence[Chat], prompts: Sequence[str]) -> list[Pair]:
    """Each prompt with its candidates in a corpus of some chats, without those that are equal."""
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        async with open_store(f"sqlite:///{folder}/corpus.db") as store:
            await seed(store, seeded, Path(folder))
            corpus = Corpus(store)
            index = await corpus.index("v3")
            for prompt in prompts:
                message, measure = Message("user", prompt), Measure(prompt, partial(index.weigh, "user"))
                if not index.equal(message, None, 1):
                    said = await corpus.messages_at("v3", index.similar(message, MOST_SIMILAR))
                    texts = [one.message.value for one in said]
                    pairs += [Pair(prompt, text, measure.features(text)) for text in texts]
    return pairs


def judgements(judge: Judge, pairs: Sequence[Pair]) -> NDArray[np.bool_]:
    """For each pair, true if the judge takes both for about the same thing."""
    texts = list(dict.fromkeys(text for pair in pairs for text in (pair.prompt, pair.text)))
    vectors = dict(zip(texts, judge.vectors(texts), strict=True))
    others = random.Random(1).sample(texts, len(texts))  # noqa: S311
    of_random_pairs = np.array([float(vectors[a] @ vectors[b]) for a, b in zip(texts, others, strict=True)])
    same, _ = judge.limits(of_random_pairs)
    return np.array([float(vectors[pair.prompt] @ vectors[pair.text]) >= same for pair in pairs])


def calibrate(pairs: Sequence[Pair], same: NDArray[np.bool_]) -> Floats:
    """The bias and the weights of the features."""
    features = np.array([pair.features for pair in pairs])
    weights = fit(features, same)
    logits = weights[0] + features @ weights[1:]
    best: dict[str, int] = {}
    for number in np.argsort(logits):
        best[pairs[number].prompt] = int(number)
    chosen = list(best.values())
    shift, scale = fit(logits[chosen, None], same[chosen])
    return np.array([shift + scale * weights[0], *(scale * weights[1:])])


def fit(features: Floats, positive: NDArray[np.bool_]) -> Floats:
    """A logistic regression by Newton's method on standardized features: the bias, and the weights."""
    middle, width = features.mean(axis=0), features.std(axis=0)
    inputs = np.column_stack([np.ones(len(features)), (features - middle) / width])
    penalty = np.diag([0.0, *np.full(features.shape[1], RIDGE)])
    weights = np.zeros(inputs.shape[1])
    for _ in range(STEPS):
        probability = 1 / (1 + np.exp(-inputs @ weights))
        gradient = inputs.T @ (positive - probability) - penalty @ weights
        curvature = (inputs.T * (probability * (1 - probability))) @ inputs + penalty
        weights += np.linalg.solve(curvature, gradient)
    slopes = weights[1:] / width
    return np.array([weights[0] - slopes @ middle, *slopes])


if __name__ == "__main__":
    main()
