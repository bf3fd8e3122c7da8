"""The work of batches: validation, blocks of 100 lines, and the files of their results.

Every step may be done twice, and by any process: a record is changed with the lease of its claim only.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

import msgspec

from mimic.corpus.stores.base import cancel_until_done
from mimic.errors import RecordChanged, RecordsFull, RequestError
from mimic.jobs import runner
from mimic.jobs.lines import LineAnswer, LineAnswerer
from mimic.jobs.runner import Work
from mimic.jobs.validation import Checked, check_input
from mimic.records.base import Change, Claim, Draft, Record, Records
from mimic.stored.batches import (
    BLOCK_KIND,
    CANCELLING,
    DONE,
    IN_PROGRESS,
    KIND,
    VALIDATING,
    WORKING,
    BatchStore,
    Block,
    StoredBatch,
    Tally,
    batch_in,
    block_in,
    written,
)
from mimic.stored.files import KIND as FILE
from mimic.stored.files import FilePart, FileStore, StoredFile, new_group
from mimic.stored.files import stored_in as file_in
from mimic.stored.response_state import seconds_since
from mimic.stored.webhook_deliveries import DeliveryStore
from mimic.wire.openai.base import created_now
from mimic.wire.openai.batches import BatchError, read_line
from mimic.wire.openai.webhooks import WebhookEvent

LINES_AT_ONCE: Final = 10
"""Lines of a block that are answered at the same time."""
SECONDS_BETWEEN_LOOKS: Final = 1.0
"""Seconds after which a batch looks for the ends of its blocks, and a block for a cancellation."""
SECONDS_UNTIL_THE_END: Final = 366 * 86_400.0
"""``due`` of a finished block: the bounds leave it, and nothing claims it, until the batch ends."""
SECONDS_OF_GRACE: Final = 600.0
"""Seconds after the window in which blocks of a batch may still end."""
PUT_TOGETHER: Final = 100
DELETED: Final = BatchError("input_file_deleted", "The input file was deleted before the batch ended.")

Step = Callable[[str], None]
"""Called before a step with its name: tests stop a process there."""


class BatchWork:
    """The works of batches, by kinds of records."""

    def __init__(
        self,
        records: Records,
        files: FileStore,
        batches: BatchStore,
        answerer: LineAnswerer,
        deliveries: DeliveryStore,
    ) -> None:
        self._records = records
        self._deliveries = deliveries
        self._files = files
        self._batches = batches
        self._answerer = answerer
        self.before: Step = lambda _: None
        self.works: Mapping[str, Work] = {KIND: self.advance, BLOCK_KIND: self.answer_block, FILE: self.release_input}

    # Batches

    async def advance(self, claim: Claim) -> None:
        """Do the next step of a batch. Raises RecordChanged if another process did, or after a cancellation."""
        self.before("claim")
        batch = batch_in(claim.record)
        if claim.record.state == VALIDATING and not _is_over(claim.record, batch):
            await self._while_wanted(claim, self._validate(claim, batch))
        elif claim.record.state == VALIDATING:  # its bytes were missing all the time
            await self._fail(claim, batch, [DELETED])
        elif claim.record.state in {IN_PROGRESS, CANCELLING}:
            await self._finish_if_done(claim, batch)
        else:
            await self._clean_up(claim, batch)

    async def _finish_if_done(self, claim: Claim, batch: StoredBatch) -> None:
        blocks = await self._batches.blocks(batch.id)
        if claim.record.state == CANCELLING:
            for block in blocks:
                if block.state != DONE:
                    await self._records.delete(BLOCK_KIND, block.id, None)
            blocks = await self._batches.blocks(batch.id)
        done = [block for block in blocks if block.state == DONE]
        if len(done) == batch.blocks or claim.record.state == CANCELLING or _is_over(claim.record, batch):
            await self._finish(claim, batch, [block_in(block) for block in done])
        else:
            await self._records.update(claim.record, Change(due=SECONDS_BETWEEN_LOOKS), claim.lease)

    async def _validate(self, claim: Claim, batch: StoredBatch) -> None:
        """Check the input, and make its blocks."""
        request, owner, now = batch.request, claim.record.owner, created_now()
        try:
            file = await self._files.find(request.input_file_id, owner)
        except RequestError:
            checked = Checked(0, (), None, [DELETED])
        else:
            async with aclosing(self._files.read(file, 0, file.size)) as pieces:
                checked = await check_input(pieces, request.endpoint)
        replace = msgspec.structs.replace
        if checked.errors:
            await self._fail(claim, replace(batch, model=checked.model), checked.errors)
            return
        drafts = [
            Draft(
                kind=BLOCK_KIND,
                id=f"{batch.id}_{n}",
                owner=owner,
                parent=batch.id,
                position=n,
                data=written(one),
                due=0,
            )
            for n, one in enumerate(checked.blocks)
        ]
        for start in range(0, len(drafts), PUT_TOGETHER):
            await self._records.put_all(drafts[start : start + PUT_TOGETHER])
        times = replace(batch.times, in_progress_at=now)
        changed = replace(batch, model=checked.model, total=checked.total, blocks=len(drafts), times=times)
        change = Change(state=IN_PROGRESS, data=written(changed), due=0)  # after the blocks, which are due longer
        await self._records.update(claim.record, change, claim.lease)

    async def _fail(self, claim: Claim, batch: StoredBatch, errors: Sequence[BatchError]) -> None:
        times = msgspec.structs.replace(batch.times, failed_at=created_now())
        changed = msgspec.structs.replace(batch, problems=errors, times=times)
        await self._records.update(claim.record, Change(state="failed", data=written(changed), due=0), claim.lease)

    async def _finish(self, claim: Claim, batch: StoredBatch, blocks: Sequence[Block]) -> None:
        """Write the records of the files of results, then the end of the batch."""
        replace, owner, now = msgspec.structs.replace, claim.record.owner, created_now()
        outputs = [FilePart(*block.output) for block in blocks if block.output]
        errors = [FilePart(*block.errors) for block in blocks if block.errors]
        self.before("file")
        for group, parts, name in ((batch.group, outputs, "output"), (batch.error_group, errors, "error")):
            if parts:
                await self._files.put(_result_file(batch, group, parts, name), owner)
        tally = sum((block.tally for block in blocks), Tally())
        state = "cancelled" if claim.record.state == CANCELLING else "expired" if tally.expired else "completed"
        times = replace(batch.times, **{f"{state}_at": now, "finalizing_at": now})
        changed = replace(batch, tally=tally, times=times, has_output=bool(outputs), has_errors=bool(errors))
        self.before("status")
        try:
            await self._records.update(claim.record, Change(state=state, data=written(changed), due=0), claim.lease)
        except RecordChanged:
            if await self._records.get(KIND, batch.id, None) is None:  # deleted, and its contents with it
                await self._files.forget(batch.group)
                await self._files.forget(batch.error_group)
            raise

    async def _clean_up(self, claim: Claim, batch: StoredBatch) -> None:
        """Announce the end of a batch, delete its blocks, and release its input."""
        self.before("cleanup")
        ended = claim.record.state
        at = getattr(batch.times, f"{ended}_at") or batch.created_at
        await self._deliveries.announce(WebhookEvent.of(f"batch.{ended}", batch.id, at), claim.record.owner)
        await self._records.delete_under(BLOCK_KIND, batch.id, None)
        await self._files.unpin(batch.request.input_file_id, batch.id)
        await self._records.update(claim.record, Change(due=None), claim.lease)

    async def release_input(self, claim: Claim) -> None:
        """Release a file whose batches were deleted."""
        for reader in file_in(claim.record).readers:
            batch = await self._records.get(KIND, reader, None)
            if batch is not None and not batch.is_finished:
                await self._records.update(claim.record, Change(due=batch_in(batch).window), claim.lease)
                return
        for reader in file_in(claim.record).readers:
            await self._records.delete_under(BLOCK_KIND, reader, None)
            await self._files.unpin(claim.record.id, reader)

    # Blocks

    async def answer_block(self, claim: Claim) -> None:
        """Answer the lines of a block, and write their results. Raises RecordChanged after another claim."""
        self.before("claim")
        batch = await self._records.get(KIND, claim.record.parent, None)
        if batch is None or batch.state not in WORKING:
            await self._records.delete(BLOCK_KIND, claim.record.id, None)
            return
        await self._while_wanted(claim, self._answer_block(claim, batch), lambda: self._is_working(batch.id))

    async def _answer_block(self, claim: Claim, record: Record) -> None:
        batch, block = batch_in(record), block_in(claim.record)
        try:
            file = await self._files.find(batch.request.input_file_id, record.owner)
        except RequestError:
            await self._fail_without_input(record)
            return
        async with aclosing(self._files.read(file, block.start, block.end)) as pieces:
            lines = b"".join([piece async for piece in pieces]).split(b"\n")
        answers = await self._answers(lines, block.first, record)
        name = f"{claim.record.position}-{claim.lease.generation}-{new_group()[:16]}"
        output = await self._write(batch.group, name, [one for one in answers if one.line.is_answer])
        errors = await self._write(batch.error_group, name, [one for one in answers if not one.line.is_answer])
        tally = sum((one.tally for one in answers), Tally())
        changed = msgspec.structs.replace(block, output=output, errors=errors, tally=tally)
        self.before("result")
        try:
            change = Change(state=DONE, data=written(changed), due=SECONDS_UNTIL_THE_END)
            await self._records.update(claim.record, change, claim.lease)
        except RecordChanged:
            for group in (batch.group, batch.error_group):
                await self._files.delete_content(group, name)
            raise

    async def _answers(self, lines: Sequence[bytes], first: int, record: Record) -> Sequence[LineAnswer]:
        """The answers to lines, in their order."""
        batch, places = batch_in(record), asyncio.Semaphore(LINES_AT_ONCE)

        def is_late() -> bool:
            return seconds_since(record) > batch.window

        async def answer(number: int, line: bytes) -> LineAnswer:
            async with places:
                await asyncio.sleep(0)  # other requests get their turn
                found = read_line(line, batch.request.endpoint)
                return await self._answerer.answer(found, number, batch, record.owner, is_late)

        numbered = [(number, line) for number, line in enumerate(lines, first) if line.strip()]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(answer(number, line)) for number, line in numbered]
        return [task.result() for task in tasks]

    async def _write(self, group: str, name: str, answers: Sequence[LineAnswer]) -> tuple[str, int] | None:
        """Write results to a content. Returns its name and size. Raises RecordsFull."""
        if not answers:
            return None
        async with await self._files.new_content(group, name) as content:
            for answer in answers:
                await content.write(answer.line.written())
        try:
            await self._files.make_room()
        except RequestError as exc:
            await self._files.delete_content(group, name)
            raise RecordsFull from exc
        return name, content.size

    async def _fail_without_input(self, record: Record) -> None:
        """Fail a batch whose input was deleted."""
        batch = batch_in(record)
        times = msgspec.structs.replace(batch.times, failed_at=created_now())
        changed = msgspec.structs.replace(batch, problems=[DELETED], times=times)
        await self._records.update(record, Change(state="failed", data=written(changed), due=0))

    async def _is_working(self, batch_id: str) -> bool:
        record = await self._records.get(KIND, batch_id, None)
        return record is not None and record.state in WORKING

    async def _while_wanted(
        self,
        claim: Claim,
        work: Coroutine[Any, Any, None],
        is_wanted: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        """Do work, renew its lease meanwhile, and give it up when it is not wanted any more. Raises LeaseLost."""
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait([task], timeout=SECONDS_BETWEEN_LOOKS))[0]:
                await self._records.renew(claim.lease, runner.LEASE_SECONDS)
                if is_wanted is not None and not await is_wanted():
                    return
            task.result()
        finally:
            await cancel_until_done(task)


def _is_over(record: Record, batch: StoredBatch) -> bool:
    """True if a batch has waited for longer than its window."""
    return seconds_since(record) > batch.window + SECONDS_OF_GRACE


def _result_file(batch: StoredBatch, group: str, parts: Sequence[FilePart], name: str) -> StoredFile:
    expiry = batch.request.output_expires_after
    return StoredFile(
        created_at=created_now(),
        filename=f"{batch.id}_{name}.jsonl",
        purpose="batch_output",
        group=group,
        parts=parts,
        lives=expiry.seconds if expiry else None,
    )
