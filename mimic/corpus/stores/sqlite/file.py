"""The file: its marks, its catalogue, and what goes wrong with it."""

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
REMEDY: Final = "restore it, or seed anew"
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
        problem = f"is {kind} and not a file: name another store"
        raise UnusableStore(f"{path} {problem}", public=f"{path.name} {problem}")


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
    """What the file says it holds. Raises UnusableStore where it is not ours, or of a layout that cannot be read."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (layout,) = connection.execute("PRAGMA user_version").fetchone()
    if not path.stat().st_size:
        raise unusable(path, "is empty", remedy="seed anew")
    if application != APPLICATION_ID:
        raise unusable(path, "is not a corpus of Mimic's", remedy="name another file in MIMIC_STORE")
    check_layout(layout, str(path), path.name, "remove it and seed anew")
    rows = connection.execute("SELECT version, seeded FROM corpus ORDER BY version")
    try:
        return {version: msgspec.json.decode(seeded, type=Seeded) for version, seeded in rows}
    except (msgspec.DecodeError, TypeError) as exc:
        raise unusable(path, "is damaged", f"its catalogue says {exc}") from exc


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
        return unusable(path, "is damaged", exc)
    extended = getattr(exc, "sqlite_errorcode", 0)
    code = extended & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(f"no space left for {path}")
    if extended == sqlite3.SQLITE_IOERR_WRITE:
        return StoreFull(f"cannot write {path}: {exc} (no space left?)")
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
        return unusable(path, "is damaged or not a corpus of Mimic's", exc)
    return StoreUnavailable(f"cannot use {path}: {exc}", public=f"cannot use {_public(path)}")


def unusable(path: Path | str, problem: str, cause: object = "", *, remedy: str = REMEDY) -> UnusableStore:
    """A file or folder of the corpus that cannot be used: why, in whose words, and what to do."""
    said = f" ({cause})" if cause else ""
    return UnusableStore(f"{path} {problem}{said}: {remedy}", public=f"{_public(path)} {problem}: {remedy}")


def detached(folder: Path) -> Detached:
    """The error of a folder that is not beside the corpus."""
    remedy = "a corpus is copied together with it: copy it as well, or seed anew"
    return Detached(
        f"the folder {folder} is missing, and {remedy}", public=f"the folder {folder.name} is missing, and {remedy}"
    )


def _public(path: Path | str) -> str:
    """A file without its folders, which are nobody's business outside."""
    return path.name if isinstance(path, Path) else "the corpus"
