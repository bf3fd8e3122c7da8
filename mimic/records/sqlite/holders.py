"""Processes that hold leases in an SQLite file. Each has a lock file; the system unlocks it when the process dies."""

import os
import secrets
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import Final

from mimic.corpus.stores.locks import lock
from mimic.records.sqlite.file import RecordsFile

SUFFIX: Final = ".lock"


class Holders:
    """The lock files beside a file of records. The methods raise OSError."""

    def __init__(self, file: RecordsFile) -> None:
        self._records = file
        self.name = ""
        """The name of this holder; empty before :meth:`take_name`."""
        self._file: int | None = None

    def take_name(self) -> str:
        """The name of this holder. The first call makes and locks its file."""
        while self._file is None:
            name = f"{os.getpid()}-{secrets.token_hex(6)}"
            file = os.open(self._lock_file(name), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            with suppress(BlockingIOError):
                lock(file)
                if self._lock_file(name).exists():  # another process may have removed it before it was locked
                    self.name, self._file = name, file
                    break
            os.close(file)
        return self.name

    def is_dead(self, name: str) -> bool:
        """True if the process of a holder has ended. Removes its file."""
        try:
            file = os.open(self._lock_file(name), os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            lock(file, shared=True)
            self._lock_file(name).unlink(missing_ok=True)
            return True
        except BlockingIOError:
            return False
        finally:
            os.close(file)

    def remove_dead(self) -> None:
        """Remove the files of processes that were killed."""
        prefix = f"{self._records.path.name}-"
        for file in self._records.path.parent.glob(f"{escape(prefix)}*{SUFFIX}"):
            self.is_dead(file.name.removeprefix(prefix).removesuffix(SUFFIX))

    def close(self) -> None:
        """Unlock and remove the file of this holder."""
        if self._file is not None:
            with suppress(OSError):
                self._lock_file(self.name).unlink(missing_ok=True)
            os.close(self._file)
            self._file, self.name = None, ""

    def _lock_file(self, name: str) -> Path:
        path = self._records.path
        return path.with_name(f"{path.name}-{name}{SUFFIX}")
