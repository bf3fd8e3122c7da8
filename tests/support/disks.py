"""File systems that tests fill."""

import os
from pathlib import Path


def leave(disk: Path, size: int) -> None:
    """Fill a disk except for the given bytes."""
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    with ballast.open("wb") as file:
        file.truncate(0)
        os.posix_fallocate(file.fileno(), 0, max(free(disk) - size, 1))


def free(disk: Path) -> int:
    """The free bytes of a disk."""
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize


def empty(disk: Path) -> None:
    """Give the space of :func:`leave` back."""
    (disk / "ballast").unlink()
