"""The file: its marks, its catalogue, and what goes wrong with it."""

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from mimic.corpus.manifest import Seeded
from mimic.corpus.schemas import Version
from mimic.corpus.stores.tempdirs import refusal
from mimic.errors import StoreError, StoreFull, StoreUnavailable, UnusableStore

APPLICATION_ID: Final = int.from_bytes(b"Mimc")
LAYOUT: Final = 2
FAILURES: Final = (sqlite3.Error, OSError, msgspec.DecodeError, UnicodeDecodeError)
"""What reading a file may raise; the last one where SQLite tells of a damage in words of the file itself."""


_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
)


def refuse_other_kinds(path: Path) -> None:
    """Raises UnusableStore where something lies that is no regular file: to open a device or a pipe may change it.

    Raises OSError where nothing can be known of it; that nothing is there is all right.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        kind = next((kind for is_kind, kind in _KINDS if is_kind(mode)), "something")
        raise UnusableStore(f"{path} is {kind} and not a file: name another store")


def connect(path: Path) -> sqlite3.Connection:
    """A connection that takes the file as it is, for good: without locks, and usable in any thread.

    Raises OSError where there is no file that can be read, of which SQLite says only that it cannot open it.
    """
    refuse_other_kinds(path)
    with path.open("rb"):
        pass
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)


def read_catalogue(path: Path, connection: sqlite3.Connection) -> dict[Version, Seeded]:
    """What the file says it holds. Raises UnusableStore where it is not ours, or of another layout."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (layout,) = connection.execute("PRAGMA user_version").fetchone()
    if not path.stat().st_size:
        raise UnusableStore(f"{path} is empty: seed anew")
    if application != APPLICATION_ID:
        raise UnusableStore(f"{path} is not a corpus of Mimic's")
    if layout != LAYOUT:
        raise UnusableStore(f"{path} has layout {layout}, this Mimic reads layout {LAYOUT}: remove it and seed anew")
    rows = connection.execute("SELECT version, seeded FROM corpus ORDER BY version")
    try:
        return {version: msgspec.json.decode(seeded, type=Seeded) for version, seeded in rows}
    except (msgspec.DecodeError, TypeError) as exc:
        raise UnusableStore(f"{path} is damaged: its catalogue says {exc}") from exc


def file_identity(path: Path) -> tuple[int, ...]:
    """What is another after the file was replaced or written."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def beside(path: Path, suffix: str) -> Path:
    """A file that goes with the corpus."""
    return path.with_name(path.name + suffix)


@contextmanager
def errors(path: Path | str) -> Iterator[None]:
    """SQLite's and the system's errors as ours, which name what could not be used."""
    try:
        yield
    except FAILURES as exc:
        raise translated(exc, path) from exc


def translated(exc: Exception, path: Path | str) -> StoreError:
    """One of the :data:`FAILURES` as an error of ours."""
    if isinstance(exc, OSError):
        return refusal(exc, path)
    if not isinstance(exc, sqlite3.Error):
        return UnusableStore(f"{path} is damaged: {exc}")
    extended = getattr(exc, "sqlite_errorcode", 0)
    code = extended & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(f"no space left for {path}")
    if extended == sqlite3.SQLITE_IOERR_WRITE:
        return StoreFull(f"cannot write {path}: {exc} (no space left?)")
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
        return UnusableStore(f"{path} is damaged or not a corpus of Mimic's ({exc})")
    return StoreUnavailable(f"cannot use {path}: {exc}")
