"""Ask for every message of a dump, and compare each answer with a plain reading of the file.

    python -m benchmarks.verify dump.json --store sqlite:///mimic.db --versions v2,v3 [--sample 300]

Seeds nothing: the store must hold the dump. Exit code 1 if any answer is wrong.
"""

import asyncio
import json
import random
import sys
import time
from collections import defaultdict
from pathlib import Path

import click

from mimic.corpus.conversation import Message
from mimic.corpus.corpus import Corpus
from mimic.corpus.schemas import VERSIONS, Version
from mimic.corpus.stores import Driver, open_store
from mimic.errors import NoCompletion

LocatedMessage = tuple[str, str]


@click.command()
@click.argument("dump", type=click.Path(exists=True, path_type=Path))
@click.option("--store", required=True)
@click.option("--driver", type=click.Choice(["pymongo", "motor"]), default="pymongo")
@click.option("--versions", default=",".join(VERSIONS))
@click.option("--sample", type=int, help="Number of messages to ask for, drawn with a fixed seed.")
def main(dump: Path, store: str, driver: Driver, versions: str, sample: int | None) -> None:
    """Compare a store's answers with a plain reading of the file."""
    talks = [[(m["from"], m["value"]) for m in element["conversations"]] for element in json.loads(dump.read_bytes())]
    wrong = 0
    for version in VERSIONS:
        if version in versions.split(","):
            wrong += asyncio.run(verify(talks, store, driver, version, sample))
    sys.exit(1 if wrong else 0)


async def verify(
    talks: list[list[LocatedMessage]], url: str, driver: Driver, version: Version, sample: int | None
) -> int:
    """The number of wrong answers of a version."""
    width = 2 if version == "v3" else 1
    expected: defaultdict[tuple[LocatedMessage, ...], list[LocatedMessage]] = defaultdict(list)
    for talk in talks:
        for end in range(len(talk)):
            for start in {max(0, end - width + 1), end}:
                asked = tuple(talk[start : end + 1])
                expected[asked] += talk[end + 1 : end + 2]
    questions = list(expected)
    if sample:
        questions = random.Random(1).sample(questions, min(sample, len(questions)))  # noqa: S311 - not a secret
    wrong = answered = choices = 0
    started = time.perf_counter()
    async with open_store(url, driver) as store:
        corpus = Corpus(store)
        for asked in questions:
            got: list[LocatedMessage] = []
            try:
                async for batch in await corpus.complete([Message(*message) for message in asked], version):
                    got += [(choice.message.sender, choice.message.value) for choice in batch]
            except NoCompletion:
                pass
            wrong += got != expected[asked]
            answered += bool(got)
            choices += len(got)
    seconds = time.perf_counter() - started
    click.echo(
        f"{version}: {len(questions):,} asked, {answered:,} answered, {choices:,} choices, {wrong} wrong, "
        f"{seconds / len(questions) * 1e6:,.0f} microseconds each"
    )
    return wrong


if __name__ == "__main__":
    main()
