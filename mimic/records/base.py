"""The contract of records: small documents that outlive a request, on each backend.

Nothing needs two records to change together. Data that must change together belong in one record, of at most 8 MB.
Every step may be repeated under the same id: :meth:`Records.put` creates a record once, :meth:`Records.update` writes
only to an unchanged record, and :meth:`Records.delete` may find nothing.

A *job* is a record with unfinished work: its ``due`` is set. A process claims a job with a lease before it works on it.
A lease may be lost, so work may be done twice; the writes of the older lease are refused, so one outcome is visible.

Time is the clock of the database, or of the machine with SQLite. Callers give durations in seconds from now.
"""

import asyncio
import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Literal, NamedTuple, Self, TypeAlias

import msgspec

from mimic.errors import RecordTooLarge
from mimic.records.files.base import Contents

FORMAT: Final = 1
"""The newest format of records that this version of Mimic reads. Records of newer formats are as if absent.

They are never replaced, expired or removed by the bounds. Raise this number when readers of ``data`` must change.
"""
MOST_BYTES: Final = 8 * 1024 * 1024
"""Limit of the ``data`` of a record. A document of MongoDB ends at 16 MB."""
OVERHEAD: Final = 256
"""Bytes that a record counts for the bounds, in addition to its ``data``."""

SWEEPER: Final = "mimic.sweeper"
"""The kind of the job that removes expired records. Sizes and lists leave it out."""

Order: TypeAlias = Literal["asc", "desc"]


class RecordOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of records: their number, their bytes, and the seconds that they are kept by default (30 days)."""

    most: int = 100_000
    most_bytes: int = 1_000_000_000
    retention: float = 30 * 86_400.0

    def have_room(self, records: int, size: int) -> bool:
        """True if this number of records, with this number of bytes, is within the bounds."""
        return records <= self.most and size <= self.most_bytes

    def seconds_of(self, lives: float | msgspec.UnsetType | None) -> float | None:
        """The seconds that a new record lives; None is for ever."""
        return self.retention if lives is msgspec.UNSET else lives


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A record to create.

    ``kind`` and ``id`` identify it; see :func:`new_id`. ``owner`` is the opaque value of ``RequestContext.owner``.
    ``parent`` is the id of the record whose list has it, and ``position`` the order in that list; None is the order of
    creation. ``lives`` is the seconds until it expires: UNSET is the default retention, None is never. ``due`` is the
    seconds until a job may be claimed; None is a finished record. ``state`` is a word for lists and metrics.
    """

    kind: str
    id: str
    owner: str = ""
    parent: str = ""
    position: int | None = None
    state: str = ""
    data: bytes = b""
    lives: float | msgspec.UnsetType | None = msgspec.UNSET
    due: float | None = None

    @property
    def size(self) -> int:
        """The bytes that the record counts for the bounds."""
        return len(self.data) + OVERHEAD


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A stored record. ``created``, ``expires`` and ``due`` are Unix seconds by the clock of the database.

    ``revision`` counts the updates, from 1. ``generation`` counts the claims, from 0. ``holder`` names the process that
    has the lease, which may have expired.
    """

    kind: str
    id: str
    owner: str
    parent: str
    position: int
    state: str
    data: bytes
    created: float
    expires: float | None
    due: float | None
    revision: int
    generation: int
    holder: str | None

    @property
    def is_finished(self) -> bool:
        """True if the record has no work left. Only the bounds remove finished records early."""
        return self.due is None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """New values of a record; UNSET keeps the value. ``lives`` and ``due`` are seconds from now, or None.

    A change of ``due``, also to None, ends the lease: the job is finished, or another attempt follows later.
    """

    data: bytes | msgspec.UnsetType = msgspec.UNSET
    state: str | msgspec.UnsetType = msgspec.UNSET
    lives: float | msgspec.UnsetType | None = msgspec.UNSET
    due: float | msgspec.UnsetType | None = msgspec.UNSET


class Lease(msgspec.Struct, frozen=True):
    """The right to work on a job. A later claim of the same record has a higher generation.

    ``created`` is the time of the record: a lease does not hold for a later record of the same id.
    """

    kind: str
    id: str
    created: float
    holder: str
    generation: int

    @classmethod
    def of(cls, record: Record) -> "Lease":
        """The lease that a record was just claimed with."""
        return cls(record.kind, record.id, record.created, record.holder or "", record.generation)


class Claim(NamedTuple):
    """A claimed job, as it was stored at that moment, and its lease."""

    record: Record
    lease: Lease


class RecordPage(NamedTuple):
    """Records of a list, in its order. ``has_more`` is true if further ones follow."""

    records: Sequence[Record]
    has_more: bool


class KindSizes(msgspec.Struct, frozen=True):
    """The records of one kind: number, bytes of ``data``, jobs among them, and the time of the oldest one."""

    records: int
    bytes: int
    jobs: int
    oldest: float


def new_id(prefix: str) -> str:
    """An id that cannot be guessed, like ``resp_`` with 48 hexadecimal digits."""
    return f"{prefix}_{secrets.token_hex(24)}"


class Records(ABC):
    """Durable records, as an async context manager.

    Opening does nothing: the first write creates the file or collections. As long as nothing is stored, reads and
    :meth:`claim` find nothing without any work. Closing releases the leases of this object.

    An expired record is as if absent, for every method. Methods with ``owner`` find records of that owner only; None
    is any owner, for jobs and maintenance. A written record is visible to every process when the method returns.

    Every method raises RecordsUnavailable if the records cannot be read or written: no space, or no connection.
    """

    is_on: bool = True
    """False if records are switched off: nothing is stored, and nothing is found."""

    def __deepcopy__(self, _: object) -> Self:
        """Return the same records: Litestar copies the dependencies of its routes."""
        return self

    async def __aenter__(self) -> Self:
        return self

    @abstractmethod
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    @abstractmethod
    async def contents(self) -> Contents:
        """The contents in the same place: bytes that are too large for a record."""

    # Create, read, list

    async def put(self, draft: Draft) -> Record:
        """Create a record. If its kind and id exist already, change nothing. Returns the stored record.

        Beyond the bounds, the oldest finished records are removed first. Raises RecordsFull if unfinished records fill
        the bounds, and RecordTooLarge.
        """
        check_size(draft.data)
        return await self._put(draft)

    async def put_all(self, drafts: Sequence[Draft]) -> Sequence[Record]:
        """Create records, each as :meth:`put` does, in the order of creation. An error may leave some of them."""
        return await asyncio.gather(*map(self.put, drafts))

    async def get(self, kind: str, record_id: str, owner: str | None) -> Record | None:
        """The record, or None: missing, expired, or of another owner."""
        found = await self.get_all(kind, [record_id], owner)
        return found[0] if found else None

    @abstractmethod
    async def get_all(self, kind: str, ids: Sequence[str], owner: str | None) -> Sequence[Record]:
        """The records with these ids (at most some hundreds), in order, in one query. Absent ones are left out."""

    @abstractmethod
    async def page(
        self,
        kind: str,
        owner: str | None,
        parent: str = "",
        *,
        after: str | None = None,
        before: str | None = None,
        order: Order = "asc",
        limit: int = 20,
    ) -> RecordPage:
        """A page of the list of a kind, an owner and a parent, by position and then by id.

        The page begins after the record with the id ``after`` in this order, and ends before the record with the id
        ``before``. It may have fewer records than ``limit``, if their data are large, but never none when some follow.

        Raises UnknownCursor if the list has no record with the id ``after`` or ``before``.
        """

    # Change

    async def update(self, record: Record, change: Change, lease: Lease | None = None) -> Record:
        """Write to a record, if it is unchanged since it was read. Returns the changed record.

        A job gives its lease, and its write is refused after another claim, a release, or the end of the job. A lease
        that has merely expired is still accepted.

        Raises LeaseLost, RecordChanged if the revision is another one or the record is gone, and RecordTooLarge.
        """
        if change.data is not msgspec.UNSET:
            check_size(change.data)
        return await self._update(record, change, lease)

    @abstractmethod
    async def delete(self, kind: str, record_id: str, owner: str | None) -> bool:
        """Delete a record, also an unfinished one. Returns whether it existed."""

    @abstractmethod
    async def delete_under(self, kind: str, parent: str, owner: str | None) -> int:
        """Delete all records of a kind with this parent. Returns their number."""

    # Jobs

    @abstractmethod
    async def claim(self, kinds: Sequence[str], seconds: float, record_id: str | None = None) -> Claim | None:
        """Claim the job that is due the longest, among these kinds, or the one with this id. None if there is none.

        Jobs with a lease of another claim are left out until it expires, or its process has died (SQLite). The lease
        ends after ``seconds``. A claim changes the generation, not the revision.
        """

    @abstractmethod
    async def renew(self, lease: Lease, seconds: float) -> None:
        """Extend a lease to ``seconds`` from now. Raises LeaseLost."""

    @abstractmethod
    async def release(self, lease: Lease) -> None:
        """Give a job back, for another claim at once. Does nothing if the lease was lost."""

    # Maintenance

    @abstractmethod
    async def sweep(self) -> int:
        """Remove expired records, and the oldest finished ones beyond the bounds. Returns their number.

        Safe in several processes at the same time.
        """

    @abstractmethod
    async def sizes(self) -> Mapping[str, KindSizes]:
        """Number, bytes, jobs and age per kind, in one query, expired records included. Empty if nothing is stored."""

    @abstractmethod
    async def browse(self, kind: str | None = None, limit: int = 100) -> Sequence[Record]:
        """The newest records of a kind, or of all kinds, of all owners, the newest first, without their data."""

    @abstractmethod
    async def clear(self, kind: str | None = None) -> int:
        """Delete all records (of a kind), also unfinished ones and those of newer formats. Returns their number."""

    @abstractmethod
    async def _put(self, draft: Draft) -> Record: ...

    @abstractmethod
    async def _update(self, record: Record, change: Change, lease: Lease | None) -> Record: ...


def check_size(data: bytes) -> None:
    """Raises RecordTooLarge."""
    if len(data) > MOST_BYTES:
        raise RecordTooLarge(len(data), MOST_BYTES)
