"""The store of files: records with their names and purposes, and contents with their bytes."""

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final, Literal, TypeAlias

import msgspec
import structlog

from mimic.errors import RecordChanged, RecordError, RecordsUnavailable, RequestError
from mimic.records.base import Change, Draft, Order, Record, Records
from mimic.records.files.base import ContentWriter, deleted
from mimic.records.periodic import PeriodicTask
from mimic.spelling import shown
from mimic.stored.options import FileOptions
from mimic.wire.openai.files import BATCH, FileObject

log = structlog.get_logger("mimic")

KIND: Final = "file"
PREFIX: Final = "file-"
UPLOAD_KIND: Final = "upload"
UPLOAD_PREFIX: Final = "upload_"
WHOLE: Final = "whole"
"""The name of the content of a file that was uploaded in one piece."""
PAGE: Final = 100
SECONDS_OF_BATCH_FILES: Final = 30 * 86_400
"""Seconds that files for batches are kept by default; other files are kept until the bounds need their space."""
SECONDS_BETWEEN_SWEEPS: Final = 600.0
SECONDS_OF_ORPHANS: Final = 3600.0
"""Seconds without a write after which contents without a record are deleted."""
ANY_AGE: Final = float("-inf")
"""Seconds for :meth:`FileSweeper.sweep` that delete contents which are being written, too."""

Holders: TypeAlias = Callable[[Sequence[str]], Awaitable[set[str]]]
"""Finds the groups, among some, whose contents are needed."""


class FilePart(msgspec.Struct, frozen=True):
    """A content of a file: its name in the group, and its size."""

    name: str
    size: int


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a record. The parts, one after the other, are the file.

    ``lives`` is the seconds until it expires, if any. ``readers`` are the batches that read it.
    """

    created_at: int
    filename: str
    purpose: str
    group: str
    parts: Sequence[FilePart]
    lives: int | None = None
    readers: Sequence[str] = ()

    @property
    def size(self) -> int:
        """The bytes of all parts."""
        return sum(part.size for part in self.parts)

    def shown(self) -> FileObject:
        """The object that clients see."""
        return FileObject(
            id=f"{PREFIX}{self.group}",
            bytes=self.size,
            created_at=self.created_at,
            filename=self.filename,
            purpose=self.purpose,
            expires_at=None if self.lives is None else self.created_at + self.lives,
        )


class FilePage(msgspec.Struct, frozen=True):
    """A page of files."""

    data: Sequence[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: Literal["list"] = "list"


class FileStore:
    """Files in the records. Each method with an owner finds the files of this owner only."""

    def __init__(self, records: Records, options: FileOptions) -> None:
        self._records = records
        self.most_bytes = options.most_bytes

    def check_on(self) -> None:
        """Raises RequestError if records are off."""
        if not self._records.is_on:
            raise RequestError(400, "Files need records, which MIMIC_RECORDS=off switches off.")

    # Contents

    async def new_content(self, group: str, name: str = WHOLE) -> ContentWriter:
        """Begin a content. Its record follows."""
        return (await self._records.contents()).new(group, name)

    async def delete_content(self, group: str, name: str | None = None) -> None:
        """Delete a content, or all of a group."""
        await (await self._records.contents()).delete(group, name)

    async def read(self, file: StoredFile, start: int, end: int) -> AsyncGenerator[bytes]:
        """Yield the bytes of a file from ``start`` up to ``end``. Raises RecordsUnavailable."""
        contents = await self._records.contents()
        for part in file.parts:
            if start < part.size and end > 0:
                async with aclosing(contents.read(file.group, part.name, max(0, start), min(end, part.size))) as pieces:
                    async for piece in pieces:
                        yield piece
            start, end = start - part.size, end - part.size

    async def make_room(self) -> None:
        """Remove the oldest files that no batch reads, beyond the bound. Raises RequestError (503)."""
        excess = sum(group.bytes for group in await (await self._records.contents()).groups()) - self.most_bytes
        after, has_more = None, True
        while excess > 0 and has_more:
            page = await self._records.page(KIND, None, after=after, limit=PAGE)
            has_more = page.has_more
            for record in page.records:
                if record.is_finished and excess > 0:
                    excess -= stored_in(record).size
                    await self._remove(record)
                else:
                    after = record.id
        if excess > 0:
            text = f"There is no room for the file: all files together may have {self.most_bytes:,} bytes."
            raise RequestError(503, text, code="files_full", headers={"retry-after": "60"})

    async def _remove(self, record: Record) -> None:
        """Delete a file: first its upload, so that a repeated completion does not write its record again."""
        group = stored_in(record).group
        await self._records.delete(UPLOAD_KIND, f"{UPLOAD_PREFIX}{group}", None)
        await self._records.delete(KIND, record.id, None)
        await self.delete_content(group)

    async def forget(self, group: str) -> None:
        """Delete the file of a group whose contents are gone, or are to go."""
        await self._records.delete(KIND, f"{PREFIX}{group}", None)
        await self.delete_content(group)

    # Files

    async def create(self, file: StoredFile, owner: str) -> FileObject:
        """Create a file whose contents are written. A file that exists stays as it is. Raises RequestError (503).

        Raises RecordsUnavailable if a sweep deleted the contents meanwhile. A sweep that comes later also deletes the
        record, so none stays without its bytes.
        """
        try:
            await self.make_room()
        except RequestError:
            await self.delete_content(file.group)
            raise
        made = stored_in(await self.record(_draft_of(file, owner), file.group))
        for part in file.parts:
            if not await (await self._records.contents()).has(file.group, part.name, part.size):
                await self.forget(file.group)
                raise deleted(file.group, part.name)
        return made.shown()

    async def put(self, file: StoredFile, owner: str) -> FileObject:
        """Write the record of a file, once, without regard to the bound of all files."""
        return stored_in(await self._records.put(_draft_of(file, owner))).shown()

    async def record(self, draft: Draft, group: str, name: str | None = None) -> Record:
        """Write the record of contents. Without space for it, the contents are deleted."""
        try:
            return await self._records.put(draft)
        except (RecordError, RecordsUnavailable):
            if await self._records.get(draft.kind, draft.id, None) is None:
                await self.delete_content(group, name)
            raise

    async def find(self, file_id: str, owner: str) -> StoredFile:
        """A file. Raises RequestError (404)."""
        return stored_in(await self._find(file_id, owner))

    async def delete(self, file_id: str, owner: str) -> None:
        """Delete a file, also while a batch reads it. Raises RequestError (404)."""
        await self._remove(await self._find(file_id, owner))

    async def page(self, owner: str, limit: int, after: str | None, order: Order, purpose: str | None) -> FilePage:
        """A page of the files, or of those with a purpose. Raises UnknownCursor."""
        found: list[FileObject] = []
        has_more = True
        while has_more and len(found) < limit:
            page = await self._records.page(KIND, owner, after=after, order=order, limit=limit - len(found))
            found += [stored_in(one).shown() for one in page.records if purpose in {None, one.state}]
            has_more, after = page.has_more, page.records[-1].id if page.records else None
        first, last = (found[0].id, found[-1].id) if found else (None, None)
        return FilePage(found, first, last, has_more)

    async def _find(self, file_id: str, owner: str | None) -> Record:
        record = await self._records.get(KIND, file_id, owner)
        if record is None:
            raise RequestError(404, f"No such File object: {shown(file_id)}", param="id")
        return record

    # Readers

    async def pin(self, file_id: str, owner: str, reader: str, seconds: float) -> StoredFile:
        """Keep a file from the bounds as long as a batch reads it. Raises RequestError (404).

        After ``seconds`` at the latest, :meth:`check_readers` looks for readers that are gone.
        """
        while True:
            record = await self._find(file_id, owner)
            stored = stored_in(record)
            changed = msgspec.structs.replace(stored, readers=[*stored.readers, reader])
            try:
                await self._records.update(record, Change(data=_written(changed), due=seconds))
            except RecordChanged:
                continue
            return changed

    async def unpin(self, file_id: str, reader: str) -> None:
        """End :meth:`pin` for a batch. Does nothing if the file was deleted."""
        while (record := await self._records.get(KIND, file_id, None)) is not None:
            stored = stored_in(record)
            readers = [one for one in stored.readers if one != reader]
            data = _written(msgspec.structs.replace(stored, readers=readers))
            try:
                await self._records.update(record, Change(data=data, due=msgspec.UNSET if readers else None))
            except RecordChanged:
                continue
            return

    async def holds(self, groups: Sequence[str]) -> set[str]:
        """The groups of files, among some."""
        found = await self._records.get_all(KIND, [f"{PREFIX}{group}" for group in groups], None)
        return {record.id.removeprefix(PREFIX) for record in found}


class FileSweeper(PeriodicTask):
    """Deletes contents without a record in the background: of uploads that broke off, and of files that expired.

    Several processes may do it at the same time. ``holders`` find the groups that something needs.
    """

    def __init__(self, records: Records, holders: Sequence[Holders], interval: float = SECONDS_BETWEEN_SWEEPS) -> None:
        super().__init__(records, interval)
        self._holders = holders

    async def step(self) -> None:
        await self.sweep()

    def failed(self, error: RecordError | RecordsUnavailable) -> None:
        log.warning("contents without a record cannot be removed", reason=str(error))

    async def sweep(self, seconds: float = SECONDS_OF_ORPHANS) -> int:
        """Delete groups without a record and without a write for some seconds. Returns their number."""
        contents, removed = await self._records.contents(), 0
        old = [group.name for group in await contents.groups() if group.age >= seconds]
        for some in (old[start : start + PAGE] for start in range(0, len(old), PAGE)):
            needed = {name for holds in self._holders for name in await holds(some)}
            for name in some:
                if name not in needed:
                    await contents.delete(name)
                    await self._records.delete(KIND, f"{PREFIX}{name}", None)  # it may have been written meanwhile
                    removed += 1
        return removed


def new_group() -> str:
    """The group of the contents of a new file, which is also a part of its id. It cannot be guessed."""
    return secrets.token_hex(24)


def lives_of(purpose: str, expires_after: int | None) -> int | None:
    """The seconds that a new file is kept; None is without end."""
    return SECONDS_OF_BATCH_FILES if expires_after is None and purpose == BATCH else expires_after


def stored_in(record: Record) -> StoredFile:
    """The file in a record."""
    return msgspec.json.decode(record.data, type=StoredFile)


def _draft_of(file: StoredFile, owner: str) -> Draft:
    """The record of a file."""
    return Draft(
        kind=KIND,
        id=f"{PREFIX}{file.group}",
        owner=owner,
        state=file.purpose,
        data=_written(file),
        lives=file.lives,
    )


def _written(file: StoredFile) -> bytes:
    return msgspec.json.encode(file)
