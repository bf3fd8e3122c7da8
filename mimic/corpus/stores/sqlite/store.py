"""Reading a corpus from its current SQLite file."""

import asyncio
import math
import sqlite3
import time
from collections.abc import AsyncGenerator, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from functools import cache
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeAlias

import msgspec

from mimic.corpus.manifest import Seeded, Seeding
from mimic.corpus.schemas import MESSAGES, SCHEMAS, TOKENS, Document, Lookup, Schema, Version
from mimic.corpus.stores.base import BATCH_CHARACTERS, BATCH_DOCUMENTS, Batches, Store
from mimic.corpus.stores.sqlite.file import (
    FAILURES,
    beside,
    connect,
    errors,
    file_identity,
    missing_folder,
    read_catalogue,
    refuse_other_kinds,
    translate,
)
from mimic.corpus.stores.sqlite.replacement import Lock, SQLiteReplacement, refuse_foreign_file
from mimic.corpus.stores.tempdirs import temporary_folder
from mimic.errors import NotSeeded, SeedingInProgress, StoreUnavailable, UnusableStore

SECONDS_TO_BELIEVE: Final = 0.1
"""Seconds between two checks for a new file: a check takes as long as a lookup."""
MOST_SCANS: Final = 16
SECONDS_TO_WAIT_FOR_A_SCAN: Final = 10
"""Limits of scans: scans at a time, each with the file open, and the seconds that further scans wait."""

_closer: Final = ThreadPoolExecutor(1, thread_name_prefix="mimic-close")
"""Closes replaced files: the last close of a file frees its space, which takes 0.1 s for 500 MB."""

_Row: TypeAlias = tuple[Any, ...]
_Reading: TypeAlias = Generator[tuple[list[Document], bool]]


class SQLiteStore(Store):
    """A corpus in one SQLite file.

    Lookups by index run on the event loop, a batch at a time: they take some 10 µs, less than a switch to a thread.
    Scans (v1) run in a thread.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._scans = asyncio.Semaphore(MOST_SCANS)
        self._turn = asyncio.Lock()
        self._corpus: CorpusFile | None = None
        self._forget()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._retire()

    async def seeded(self) -> Mapping[Version, Seeded]:
        corpus = self._look()
        return corpus.seeded if corpus else {}

    async def check(self) -> None:
        while True:
            await self.seeded()
            corpus = self._corpus
            try:
                if corpus:
                    self._check_whole(corpus)
            except UnusableStore:
                self._forget()
                if self._look() is corpus:  # otherwise it was replaced meanwhile
                    raise
            else:
                return

    def _check_whole(self, corpus: "CorpusFile") -> None:
        """Raises UnusableStore if a table of the corpus or one of its index folders is missing."""
        with errors(self.path):
            for version in corpus.seeded:
                corpus.connection.execute(f"SELECT position FROM {version} LIMIT 1").fetchone()
        for name in {entry.index.id for entry in corpus.seeded.values() if entry.index}:
            folder = beside(self._target(), f".{name}")
            if not folder.exists():
                raise UnusableStore.caused_by(missing_folder(folder))

    async def find(self, lookup: Lookup, limit: int | None = None) -> Batches[Document]:
        corpus = self._current_with(lookup.version)
        query, values = find_query(lookup, limit)
        schema = SCHEMAS[lookup.version]
        if lookup.index is None:
            return await Batches.of(self._scan(schema, query, values))
        try:
            rows = corpus.connection.execute(query, values)
            first_rows = rows.fetchmany(2)
            if len(first_rows) < 2:  # noqa: PLR2004 - fast path for most lookups: takes half of the time
                return Batches([_document(schema, row) for row in first_rows])
        except FAILURES as exc:
            raise translate(exc, self.path) from exc
        batches = self._read(corpus, schema, rows, first_rows)
        first, goes_on = next(batches)
        if goes_on:
            return Batches(first, self._in_turn(batches))
        batches.close()
        return Batches(first)

    def _read(self, corpus: "CorpusFile", schema: Schema, rows: sqlite3.Cursor, first_rows: Iterable[_Row]) -> _Reading:
        with errors(self.path), corpus.in_use(), closing(rows):  # an open cursor would keep the file open
            yield from _batches(schema, chain(first_rows, rows))

    async def _in_turn(self, batches: _Reading) -> AsyncGenerator[list[Document]]:
        """Yield the rest of a long answer. All long answers together read one batch per turn of the event loop."""
        goes_on = True
        with closing(batches):
            while goes_on:
                async with self._turn:
                    await asyncio.sleep(0)
                    documents, goes_on = next(batches)
                if documents:
                    yield documents

    async def documents(self, version: Version, positions: Sequence[int]) -> Sequence[Document]:
        corpus = self._current_with(version)
        placeholders = ", ".join("?" for _ in positions)
        # All columns: files of before have no column for tokens.
        query = f"SELECT * FROM {version} WHERE position IN ({placeholders}) ORDER BY position"
        with errors(self.path):
            found = corpus.connection.execute(query, positions)
            fields = [column[0] for column in found.description]
            return [_with_messages(dict(zip(fields, row, strict=True))) for row in found.fetchall()]

    @asynccontextmanager
    async def attached(self, name: str) -> AsyncGenerator[Path]:
        folder = beside(self._target(), f".{name}")
        # Links, because the reader makes other files beside them, and the folder may be read-only.
        async with temporary_folder() as links:
            try:
                files = list(folder.iterdir())
            except FileNotFoundError:
                raise missing_folder(folder) from None
            except OSError as exc:
                raise translate(exc, folder) from exc
            for file in files:
                if file.suffix != ".lock":  # the reader opens its own lock file for writing
                    (links / file.name).symlink_to(file)
            yield links

    async def _scan(
        self, schema: Schema, query: str, values: Sequence[str | int]
    ) -> AsyncGenerator[Sequence[Document]]:
        """Scan in a thread, on a separate connection: a scan would make other lookups on its connection wait."""
        async with self._scan_slot():
            corpus = CorpusFile.open(self.path)
            with errors(self.path), corpus.in_use():
                corpus.retire()
                batches = _scan_rows(corpus.connection, schema, query, values)
                goes_on = True
                try:
                    while goes_on:
                        documents, goes_on = await asyncio.to_thread(next, batches)
                        if documents:
                            yield [_with_messages(found) for found in documents]
                finally:
                    corpus.connection.interrupt()  # stops the thread if the caller was cancelled
                    with suppress(ValueError):  # the thread is still running, and ends by itself
                        batches.close()

    @asynccontextmanager
    async def _scan_slot(self) -> AsyncGenerator[None]:
        try:
            async with asyncio.timeout(SECONDS_TO_WAIT_FOR_A_SCAN):
                await self._scans.acquire()
        except TimeoutError:
            raise StoreUnavailable(f"{MOST_SCANS} scans are running, and their readers are slow") from None
        try:
            yield
        finally:
            self._scans.release()

    async def seeding(self) -> Seeding | None:
        self._forget()  # a caller that learns that the seeding is done reads the new corpus next
        seeding = self._read_record()
        if seeding is None or seeding.state != "running" or Lock(self._target()).is_held():
            return seeding
        seeding = self._read_record()  # the seeding may have ended just before the test of its lock
        if seeding is None or seeding.state != "running":
            return seeding
        return msgspec.structs.replace(seeding, state="interrupted", error="the seeding process died")

    def _read_record(self) -> Seeding | None:
        record = beside(self._target(), ".seeding")
        try:
            refuse_other_kinds(record)
            return msgspec.json.decode(record.read_bytes(), type=Seeding)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise StoreUnavailable(f"cannot read {exc.filename}: {exc.strerror}") from exc
        except msgspec.DecodeError:  # incomplete after a power failure, or by a newer Mimic: the corpus may be valid
            return None

    def _target(self) -> Path:
        """The file that a link refers to, or the file itself. A seeding replaces and locks this file."""
        try:
            return self.path.resolve()
        except (OSError, RuntimeError) as exc:
            raise StoreUnavailable(f"cannot use {self.path}: {exc}") from exc

    async def _claim(self, seeding: Seeding) -> SQLiteReplacement:
        path = self._target()
        if not path.parent.is_dir():
            raise StoreUnavailable(f"there is no folder {path.parent}")
        refuse_foreign_file(path)
        lock = Lock(path)
        if not await lock.take():
            other = await self.seeding()
            raise SeedingInProgress(other.holder if other else "another process", other.since if other else None)
        return SQLiteReplacement(path, lock, seeding, on_publish=self._forget)

    def _current_with(self, version: Version) -> "CorpusFile":
        """The corpus of this moment, or of 0.1 s ago. Raises NotSeeded if it lacks the version."""
        corpus = self._corpus
        if corpus is None or time.monotonic() - self._looked >= SECONDS_TO_BELIEVE:
            corpus = self._look()
        if corpus is None:
            raise NotSeeded
        if version not in corpus.seeded:
            raise NotSeeded(version)
        return corpus

    def _forget(self) -> None:
        """Check for a new file at the next lookup."""
        self._looked = -math.inf

    def _look(self) -> "CorpusFile | None":
        """The corpus in the file that has the name now; None if there is no file."""
        self._forget()  # in case of an error
        now = time.monotonic()
        try:
            identity = file_identity(self.path)
        except FileNotFoundError:
            self._retire()
            return None
        except OSError as exc:
            raise StoreUnavailable(f"cannot read {self.path}: {exc.strerror}") from exc
        if self._corpus is None or self._corpus.identity != identity:
            opened = CorpusFile.open(self.path)
            self._retire()
            self._corpus = opened
        self._looked = now
        return self._corpus

    def _retire(self) -> None:
        if self._corpus:
            self._corpus.retire()
            self._corpus = None


class CorpusFile:
    """An open file that is or was the corpus. Closed when it is retired and its last reader has finished."""

    def __init__(self, identity: tuple[int, ...], path: Path, connection: sqlite3.Connection) -> None:
        self.identity = identity
        self._path = path
        self.connection = connection
        self._readers = 0
        self._retired = False
        self.seeded = read_catalogue(path, connection)

    @classmethod
    def open(cls, path: Path) -> "CorpusFile":
        with errors(path):
            while True:  # until the name refers to the same file before and after opening
                identity = file_identity(path)
                connection = connect(path)
                if identity == file_identity(path):
                    break
                connection.close()
            try:
                return cls(identity, path, connection)
            except BaseException:
                connection.close()
                raise

    @contextmanager
    def in_use(self) -> Iterator[None]:
        self._readers += 1
        try:
            yield
        finally:
            self._readers -= 1
            self._close_if_done()

    def retire(self) -> None:
        self._retired = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        if not self._retired or self._readers:
            return
        if self._is_replaced():
            _closer.submit(self.connection.close)
        else:
            self.connection.close()

    def _is_replaced(self) -> bool:
        try:
            return file_identity(self._path) != self.identity
        except OSError:
            return True


def find_query(lookup: Lookup, limit: int | None = None) -> tuple[str, list[str | int]]:
    """The SQL of a lookup, and its parameters."""
    values: list[str | int]
    if lookup.index is not None:
        fields = lookup.fields
        query = _query_by_index(lookup.version, lookup.index, tuple(fields))
        values = [lookup.key, *fields.values()]
    else:
        # msgspec always encodes a message in the same way, so its encoding is a substring of the conversation's.
        # Without a sender, the first brace is removed: the sender precedes the text.
        encoded = msgspec.json.encode(lookup.fields).decode()
        values = [encoded if "from" in lookup.fields else encoded.removeprefix("{")]
        query = _query(lookup.version, f"instr({MESSAGES}, ?)")
    if limit is not None:
        return f"{query} LIMIT ?", [*values, limit]
    return query, values


def _query(version: Version, condition: str) -> str:
    return f"SELECT {', '.join(SCHEMAS[version].answer)} FROM {version} WHERE {condition} ORDER BY position"


@cache  # about ten entries
def _query_by_index(version: Version, index: str, fields: tuple[str, ...]) -> str:
    return _query(version, " AND ".join([f"{index} = ?", *[f'"{field}" = ?' for field in fields]]))


def _with_messages(found: Document) -> Document:
    """Decode the messages and their tokens of a v1 document, which are stored as JSON. Others are unchanged."""
    if MESSAGES not in found:
        return found
    return {**found, **{field: msgspec.json.decode(found[field]) for field in (MESSAGES, TOKENS) if found.get(field)}}


def _scan_rows(connection: sqlite3.Connection, schema: Schema, query: str, values: Sequence[str | int]) -> _Reading:
    with closing(connection.execute(query, values)) as rows:
        yield from _batches(schema, rows)


def _document(schema: Schema, row: _Row) -> Document:
    if not isinstance(row[-1], str):  # in a damaged file, SQLite may return a value of any type
        raise msgspec.ValidationError(f"expected text, found {type(row[-1]).__name__}")
    return dict(zip(schema.answer, row, strict=True))


def _batches(schema: Schema, rows: Iterable[_Row]) -> _Reading:
    """Yield a query's rows in batches of bounded size, each with a flag: True if there may be more. At least one."""
    batch: list[Document] = []
    characters = 0
    for row in rows:
        batch.append(_document(schema, row))
        characters += len(row[-1])
        if len(batch) == BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
            yield batch, True
            batch, characters = [], 0
    yield batch, False
