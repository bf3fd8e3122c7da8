"""SQLite: the embedded store, one file.

The file never changes once it is there. A seeding builds a new one beside it, without a journal, and renames it over
the old one; readers notice that the name leads to another file, and open that. So reading takes no locks, a seeding
cannot disturb it, and one that dies leaves a file that nobody looks at. Two small files stand beside the corpus:
``.lock``, locked by the running seeder and so by nobody once that has died, and ``.seeding``, the last seeding.
"""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import msgspec

from mimic.errors import NotSeeded, SeedingInProgress, StoreFull, StoreUnavailable, UnusableStore
from mimic.schemas import SCHEMAS, VERSIONS, Document, Lookup, Schema, Version
from mimic.seedings import Seeded, Seeding, Size
from mimic.stores.base import BATCH_DOCUMENTS, Replacement, Store

APPLICATION_ID: Final = int.from_bytes(b"Mimc")
LAYOUT: Final = 1
PAGE_BYTES: Final = 8192
BATCH_CHARACTERS: Final = 256 * 1024

_CATALOGUE = "CREATE TABLE corpus (version TEXT PRIMARY KEY, seeded TEXT NOT NULL)"


class SQLiteStore(Store):
    """A corpus in one SQLite file.

    Looking up by index happens right on the event loop, a batch at a time: it takes some ten microseconds, less than
    handing it to a thread and back. Scanning (v1) goes to a thread.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._corpus: _Corpus | None = None

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._retire()

    async def seeded(self) -> Mapping[Version, Seeded]:
        corpus = self._current()
        return corpus.seeded if corpus else {}

    async def find(self, lookup: Lookup, limit: int | None = None) -> AsyncIterator[Sequence[Document]]:
        corpus = self._current()
        if corpus is None:
            raise NotSeeded
        if lookup.version not in corpus.seeded:
            raise NotSeeded(lookup.version)
        query, values = find_query(lookup, limit)
        schema = SCHEMAS[lookup.version]
        if lookup.index is None:
            async for batch in self._scan(schema, query, values):
                yield batch
            return
        with _errors(self.path), corpus.in_use() as connection:
            for batch in _batches(connection, schema, query, values):
                yield batch

    async def _scan(self, schema: Schema, query: str, values: Sequence[str | int]) -> AsyncIterator[Sequence[Document]]:
        """In a thread, so on a connection of its own: one that is scanning makes others wait."""
        corpus = _Corpus.open(self.path)
        with _errors(self.path), corpus.in_use() as connection:
            corpus.retire()
            batches = _batches(connection, schema, query, values)
            try:
                while batch := await asyncio.to_thread(next, batches, None):
                    yield [{"conversations": msgspec.json.decode(document["conversations"])} for document in batch]
            finally:
                connection.interrupt()  # the thread, where the caller went away

    async def seeding(self) -> Seeding | None:
        seeding = self._read_record()
        if seeding is None or seeding.state != "running" or _Lock(self.path).is_held():
            return seeding
        seeding = self._read_record()  # it may have ended just before its lock was looked at
        if seeding is None or seeding.state != "running":
            return seeding
        return msgspec.structs.replace(seeding, state="interrupted", error="the seeding process died")

    def _read_record(self) -> Seeding | None:
        try:
            return msgspec.json.decode(_beside(self.path, ".seeding").read_bytes(), type=Seeding)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise StoreUnavailable(f"cannot read {exc.filename}: {exc.strerror}") from exc
        except msgspec.DecodeError as exc:
            raise UnusableStore(f"{_beside(self.path, '.seeding')} is damaged: {exc}") from exc

    async def _claim(self, seeding: Seeding, versions: Sequence[Version]) -> "SQLiteReplacement":
        if not self.path.parent.is_dir():
            raise StoreUnavailable(f"there is no folder {self.path.parent}")
        lock = _Lock(self.path)
        if not await lock.take():
            other = await self.seeding()
            raise SeedingInProgress(other.holder if other else "another process", other.since if other else None)
        try:
            _refuse_foreign_file(self.path)
            return SQLiteReplacement(self.path, lock, seeding, versions, _kept(self.path, versions))
        except BaseException:
            lock.release()
            raise

    def _current(self) -> "_Corpus | None":
        """The corpus that the name leads to now."""
        try:
            identity = _identity(self.path)
        except FileNotFoundError:
            self._retire()
            return None
        except OSError as exc:
            raise StoreUnavailable(f"cannot read {self.path}: {exc.strerror}") from exc
        if self._corpus is None or self._corpus.identity != identity:
            opened = _Corpus.open(self.path)
            self._retire()
            self._corpus = opened
        return self._corpus

    def _retire(self) -> None:
        if self._corpus:
            self._corpus.retire()
            self._corpus = None


class _Corpus:
    """One file that is, or was, the corpus. Closed when it is retired and its last reader is through."""

    def __init__(self, identity: tuple[int, ...], path: Path, connection: sqlite3.Connection) -> None:
        self.identity = identity
        self._path = path
        self._connection = connection
        self._readers = 0
        self._retired = False
        self.seeded = _read_catalogue(path, connection)

    @classmethod
    def open(cls, path: Path) -> "_Corpus":
        with _errors(path):
            while True:  # until the name led to the same file before and after
                identity = _identity(path)
                connection = _connect(path)
                if identity == _identity(path):
                    break
                connection.close()
            try:
                return cls(identity, path, connection)
            except BaseException:
                connection.close()
                raise

    @contextmanager
    def in_use(self) -> Iterator[sqlite3.Connection]:
        self._readers += 1
        try:
            yield self._connection
        finally:
            self._readers -= 1
            self._close_if_done()

    def retire(self) -> None:
        self._retired = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._retired and not self._readers:
            self._connection.close()


class SQLiteReplacement(Replacement):
    """A new file beside the corpus. Its writes block the event loop: it belongs in a process of its own."""

    def __init__(
        self, path: Path, lock: "_Lock", seeding: Seeding, versions: Sequence[Version], kept: Sequence[Version]
    ) -> None:
        super().__init__(seeding)
        self._kept = kept
        self._path = path
        self._new = _beside(path, ".new")
        self._lock = lock
        self._positions = dict.fromkeys(versions, 0)
        self._pages = dict.fromkeys(versions, 1)  # a table has a page from the start
        with _errors(self._new):
            self._new.unlink(missing_ok=True)
            self._write_record(seeding)
            self._connection = sqlite3.connect(self._new.absolute().as_uri(), uri=True, isolation_level=None)
            for pragma in (
                f"page_size={PAGE_BYTES}",
                f"application_id={APPLICATION_ID}",
                f"user_version={LAYOUT}",
                "journal_mode=OFF",
                "synchronous=OFF",
                "locking_mode=EXCLUSIVE",
                "cache_size=-16384",
            ):
                self._connection.execute(f"PRAGMA {pragma}")
            self._connection.execute(_CATALOGUE)
            for version in versions:
                self._connection.execute(_create_table(SCHEMAS[version]))
            self._connection.execute("BEGIN")

    async def add(self, version: Version, documents: Sequence[dict[str, Any]]) -> None:
        fields = SCHEMAS[version].fields
        first = self._positions[version]
        rows = (
            (position, *[_column(document.get(field)) for field in fields])
            for position, document in enumerate(documents, first)
        )
        before = self._page_count()
        with _errors(self._new):
            self._connection.executemany(_insert(SCHEMAS[version]), rows)
        self._pages[version] += self._page_count() - before
        self._positions[version] += len(documents)

    async def index(self, version: Version) -> Size:
        before = self._page_count()
        with _errors(self._new):
            for statement in _create_indexes(SCHEMAS[version]):
                self._connection.execute(statement)
        pages = self._page_count() - before
        taken = self._pages[version] * PAGE_BYTES
        return Size(data_bytes=taken, disk_bytes=taken, index_bytes=pages * PAGE_BYTES)

    async def close(self, seeding: Seeding) -> None:
        try:
            self._connection.close()
            with _errors(self._new):
                self._new.unlink(missing_ok=True)
                self._write_record(seeding)
        finally:
            self._lock.release()

    async def _publish(self, seeded: Mapping[str, Seeded]) -> None:
        with _errors(self._new):
            self._copy_kept_versions()
            for version, entry in seeded.items():
                self._connection.execute(
                    "INSERT INTO corpus VALUES (?, ?)", (version, msgspec.json.encode(entry).decode())
                )
            self._connection.execute("COMMIT")
            self._connection.close()
            _sync(self._new)
            self._new.replace(self._path)
            self.published = True
            _sync(self._path.parent)

    async def _record(self) -> None:
        with _errors(self._path):
            self._write_record(self.seeding)

    def _write_record(self, seeding: Seeding) -> None:
        record = _beside(self._path, ".seeding")
        draft = _beside(self._path, ".seeding.new")
        draft.write_bytes(msgspec.json.encode(seeding))
        draft.replace(record)

    def _copy_kept_versions(self) -> None:
        """Copy the versions that this seeding does not replace from the old file."""
        if not self._kept:
            return
        self._connection.execute("COMMIT")
        self._connection.execute("ATTACH ? AS old", (f"{self._path.absolute().as_uri()}?mode=ro&immutable=1",))
        self._connection.execute("BEGIN")
        for version in self._kept:
            schema = SCHEMAS[version]
            self._connection.execute(_create_table(schema))
            self._connection.execute(f"INSERT INTO main.{version} SELECT * FROM old.{version} ORDER BY position")
            for statement in _create_indexes(schema):
                self._connection.execute(statement)
            self._connection.execute("INSERT INTO main.corpus SELECT * FROM old.corpus WHERE version = ?", (version,))

    def _page_count(self) -> int:
        (count,) = self._connection.execute("PRAGMA page_count").fetchone()
        return int(count)


class _Lock:
    """The right to seed: an flock(2) on a file beside the corpus, which the system releases when its holder dies."""

    def __init__(self, path: Path) -> None:
        self._path = _beside(path, ".lock")
        self._file: int | None = None

    async def take(self) -> bool:
        with _errors(self._path):
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        for _ in range(5):  # one who only asks whether it is held holds it, for a moment
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._file = file
                return True
            await asyncio.sleep(0.02)
        os.close(file)
        return False

    def is_held(self) -> bool:
        """By anybody. Asks for a shared lock, so that two who ask do not see each other."""
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
        return False

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def find_query(lookup: Lookup, limit: int | None = None) -> tuple[str, list[str | int]]:
    """The SQL that answers a lookup, and its parameters."""
    schema = SCHEMAS[lookup.version]
    columns = ", ".join(schema.answer)
    ending = "ORDER BY position" + ("" if limit is None else " LIMIT ?")
    last: list[str | int] = [] if limit is None else [limit]
    if lookup.index is None:
        # The text is as msgspec encodes it, always in the same way, so each message of a conversation is a part of it.
        needle = msgspec.json.encode({"from": lookup.fields["from"], "value": lookup.fields["value"]}).decode()
        return f"SELECT {columns} FROM {lookup.version} WHERE instr(conversations, ?) {ending}", [needle, *last]
    conditions = " AND ".join(f'"{field}" = ?' for field in (lookup.index, *lookup.fields))
    values: list[str | int] = [lookup.key, *lookup.fields.values(), *last]
    return f"SELECT {columns} FROM {lookup.version} WHERE {conditions} {ending}", values


def _batches(
    connection: sqlite3.Connection, schema: Schema, query: str, values: Sequence[str | int]
) -> Iterator[list[Document]]:
    """A query's rows in batches of bounded size."""
    batch: list[Document] = []
    characters = 0
    for row in connection.execute(query, values):
        batch.append(dict(zip(schema.answer, row, strict=True)))
        characters += len(row[-1])
        if len(batch) == BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _create_table(schema: Schema) -> str:
    columns = ", ".join(f'"{field}" {"INTEGER" if field in schema.indexes else "TEXT"}' for field in schema.fields)
    return f"CREATE TABLE main.{schema.version} (position INTEGER PRIMARY KEY, {columns})"


def _create_indexes(schema: Schema) -> Iterator[str]:
    for field in schema.indexes:
        yield (f"CREATE INDEX main.{schema.version}_{field} ON {schema.version} ({field}) WHERE {field} IS NOT NULL")


def _insert(schema: Schema) -> str:
    return f"INSERT INTO {schema.version} VALUES (?{', ?' * len(schema.fields)})"


def _column(value: Any) -> Any:
    return msgspec.json.encode(value).decode() if isinstance(value, list) else value


def _connect(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)


def _kept(path: Path, replaced: Sequence[Version]) -> list[Version]:
    """The versions of the corpus at ``path`` that are not to be replaced. It may be damaged if all are."""
    if set(replaced) == set(VERSIONS) or not path.exists():
        return []
    with _errors(path), closing(_connect(path)) as connection:
        return [version for version in _read_catalogue(path, connection) if version not in replaced]


def _read_catalogue(path: Path, connection: sqlite3.Connection) -> dict[Version, Seeded]:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (layout,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise UnusableStore(f"{path} is not a corpus of Mimic's")
    if layout != LAYOUT:
        raise UnusableStore(f"{path} has layout {layout}, this Mimic reads layout {LAYOUT}: remove it and seed anew")
    rows = connection.execute("SELECT version, seeded FROM corpus ORDER BY version")
    return {version: msgspec.json.decode(seeded, type=Seeded) for version, seeded in rows}


def _refuse_foreign_file(path: Path) -> None:
    """Never replace a file that Mimic did not make. A damaged corpus may be replaced."""
    with _errors(path), suppress(FileNotFoundError), path.open("rb") as file:
        header = file.read(100)  # https://www.sqlite.org/fileformat.html#the_database_header
        if header and not (header.startswith(b"SQLite format 3\0") and header[68:72] == APPLICATION_ID.to_bytes(4)):
            raise UnusableStore(f"{path} is not a corpus of Mimic's; it is left alone")


def _identity(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """SQLite's and the system's errors as ours."""
    try:
        yield
    except sqlite3.Error as exc:
        code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise StoreFull(f"no space left for {path}") from exc
        if getattr(exc, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_WRITE:
            raise StoreFull(f"cannot write {path}: {exc} (no space left?)") from exc
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
            raise UnusableStore(f"{path} is damaged or not a corpus of Mimic's ({exc})") from exc
        raise StoreUnavailable(f"cannot use {path}: {exc}") from exc
    except OSError as exc:
        if exc.errno in (28, 122, 27):  # ENOSPC, EDQUOT, EFBIG
            raise StoreFull(f"no space left for {path}: {exc.strerror}") from exc
        raise StoreUnavailable(f"cannot use {path}: {exc.strerror}") from exc
