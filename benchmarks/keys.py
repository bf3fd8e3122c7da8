"""Compare indexes for the lookup of the last message, on a corpus in MongoDB: their sizes, and the time of a lookup.

    mimic seed dump.json --store mongodb://127.0.0.1:27017/keys --match last
    python -m benchmarks.keys mongodb://127.0.0.1:27017/keys [--asked 2000] [--rounds 5]

The candidates are built on a copy of the collection with the digest, which is dropped at the end; the corpus stays
unchanged. Lookups are those of the store: one at a time, and 32 gathered in a query. The candidates take turns in each
round, and the median of the rounds counts. The messages asked are in the corpus, drawn with a fixed seed.
"""

import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final, NamedTuple

import click
import pymongo
from pymongo.collection import Collection

from mimic.corpus.conversation import SENDERS, Message, role_of
from mimic.corpus.schemas import digest

Fields = dict[str, Any]
Keys = list[tuple[str, int | str]]

SCRATCH: Final = "benchmark_keys"
BATCH: Final = 1000
GATHERED: Final = 32
MOST_DOCUMENTS: Final = 256
ANSWER: Final = dict.fromkeys(("externalId", "messageIndex", "nextMessageType", "nextMessageValue", "from", "value"), 1)


class Candidate(NamedTuple):
    """An index, and the queries that it answers."""

    keys: Keys
    options: Fields
    one: Callable[[Message], Fields]
    gathered: Callable[[Sequence[Message]], Fields]
    order: Keys


def _of_role(message: Message) -> Fields:
    return {"$in": list(SENDERS[role_of(message.sender)])}


DIGEST: Final = Candidate(
    [("messageDigest", 1), ("_id", 1)],
    {"partialFilterExpression": {"messageDigest": {"$exists": True}}},
    lambda message: {"messageDigest": digest(message), "from": _of_role(message), "value": message.value},
    lambda messages: {"messageDigest": {"$in": list({digest(message) for message in messages})}},
    [("messageDigest", 1), ("_id", 1)],
)


def _by_value(*keys: tuple[str, int | str]) -> Candidate:
    return Candidate(
        list(keys),
        {},
        lambda message: {"value": message.value, "from": _of_role(message)},
        lambda messages: {"value": {"$in": list({message.value for message in messages})}},
        [],  # a hashed index has no order that a query could use
    )


CANDIDATES: Final[Mapping[str, Candidate]] = {
    "digest": DIGEST,
    "hashed value": _by_value(("value", "hashed")),
    "hashed value, from": _by_value(("value", "hashed"), ("from", 1)),
    "hashed value, from, _id": _by_value(("value", "hashed"), ("from", 1), ("_id", 1)),
    "value, from": _by_value(("value", 1), ("from", 1)),
}
NESTED: Final = Candidate([("conversations.value", 1)], {}, lambda _: {}, lambda _: {}, [])
"""Indexes for v1, of which only the size is shown: MongoDB refuses a hashed index on values in arrays."""


@click.command()
@click.argument("url")
@click.option("--version", type=click.Choice(["v2", "v3"]), default="v2", show_default=True)
@click.option("--asked", default=2000, show_default=True, help="Lookups in a round.")
@click.option("--rounds", default=5, show_default=True)
def main(url: str, version: str, asked: int, rounds: int) -> None:
    """Print the sizes of the candidates, then the times of lookups."""
    with pymongo.MongoClient[Fields](url) as client, ExitStack() as stack:
        database = client.get_default_database()
        names = {name[:2]: name for name in database.list_collection_names()}
        collection = stack.enter_context(_copied(database[names[version]]))
        size = database.command("collStats", collection.name)
        megabytes = f"{size['size'] / 1e6:,.0f} MB, {size['storageSize'] / 1e6:,.0f} on disk"
        click.echo(f"{version}: {size['count']:,} documents, {megabytes}")
        built = {name: stack.enter_context(_built(collection, name, one)) for name, one in CANDIDATES.items()}
        if "v1" in names:
            with _built(database[names["v1"]], "v1: conversations.value", NESTED):
                pass
        _race(collection, built, _drawn(collection, asked, size["count"]), rounds)


@contextmanager
def _built(collection: Collection[Fields], name: str, candidate: Candidate) -> Iterator[str]:
    """The name of a candidate's index, which is dropped afterwards."""
    started = time.perf_counter()
    label = collection.create_index(candidate.keys, name=f"candidate {name}", **candidate.options)
    seconds = time.perf_counter() - started
    try:
        collection.database.client.admin.command("fsync")
        taken = collection.database.command("collStats", collection.name)["indexSizes"][label]
        click.echo(f"{name}: {taken / 1e6:,.1f} MB, built in {seconds:.1f} s")
        yield label
    finally:
        collection.drop_index(label)


@contextmanager
def _copied(collection: Collection[Fields]) -> Iterator[Collection[Fields]]:
    """A copy of a version's documents with the digest of the last message, and without indexes."""
    database = collection.database
    database.drop_collection(SCRATCH)
    copy = database.create_collection(SCRATCH, clusteredIndex={"key": {"_id": 1}, "unique": True})
    try:
        batch: list[Fields] = []
        for document in collection.find(sort=[("_id", 1)]):
            if document["nextMessageType"]:
                document["messageDigest"] = digest(Message(document["from"], document["value"]))
            batch.append(document)
            if len(batch) == BATCH:
                copy.insert_many(batch)
                batch = []
        if batch:
            copy.insert_many(batch)
        yield copy
    finally:
        database.drop_collection(SCRATCH)


def _drawn(collection: Collection[Fields], asked: int, count: int) -> list[Message]:
    """Messages of the corpus with a message after them, spread over all of it."""
    drawn = random.Random(1)  # noqa: S311 - not a secret
    found: list[Message] = []
    while len(found) < asked:
        one = collection.find_one({"_id": {"$gte": drawn.randrange(count)}}, sort=[("_id", 1)])
        if one and one["nextMessageType"]:
            found.append(Message(one["from"], one["value"]))
    return found


def _race(collection: Collection[Fields], built: Mapping[str, str], messages: Sequence[Message], rounds: int) -> None:
    taken: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds + 1):
        for name, label in built.items():
            for kind, ask in (("one", _ask_one), ("gathered", _ask_gathered)):
                started = time.perf_counter()
                found = ask(collection, label, CANDIDATES[name], messages)
                seconds = time.perf_counter() - started
                if number:  # the first one warms up
                    taken.setdefault((name, kind), []).append(seconds / len(messages) * 1e6)
                elif found < len(messages) * 0.9:
                    raise click.ClickException(f"{name} found {found:,} of {len(messages):,}")
    for (name, kind), times in taken.items():
        click.echo(
            f"{name}, {kind}: {statistics.median(times):,.0f} µs a lookup "
            f"({min(times):,.0f} to {max(times):,.0f}, {rounds} rounds)"
        )


def _ask_one(collection: Collection[Fields], label: str, candidate: Candidate, messages: Sequence[Message]) -> int:
    found = 0
    for message in messages:
        found += len(list(collection.find(candidate.one(message), ANSWER, sort=[("_id", 1)], hint=label, limit=10)))
    return found


def _ask_gathered(collection: Collection[Fields], label: str, candidate: Candidate, messages: Sequence[Message]) -> int:
    found = 0
    for start in range(0, len(messages), GATHERED):
        query = candidate.gathered(messages[start : start + GATHERED])
        cursor = collection.find(query, {**ANSWER, "messageDigest": 1}, sort=candidate.order or None, hint=label)
        found += len(list(cursor.batch_size(MOST_DOCUMENTS).limit(MOST_DOCUMENTS)))
    return found


if __name__ == "__main__":
    main()
