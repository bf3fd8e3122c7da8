"""Seed v3 into MongoDB in the plainest way, and by Mimic, in turn; print medians and ratios.

    python -m benchmarks.seeding dump.json --mongodb mongodb://127.0.0.1:27017/bench [--rounds 5]

The plain seeder is that of a tutorial: ijson's ``items``, ``insert_many`` of 1,000 documents, four plain indexes
created at the start. The floor reads the dump and encodes the same documents as BSON, without a server. Every run is a
process of its own, start included, into a database that has just been dropped: use a database without data of yours.
Exit code 1 if a seeding failed or left another number of documents than the others.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from multiprocessing import get_context
from statistics import median
from typing import Any, Final

import bson
import click
import ijson
from pymongo import MongoClient

Document = dict[str, Any]

BATCH: Final = 1000
INDEXED: Final = ("from", "value", "prevMessageType", "prevMessageValue")


@click.command()
@click.argument("dump", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--mongodb", "store", required=True, help="mongodb://host:port/database, which is dropped before each run."
)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
def main(dump: str, store: str, rounds: int) -> None:
    """Compare ways to seed v3 into MongoDB."""
    runs: Mapping[str, Callable[[], None]] = {
        "plain": lambda: in_a_process(seed_plainly, dump, store),
        "floor": lambda: in_a_process(read_and_encode, dump),
        "mimic --match last": lambda: seed_with_mimic(dump, store, "last"),
        "mimic --match nearest": lambda: seed_with_mimic(dump, store, "nearest"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    counts = set()
    for number in range(rounds):
        for name, run in runs.items():
            drop(store)
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
            if name != "floor":
                counts.add(documents(store))
            click.echo(f"round {number + 1}: {name} {seconds[name][-1]:.1f} s", err=True)
    show(seconds)
    if len(counts) > 1 or 0 in counts:
        sys.exit(f"not all seeders left as many documents: {counts}")


def show(seconds: Mapping[str, list[float]]) -> None:
    """A Markdown table of medians, and of the speed against the plain seeder."""
    plain = median(seconds["plain"])
    click.echo("| seeder | s (median) | from | to | times as fast as plain |\n|---|---|---|---|---|")
    for name, all_of_them in seconds.items():
        middle = median(all_of_them)
        limits = f"{min(all_of_them):.1f} | {max(all_of_them):.1f}"
        click.echo(f"| {name} | {middle:.1f} | {limits} | {plain / middle:.2f} |")


def seed_plainly(dump: str, store: str) -> None:
    """Read, and insert by thousands."""
    with MongoClient[Document](store) as client:
        collection = client.get_default_database()["v3"]
        for field in INDEXED:
            collection.create_index(field)
        left = messages(dump)
        while batch := list(islice(left, BATCH)):
            collection.insert_many(batch)


def read_and_encode(dump: str) -> None:
    """Read the dump and encode the documents: the work that no seeder can leave out."""
    for document in messages(dump):
        bson.encode(document)


def messages(dump: str) -> Iterator[Document]:
    """The documents of v3."""
    with open(dump, "rb") as file:  # noqa: PTH123 - as in a tutorial
        for conversation in ijson.items(file, "item"):
            said = conversation["conversations"]
            for before, message, after in zip([None, *said], said, [*said[1:], None], strict=False):
                yield {
                    "externalId": conversation["id"],
                    "from": message["from"],
                    "value": message["value"],
                    "nextMessageType": after and after["from"],
                    "nextMessageValue": after and after["value"],
                    "prevMessageType": before and before["from"],
                    "prevMessageValue": before and before["value"],
                }


def seed_with_mimic(dump: str, store: str, match: str) -> None:
    """Seed with the command that users run."""
    command = ("-m", "mimic", "seed", dump, "--store", store, "--versions", "v3", "--match", match, "--quiet")
    subprocess.run([sys.executable, *command], check=True)  # noqa: S603 - our own program


def in_a_process(target: Callable[..., None], *arguments: str) -> None:
    """Run a function in a new interpreter; end the program if it fails."""
    process = get_context("spawn").Process(target=target, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(f"{target.__name__} failed")


def drop(store: str) -> None:
    """Make an empty database."""
    with MongoClient[Document](store) as client:
        client.drop_database(client.get_default_database().name)


def documents(store: str) -> int:
    """The number of documents of v3."""
    with MongoClient[Document](store) as client:
        database = client.get_default_database()
        names = [name for name in database.list_collection_names() if name.startswith("v3")]
        return sum(database[name].count_documents({}) for name in names)


if __name__ == "__main__":
    main()
