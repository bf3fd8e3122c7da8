"""Seeding without disk space: an error, with the old corpus unchanged and no files of the new one."""

import asyncio
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from mimic.corpus.schemas import VERSIONS
from mimic.corpus.stores import open_store
from mimic.corpus.stores.mongodb.timings import CATALOGUE_SECONDS
from mimic.corpus.stores.sqlite.store import SECONDS_TO_BELIEVE
from tests.support.corpora import ask, assert_no_leftovers, conversation, expire_lease, reference, seed, twin
from tests.support.disks import empty, leave
from tests.support.mongod import Mongod, skip_without_mongod
from tests.support.servers import Server, run_mimic

pytestmark = pytest.mark.timeout(300)

OLD: Final = twin("old", 200)
NEW: Final = twin("new", 2000)
CONTINUE: Final = [("human", "continue")]
DROPPED_SOCKET: Final = re.compile(r"^$|^Exception ignored in: <socket|^ResourceWarning: unclosed <socket")
"""Python's warning if the driver drops a socket to a server that has just died."""
QUIETLY: Final = ("--quiet", "--not-nice")


def seeding(url: str, file: Path, *options: str, limit: int | None = None, **environment: str) -> str | None:
    """Run ``mimic seed`` with a limit on the size of files; return its error if space ran out, else None."""
    limited = () if limit is None else ("prlimit", f"--fsize={limit}")
    run = run_mimic(("seed", file, "--store", url, *QUIETLY, *options), environment, before=limited)
    assert run.returncode in {0, 3}, run.stderr
    told = [line for line in run.stderr.splitlines() if not DROPPED_SOCKET.search(line)]
    assert len(told) == (run.returncode == 3), run.stderr
    assert all(line.startswith("Error: ") for line in told), run.stderr
    return told[0] if told else None


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A dump that does not fit."""
    file = tmp_path / "large.json"
    file.write_text(json.dumps(NEW))
    return file


def files(folder: Path) -> dict[str, int]:
    """The files in a folder and below, with their sizes, except for the size of the last seeding's record."""
    found = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    return {str(path): 0 if path.suffix == ".seeding" else size for path, size in found.items()}


def corpus_of(url: str) -> Sequence[Any]:
    """The dump that a store answers from, in all versions."""

    async def given() -> list[Sequence[tuple[str, str]]]:
        async with open_store(url) as store:
            return [await ask(store, CONTINUE, version) for version in VERSIONS]

    answers = asyncio.run(given())
    [dump] = [one for one in (OLD, NEW) if [reference(one, CONTINUE, version) for version in VERSIONS] == answers]
    return dump


def assert_server_answers(server: Server, corpus: Sequence[Any]) -> None:
    """Assert exact answers, also by the index."""
    for text, query in (("question 7", {}), ("QUESTION 7?", {"match": "normalized"})):
        body = {"messages": [{"from": "human", "value": text}]}
        answer = httpx.post(f"{server.url}/conversation/completion", params=query, json=body)
        given = [(choice["from"], choice["value"]) for choice in answer.json()["choices"]]
        assert given == reference(corpus, [("human", "question 7")], "v3")


@pytest.mark.parametrize(
    "shares",
    [(0, 0.01, 0.4, 0.8, 0.97), pytest.param((0.001, 0.1, 0.7, 0.9), marks=pytest.mark.soak)],
    ids=lambda shares: str(len(shares)),
)
def test_wherever_space_runs_out_the_old_corpus_stays(
    disk: Path, large: Path, tmp_path: Path, shares: Sequence[float]
) -> None:
    """From no space at all to almost enough: an error, no new files, and the server answers as before.

    With space again, the next seeding succeeds.
    """
    url = f"sqlite:///{disk}/corpus.db"
    assert seeding(url, large) is None
    needed = sum(files(disk).values())
    seed(url, OLD, tmp_path)
    with Server(tmp_path, MIMIC_STORE=url) as server:
        for share in shares:
            leave(disk, int(needed * share))
            before = files(disk)
            error = seeding(url, large)
            assert error
            assert "no space left for" in error
            assert files(disk) == before
            assert corpus_of(url) == OLD
            assert_server_answers(server, OLD)
        empty(disk)
        assert seeding(url, large) is None
        time.sleep(SECONDS_TO_BELIEVE)
        assert_server_answers(server, NEW)
    assert_no_leftovers(url, disk)


@pytest.mark.parametrize(
    "limit", [0, 10_000, 5_000_000, *(pytest.param(n, marks=pytest.mark.soak) for n in (300, 1_000_000))]
)
def test_a_file_that_may_not_grow_leaves_the_old_corpus(
    sqlite_url: str, large: Path, tmp_path: Path, limit: int
) -> None:
    """A limit on file sizes, as quotas and containers have: an error, and no new files."""
    seed(sqlite_url, OLD, tmp_path)
    before = files(tmp_path)
    error = seeding(sqlite_url, large, limit=limit)
    assert error
    assert "no space left" in error
    assert files(tmp_path) == before
    assert corpus_of(sqlite_url) == OLD
    assert seeding(sqlite_url, large) is None
    assert corpus_of(sqlite_url) == NEW


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        (0, "No usable temporary directory"),
        (3000, "no space left?"),
        pytest.param(64, "no space left for", marks=pytest.mark.soak),
    ],
)
def test_an_index_that_may_not_grow_leaves_the_old_corpus(
    mongodb_url: str, large: Path, tmp_path: Path, limit: int, told: str
) -> None:
    """The temporary folder of MongoDB's index is removed."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    seed(mongodb_url, OLD, tmp_path)
    error = seeding(mongodb_url, large, limit=limit, TMPDIR=str(temporary))
    assert error
    assert told in error
    assert list(temporary.iterdir()) == []
    assert_no_leftovers(mongodb_url, tmp_path)
    assert corpus_of(mongodb_url) == OLD
    assert seeding(mongodb_url, large, TMPDIR=str(temporary)) is None
    assert corpus_of(mongodb_url) == NEW


def test_no_space_for_temporary_files_is_an_error(disk: Path, mongodb_url: str, large: Path, tmp_path: Path) -> None:
    """Seeder and server report it; the server answers without temporary files, and all once there is space again."""
    folder = str(disk)
    seed(mongodb_url, OLD, tmp_path)
    leave(disk, 16_384)
    error = seeding(mongodb_url, large, TMPDIR=folder)
    assert error
    assert "no space left" in error
    assert [path.name for path in disk.iterdir()] == ["ballast"]
    assert_no_leftovers(mongodb_url, tmp_path)
    with Server(tmp_path, MIMIC_STORE=mongodb_url, TMPDIR=folder) as server:
        chat = {"model": "mimic", "messages": [{"role": "user", "content": "question 7"}]}
        assert httpx.post(f"{server.url}/v1/chat/completions", json=chat).status_code == 200
        chat["messages"] = [{"role": "user", "content": "QUESTION 7?"}]
        answer = httpx.post(f"{server.url}/v1/chat/completions", json=chat)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
        assert [path.name for path in disk.iterdir()] == ["ballast"]
        empty(disk)
        assert_server_answers(server, OLD)
        assert seeding(mongodb_url, large, TMPDIR=folder) is None
        time.sleep(CATALOGUE_SECONDS)
        assert_server_answers(server, NEW)
    assert "Traceback" not in server.log()
    assert list(disk.iterdir()) == []


def test_no_space_to_sort_an_index_is_an_error(sqlite_url: str, disk: Path, tmp_path: Path) -> None:
    """SQLite sorts large indexes in unnamed files, in a folder that may be on another disk than the corpus."""
    many = [conversation(str(n), *(("human", f"{n} {part}") for part in range(1000))) for n in range(100)]
    (tmp_path / "many.json").write_text(json.dumps(many))
    seed(sqlite_url, OLD, tmp_path)
    before = files(tmp_path)
    leave(disk, 65_536)
    error = seeding(sqlite_url, tmp_path / "many.json", "--match", "last", SQLITE_TMPDIR=str(disk))
    assert error
    assert "no space left for" in error
    assert "or the temporary files by which its indexes are sorted" in error
    empty(disk)
    assert files(tmp_path) == before
    assert corpus_of(sqlite_url) == OLD


@pytest.mark.parametrize("disk", [450], indirect=True)
def test_a_mongod_without_space_dies_and_keeps_the_old_corpus(disk: Path, large: Path, tmp_path: Path) -> None:
    """The seeder reports the dead server; restarted with space it has the old corpus, and can be seeded again."""
    skip_without_mongod()
    mongod = Mongod(disk)
    mongod.start()
    try:
        url = f"{mongod.url}/mimic?serverSelectionTimeoutMS=1000"
        seed(url, OLD, tmp_path)
        leave(disk, 500_000)
        error = seeding(url, large)
        assert error
        assert "MongoDB" in error
        empty(disk)
        mongod.kill()
        mongod.start()
        assert corpus_of(url) == OLD
        expire_lease(url)
        assert seeding(url, large) is None
        assert corpus_of(url) == NEW
        assert_no_leftovers(url, tmp_path)
    finally:
        mongod.kill()
