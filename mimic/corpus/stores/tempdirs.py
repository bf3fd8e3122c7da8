"""Folders that are made for a while and removed again, and what the system refuses there."""

import asyncio
import os
import shutil
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
    """A new folder for what worker processes share, removed afterwards; as :func:`temporary_folder`.

    Raises OSError where it cannot be made.
    """
    _remove_abandoned()
    folder, locked = _made(WORKERS)
    try:
        yield folder
    finally:
        os.close(locked)
        remove_folder(folder)


@asynccontextmanager
async def temporary_folder() -> AsyncGenerator[Path]:
    """A new folder, removed afterwards. One whose process was killed is removed by the next process that makes one.

    Raises StoreFull and StoreUnavailable where it cannot be made, and for what the system refuses in it.
    """
    _remove_abandoned()
    try:
        folder, locked = _made(INDEX)
        try:
            yield folder
        finally:
            os.close(locked)
            await finish_uncancelled(asyncio.to_thread(remove_folder, folder))
    except OSError as exc:
        raise refusal(exc, exc.filename or "a temporary folder") from exc


def remove_folder(folder: Path) -> None:
    """Remove a folder and what is in it; it may be gone already.

    A thread of tantivy's looks once at an index that was opened, some milliseconds later, and leaves a lock file there:
    in a folder that was just emptied, too. Raises OSError where that does not end.
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


def refusal(exc: OSError, what: Path | str) -> StoreError:
    """What the system refuses, as an error of ours."""
    kind, problem = (StoreFull, "no space left for") if exc.errno in NO_SPACE else (StoreUnavailable, "cannot use")
    public = f"{problem} {what.name}: {exc.strerror}" if isinstance(what, Path) and exc.strerror else ""
    return kind(f"{problem} {what}: {exc.strerror or exc}", public=public)


def _made(prefix: str) -> tuple[Path, int]:
    """A new folder, and the open file that holds a lock on it, which the system releases when its process dies."""
    while True:  # until nobody took it for abandoned before it was locked
        folder = Path(mkdtemp(prefix=prefix))
        if (locked := _locked(folder)) is not None:
            return folder, locked


def _remove_abandoned() -> None:
    """Remove the folders of processes that were killed."""
    with suppress(OSError):
        there = Path(gettempdir())
        for folder in (*there.glob(f"{INDEX}*"), *there.glob(f"{WORKERS}*")):
            with suppress(OSError):  # it is another user's
                if (locked := _locked(folder)) is not None:
                    os.close(locked)
                    remove_folder(folder)


def _locked(folder: Path) -> int | None:
    """Lock a folder, until what is returned is closed. None where it is locked, or gone."""
    with suppress(FileNotFoundError):
        opened = open_folder(folder)
        with suppress(BlockingIOError):
            lock(opened)
            if folder.exists():
                return opened
        os.close(opened)
    return None
