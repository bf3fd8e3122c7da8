"""The store of uploads: files that come in parts. The parts are the contents of the file, so nothing is copied."""

from collections.abc import Sequence
from contextlib import aclosing
from hashlib import md5
from typing import Final

import msgspec

from mimic.errors import RecordChanged, RecordsUnavailable, RequestError
from mimic.records.base import Change, Draft, Record, Records
from mimic.records.files.base import ContentWriter
from mimic.spelling import shown
from mimic.stored.files import UPLOAD_KIND, UPLOAD_PREFIX, FilePart, FileStore, StoredFile, lives_of, new_group
from mimic.wire.openai.base import created_now
from mimic.wire.openai.uploads import CompletedParts, NewUpload, UploadObject, UploadPartObject

PART_KIND: Final = "upload_part"
PART_PREFIX: Final = "part_"
PENDING: Final = "pending"
COMPLETED: Final = "completed"
CANCELLED: Final = "cancelled"
SECONDS: Final = 3600
"""Seconds in which an upload must be completed."""
PAGE: Final = 100


class StoredUpload(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a record: the request, the group of the contents, and the file after the completion."""

    request: NewUpload
    group: str
    created_at: int
    file: StoredFile | None = None

    def shown(self, state: str) -> UploadObject:
        """The object that clients see."""
        return UploadObject(
            id=f"{UPLOAD_PREFIX}{self.group}",
            bytes=self.request.bytes,
            created_at=self.created_at,
            expires_at=self.created_at + SECONDS,
            filename=self.request.filename,
            purpose=self.request.purpose,
            status=state,  # type: ignore[arg-type] # the states are these words
            file=self.file.shown() if self.file else None,
        )


class UploadStore:
    """Uploads in the records. Each method with an owner finds the uploads of this owner only.

    Every method raises RequestError (404) if there is no such upload, or if its hour is over.
    """

    def __init__(self, records: Records, files: FileStore) -> None:
        self._records = records
        self._files = files

    async def create(self, request: NewUpload, owner: str) -> UploadObject:
        """Begin an upload. Raises RequestError if the file is too large."""
        self._files.check_on()
        if request.bytes > self._files.most_bytes:
            text = f"The file is larger than the limit of all files, {self._files.most_bytes:,} bytes."
            raise RequestError(400, text, param="bytes", code="integer_above_max_value")
        stored = StoredUpload(request=request, group=new_group(), created_at=created_now())
        upload_id = f"{UPLOAD_PREFIX}{stored.group}"
        draft = Draft(kind=UPLOAD_KIND, id=upload_id, owner=owner, state=PENDING, data=_written(stored), lives=SECONDS)
        await self._records.put(draft)
        return stored.shown(PENDING)

    # Parts

    async def new_part(self, upload_id: str, owner: str) -> tuple[str, ContentWriter]:
        """Begin a part. Returns its id, and the writer of its content. Raises RequestError."""
        _, stored = await self._pending(upload_id, owner)
        part_id = f"{PART_PREFIX}{new_group()}"
        return part_id, await self._files.new_content(stored.group, part_id)

    async def add_part(self, upload_id: str, part_id: str, size: int, owner: str) -> UploadPartObject:
        """Add a part whose content is written. Raises RequestError."""
        try:
            await self._pending(upload_id, owner)
            await self._files.make_room()
        except RequestError:
            await self._files.delete_content(upload_id.removeprefix(UPLOAD_PREFIX), part_id)
            raise
        data = msgspec.json.encode(size)
        draft = Draft(kind=PART_KIND, id=part_id, owner=owner, parent=upload_id, data=data, lives=SECONDS)
        record = await self._files.record(draft, upload_id.removeprefix(UPLOAD_PREFIX), part_id)
        return UploadPartObject(id=part_id, created_at=int(record.created), upload_id=upload_id)

    # The end

    async def complete(self, upload_id: str, request: CompletedParts, owner: str) -> UploadObject:
        """Make a file of the parts. A repeated completion gives the same file. Raises RequestError.

        The deletion of a file deletes its upload before. So an upload that is missing after the write of the file's
        record was deleted with the file, and this record is removed.
        """
        record, stored = await self._find(upload_id, owner)
        if record.state == PENDING:
            record = await self._join(record, stored, request)
            stored = stored_in(record)
        if stored.file is None:
            raise _not_pending(record.state)
        await self._files.put(stored.file, owner)
        try:
            await self._find(upload_id, owner)
        except RequestError:
            await self._files.forget(stored.group)
            raise
        await self._forget_parts(upload_id, owner, stored.file.parts)
        return stored.shown(record.state)

    async def _join(self, record: Record, stored: StoredUpload, request: CompletedParts) -> Record:
        """Complete a pending upload, or return its record as another request ended it at the same time."""
        try:
            file = await self._file_of(record.id, stored, request, record.owner)
        except (RequestError, RecordsUnavailable):
            record, _ = await self._find(record.id, record.owner)
            if record.state == PENDING:
                raise
            return record  # the other request removed the records of the parts
        completed = msgspec.structs.replace(stored, file=file)
        return await self._change(record, Change(state=COMPLETED, data=_written(completed)))

    async def cancel(self, upload_id: str, owner: str) -> UploadObject:
        """Cancel an upload, and delete its parts. Raises RequestError after its completion."""
        record, stored = await self._find(upload_id, owner)
        if record.state == PENDING:
            record = await self._change(record, Change(state=CANCELLED))
        if record.state != CANCELLED:
            raise _not_pending(record.state)
        await self._forget_parts(upload_id, owner, ())
        return stored.shown(CANCELLED)

    async def _change(self, record: Record, change: Change) -> Record:
        """End an upload, or return the record as another request ended it at the same time."""
        try:
            return await self._records.update(record, change)
        except RecordChanged:
            return (await self._find(record.id, record.owner))[0]

    async def _file_of(self, upload_id: str, stored: StoredUpload, request: CompletedParts, owner: str) -> StoredFile:
        """The file of the parts. Raises RequestError if parts are missing, or if size or checksum are wrong."""
        by_id: dict[str, Record] = {}
        for start in range(0, len(request.part_ids), PAGE):
            some = request.part_ids[start : start + PAGE]
            by_id.update((one.id, one) for one in await self._records.get_all(PART_KIND, some, owner))
        for part_id in request.part_ids:
            if part_id not in by_id or by_id[part_id].parent != upload_id:
                text = f"No such part of this upload: {shown(part_id)}"
                raise RequestError(400, text, param="part_ids", code="invalid_value")
        given = stored.request
        expiry = given.expires_after.seconds if given.expires_after else None
        file = StoredFile(
            created_at=created_now(),
            filename=given.filename,
            purpose=given.purpose,
            group=stored.group,
            parts=[FilePart(one, msgspec.json.decode(by_id[one].data, type=int)) for one in request.part_ids],
            lives=lives_of(given.purpose, expiry),
        )
        if file.size != given.bytes:
            text = f"The parts have {file.size:,} bytes, but the upload was announced with {given.bytes:,} bytes."
            raise RequestError(400, text, param="part_ids", code="invalid_value")
        if request.md5 is not None and request.md5.lower() != await self._checksum(file):
            text = "The checksum of the parts is not the given one."
            raise RequestError(400, text, param="md5", code="invalid_value")
        return file

    async def _checksum(self, file: StoredFile) -> str:
        checksum = md5(usedforsecurity=False)
        async with aclosing(self._files.read(file, 0, file.size)) as pieces:
            async for piece in pieces:
                checksum.update(piece)
        return checksum.hexdigest()

    async def _forget_parts(self, upload_id: str, owner: str, kept: Sequence[FilePart]) -> None:
        """Delete the records of all parts, and the contents of the parts that are not in the file."""
        names = {part.name for part in kept}
        page = await self._records.page(PART_KIND, owner, upload_id, limit=PAGE)
        while page.records:
            for record in page.records:
                if record.id not in names:
                    await self._files.delete_content(upload_id.removeprefix(UPLOAD_PREFIX), record.id)
                await self._records.delete(PART_KIND, record.id, owner)
            page = await self._records.page(PART_KIND, owner, upload_id, limit=PAGE)

    async def holds(self, groups: Sequence[str]) -> set[str]:
        """The groups of uploads whose hour is not over, among some."""
        found = await self._records.get_all(UPLOAD_KIND, [f"{UPLOAD_PREFIX}{group}" for group in groups], None)
        return {record.id.removeprefix(UPLOAD_PREFIX) for record in found}

    async def _pending(self, upload_id: str, owner: str) -> tuple[Record, StoredUpload]:
        record, stored = await self._find(upload_id, owner)
        if record.state != PENDING:
            raise _not_pending(record.state)
        return record, stored

    async def _find(self, upload_id: str, owner: str) -> tuple[Record, StoredUpload]:
        record = await self._records.get(UPLOAD_KIND, upload_id, owner)
        if record is None:
            text = f"No such Upload object: {shown(upload_id)}. An upload ends after an hour, or with its file."
            raise RequestError(404, text, param="id")
        return record, stored_in(record)


def stored_in(record: Record) -> StoredUpload:
    """The upload in a record."""
    return msgspec.json.decode(record.data, type=StoredUpload)


def _written(stored: StoredUpload) -> bytes:
    return msgspec.json.encode(stored)


def _not_pending(state: str) -> RequestError:
    return RequestError(400, f"The upload is {state} already.", code="invalid_value")
