"""The SQLite store: its file."""

import asyncio
import errno
import fcntl
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from mimic.corpus.conversation import Message
from mimic.corpus.layout import LAYOUT
from mimic.corpus.schemas import SCHEMAS, VERSIONS, Lookup, Version
from mimic.corpus.stores import locks, open_store
from mimic.corpus.stores.sqlite import replacement
from mimic.corpus.stores.sqlite.replacement import Lock
from mimic.corpus.stores.sqlite.store import MOST_SCANS, SECONDS_TO_BELIEVE, find_query
from mimic.errors import NothingToSeed, StoreFull, StoreUnavailable, UnusableStore
from tests.support.corpora import SMALL, ask, conversation, fill

pytestmark = pytest.mark.anyio

MANY = 2000
CONTINUE = [
    conversation(str(n), ("human", "go"), ("gpt", f"part {n}"), ("human", "continue"), ("gpt", f"answer {n}"))
    for n in range(MANY)
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the future corpus."""
    return tmp_path / "corpus.db"


async def test_it_is_one_file_and_its_index(path: Path) -> None:
    """The lock and the record of the last seeding, a few bytes, are the only other files, also after two seedings."""
    async with open_store(f"sqlite:///{path}") as store:
        for _ in range(2):
            await fill(store, SMALL, path.parent)
            assert sorted(file.name.partition("-")[0] for file in path.parent.iterdir()) == [
                "corpus.db",
                "corpus.db.index",
                "corpus.db.lock",
                "corpus.db.seeding",
                "dump.json",
            ]
    assert (path.parent / "corpus.db.lock").stat().st_size == 0


@pytest.mark.parametrize("number", [1, 1000])
@pytest.mark.parametrize("value", [None, b"x"])
async def test_an_invalid_text_is_a_damage(path: Path, number: int, value: bytes | None) -> None:
    """A record with an invalid text is a damage, in a short answer and a long one."""
    dump = [conversation(str(n), ("human", "go"), ("gpt", "on")) for n in range(number)]
    url = f"sqlite:///{path}"
    async with open_store(url) as store:
        await fill(store, dump, path.parent)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for version in VERSIONS:
            column = SCHEMAS[version].answer[-1]
            connection.execute(f'UPDATE {version} SET "{column}" = ? WHERE "{column}" IS NOT NULL', (value,))
    async with open_store(url) as store:
        for version in ("v2", "v3"):
            with pytest.raises(UnusableStore, match=r"is damaged \(expected text, found"):
                await ask(store, [("human", "go")], version)


def beside(path: Path) -> dict[str, bytes]:
    """All files in the corpus's folder, except for those that a seeder leaves there."""
    passed_over = {f"{path.name}.lock", f"{path.name}.seeding", "dump.json"}
    found = (file for file in path.parent.rglob("*") if file.is_file() and file.name not in passed_over)
    return {str(file.relative_to(path.parent)): file.read_bytes() for file in found}


async def test_files_beside_a_foreign_file_stay(path: Path) -> None:
    """Files of others survive a wrong file name, even if named like ours."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    path.with_name("corpus.db.new").write_text("new")
    path.with_name("corpus.db.index-0123456789abcdef").mkdir()
    path.with_name("corpus.db.index-0123456789abcdef").joinpath("notes").write_text("notes")
    before = beside(path)
    async with open_store(f"sqlite:///{path}") as store:
        with pytest.raises(UnusableStore, match="was not replaced"):
            await fill(store, SMALL, path.parent)
    assert beside(path) == before
    assert sorted(file.name for file in path.parent.iterdir() if file.name.startswith("corpus")) == [
        "corpus.db",
        "corpus.db.index-0123456789abcdef",
        "corpus.db.new",
    ]


@pytest.mark.parametrize("versions", [VERSIONS, ["v3"]])
async def test_a_seeding_that_fails_leaves_a_corpus_of_another_layout_whole(
    path: Path, versions: Sequence[Version]
) -> None:
    """The index of such a corpus stays as well, for a Mimic that may serve it. A successful seeding replaces it."""
    url = f"sqlite:///{path}"
    async with open_store(url) as store:
        await fill(store, SMALL, path.parent)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA user_version = {LAYOUT + 1}")
    before = beside(path)
    assert len(before) > 1
    async with open_store(url) as store:
        with pytest.raises(UnusableStore if versions == ["v3"] else NothingToSeed):
            await fill(store, [], path.parent, versions)
        assert beside(path) == before
        await fill(store, SMALL, path.parent)
    assert len([file for file in path.parent.iterdir() if file.is_dir()]) == 1


async def test_files_named_like_an_index_stay(path: Path) -> None:
    """Copies and notes of users stay; for an index that was moved and linked, the link is removed."""
    url = f"sqlite:///{path}"
    async with open_store(url) as store:
        await fill(store, SMALL, path.parent)
        [index] = path.parent.glob("corpus.db.index-*")
        (path.parent / "elsewhere").mkdir()
        moved = index.rename(path.parent / "elsewhere" / "index")
        index.symlink_to(moved)
        index.with_name(f"{index.name}.tar.gz").write_text("backup")
        index.with_name(f"{index.name}.bak").mkdir()
        index.with_name("corpus.db.index-fedcba9876543210").write_text("a file")
        await fill(store, SMALL, path.parent)
        seeding = await store.seeding()
    assert seeding
    assert seeding.state == "done"
    assert moved.is_dir()
    assert not index.is_symlink()
    left = [file.name for file in path.parent.glob("corpus.db.index-*") if not file.name.endswith(seeding.id)]
    assert sorted(left) == sorted([f"{index.name}.bak", f"{index.name}.tar.gz", "corpus.db.index-fedcba9876543210"])


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
async def test_permissions_stay(path: Path, mode: int) -> None:
    """A seeding keeps the file's permissions, whatever the seeder's umask."""
    url = f"sqlite:///{path}"
    async with open_store(url) as store:
        await fill(store, SMALL, path.parent)
        path.chmod(mode)
        if os.geteuid() == 0:
            os.chown(path, 12345, 54321)
        before = os.umask(0o077 if mode == 0o664 else 0o022)
        try:
            await fill(store, SMALL, path.parent)
        finally:
            os.umask(before)
    [index] = path.parent.glob("corpus.db.index-*")
    if os.geteuid() == 0:
        assert {(file.stat().st_uid, file.stat().st_gid) for file in (path, index, *index.iterdir())} == {
            (12345, 54321)
        }
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert stat.S_IMODE(path.with_name("corpus.db.seeding").stat().st_mode) == mode
    assert stat.S_IMODE(index.stat().st_mode) == 0o700 | mode | (mode & 0o444) >> 2
    assert {stat.S_IMODE(file.stat().st_mode) for file in index.iterdir()} == {mode}


async def test_without_locks_a_seeding_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks, such as some network ones, is an error of the store's, and no file stays open."""
    async with open_store(f"sqlite:///{path}") as store:
        await fill(store, SMALL, path.parent)
        before = len(list(Path("/proc/self/fd").iterdir()))

        def flock(file: int, operation: int) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "flock", flock)
        with pytest.raises(StoreUnavailable, match=r"corpus\.db\.lock: No locks available"):
            await fill(store, SMALL, path.parent)
        assert len(list(Path("/proc/self/fd").iterdir())) == before
        assert await ask(store, [("gpt", "and so on")], "v3") == [("human", "continue")]


async def test_a_lock_counts_only_on_the_file_that_is_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock file may be removed by its holder and made again by a third while another process has it open."""
    for third in (None, Lock(path)):
        first, second = Lock(path), Lock(path)
        assert await first.take()
        real = locks.lock

        def lock(file: int, *, shared: bool = False, first: Lock = first, third: Lock | None = third) -> None:
            monkeypatch.undo()
            first.release(remove=True)
            if third:
                assert third._take()
            real(file, shared=shared)  # noqa: B023 - the same one each time

        monkeypatch.setattr(replacement, "lock", lock)
        assert await second.take() == (third is None)
        assert second.is_held()
        for one in (second, third):
            if one:
                one.release(remove=True)
        assert not second.is_held()
    assert list(path.parent.iterdir()) == []


def test_one_of_many_has_the_lock_at_a_time(path: Path) -> None:
    """Threads with their own open files, as processes have them, hold the lock one at a time."""
    holders, most, taken = [0], [0], [0]

    def work() -> None:
        for _ in range(200):
            one = Lock(path)
            if one._take():
                holders[0] += 1
                most[0] = max(most[0], holders[0])
                taken[0] += 1
                time.sleep(0)
                holders[0] -= 1
                one.release(remove=True)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert taken[0] > 4
    assert list(path.parent.iterdir()) == []


async def test_a_copy_of_the_file_is_the_corpus(path: Path) -> None:
    """A read-only copy of the file alone is enough to answer."""
    async with open_store(f"sqlite:///{path}") as store:
        await fill(store, SMALL, path.parent)
    folder = path.parent / "elsewhere"
    folder.mkdir()
    copy = folder / "copy #1 100%.db?"
    path.rename(copy)
    folder.chmod(0o555)
    copy.chmod(0o444)
    async with open_store(f"sqlite:///{copy}") as store:
        assert await ask(store, [("gpt", "and so on")], "v3") == [("human", "continue")]
        assert await store.seeding() is None
    folder.chmod(0o755)


async def test_space_of_the_replaced_corpus_is_given_back(path: Path) -> None:
    """A small corpus after a large one makes a small file."""
    async with open_store(f"sqlite:///{path}") as store:
        await fill(store, CONTINUE, path.parent)
        large = path.stat().st_size
        await fill(store, SMALL, path.parent)
        assert await ask(store, [("human", "alone")] * 2 + [("gpt", "and so on")], "v2")
    assert path.stat().st_size < large / 10


async def test_a_replaced_file_is_closed(path: Path) -> None:
    """A replaced file is closed, also after an answer read from it by a thread of its own."""
    async with open_store(f"sqlite:///{path}") as store:
        await fill(store, CONTINUE, path.parent, ["v2"])
        answer = await store.find(SCHEMAS["v2"].lookup([Message("human", "continue")]))
        await fill(store, SMALL, path.parent, ["v2"])
        assert await ask(store, [("gpt", "and so on")], "v2") == [("human", "continue")]
        assert open_and_gone(path) == 1
        assert sum([len(batch) async for batch in answer]) == MANY
        async with asyncio.timeout(10):
            while open_and_gone(path):
                await asyncio.sleep(0.01)
        assert any(thread.name.startswith("mimic-close") for thread in threading.enumerate())


def open_and_gone(path: Path) -> int:
    """The number of this process's open files whose path is gone."""
    links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return links.count(f"{path} (deleted)")


async def test_lookups_use_their_index_and_touch_only_what_they_return(path: Path) -> None:
    """By the query plan there is no scan and no sort, and one row of thousands for a unique pair."""
    async with open_store(f"sqlite:///{path}") as store:
        await fill(store, CONTINUE, path.parent)
        assert await ask(store, [("gpt", "part 77"), ("human", "continue")], "v3") == [("gpt", "answer 77")]
    last, pair = [Message("human", "continue")], [Message("gpt", "part 77"), Message("human", "continue")]
    assert steps(path, SCHEMAS["v2"].lookup(last)) < MANY * 40
    assert steps(path, SCHEMAS["v3"].lookup(pair)) < 100
    for version, messages, index in (("v2", last, "v2_messageDigest"), ("v3", pair, "v3_pairDigest")):
        query, values = find_query(SCHEMAS[version].lookup(messages))  # type: ignore[index]
        connection = sqlite3.connect(path)
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", values)]
        connection.close()
        assert plan == [f"SEARCH {version} USING INDEX {index} ({index.partition('_')[2]}=?)"]


def steps(path: Path, lookup: Lookup) -> int:
    """The number of instructions of SQLite's virtual machine for a lookup."""
    connection = sqlite3.connect(path)
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    connection.set_progress_handler(tick, 1)
    query, values = find_query(lookup)
    list(connection.execute(query, values))
    connection.close()
    return count


async def test_indexes_take_at_most_a_tenth_of_the_data(path: Path) -> None:
    """The limit holds for texts as short as those of small talk."""
    dump = [conversation(str(n), *[("human", f"{n} {i} " + "some words " * 20) for i in range(6)]) for n in range(700)]
    async with open_store(f"sqlite:///{path}") as store:
        report = await fill(store, dump, path.parent)
    for version in ("v2", "v3"):
        assert report.versions[version].size.index_bytes <= report.versions[version].size.data_bytes / 10
    assert report.versions["v1"].size.index_bytes == 0


@pytest.mark.parametrize("content", ["text", "garbage", "another program's database"])
async def test_a_foreign_file_is_neither_read_nor_replaced(path: Path, content: str) -> None:
    """The error is clear, and the file stays, even a good SQLite file."""
    if content == "text":
        path.write_bytes(b"not a database")
    elif content == "garbage":
        path.write_bytes(b"SQLite format 3\0" + b"\0" * 200)
    else:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE accounts (owner TEXT)")
    before = path.read_bytes()
    async with open_store(f"sqlite:///{path}") as store:
        with pytest.raises(UnusableStore, match="not a Mimic corpus"):
            await store.seeded()
        with pytest.raises(UnusableStore, match="was not replaced"):
            await fill(store, SMALL, path.parent)
    assert path.read_bytes() == before


async def test_a_truncated_corpus_is_named_and_can_be_replaced(path: Path) -> None:
    """A truncated corpus gives a clear error, not a wrong answer; a seeding repairs it."""
    async with open_store(f"sqlite:///{path}") as store:
        await fill(store, CONTINUE, path.parent)
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)
        with pytest.raises(UnusableStore, match="damaged"):
            await ask(store, [("human", "continue")], "v3")
        await fill(store, SMALL, path.parent)
        assert await ask(store, [("gpt", "and so on")], "v3") == [("human", "continue")]


async def test_another_layout_is_named(path: Path) -> None:
    """A corpus of an older or newer Mimic is not misread."""
    async with open_store(f"sqlite:///{path}") as store:
        await fill(store, SMALL, path.parent)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {LAYOUT + 1}")
    connection.close()
    async with open_store(f"sqlite:///{path}") as store:
        with pytest.raises(UnusableStore, match=f"has layout {LAYOUT + 1} of a newer Mimic, .*: upgrade Mimic"):
            await store.seeded()
        await fill(store, SMALL, path.parent)


async def test_a_folder_that_is_not_there_is_named(path: Path) -> None:
    """A missing folder is an error before anything is read."""
    async with open_store(f"sqlite:///{path.parent}/nowhere/corpus.db") as store:
        assert await store.seeded() == {}
        with pytest.raises(StoreUnavailable, match=f"there is no folder {path.parent}/nowhere"):
            async with store.replace(["v2"]):
                pass


async def test_a_place_that_cannot_be_written_is_named() -> None:
    """A place where even root may not write is an error."""
    async with open_store("sqlite:////proc/corpus.db") as store:
        with pytest.raises(StoreUnavailable, match=r"cannot use /proc/corpus\.db\.lock: "):
            async with store.replace(["v2"]):
                pass


async def test_no_space_is_distinguished_from_other_failures(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's own code for a full disk becomes ours."""
    async with open_store(f"sqlite:///{path}") as store:
        with pytest.raises(StoreFull, match="no space left"):
            async with store.replace(["v2"]) as replacement:
                connection = replacement._connection  # type: ignore[attr-defined]
                connection.execute("PRAGMA max_page_count = 10")
                document = {"externalId": "x", "from": "human", "value": "x" * 10_000}
                for _ in range(100):
                    await replacement.add("v2", [document])


async def test_a_corpus_behind_a_link_is_replaced_where_it_is(path: Path) -> None:
    """The link stays a link; a changed link leads to another corpus."""
    link = path.parent / "link.db"
    link.symlink_to(path)
    async with open_store(f"sqlite:///{link}") as store:
        for _ in range(2):
            await fill(store, SMALL, path.parent)
            assert link.is_symlink()
            assert not path.is_symlink()
            assert await ask(store, [("gpt", "and so on")], "v3") == [("human", "continue")]
        other = path.parent / "other.db"
        async with open_store(f"sqlite:///{other}") as elsewhere:
            await fill(elsewhere, [conversation("a", ("gpt", "and so on"), ("human", "other"))], path.parent)
        link.unlink()
        link.symlink_to(other)
        await asyncio.sleep(SECONDS_TO_BELIEVE)
        assert await ask(store, [("gpt", "and so on")], "v3") == [("human", "other")]


async def test_many_scans_at_once_wait_for_each_other(path: Path) -> None:
    """Each scan has the file open, so only a few run at a time."""
    async with open_store(f"sqlite:///{path}") as store:
        await fill(store, SMALL, path.parent)
        most = 0

        async def scan() -> None:
            nonlocal most
            async for _ in await store.find(SCHEMAS["v1"].lookup([Message("human", "continue")])):
                opened = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
                most = max(most, sum(link == str(path) for link in opened))
                await asyncio.sleep(0.01)

        await asyncio.gather(*(scan() for _ in range(100)))
        assert 1 < most <= MOST_SCANS + 1
