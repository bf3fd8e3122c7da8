"""The SQLite file of records: its tables, its connections and its errors."""

import os
import sqlite3
import time
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import Final

from mimic.corpus.stores.tempdirs import folder_of_workers, refusal
from mimic.errors import RecordsUnavailable
from mimic.records.base import OVERHEAD

NAME: Final = "records.db"
"""The name of a temporary file."""
APPLICATION_ID: Final = int.from_bytes(b"MimR")
LAYOUT: Final = 1
SECONDS_FOR_A_LOCK: Final = 5.0
"""Timeout for the commits of other processes, which take milliseconds."""
ATTEMPTS_TO_OPEN: Final = 100
SECONDS_BETWEEN: Final = 0.05
MOST_JOURNAL_BYTES: Final = 64 * 1024 * 1024

_SCHEMA: Final = f"""
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS records (
        number INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, owner TEXT NOT NULL, parent TEXT NOT NULL,
        position INTEGER NOT NULL, state TEXT NOT NULL, created REAL NOT NULL, expires REAL, due REAL,
        revision INTEGER NOT NULL, generation INTEGER NOT NULL, holder TEXT, leased REAL, format INTEGER NOT NULL,
        size INTEGER NOT NULL, data BLOB NOT NULL, UNIQUE (kind, id)
    );
    CREATE INDEX IF NOT EXISTS listed ON records (kind, parent, owner, position, id);
    CREATE INDEX IF NOT EXISTS waiting ON records (due) WHERE due IS NOT NULL;
    CREATE INDEX IF NOT EXISTS finished ON records (created) WHERE due IS NULL;
    CREATE INDEX IF NOT EXISTS expiring ON records (expires) WHERE expires IS NOT NULL;
    CREATE INDEX IF NOT EXISTS held ON records (holder) WHERE holder IS NOT NULL;
    CREATE TABLE IF NOT EXISTS totals (records INTEGER NOT NULL, bytes INTEGER NOT NULL, position INTEGER NOT NULL);
    INSERT INTO totals SELECT 0, 0, 0 WHERE NOT EXISTS (SELECT * FROM totals);
    CREATE TRIGGER IF NOT EXISTS added AFTER INSERT ON records BEGIN
        UPDATE totals SET records = records + 1, bytes = bytes + new.size + {OVERHEAD};
    END;
    CREATE TRIGGER IF NOT EXISTS removed AFTER DELETE ON records BEGIN
        UPDATE totals SET records = records - 1, bytes = bytes - old.size - {OVERHEAD};
    END;
    CREATE TRIGGER IF NOT EXISTS resized AFTER UPDATE OF size ON records BEGIN
        UPDATE totals SET bytes = bytes + new.size - old.size;
    END;
    PRAGMA application_id={APPLICATION_ID};
    PRAGMA user_version={LAYOUT};
    COMMIT;
"""
"""The table ``totals`` has the sums for the bounds. Large data come last: a scan need not read them."""


class RecordsFile:
    """The file, which the first connection makes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._exists = False

    @property
    def exists(self) -> bool:
        """True if the file exists, or has existed."""
        if not self._exists:
            self._exists = self.path.exists()
        return self._exists

    def connect(self) -> sqlite3.Connection:
        """A connection for any thread. Raises RecordsUnavailable, sqlite3.Error and OSError."""
        self.make()
        for _ in range(ATTEMPTS_TO_OPEN):  # several processes may make the tables at the same time
            connection = sqlite3.connect(self.path, SECONDS_FOR_A_LOCK, isolation_level=None, check_same_thread=False)
            try:
                _prepare(connection, self.path)
                return connection
            except BaseException as exc:
                connection.close()
                if not isinstance(exc, sqlite3.OperationalError) or not _is_busy(exc):
                    raise
            time.sleep(SECONDS_BETWEEN)
        raise RecordsUnavailable(f"cannot use {self.path}: other processes lock it", public=self._public("cannot use"))

    def make(self) -> bool:
        """Make an empty file, which only its owner may read. Returns False if it exists. Raises OSError."""
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return False
        return True

    def close(self) -> None:
        """Remove the file, if it is a temporary one."""

    def translate(self, exc: Exception) -> RecordsUnavailable:
        """An error of SQLite or of the system as a StoreError."""
        if isinstance(exc, OSError):
            error = refusal(exc, self.path)
            return RecordsUnavailable(str(error), public=error.public)
        code = getattr(exc, "sqlite_errorcode", 0)
        is_full = code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_WRITE
        problem = "no space left for" if is_full else "cannot use"
        return RecordsUnavailable(f"{problem} {self.path}: {exc}", public=self._public(problem))

    def _public(self, problem: str) -> str:
        return f"{problem} {self.path.name}"


class TemporaryFile(RecordsFile):
    """A file in a temporary folder, which ends with the server. The process that makes the file logs a warning.

    ``wanted`` names the place that is not writable. ``shared`` is the temporary folder of a server with several
    processes; one process makes a folder of its own.
    """

    def __init__(self, wanted: str, shared: Path | None) -> None:
        super().__init__(shared / NAME if shared else Path(NAME))
        self._wanted = wanted
        self._shared = shared
        self._stack = ExitStack()
        self._folder = shared
        self._lock = Lock()

    @property
    def exists(self) -> bool:
        return self._folder is not None and super().exists

    def make(self) -> bool:
        with self._lock:
            if self._folder is None:
                self._folder = self._stack.enter_context(folder_of_workers())
                self.path = self._folder / NAME
            made = super().make()
        if made:
            import structlog  # noqa: PLC0415 - it takes 0.06 s to load, and a seeding needs this module

            structlog.get_logger("mimic").warning(
                "stored objects are kept in a temporary file, until the server stops: set MIMIC_RECORDS",
                reason=f"{self._wanted} is not writable",
            )
        return made

    def close(self) -> None:
        self._stack.close()
        self._folder = self._shared


def _is_busy(exc: sqlite3.OperationalError) -> bool:
    return exc.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Configure a connection, and make the tables of a new file. Raises RecordsUnavailable for a foreign file."""
    (objects,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (layout,) = connection.execute("PRAGMA user_version").fetchone()
    if objects and (application, layout) != (APPLICATION_ID, LAYOUT):
        problem = "is not a file of records, or was written by a newer Mimic: name another one in MIMIC_RECORDS"
        raise RecordsUnavailable(f"{path} {problem}", public=f"{path.name} {problem}")
    if not objects:  # with tables it has no effect, but writes a page: a full disk would keep readers out
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")  # survives a killed process; a power failure may lose the end
    connection.execute(f"PRAGMA journal_size_limit={MOST_JOURNAL_BYTES}")
    if not objects:
        connection.executescript(_SCHEMA)
