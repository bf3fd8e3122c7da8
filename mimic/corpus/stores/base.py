"""The contract of a store: where documents live, and how a corpus is replaced. One file per backend implements it."""

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
"""Documents that a store hands over at a time at most, and characters of text at which that is enough."""

T = TypeVar("T")

Driver: TypeAlias = Literal["pymongo", "motor"]
"""A client library for MongoDB."""


class Batches(msgspec.Struct, Generic[T]):
    """What was found, in order and in batches of bounded size. Iterated asynchronously, it gives one after the other.

    ``first`` is there at once, and empty only where nothing was found. ``rest`` are those that follow, none of them
    empty; None where it is known that there are none. Who does not iterate to the end closes it.
    """

    first: Sequence[T]
    rest: AsyncGenerator[Sequence[T]] | None = None

    @classmethod
    async def of(cls, batches: AsyncGenerator[Sequence[T]]) -> Self:
        """Batches of which the first one has to be waited for."""
        return cls(await anext(batches, []), batches)  # no tuple: CPython loses that

    async def __aiter__(self) -> AsyncIterator[Sequence[T]]:
        if self.first:
            yield self.first
        if self.rest:
            async for batch in self.rest:
                yield batch

    async def aclose(self) -> None:
        """Read no further."""
        if self.rest:
            await self.rest.aclose()


class Store(ABC):
    """A store of documents, as an async context manager.

    Opening does not need the store to be there or to be seeded. Every method raises StoreUnavailable where the store
    cannot be reached in a few seconds, and UnusableStore where what it finds is not a corpus.
    """

    async def __aenter__(self) -> Self:
        return self

    @abstractmethod
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    @abstractmethod
    async def seeded(self) -> Mapping[Version, Seeded]:
        """What the corpus holds now, per version; empty before the first seeding."""

    async def check(self) -> None:
        """Raises what keeps the corpus from being read, also where :meth:`seeded` does not notice.

        UnusableStore where a version or an attached folder is missing. It is cheap: it is asked all the time.
        """
        await self.seeded()

    @abstractmethod
    async def find(self, lookup: Lookup, limit: int | None = None) -> Batches[Document]:
        """The documents that ``lookup`` asks for, with the fields that its schema's choices need, in corpus order.

        They are all from the same corpus, even if it is replaced meanwhile: who then takes longer than the store keeps
        the old one gets StoreUnavailable. A corpus published a second before the call or earlier is seen by it. At most
        ``limit`` documents. Between two batches others are served.

        Raises NotSeeded where the version has not been seeded.
        """

    @abstractmethod
    async def documents(self, version: Version, positions: Sequence[int]) -> Sequence[Document]:
        """The documents at these positions in the corpus, some hundreds at most, in order, with all their fields.

        Where there is none at a position, it is left out. Raises NotSeeded where the version has not been seeded.
        """

    @abstractmethod
    def attached(self, name: str) -> AbstractAsyncContextManager[Path]:
        """The folder that a seeding attached to its corpus under this name, on this machine, as long as it is used.

        Raises Detached where it is not there, or no more.
        """

    @abstractmethod
    async def seeding(self) -> Seeding | None:
        """The last seeding, by whichever process; one whose process has died is ``interrupted``."""

    @abstractmethod
    async def _claim(self, seeding: Seeding) -> "Replacement":
        """Become the only seeder of this store. Raises SeedingInProgress while another one is alive."""

    @asynccontextmanager
    async def replace(self, versions: Sequence[Version]) -> AsyncGenerator["Replacement"]:
        """Replace these versions of the corpus: add documents, index, publish.

        Readers see the old corpus until :meth:`Replacement.publish` and the new one afterwards. Leaving the context
        without publishing leaves the old corpus, and nothing else. How it went is recorded as the last seeding.

        Raises SeedingInProgress while another seeding of this store is running.
        """
        seeding = Seeding(os.urandom(8).hex(), "running", holder_name(os.getpid()), datetime.now(UTC))
        replacement = await self._claim(seeding)
        try:
            await replacement.prepare(versions)
            yield replacement
        except BaseException as exc:
            with suppress(StoreError):  # what went wrong first is what counts
                await finish_uncancelled(replacement.close(_outcome(replacement, exc)))
            raise
        await finish_uncancelled(replacement.close(msgspec.structs.replace(replacement.seeding, state="done")))


def holder_name(pid: int) -> str:
    """How a process of this machine is named as the holder of a store."""
    return f"process {pid} on {socket.gethostname()}"


async def finish_uncancelled(coroutine: Coroutine[Any, Any, None]) -> bool:
    """Await what must not be left half done. Returns whether somebody tried to cancel it meanwhile."""
    task = asyncio.ensure_future(coroutine)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    task.result()
    return cancelled


def _outcome(replacement: "Replacement", exc: BaseException) -> Seeding:
    """How the seeding stands after an exception. What was published is published, whatever came next."""
    if replacement.published:
        return msgspec.structs.replace(replacement.seeding, state="done")
    if isinstance(exc, asyncio.CancelledError):
        return msgspec.structs.replace(replacement.seeding, state="interrupted", error="the seeding was stopped")
    error = str(exc) if isinstance(exc, MimicError) else f"a bug in Mimic: {type(exc).__name__}"
    return msgspec.structs.replace(replacement.seeding, state="failed", error=error)


class Replacement(ABC):
    """A corpus in the making, visible to nobody. Made by :meth:`Store.replace`."""

    def __init__(self, seeding: Seeding) -> None:
        self.seeding = seeding
        self.published = False

    @abstractmethod
    async def prepare(self, versions: Sequence[Version]) -> None:
        """Remove what dead seeders left, and make room for these versions."""

    @abstractmethod
    async def add(self, version: Version, documents: Sequence[dict[str, Any]]) -> None:
        """Append documents to a version. They may be on their way when this returns.

        Raises StoreFull where they do not fit.
        """

    @abstractmethod
    async def index(self, version: Version) -> Size:
        """Build a version's indexes after its last document; returns what the version takes."""

    @abstractmethod
    async def workspace(self) -> Path:
        """A new, empty folder on this machine, for files that belong to the corpus and are no documents."""

    @abstractmethod
    async def attach(self) -> str:
        """Attach what is in the workspace to the new corpus; returns the name for :meth:`Store.attached`."""

    async def progress(self, progress: Progress) -> None:
        """Tell whoever asks for the last seeding how far it is. Raises SeedingLost if another one took over."""
        self.seeding = msgspec.structs.replace(self.seeding, progress=progress)
        await self._record()

    async def publish(self, report: Report) -> None:
        """Let readers see the new corpus, all versions at once, and remove the old one.

        From the moment it is published nothing stops it: who is cancelled then, finishes. Raises SeedingLost if another
        seeding took over.
        """
        self.seeding = msgspec.structs.replace(self.seeding, report=report)
        await self._publish({version: report.seeded(version, datetime.now(UTC)) for version in report.versions})

    @abstractmethod
    async def close(self, seeding: Seeding) -> None:
        """Remove what was not published, record how it ended, and let other seeders in."""

    @abstractmethod
    async def _publish(self, seeded: Mapping[str, Seeded]) -> None:
        """Let readers see it; set ``published`` at once when they do."""

    @abstractmethod
    async def _record(self) -> None: ...
