"""The SQLite file: its identification, its catalogue, and its errors."""

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from mimic.corpus.layout import check_layout
from mimic.corpus.manifest import Seeded
from mimic.corpus.schemas import Version
from mimic.corpus.stores.tempdirs import refusal
from mimic.errors import Detached, StoreError, StoreFull, StoreUnavailable, UnusableStore

APPLICATION_ID: Final = int.from_bytes(b"Mimc")
REMEDY: Final = "restore it, or seed again"
FAILURES: Final = (sqlite3.Error, OSError, msgspec.DecodeError, UnicodeDecodeError)
"""Errors of reading a file. UnicodeDecodeError: SQLite's message about damage may contain bytes of the file."""

_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
)


def refuse_other_kinds(path: Path) -> None:
    """Raises UnusableStore if the path is not a regular file: opening a device or a pipe may change it.

    A missing file is accepted. Raises OSError if the file cannot be inspected.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        kind = next((kind for is_kind, kind in _KINDS if is_kind(mode)), "something")
        problem = f"is {kind} and not a file: name another store"
        raise UnusableStore(f"{path} {problem}", public=f"{path.name} {problem}")


def connect(path: Path) -> sqlite3.Connection:
    """A read-only connection that takes no locks, expects that the file never changes, and works in any thread.

    Raises OSError if the file is missing or not readable: SQLite's own error does not say why.
    """
    refuse_other_kinds(path)
    with path.open("rb"):
        pass
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)


def read_catalogue(path: Path, connection: sqlite3.Connection) -> dict[Version, Seeded]:
    """The catalogue of the file. Raises UnusableStore if the file is not a corpus, or its layout is not readable."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (layout,) = connection.execute("PRAGMA user_version").fetchone()
    if not path.stat().st_size:
        raise unusable_file(path, "is empty", remedy="seed again")
    if application != APPLICATION_ID:
        raise unusable_file(path, "is not a Mimic corpus", remedy="name another file in MIMIC_STORE")
    check_layout(layout, str(path), path.name, "remove it and seed again")
    rows = connection.execute("SELECT version, seeded FROM corpus ORDER BY version")
    try:
        return {version: msgspec.json.decode(seeded, type=Seeded) for version, seeded in rows}
    except (msgspec.DecodeError, TypeError) as exc:
        raise unusable_file(path, "is damaged", f"its catalogue says {exc}") from exc


def file_identity(path: Path) -> tuple[int, ...]:
    """A value that changes when the file is replaced or written."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def beside(path: Path, suffix: str) -> Path:
    """A file beside the corpus, with the same name and a suffix."""
    return path.with_name(path.name + suffix)


@contextmanager
def errors(path: Path | str) -> Iterator[None]:
    """Translate errors of SQLite and of the system to StoreErrors that name ``path``."""
    try:
        yield
    except FAILURES as exc:
        raise translate(exc, path) from exc


def translate(exc: Exception, path: Path | str) -> StoreError:
    """An exception of the types in :data:`FAILURES` as a StoreError."""
    if isinstance(exc, OSError):
        return refusal(exc, path)
    if not isinstance(exc, sqlite3.Error):
        return unusable_file(path, "is damaged", exc)
    extended = getattr(exc, "sqlite_errorcode", 0)
    code = extended & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(f"no space left for {path}")
    if extended == sqlite3.SQLITE_IOERR_WRITE:
        return StoreFull(f"cannot write {path}: {exc} (no space left?)")
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
        return unusable_file(path, "is damaged or not a Mimic corpus", exc)
    return StoreUnavailable(f"cannot use {path}: {exc}", public=f"cannot use {_public(path)}")


def unusable_file(path: Path | str, problem: str, cause: object = "", *, remedy: str = REMEDY) -> UnusableStore:
    """The error for an unusable file or folder of the corpus, with its cause and a remedy."""
    reason = f" ({cause})" if cause else ""
    return UnusableStore(f"{path} {problem}{reason}: {remedy}", public=f"{_public(path)} {problem}: {remedy}")


def missing_folder(folder: Path) -> Detached:
    """The error for a missing folder beside the corpus."""
    remedy = "copy it to the corpus that it belongs to, or seed again"
    problem = f"is missing: {remedy}"
    return Detached(f"the folder {folder} {problem}", public=f"the folder {folder.name} {problem}")


def _public(path: Path | str) -> str:
    """The name of a file without its folders, which clients must not see."""
    return path.name if isinstance(path, Path) else "the corpus"
