"""The contract of a store: reading documents, and replacing a corpus. One package per backend implements it."""

import asyncio
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeAlias, TypeVar

import msgspec

from mimic.corpus.manifest import Progress, Report, Seeded, Seeding, Size
from mimic.corpus.schemas import Document, Lookup, Version
from mimic.errors import MimicError, StoreError

BATCH_DOCUMENTS = 128
BATCH_CHARACTERS = 64 * 1024
"""Limits of a batch: its documents, and the characters of text after which no document is added."""

SECONDS_TO_CANCEL = 1.0
"""Time after which a cancellation is repeated: PyMongo uses ``asyncio.wait_for``, which on Python 3.11 may lose one."""

T = TypeVar("T")

Driver: TypeAlias = Literal["pymongo", "motor"]
"""A client library for MongoDB."""


class Batches(msgspec.Struct, Generic[T]):
    """Results in order, in batches of bounded size. Asynchronous iteration yields the batches.

    ``first`` is the first batch, empty only if there are no results. ``rest`` yields further batches, none of them
    empty; it is None if there are none. A caller that does not iterate to the end must close it.
    """

    first: Sequence[T]
    rest: AsyncGenerator[Sequence[T]] | None = None

    @classmethod
    async def of(cls, batches: AsyncGenerator[Sequence[T]]) -> Self:
        """Wait for the first of some batches."""
        return cls(await anext(batches, []), batches)  # not a tuple: CPython loses it

    async def __aiter__(self) -> AsyncIterator[Sequence[T]]:
        if self.first:
            yield self.first
        if self.rest:
            async for batch in self.rest:
                yield batch

    async def aclose(self) -> None:
        """Stop reading."""
        if self.rest:
            await self.rest.aclose()


class Store(ABC):
    """A store of documents, as an async context manager.

    Opening succeeds even if the store does not exist, cannot be reached or is not seeded. Every method raises
    StoreUnavailable if the store cannot be reached within a few seconds, and UnusableStore if it holds no corpus.
    """

    async def __aenter__(self) -> Self:
        return self

    @abstractmethod
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    @abstractmethod
    async def seeded(self) -> Mapping[Version, Seeded]:
        """The manifest entries of the seeded versions; empty before the first seeding."""

    async def check(self) -> None:
        """Check that the corpus can be read, more thoroughly than :meth:`seeded`.

        Raises UnusableStore if a version or an attached folder is missing. The check is cheap: it runs often.
        """
        await self.seeded()

    @abstractmethod
    async def find(self, lookup: Lookup, limit: int | None = None) -> Batches[Document]:
        """At most ``limit`` documents that meet ``lookup``, with the fields of ``Schema.answer``, in corpus order.

        All are from the same corpus, even if it is replaced meanwhile. A reader that then takes longer than the store
        keeps the old corpus gets StoreUnavailable. The call sees every corpus published at least a second before it.
        The event loop serves other requests between two batches.

        Raises NotSeeded if the version has not been seeded.
        """

    @abstractmethod
    async def documents(self, version: Version, positions: Sequence[int]) -> Sequence[Document]:
        """The documents at these positions (at most some hundreds), in order, with all their fields.

        Positions without a document are left out. Raises NotSeeded if the version has not been seeded.
        """

    @abstractmethod
    def attached(self, name: str) -> AbstractAsyncContextManager[Path]:
        """A local copy of the folder that a seeding attached to its corpus under this name. Exists within the context.

        Raises Detached if the folder is missing.
        """

    @abstractmethod
    async def seeding(self) -> Seeding | None:
        """The last seeding, by any process. It is ``interrupted`` if its process has died."""

    @abstractmethod
    async def _claim(self, seeding: Seeding) -> "Replacement":
        """Become the only seeder of this store. Raises SeedingInProgress while another seeder is alive."""

    @asynccontextmanager
    async def replace(self, versions: Sequence[Version]) -> AsyncGenerator["Replacement"]:
        """Replace these versions of the corpus: add documents, index, publish.

        Readers see the old corpus until :meth:`Replacement.publish`, and the new one afterwards. If the context ends
        without publishing, only the old corpus remains. The result is recorded as the last seeding.

        Raises SeedingInProgress while another seeding of this store is running.
        """
        seeding = Seeding(os.urandom(8).hex(), "running", holder_name(os.getpid()), datetime.now(UTC))
        replacement = await self._claim(seeding)
        try:
            await replacement.prepare(versions)
            yield replacement
        except BaseException as exc:
            with suppress(StoreError):  # the first error counts
                await finish_uncancelled(replacement.close(_outcome(replacement, exc)))
            raise
        await finish_uncancelled(replacement.close(msgspec.structs.replace(replacement.seeding, state="done")))


def holder_name(pid: int) -> str:
    """The name of a process of this machine as the holder of a store."""
    return f"process {pid} on {socket.gethostname()}"


async def finish_uncancelled(coroutine: Coroutine[Any, Any, None]) -> bool:
    """Await a coroutine that must not be cancelled. Returns True if the caller was cancelled meanwhile."""
    task = asyncio.ensure_future(coroutine)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    task.result()
    return cancelled


async def cancel_until_done(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, again and again until they have ended. Their outcomes are ignored."""
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=SECONDS_TO_CANCEL)
    await asyncio.gather(*tasks, return_exceptions=True)


def _outcome(replacement: "Replacement", exc: BaseException) -> Seeding:
    """The state of the seeding after an exception. A published corpus stays published."""
    if replacement.published:
        return msgspec.structs.replace(replacement.seeding, state="done")
    if isinstance(exc, asyncio.CancelledError):
        return msgspec.structs.replace(replacement.seeding, state="interrupted", error="the seeding was stopped")
    error = str(exc) if isinstance(exc, MimicError) else f"a bug in Mimic: {type(exc).__name__}"
    return msgspec.structs.replace(replacement.seeding, state="failed", error=error)


class Replacement(ABC):
    """A new corpus that readers cannot see yet. Made by :meth:`Store.replace`."""

    def __init__(self, seeding: Seeding) -> None:
        self.seeding = seeding
        self.published = False

    @abstractmethod
    async def prepare(self, versions: Sequence[Version]) -> None:
        """Remove the remains of dead seeders, and prepare for documents of these versions."""

    @abstractmethod
    async def add(self, version: Version, documents: Sequence[dict[str, Any]]) -> None:
        """Append documents to a version. The write may still be running when this returns.

        Raises StoreFull if there is no space for them.
        """

    @abstractmethod
    async def index(self, version: Version) -> Size:
        """Build a version's indexes after its last document. Returns the version's size."""

    @abstractmethod
    async def workspace(self) -> Path:
        """Make an empty folder on this machine, for files of the corpus that are not documents."""

    @abstractmethod
    async def attach(self) -> str:
        """Attach the contents of the workspace to the new corpus. Returns the name for :meth:`Store.attached`."""

    async def progress(self, progress: Progress) -> None:
        """Record the progress for :meth:`Store.seeding`. Raises SeedingLost if another seeding took over."""
        self.seeding = msgspec.structs.replace(self.seeding, progress=progress)
        await self._record()

    async def publish(self, report: Report) -> None:
        """Make the new corpus visible to readers, all versions at once, and remove the old one.

        Once the corpus is published, a cancelled caller still finishes. Raises SeedingLost if another seeding took
        over.
        """
        self.seeding = msgspec.structs.replace(self.seeding, report=report)
        await self._publish({version: report.seeded(version, datetime.now(UTC)) for version in report.versions})

    @abstractmethod
    async def close(self, seeding: Seeding) -> None:
        """Remove everything unpublished, record the result, and release the store for other seeders."""

    @abstractmethod
    async def _publish(self, seeded: Mapping[str, Seeded]) -> None:
        """Make the corpus visible, and set ``published`` at the same moment."""

    @abstractmethod
    async def _record(self) -> None: ...
