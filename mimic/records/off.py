"""Records that are switched off: nothing is stored, and nothing is found."""

import time
from collections.abc import Mapping, Sequence
from types import TracebackType

from mimic.errors import LeaseLost, RecordChanged, UnknownCursor
from mimic.records.base import Change, Claim, Draft, KindSizes, Lease, Order, Record, RecordPage, Records
from mimic.records.files.base import Contents
from mimic.records.files.off import NoContents


class NoRecords(Records):
    """Every draft is accepted and forgotten."""

    is_on = False

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    async def contents(self) -> Contents:
        return NoContents()

    async def get_all(self, kind: str, ids: Sequence[str], owner: str | None) -> Sequence[Record]:
        return []

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
        if cursor := after or before:
            raise UnknownCursor(cursor)
        return RecordPage([], has_more=False)

    async def delete(self, kind: str, record_id: str, owner: str | None) -> bool:
        return False

    async def delete_under(self, kind: str, parent: str, owner: str | None) -> int:
        return 0

    async def claim(self, kinds: Sequence[str], seconds: float, record_id: str | None = None) -> Claim | None:
        return None

    async def renew(self, lease: Lease, seconds: float) -> None:
        raise LeaseLost

    async def release(self, lease: Lease) -> None:
        pass

    async def sweep(self) -> int:
        return 0

    async def sizes(self) -> Mapping[str, KindSizes]:
        return {}

    async def browse(self, kind: str | None = None, limit: int = 100) -> Sequence[Record]:
        return []

    async def clear(self, kind: str | None = None) -> int:
        return 0

    async def _put(self, draft: Draft) -> Record:
        now = time.time()
        return Record(
            kind=draft.kind,
            id=draft.id,
            owner=draft.owner,
            parent=draft.parent,
            position=round(now * 1e6) if draft.position is None else draft.position,
            state=draft.state,
            data=draft.data,
            created=now,
            expires=None,
            due=None if draft.due is None else now + draft.due,
            revision=1,
            generation=0,
            holder=None,
        )

    async def _update(self, record: Record, change: Change, lease: Lease | None) -> Record:
        raise RecordChanged
