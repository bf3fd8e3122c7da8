"""Records in the database of the corpus or, if its user may only read there, in a temporary file."""

from collections.abc import Mapping, Sequence
from types import TracebackType

from mimic.records.base import Change, Claim, Draft, KindSizes, Lease, Order, Record, RecordPage, Records
from mimic.records.files.base import Contents
from mimic.records.mongodb.records import MongoDBRecords


class WritableRecords(Records):
    """The first of two places if it is writable, else the second one. The first use decides, by one query."""

    def __init__(self, first: MongoDBRecords, second: Records) -> None:
        self._first = first
        self._second = second
        self._chosen: Records | None = None

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._first.__aexit__(exc_type, exc, traceback)
        finally:
            await self._second.__aexit__(exc_type, exc, traceback)

    async def _place(self) -> Records:
        if self._chosen is None:
            self._chosen = self._first if await self._first.is_writable() else self._second
        return self._chosen

    async def contents(self) -> Contents:
        return await (await self._place()).contents()

    async def put_all(self, drafts: Sequence[Draft]) -> Sequence[Record]:
        return await (await self._place()).put_all(drafts)

    async def get_all(self, kind: str, ids: Sequence[str], owner: str | None) -> Sequence[Record]:
        return await (await self._place()).get_all(kind, ids, owner)

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
        place = await self._place()
        return await place.page(kind, owner, parent, after=after, before=before, order=order, limit=limit)

    async def delete(self, kind: str, record_id: str, owner: str | None) -> bool:
        return await (await self._place()).delete(kind, record_id, owner)

    async def delete_under(self, kind: str, parent: str, owner: str | None) -> int:
        return await (await self._place()).delete_under(kind, parent, owner)

    async def claim(self, kinds: Sequence[str], seconds: float, record_id: str | None = None) -> Claim | None:
        return await (await self._place()).claim(kinds, seconds, record_id)

    async def renew(self, lease: Lease, seconds: float) -> None:
        await (await self._place()).renew(lease, seconds)

    async def release(self, lease: Lease) -> None:
        await (await self._place()).release(lease)

    async def sweep(self) -> int:
        return await (await self._place()).sweep()

    async def sizes(self) -> Mapping[str, KindSizes]:
        return await (await self._place()).sizes()

    async def browse(self, kind: str | None = None, limit: int = 100) -> Sequence[Record]:
        return await (await self._place()).browse(kind, limit)

    async def clear(self, kind: str | None = None) -> int:
        return await (await self._place()).clear(kind)

    async def _put(self, draft: Draft) -> Record:
        return await (await self._place()).put(draft)

    async def _update(self, record: Record, change: Change, lease: Lease | None) -> Record:
        return await (await self._place()).update(record, change, lease)
