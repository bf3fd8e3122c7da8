"""The ledger, shared state of all worker processes: token buckets, counters, notes and the journal.

It is an SQLite file that exists as long as the server, or memory with a single process. Every change is one short
transaction: a process that dies during a transaction leaves neither half a change nor a lock.
"""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Self

from mimic.errors import StoreUnavailable

FILE_VARIABLE: Final = "_MIMIC_LEDGER"
"""Environment variable by which ``mimic serve`` passes the file to its worker processes. Not a setting."""
IN_MEMORY: Final = ":memory:"
LONGEST_WAIT: Final = 0.25
"""Timeout in seconds for changes by other processes, which take microseconds."""
LONGEST_WAIT_TO_OPEN: Final = 10.0
WINDOW: Final = 60.0
"""Seconds until an empty bucket is full again."""
SWEEP_INTERVAL: Final = 1000
"""Transactions between two removals of full buckets: a bucket without a row is full."""

_TABLES: Final = """
    CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS buckets (name BLOB PRIMARY KEY, full_at REAL NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, note BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS entries (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, route TEXT NOT NULL, entry BLOB NOT NULL
    );
"""


class Changes:
    """Changes of the ledger in one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def count(self, name: str) -> int:
        """Increment a counter. Returns its value, which starts at 0."""
        self._connection.execute(
            "INSERT INTO counts VALUES (?, 0) ON CONFLICT DO UPDATE SET number = number + 1", (name,)
        )
        [number] = self._connection.execute("SELECT number FROM counts WHERE name = ?", (name,)).fetchone()
        return int(number)

    def take(self, bucket: bytes, seconds: float) -> tuple[bool, float]:
        """Take the amount from a bucket that refills in ``seconds``. WINDOW seconds refill a whole bucket.

        Returns whether the amount was available, and the seconds until the bucket is full. If not, takes nothing.
        """
        now = time.monotonic()  # the same clock in all processes
        row = self._connection.execute("SELECT full_at FROM buckets WHERE name = ?", (bucket,)).fetchone()
        missing = max(row[0] - now, 0.0) if row else 0.0
        granted = missing + seconds <= WINDOW + 1e-6
        if granted and seconds:
            missing += seconds
            self._connection.execute("REPLACE INTO buckets VALUES (?, ?)", (bucket, now + missing))
        return granted, missing

    def note(self, name: str, note: bytes) -> None:
        """Replace the note of a name. :meth:`Ledger.reset` keeps notes."""
        self._connection.execute("REPLACE INTO notes VALUES (?, ?)", (name, note))

    def write(self, entry_id: str, route: str, entry: bytes, most: int) -> int:
        """Add an entry, and delete the oldest entries beyond ``most``. Returns its number."""
        cursor = self._connection.execute(
            "INSERT INTO entries (id, route, entry) VALUES (?, ?, ?)", (entry_id, route, entry)
        )
        number = cursor.lastrowid or 0
        self._connection.execute("DELETE FROM entries WHERE number <= ?", (number - most,))
        return number

    def rewrite(self, number: int, entry_id: str, route: str, entry: bytes) -> None:
        """Replace an entry, unless it was deleted."""
        self._connection.execute(
            "UPDATE entries SET route = ?, entry = ? WHERE number = ? AND id = ?", (route, entry, number, entry_id)
        )


class Ledger:
    """A context manager. The methods raise StoreUnavailable if the file is unusable or locked too long."""

    def __init__(self, file: str = IN_MEMORY) -> None:
        self._file = file
        self._connection: sqlite3.Connection | None = None
        self._transactions = 0

    def __enter__(self) -> Self:
        with _translate_errors():
            self._connection = sqlite3.connect(self._file, timeout=LONGEST_WAIT_TO_OPEN, isolation_level=None)
            # The ledger need not survive a crash of the machine.
            self._connection.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; {_TABLES}")
            self._connection.execute(f"PRAGMA busy_timeout={round(LONGEST_WAIT * 1000)}")
        return self

    def __exit__(self, *exc: object) -> None:
        self._require_connection().close()
        self._connection = None

    @property
    def is_open(self) -> bool:
        """True if the ledger is open. It is opened only if a feature needs it."""
        return self._connection is not None

    def __deepcopy__(self, _: object) -> Self:
        """Return the same ledger: Litestar copies the dependencies of its routes."""
        return self

    @contextmanager
    def transaction(self) -> Iterator[Changes]:
        """Make changes in one transaction. It blocks other processes, so do not await anything within."""
        with self._transaction() as connection:
            yield Changes(connection)
            self._transactions += 1
            if self._transactions % SWEEP_INTERVAL == 0:
                connection.execute("DELETE FROM buckets WHERE full_at <= ?", (time.monotonic(),))

    def read(self, most: int, route: str | None = None) -> tuple[int, Sequence[bytes]]:
        """Return the number of entries written so far, and the newest entries (of one route) in order of arrival."""
        with self._transaction("DEFERRED") as connection:
            written = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'entries'").fetchone()
            rows = connection.execute(
                "SELECT entry FROM entries WHERE ? IN (route, '') ORDER BY number DESC LIMIT ?", (route or "", most)
            ).fetchall()
        return (int(written[0]) if written else 0), [entry for (entry,) in reversed(rows)]

    def read_note(self, name: str) -> bytes | None:
        """Return the note of a name, if any."""
        with self._transaction("DEFERRED") as connection:
            row = connection.execute("SELECT note FROM notes WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def reset(self) -> None:
        """Delete all counters, buckets and entries."""
        with self._transaction() as connection:
            for table in ("counts", "buckets", "entries", "sqlite_sequence"):
                connection.execute(f"DELETE FROM {table}")

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        connection = self._require_connection()
        with _translate_errors():
            connection.execute(f"BEGIN {kind}")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _require_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("the ledger is not open")
        return self._connection


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        raise StoreUnavailable("the ledger of the worker processes cannot be used") from exc
