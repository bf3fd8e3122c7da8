"""Folders that somebody may still be writing to, made and removed."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

ATTEMPTS: Final = 50
SECONDS_BETWEEN: Final = 0.02


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A new folder, removed afterwards."""
    folder = Path(mkdtemp(prefix="mimic-"))
    try:
        yield folder
    finally:
        remove_folder(folder)


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
