"""The store of batches. ``mimic.jobs.batches`` does their work."""

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from mimic.errors import RecordChanged, RequestError
from mimic.records.base import Change, Draft, Record, Records
from mimic.spelling import shown
from mimic.stored.files import PREFIX as FILE_PREFIX
from mimic.stored.files import FileStore, new_group
from mimic.stored.options import BatchOptions
from mimic.wire.openai.base import created_now
from mimic.wire.openai.batches import (
    BatchCounts,
    BatchError,
    BatchErrors,
    BatchObject,
    BatchStatus,
    BatchTimes,
    NewBatch,
)
from mimic.wire.openai.files import BATCH
from mimic.wire.openai.responses.answer import ResponseUsage

KIND: Final = "batch"
BLOCK_KIND: Final = "batch_block"
PREFIX: Final = "batch_"
VALIDATING: Final = "validating"
IN_PROGRESS: Final = "in_progress"
CANCELLING: Final = "cancelling"
WORKING: Final = frozenset({VALIDATING, IN_PROGRESS})
"""States of a batch whose lines are answered."""
DONE: Final = "done"
"""The state of a block whose results are written."""
SECONDS_OF_PIN: Final = 3600
"""Seconds beyond the window after which the input is released, if the batch is gone."""
PAGE: Final = 100


class Tally(msgspec.Struct, frozen=True):
    """Lines and tokens. ``expired`` counts failed lines that the window was too short for."""

    completed: int = 0
    failed: int = 0
    expired: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(mine + its for mine, its in zip(_values(self), _values(other), strict=True)))


def _values(tally: Tally) -> Sequence[int]:
    return msgspec.structs.astuple(tally)


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a record: up to 100 lines of the input by their bytes, and their results.

    ``first`` is the number of the first line. ``output`` and ``errors`` are the names and sizes of the contents.
    """

    start: int
    end: int
    first: int
    output: tuple[str, int] | None = None
    errors: tuple[str, int] | None = None
    tally: Tally = Tally()


class StoredBatch(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a record."""

    request: NewBatch
    group: str
    created_at: int
    window: int
    model: str | None = None
    total: int = 0
    blocks: int = 0
    tally: Tally = Tally()
    times: BatchTimes = BatchTimes()
    problems: Sequence[BatchError] = ()
    has_output: bool = False
    has_errors: bool = False

    @property
    def id(self) -> str:
        """The id of the batch."""
        return f"{PREFIX}{self.group}"

    @property
    def error_group(self) -> str:
        """The group of the contents with errors; the other group has the output."""
        return other_group(self.group)

    def shown(self, status: BatchStatus, tally: Tally) -> BatchObject:
        """The object that clients see."""
        request = self.request
        return BatchObject(
            id=self.id,
            endpoint=request.endpoint,
            model=self.model,
            errors=BatchErrors(self.problems) if self.problems else None,
            input_file_id=request.input_file_id,
            completion_window=request.completion_window,
            status=status,
            output_file_id=f"{FILE_PREFIX}{self.group}" if self.has_output else None,
            error_file_id=f"{FILE_PREFIX}{self.error_group}" if self.has_errors else None,
            created_at=self.created_at,
            expires_at=self.created_at + self.window,
            request_counts=BatchCounts(self.total, tally.completed, tally.failed),
            usage=ResponseUsage(tally.input_tokens, tally.output_tokens, tally.input_tokens + tally.output_tokens),
            metadata=request.metadata,
            **msgspec.structs.asdict(self.times),
        )


class BatchPage(msgspec.Struct, frozen=True):
    """A page of batches."""

    data: Sequence[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: Literal["list"] = "list"


class BatchStore:
    """Batches in the records. Each method with an owner finds the batches of this owner only."""

    def __init__(self, records: Records, files: FileStore, options: BatchOptions) -> None:
        self._records = records
        self._files = files
        self._options = options

    async def create(self, request: NewBatch, owner: str) -> BatchObject:
        """Create a batch, which begins at once. Raises RequestError if its input is no file for batches."""
        self._files.check_on()
        window = self._options.window
        stored = StoredBatch(request=request, group=new_group(), created_at=created_now(), window=window)
        await self._check_input(request.input_file_id, owner)
        await self._files.pin(request.input_file_id, owner, stored.id, window + SECONDS_OF_PIN)
        try:
            await self._records.put(
                Draft(kind=KIND, id=stored.id, owner=owner, state=VALIDATING, data=written(stored), due=0)
            )
        except Exception:
            await self._files.unpin(request.input_file_id, stored.id)
            raise
        return stored.shown(VALIDATING, stored.tally)

    async def _check_input(self, file_id: str, owner: str) -> None:
        try:
            file = await self._files.find(file_id, owner)
        except RequestError as exc:
            raise RequestError(400, str(exc), param="input_file_id", code="invalid_value") from None
        if file.purpose != BATCH:
            text = f"Invalid purpose of the input file: expected {BATCH!r}, but got {file.purpose!r} instead."
            raise RequestError(400, text, param="input_file_id", code="invalid_value")

    async def get(self, batch_id: str, owner: str) -> BatchObject:
        """A batch. Raises RequestError (404)."""
        return await self._shown(await self._find(batch_id, owner))

    async def page(self, owner: str, limit: int, after: str | None) -> BatchPage:
        """A page of the batches, the newest first. Raises UnknownCursor."""
        page = await self._records.page(KIND, owner, after=after, order="desc", limit=limit)
        found = [await self._shown(record) for record in page.records]
        first, last = (found[0].id, found[-1].id) if found else (None, None)
        return BatchPage(found, first, last, page.has_more)

    async def cancel(self, batch_id: str, owner: str) -> BatchObject:
        """Cancel a batch: lines that are not answered yet are left out. Raises RequestError if it has ended."""
        while True:
            record = await self._find(batch_id, owner)
            stored = batch_in(record)
            if record.state == CANCELLING:
                return await self._shown(record)
            if record.state not in WORKING:
                raise RequestError(400, f"Cannot cancel a batch with status '{record.state}'.")
            times = msgspec.structs.replace(stored.times, cancelling_at=created_now())
            changed = msgspec.structs.replace(stored, times=times)
            try:
                record = await self._records.update(record, Change(state=CANCELLING, data=written(changed), due=0))
            except RecordChanged:  # it went on, or ended
                continue
            return await self._shown(record)

    async def blocks(self, batch_id: str) -> Sequence[Record]:
        """The blocks of a batch, in the order of their lines."""
        found: list[Record] = []
        after, has_more = None, True
        while has_more:
            page = await self._records.page(BLOCK_KIND, None, batch_id, after=after, limit=PAGE)
            found += page.records
            has_more, after = page.has_more, found[-1].id if found else None
        return found

    async def holds(self, groups: Sequence[str]) -> set[str]:
        """The groups of unfinished batches, among some."""
        ids = [f"{PREFIX}{group}" for one in groups for group in (one, other_group(one))]
        found = [one for one in await self._records.get_all(KIND, ids, None) if not one.is_finished]
        return {name for one in found for name in _groups_of(one)} & set(groups)

    async def _shown(self, record: Record) -> BatchObject:
        """A batch with the lines that were answered until now."""
        stored, state = batch_in(record), record.state
        if state not in {IN_PROGRESS, CANCELLING}:
            return stored.shown(state, stored.tally)  # type: ignore[arg-type] # the states are these words
        blocks = await self.blocks(record.id)
        done = [block_in(block) for block in blocks if block.state == DONE]
        is_done = state == IN_PROGRESS and len(done) == stored.blocks
        status: Any = "finalizing" if is_done else state
        return stored.shown(status, sum((block.tally for block in done), Tally()))

    async def _find(self, batch_id: str, owner: str) -> Record:
        record = await self._records.get(KIND, batch_id, owner)
        if record is None:
            raise RequestError(404, f"No batch found with id '{shown(batch_id)}'.", param="batch_id")
        return record


def other_group(group: str) -> str:
    """The group of a batch's errors for the group of its output, and the reverse."""
    return group[::-1]


def _groups_of(record: Record) -> Sequence[str]:
    group = record.id.removeprefix(PREFIX)
    return group, other_group(group)


def batch_in(record: Record) -> StoredBatch:
    """The batch in a record."""
    return msgspec.json.decode(record.data, type=StoredBatch)


def block_in(record: Record) -> Block:
    """The block in a record."""
    return msgspec.json.decode(record.data, type=Block)


def written(stored: StoredBatch | Block) -> bytes:
    """The data of a record."""
    return msgspec.json.encode(stored)
