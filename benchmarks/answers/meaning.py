"""Fit the score of the search by meaning, and show how many prompts it finds: all-MiniLM-L6-v2, judged by E5.

    python -m benchmarks.answers.meaning dump.json [--vectors vectors.npz]

The halves of the dump are those of :mod:`benchmarks.answers.judge`, and each half is asked the prompts of the other.
The constants are a logistic regression over all pairs of a prompt and one of its nearest vectors. The table shows each
half with the constants of the other half. A file of vectors, if named, is made by the first run, and saves their time
afterwards.
"""

import asyncio
import random
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import click
import numpy as np

from benchmarks.answers.alike import table
from benchmarks.answers.calibrate import Floats, fit
from benchmarks.answers.judge import E5, Chat, MiniLM, Vectors, area, prompts_of, read_chats, seed, split
from mimic.corpus.conversation import Message
from mimic.corpus.corpus import Corpus
from mimic.corpus.similar.measure import Measure
from mimic.corpus.similar.similarity import normalized
from mimic.corpus.stores import open_store
from mimic.engine.matching.meaning import MOST, features_of
from mimic.engine.matching.nearest import MOST_SIMILAR

LEAST: Final = (0.2, 0.3, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8)
"""Least scores that are shown."""
HALVES: Final = ("A: found, right, plainly another", "B: found, right, plainly another")


class Asked(NamedTuple):
    """A prompt: features and truth of its nearest vectors, nearest first; score and truth of the search by words."""

    features: Floats
    right: Floats
    wrong: Floats
    words: tuple[float, bool, bool]


class Outcome(NamedTuple):
    """The score of the message found for each prompt, and its truth: about the same thing, or plainly another."""

    scores: Floats
    right: Floats
    wrong: Floats


@click.command()
@click.argument("dump", type=click.Path(exists=True, path_type=Path))
@click.option("--vectors", "file", type=click.Path(path_type=Path), help="A file that keeps the vectors.")
def main(dump: Path, file: Path | None) -> None:
    """Print the constants and the table."""
    halves = split(read_chats(dump), None, random.Random(1))  # noqa: S311 - not a secret
    texts = [list(dict.fromkeys(prompts_of(half))) for half in halves]
    vectors = vectors_of(texts, file)
    asked = [asyncio.run(ask(halves[one], texts, vectors, one)) for one in (0, 1)]
    constants = [fit_of(half) for half in asked]
    click.echo(f"BIAS, COSINE, WORDS = {np.round(fit_of([*asked[0], *asked[1]]), 2)}")
    ways = {
        "by words": [words_of(half) for half in asked],
        "by the cosine alone": [
            outcome_of(half, fit_of(half_, 1)) for half, half_ in zip(asked, asked[::-1], strict=True)
        ],
        "by meaning": [outcome_of(half, other) for half, other in zip(asked, constants[::-1], strict=True)],
    }
    ways["both, the better one"] = [better(*pair) for pair in zip(ways["by words"], ways["by meaning"], strict=True)]
    for name, outcomes in ways.items():
        click.echo(f"\n{name}: area {', '.join(f'{area(one.scores, one.right > 0):.3f}' for one in outcomes)}")
        click.echo(table(["least score", *HALVES], rows_of(outcomes)))


def vectors_of(texts: Sequence[Sequence[str]], file: Path | None) -> list[list[Vectors]]:
    """For each half the vectors by the model, and those by the judge."""
    if file and file.exists():
        kept = np.load(file)
        return [[kept[f"{kind}{half}"] for kind in ("model", "judge")] for half in (0, 1)]
    made = [[model.vectors(half) for model in (MiniLM(), E5())] for half in texts]
    if file:
        (model0, judge0), (model1, judge1) = made
        np.savez(file, model0=model0, judge0=judge0, model1=model1, judge1=judge1)
    return made


async def ask(
    seeded: Sequence[Chat], texts: Sequence[Sequence[str]], vectors: Sequence[Sequence[Vectors]], one: int
) -> list[Asked]:
    """Ask the prompts of the other half, without those that the corpus has."""
    corpus_texts, prompts = texts[one], texts[1 - one]
    (model, judge), (asked_model, asked_judge) = vectors[one], vectors[1 - one]
    cosines, judged = asked_model @ model.T, asked_judge @ judge.T
    middle = float(np.median(judged[::7, ::7]))
    same, other = (middle + share * (1 - middle) for share in (E5.same, E5.other))
    known, position = {normalized(text) for text in corpus_texts}, {text: at for at, text in enumerate(corpus_texts)}
    found = []
    with tempfile.TemporaryDirectory() as folder:
        async with open_store(f"sqlite:///{folder}/corpus.db") as store:
            await seed(store, seeded, Path(folder))
            corpus = Corpus(store)
            index = await corpus.index("v3")
            for number, prompt in enumerate(prompts):
                if normalized(prompt) in known:
                    continue
                measure = Measure(prompt, partial(index.weigh, "user"))
                nearest = np.argsort(-cosines[number])[:MOST]
                features = [features_of(cosines[number][at], measure.score(corpus_texts[at])) for at in nearest]
                places = index.similar(Message("user", prompt), MOST_SIMILAR)
                said = [said.message.value for said in await corpus.messages_at("v3", places)]
                score, best = measure.best(said) if said else (0.0, 0)
                cosine = judged[number][position[said[best]]] if said and said[best] in position else 0.0
                truth = judged[number][nearest]
                words = (score, bool(cosine >= same), bool(cosine < other))
                found.append(Asked(np.array(features), truth >= same, truth < other, words))
    return found


def fit_of(asked: Sequence[Asked], columns: int = 2) -> Floats:
    """The bias and the weights of the first features."""
    features = np.concatenate([one.features for one in asked])[:, :columns]
    constants = fit(features, np.concatenate([one.right for one in asked]))
    best = [int(np.argmax(one.features[:, :columns] @ constants[1:])) for one in asked]
    chosen = np.array([one.features[at, :columns] @ constants[1:] for one, at in zip(asked, best, strict=True)])
    shift, scale = fit(chosen[:, None], np.array([one.right[at] for one, at in zip(asked, best, strict=True)]))
    return np.array([shift, *(scale * constants[1:])])


def outcome_of(asked: Sequence[Asked], constants: Floats) -> Outcome:
    """The best of the nearest vectors by a score."""
    rows = []
    for one in asked:
        logits = constants[0] + one.features[:, : len(constants) - 1] @ constants[1:]
        at = int(np.argmax(logits))
        rows.append((1 / (1 + np.exp(-logits[at])), one.right[at], one.wrong[at]))
    return Outcome(*np.array(rows, float).T)


def words_of(asked: Sequence[Asked]) -> Outcome:
    """Results of the search by words."""
    return Outcome(*np.array([one.words for one in asked], float).T)


def better(one: Outcome, other: Outcome) -> Outcome:
    """The outcome with the higher score, prompt by prompt."""
    is_other = other.scores > one.scores
    return Outcome(*(np.where(is_other, b, a) for a, b in zip(one, other, strict=True)))


def rows_of(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """Shares for each least score, of each half."""
    rows = []
    for least in LEAST:
        cells = [f"{least:.2f}"]
        for outcome in outcomes:
            chosen = outcome.scores >= least
            right, wrong = (f"{values[chosen].mean():.1%}" if chosen.any() else "" for values in outcome[1:])
            cells.append(f"{chosen.mean():.1%}, {right}, {wrong}")
        rows.append(cells)
    return rows


if __name__ == "__main__":
    main()
