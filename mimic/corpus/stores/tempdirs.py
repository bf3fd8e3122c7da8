"""Temporary folders, and the translation of the system's errors."""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from typing import Final

from mimic.corpus.stores.base import finish_uncancelled
from mimic.corpus.stores.locks import lock, open_folder
from mimic.errors import StoreError, StoreFull, StoreUnavailable

INDEX: Final = "mimic-index-"
WORKERS: Final = "mimic-shared-"
NO_SPACE: Final = frozenset({ENOSPC, EDQUOT, EFBIG})
ATTEMPTS: Final = 50
SECONDS_BETWEEN: Final = 0.02


@contextmanager
def folder_of_workers() -> Iterator[Path]:
    """Make a new folder for files that worker processes share, and remove it afterwards (see :func:`temporary_folder`).

    Raises OSError if it cannot be made.
    """
    _remove_abandoned()
    folder, lock_file = _make_locked(WORKERS)
    try:
        yield folder
    finally:
        os.close(lock_file)
        remove_folder(folder)


@asynccontextmanager
async def temporary_folder() -> AsyncGenerator[Path]:
    """Make a new folder, and remove it afterwards. Also removes folders that killed processes left.

    Raises StoreFull and StoreUnavailable for errors of the system, also for those in the body of the context.
    """
    _remove_abandoned()
    try:
        folder, lock_file = _make_locked(INDEX)
        try:
            yield folder
        finally:
            os.close(lock_file)
            await finish_uncancelled(asyncio.to_thread(remove_folder, folder))
    except OSError as exc:
        raise refusal(exc, exc.filename or "a temporary folder") from exc


def remove_folder(folder: Path) -> None:
    """Remove a folder and its contents, if it exists.

    Some milliseconds after an index was opened, a thread of tantivy writes a lock file into its folder, even if the
    folder was just emptied. So removal is repeated. Raises OSError if all attempts fail.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            shutil.rmtree(folder)
            return
        except OSError:
            if not folder.exists():
                return
            if attempt == ATTEMPTS:
                raise
            time.sleep(SECONDS_BETWEEN)


def refusal(exc: OSError, file: Path | str) -> StoreError:
    """An error of the system as a StoreError. ``file`` is a path, or a description."""
    kind, problem = (StoreFull, "no space left for") if exc.errno in NO_SPACE else (StoreUnavailable, "cannot use")
    public = f"{problem} {file.name}: {exc.strerror}" if isinstance(file, Path) and exc.strerror else ""
    return kind(f"{problem} {file}: {exc.strerror or exc}", public=public)


def _make_locked(prefix: str) -> tuple[Path, int]:
    """Make a folder and lock it. Returns it with the open lock file. The lock ends with the process."""
    while True:  # another process may remove the folder as abandoned before it is locked
        folder = Path(mkdtemp(prefix=prefix))
        if (lock_file := _lock_folder(folder)) is not None:
            return folder, lock_file


def _remove_abandoned() -> None:
    """Remove the folders of processes that were killed."""
    with suppress(OSError):
        parent = Path(gettempdir())
        for folder in (*parent.glob(f"{INDEX}*"), *parent.glob(f"{WORKERS}*")):
            with suppress(OSError):  # folders of other users
                if (lock_file := _lock_folder(folder)) is not None:
                    _remove_locked(folder, lock_file)


def _remove_locked(folder: Path, lock_file: int) -> None:
    """Remove an abandoned folder. The lock ends last: a process that has just made the folder must not lock it now."""
    if sys.platform == "win32":  # an open file cannot be removed there
        os.close(lock_file)
        remove_folder(folder)
        return
    try:
        remove_folder(folder)
    finally:
        os.close(lock_file)


def _lock_folder(folder: Path) -> int | None:
    """Lock a folder, and return the lock file: closing it ends the lock. None if the folder is locked or gone."""
    with suppress(FileNotFoundError):
        lock_file = open_folder(folder)
        with suppress(BlockingIOError):
            lock(lock_file)
            if folder.exists():
                return lock_file
        os.close(lock_file)
    return None
