"""Locks on open files. The system releases a lock when its file is closed or its process dies."""

import os
import sys
from pathlib import Path
from typing import Final

LOCK_FILE: Final = ".lock"
"""The file to lock instead of its folder, on systems that cannot open folders."""


def lock(file: int, *, shared: bool = False) -> None:
    """Lock an open file without waiting. Raises BlockingIOError if another process holds it.

    A shared lock excludes only exclusive locks. On Windows, shared locks are not supported: two processes that take one
    at the same moment may exclude each other.
    """
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415 - on Windows only

        # The lock guards the right to seed, or a folder in use. No process reads the locked byte.
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except PermissionError as exc:
            raise BlockingIOError(exc.errno, exc.strerror) from exc
    else:
        import fcntl  # noqa: PLC0415 - not on Windows

        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def open_folder(folder: Path) -> int:
    """Open a folder to lock it. Raises FileNotFoundError and other kinds of OSError."""
    if sys.platform == "win32":
        return os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT)
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
