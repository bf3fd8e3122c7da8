"""Replacing a corpus: a new file beside the old one, without a journal, renamed over it when it is complete."""

import asyncio
import os
import re
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from glob import escape
from pathlib import Path
from typing import Any, Final

import msgspec

from mimic.corpus.layout import LAYOUT
from mimic.corpus.manifest import Seeded, Seeding, Size
from mimic.corpus.schemas import SCHEMAS, TOKENS, VERSIONS, Schema, Version
from mimic.corpus.stores.base import Replacement
from mimic.corpus.stores.locks import lock
from mimic.corpus.stores.sqlite.file import (
    APPLICATION_ID,
    beside,
    connect,
    errors,
    read_catalogue,
    refuse_other_kinds,
)
from mimic.corpus.stores.tempdirs import remove_folder
from mimic.errors import StoreError, UnusableStore

PAGE_BYTES: Final = 8192
ATTEMPTS: Final = 5
SECONDS_BETWEEN: Final = 0.02
"""Attempts to take a lock, and the time between them. A process that tests the lock holds it for a moment."""
INDEX_NAME: Final = re.compile(r"index-[0-9a-f]{16}")
"""The end of the names of index folders, after the name of the file. Folders with other names are not Mimic's."""

_CATALOGUE = "CREATE TABLE corpus (version TEXT PRIMARY KEY, seeded TEXT NOT NULL)"


class SQLiteReplacement(Replacement):
    """A new file beside the corpus. Its writes block the event loop: run it in a separate process."""

    def __init__(self, path: Path, lock: "Lock", seeding: Seeding, on_publish: Callable[[], None]) -> None:
        super().__init__(seeding)
        self._on_publish = on_publish
        self._path = path
        self._new = beside(path, ".new")
        self._lock = lock
        self._status: os.stat_result | None = None  # of the file that is replaced
        self._workspace: Path | None = None
        self._connection: sqlite3.Connection | None = None

    async def prepare(self, versions: Sequence[Version]) -> None:
        self._kept = kept_versions(self._path, versions)
        self._positions = dict.fromkeys(versions, 0)
        self._pages = dict.fromkeys(versions, 1)  # a table has a page from the start
        with errors(self._new):
            with suppress(FileNotFoundError):
                self._status = self._path.stat()
            self._write_record(self.seeding)
            self._remove_unused_folders()
            self._new.unlink(missing_ok=True)
            self._connection = sqlite3.connect(self._new.absolute().as_uri(), uri=True, isolation_level=None)
            for pragma in (
                f"page_size={PAGE_BYTES}",
                f"application_id={APPLICATION_ID}",
                f"user_version={LAYOUT}",
                "journal_mode=OFF",
                "synchronous=OFF",
                "locking_mode=EXCLUSIVE",
                "cache_size=-2048",
            ):
                self._connection.execute(f"PRAGMA {pragma}")
            self._connection.execute(_CATALOGUE)
            self._protect(self._new)
            for version in versions:
                self._connection.execute(_create_table(SCHEMAS[version]))
            self._connection.execute("BEGIN")

    async def add(self, version: Version, documents: Sequence[dict[str, Any]]) -> None:
        fields = (*SCHEMAS[version].fields, TOKENS)
        first = self._positions[version]
        rows = (
            (position, *[_column(document.get(field)) for field in fields])
            for position, document in enumerate(documents, first)
        )
        before = self._page_count()
        with errors(self._new):
            self._opened.executemany(_insert(SCHEMAS[version]), rows)
        self._pages[version] += self._page_count() - before
        self._positions[version] += len(documents)

    async def index(self, version: Version) -> Size:
        before = self._page_count()
        with errors(f"{self._new}, or the temporary files by which its indexes are sorted"):
            for statement in _create_indexes(SCHEMAS[version]):
                self._opened.execute(statement)
        pages = self._page_count() - before
        taken = self._pages[version] * PAGE_BYTES
        return Size(data_bytes=taken, disk_bytes=taken, index_bytes=pages * PAGE_BYTES)

    async def workspace(self) -> Path:
        self._workspace = beside(self._path, f".{self._attached_name()}")
        with errors(self._workspace):
            self._workspace.mkdir()
            self._protect(self._workspace)
        return self._workspace

    async def attach(self) -> str:
        if self._workspace is None:
            raise RuntimeError("there is no workspace")
        with errors(self._workspace):
            for path in (*self._workspace.iterdir(), self._workspace):
                self._protect(path)
                _sync(path)
        return self._attached_name()

    async def close(self, seeding: Seeding) -> None:
        leaves_nothing = False
        try:
            with errors(self._new), ExitStack() as stack:  # every callback runs, even if another one fails
                leaves_nothing = not self._path.exists()  # a failed first seeding leaves no files
                if leaves_nothing:
                    stack.callback(beside(self._path, ".seeding").unlink, missing_ok=True)
                else:
                    stack.callback(self._write_record, seeding)
                if self._workspace and not self.published:
                    stack.callback(remove_folder, self._workspace)
                if self._connection:
                    stack.callback(self._new.unlink, missing_ok=True)
                    stack.callback(self._connection.close)
        finally:
            self._lock.release(remove=leaves_nothing)

    async def _publish(self, seeded: Mapping[str, Seeded]) -> None:
        with errors(self._new):
            self._copy_kept_versions()
            for version, entry in seeded.items():
                self._opened.execute("INSERT INTO corpus VALUES (?, ?)", (version, msgspec.json.encode(entry).decode()))
            self._opened.execute("COMMIT")
            self._opened.close()
            _sync(self._new)
            self._new.replace(self._path)
            self.published = True
            self._on_publish()
            with suppress(OSError):  # some file systems cannot sync folders; the corpus is published nevertheless
                _sync(self._path.parent)
            self._remove_unused_folders()

    async def _record(self) -> None:
        with errors(self._path):
            self._write_record(self.seeding)

    def _write_record(self, seeding: Seeding) -> None:
        record = beside(self._path, ".seeding")
        draft = beside(self._path, ".seeding.new")
        try:
            draft.write_bytes(msgspec.json.encode(seeding))
            self._protect(draft)
            draft.replace(record)
        finally:
            draft.unlink(missing_ok=True)  # it remains if there was no space

    def _attached_name(self) -> str:
        return f"index-{self.seeding.id}"

    def _protect(self, path: Path) -> None:
        """Give a file or folder the owner, group and permissions of the file that is replaced, as far as possible.

        If neither the owner nor the group can be set, the permissions are not set either: they would then apply to
        other users.
        """
        if self._status is None or sys.platform == "win32":  # Windows has no permissions of this kind
            return
        before = stat.S_IMODE(path.stat().st_mode)
        mode = stat.S_IMODE(self._status.st_mode) & 0o666
        with suppress(OSError):  # before the owner, because afterwards this user may not be allowed to
            path.chmod(mode | (mode & 0o444) >> 2 | stat.S_IRWXU if path.is_dir() else mode)
        for owner in (self._status.st_uid, -1):
            with suppress(OSError):
                os.chown(path, owner, self._status.st_gid)
                return
        with suppress(OSError):
            path.chmod(before)

    def _remove_unused_folders(self) -> None:
        """Remove the index folders of this file that no version of the corpus uses. Readers have their files open.

        Folders that cannot be removed stay until the next seeding.
        """
        in_use = attached_names(self._path)
        if in_use is None:
            return
        for found in self._path.parent.glob(f"{escape(self._path.name)}.index-*"):
            name = found.name.removeprefix(f"{self._path.name}.")
            if not INDEX_NAME.fullmatch(name) or name in in_use:
                continue
            with suppress(OSError):
                if found.is_symlink():
                    found.unlink()
                elif found.is_dir():
                    remove_folder(found)

    def _copy_kept_versions(self) -> None:
        """Copy the versions that this seeding does not replace from the old file."""
        if not self._kept:
            return
        self._opened.execute("COMMIT")
        self._opened.execute("ATTACH ? AS old", (f"{self._path.absolute().as_uri()}?mode=ro&immutable=1",))
        self._opened.execute("BEGIN")
        for version in self._kept:
            schema = SCHEMAS[version]
            self._opened.execute(_create_table(schema))
            # Files of before have no column for tokens.
            columns = ", ".join(f'"{row[1]}"' for row in self._opened.execute(f"PRAGMA old.table_info({version})"))
            self._opened.execute(
                f"INSERT INTO main.{version} ({columns}) SELECT {columns} FROM old.{version} ORDER BY position"
            )
            for statement in _create_indexes(schema):
                self._opened.execute(statement)
            self._opened.execute("INSERT INTO main.corpus SELECT * FROM old.corpus WHERE version = ?", (version,))

    @property
    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("not prepared")
        return self._connection

    def _page_count(self) -> int:
        (count,) = self._opened.execute("PRAGMA page_count").fetchone()
        return int(count)


class Lock:
    """The right to seed: a lock on a file beside the corpus, which the system releases when its holder dies.

    The holder may remove the file. A lock counts only while the name refers to the locked file. So two seeders never
    hold locks on two files of the same name.
    """

    def __init__(self, path: Path) -> None:
        self._path = beside(path, ".lock")
        self._file: int | None = None

    async def take(self) -> bool:
        """Take the lock. Returns False if another process has it.

        Raises StoreUnavailable, also if the file system has no locks.
        """
        with errors(self._path):
            for _ in range(ATTEMPTS):
                if self._take():
                    return True
                await asyncio.sleep(SECONDS_BETWEEN)
        return False

    def _take(self) -> bool:
        is_new = not self._path.exists()
        with ExitStack() as unless_taken:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            unless_taken.callback(os.close, file)
            try:
                lock(file)
            except BlockingIOError:
                return False
            except OSError:
                if is_new:
                    self._path.unlink(missing_ok=True)
                raise
            if not self._is_named(file):
                return False
            unless_taken.pop_all()
            self._file = file
            return True

    def _is_named(self, file: int) -> bool:
        """True if the name refers to this open file: the former holder may have removed it."""
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(file), self._path.stat())
        return False

    def is_held(self) -> bool:
        """True if any process holds the lock. Raises StoreUnavailable.

        The test takes a shared lock for a moment, so that two tests do not see each other.
        """
        for _ in range(ATTEMPTS):
            try:
                file = os.open(self._path, os.O_RDONLY)
            except OSError:
                return False
            with errors(self._path), closing(os.fdopen(file)):
                try:
                    lock(file, shared=True)
                except BlockingIOError:
                    return True
                if self._is_named(file):
                    return False
        return False

    def release(self, *, remove: bool = False) -> None:
        """Release the lock, and ``remove`` its file. This is the holder's last change to the folder of the corpus."""
        if self._file is not None:
            if remove:
                with suppress(OSError):  # Windows cannot remove an open file
                    self._path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = None


def kept_versions(path: Path, replaced: Sequence[Version]) -> list[Version]:
    """The versions of the corpus at ``path`` that a seeding keeps. If it replaces all, the corpus may be damaged."""
    if set(replaced) == set(VERSIONS) or not path.exists():
        return []
    with errors(path), closing(connect(path)) as connection:
        return [version for version in read_catalogue(path, connection) if version not in replaced]


def attached_names(path: Path) -> set[str] | None:
    """The index folders of the corpus at ``path``; None if it is damaged, foreign or missing."""
    with suppress(StoreError), errors(path), closing(connect(path)) as connection:
        return {seeded.index.id for seeded in read_catalogue(path, connection).values() if seeded.index}
    return None


def refuse_foreign_file(path: Path) -> None:
    """Raises UnusableStore if Mimic did not make the file. A damaged corpus may be replaced."""
    with errors(path), suppress(FileNotFoundError):
        refuse_other_kinds(path)
        with path.open("rb") as file:
            header = file.read(100)  # https://www.sqlite.org/fileformat.html#the_database_header
        if header and not (header.startswith(b"SQLite format 3\0") and header[68:72] == APPLICATION_ID.to_bytes(4)):
            raise UnusableStore(f"{path} is not a Mimic corpus and was not replaced: remove it or name another store")
    for suffix in (".new", ".seeding", ".lock"):
        with errors(beside(path, suffix)):
            refuse_other_kinds(beside(path, suffix))


def _create_table(schema: Schema) -> str:
    integers = schema.integers if schema.is_nested else (*schema.integers, TOKENS)
    fields = (*schema.fields, TOKENS)
    columns = ", ".join(f'"{field}" {"INTEGER" if field in integers else "TEXT"}' for field in fields)
    return f"CREATE TABLE main.{schema.version} (position INTEGER PRIMARY KEY, {columns})"


def _create_indexes(schema: Schema) -> Iterator[str]:
    for field in schema.indexes:
        yield (f"CREATE INDEX main.{schema.version}_{field} ON {schema.version} ({field}) WHERE {field} IS NOT NULL")


def _insert(schema: Schema) -> str:
    return f"INSERT INTO {schema.version} VALUES (?{', ?' * (len(schema.fields) + 1)})"


def _column(value: Any) -> Any:
    return msgspec.json.encode(value).decode() if isinstance(value, list) else value


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)  # on Windows only writers can sync
    try:
        os.fsync(file)
    finally:
        os.close(file)
