"""Compare the three versions: seed each from the same dump, serve it, and ask it with locust.

    make bench STORE=mongodb SIZE=673MB
    python -m benchmarks.run --store mongodb --size 673MB --duration 20 --users 16

Each version is seeded alone, in a store of its own. Writes a table, a picture and all figures to
``benchmarks/results``, and the table to ``docs/measurements/versions.md``. Ends with exit code 1 if an answer differed
from the dump.
"""

import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import click
import msgspec
import pymongo

from benchmarks import questions
from benchmarks.dataset import make_dump, size_in_bytes
from benchmarks.support.outcomes import Outcome, Result, Seeding, this_machine
from benchmarks.support.report import RESULTS, write_result
from benchmarks.support.servers import locust, mongodb, seed, serving

FOLDER: Final = Path(__file__).parent
DATA: Final = FOLDER / "data"

USERS: Final = {
    "v1": {"v1": "CompletionV1"},
    "v2": {"v2": "CompletionV2"},
    "v3": {"v3": "CompletionV3", "chat": "Chat", "stream": "StreamedChat"},
}
"""The routes to ask and the classes of users, by version."""
LAST_ANSWER_SECONDS: Final = 120
"""Seconds that a request under way at the end may still take: a scan of a large corpus, many at a time."""


def known_versions(text: str) -> Sequence[str]:
    """Versions, separated by commas."""
    versions = text.split(",")
    if unknown := set(versions) - set(USERS):
        raise click.BadParameter(f"{unknown.pop()!r} is none of {', '.join(USERS)}")
    return versions


@click.command()
@click.option("--store", default="sqlite", show_default=True, help="sqlite, mongodb (one is started) or mongodb://...")
@click.option("--size", "sizes", default="100MB", show_default=True, help="Size of the generated dump.")
@click.option("--dump", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A dump to use instead.")
@click.option("--versions", type=known_versions, default="v1,v2,v3", show_default=True)
@click.option("--duration", default=20, show_default=True, help="Seconds of load, for each version and route.")
@click.option("--users", default=16, show_default=True, help="Concurrent users.")
@click.option("--data", default=DATA, type=click.Path(path_type=Path), help="The folder of dumps and of stores.")
@click.option("--results", default=RESULTS, type=click.Path(path_type=Path), help="The folder to write to.")
def main(
    store: str,
    sizes: str,
    dump: Path | None,
    versions: Sequence[str],
    duration: int,
    users: int,
    data: Path,
    results: Path,
) -> None:
    """Compare the versions, and write the results."""
    dump = dump or made(sizes, data)
    result = measure(store, dump, versions, duration, users, data)
    click.echo(write_result(result, results))
    sys.exit(1 if result.wrong else 0)


def made(size: str, data: Path = DATA) -> Path:
    """A dump of a size in the folder ``data``, made unless it is there."""
    data.mkdir(exist_ok=True)
    dump, size_bytes = data / f"{size}.json", size_in_bytes(size)
    if not dump.exists():
        say(f"making a dump of {size}")
        make_dump(dump, size_bytes, seed=1)
    return dump


def measure(store: str, dump: Path, versions: Sequence[str], seconds: int, users: int, data: Path = DATA) -> Result:
    """Seed, serve and ask each version in turn. Stores in files are kept in the folder ``data`` meanwhile."""
    seedings: dict[str, Seeding] = {}
    loads: dict[str, Outcome] = {}
    at = datetime.now(UTC).isoformat(timespec="seconds")
    data.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=data, prefix="run-") as name, stores(store, Path(name)) as urls:
        folder, machine = Path(name), this_machine(engine(urls["v3"]))
        say("drawing questions")
        asked = questions.draw(dump)
        questions.write(asked, folder / "questions.json")
        for version in versions:
            say(f"{version}: seeding")
            seed(dump, urls[version], version, folder)
            with serving(urls[version], version, folder) as server:
                seedings[version], conversations, messages = server.seeding(version)
                for route, users_class in USERS[version].items():
                    say(f"{route}: {users} users for {seconds} s")
                    loads[route] = _ask(server.url, users_class, folder, seconds, users)
    return Result(
        store="sqlite" if store == "sqlite" else "mongodb",
        dump=dump.stem,
        dump_bytes=dump.stat().st_size,
        conversations=conversations,
        messages=messages,
        users=users,
        seconds=seconds,
        at=at,
        machine=machine,
        mixture=questions.MIXTURE,
        seedings=seedings,
        loads=loads,
    )


def _ask(url: str, users_class: str, folder: Path, seconds: int, users: int) -> Outcome:
    """Ask with users of a class. Wrong and missing answers are counted."""
    outcome = folder / "outcome.json"
    outcome.unlink(missing_ok=True)
    arguments = [users_class, "--host", url, "--questions", str(folder / "questions.json"), "--outcome", str(outcome)]
    arguments += ["--users", str(users), "--spawn-rate", str(users), "--run-time", f"{seconds}s"]
    code = locust([*arguments, "--stop-timeout", str(LAST_ANSWER_SECONDS)])
    if not outcome.exists():
        raise click.ClickException(f"locust ended with exit code {code}, and without figures")
    found = msgspec.json.decode(outcome.read_bytes(), type=Outcome)
    if (code and not found.wrong) or not found.rate:
        raise click.ClickException(f"locust ended with exit code {code} after {found.answers} answers")
    return found


@contextmanager
def stores(store: str, folder: Path) -> Iterator[dict[str, str]]:
    """The URL of an empty store for each version, removed at the end."""
    if store == "sqlite":
        yield {version: f"sqlite:///{folder.absolute()}/{version}.db" for version in USERS}
    elif store == "mongodb":
        with mongodb(folder) as url:
            yield {version: _database(url, version) for version in USERS}
    elif store.startswith(("mongodb://", "mongodb+srv://")):
        urls = {version: _database(store, version) for version in USERS}
        try:
            yield urls
        finally:
            for url in urls.values():
                with pymongo.MongoClient[dict[str, object]](url) as client:
                    client.drop_database(client.get_default_database())
    else:
        raise click.BadParameter(f"{store!r} is neither sqlite nor mongodb nor the URL of a MongoDB")


def engine(url: str) -> dict[str, str]:
    """The engine of a store, and its version."""
    if url.startswith("sqlite:"):
        return {"sqlite": sqlite3.sqlite_version}
    with pymongo.MongoClient[dict[str, object]](url) as client:
        return {"mongod": str(client.server_info()["version"]), "pymongo": pymongo.version}


def _database(url: str, version: str) -> str:
    """A database for a version on the server of a URL, with a timeout long enough for scans."""
    parts = urlsplit(url)
    name = f"{parts.path.strip('/') or 'mimic'}_bench_{version}"
    query = parts.query if "sockettimeoutms=" in parts.query.lower() else f"{parts.query}&socketTimeoutMS=120000"
    return urlunsplit(parts._replace(path=f"/{name}", query=query.lstrip("&")))


def say(text: str) -> None:
    """Report the progress."""
    click.echo(text, err=True)


if __name__ == "__main__":
    main()
