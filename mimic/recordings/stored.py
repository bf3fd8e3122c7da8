"""Recordings in the records, beside the corpus: a record for each request."""

from collections.abc import Sequence
from typing import Final

import msgspec

from mimic.errors import RecordChanged
from mimic.recordings.base import Recording, Recordings, extended
from mimic.recordings.identity import Identity
from mimic.records.base import Change, Draft, Records

KIND: Final = "recording"
PAGE: Final = 100

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[Recording]).decode


class StoredRecordings(Recordings):
    """Recordings in the records. They do not expire; the bounds of the records hold for them."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def find(self, identity: Identity) -> Sequence[Recording]:
        record = await self._records.get(KIND, identity.key, None)
        return () if record is None else _decode(record.data)

    async def add(self, recording: Recording) -> bool:
        while True:
            first = _encode([recording])
            record = await self._records.put(Draft(kind=KIND, id=recording.key, data=first, lives=None))
            kept = _decode(record.data)
            changed = extended(kept, recording)
            if changed is None:
                return record.revision == 1 and record.data == first
            try:
                await self._records.update(record, Change(data=_encode(changed)))
            except RecordChanged:  # another process was quicker
                continue
            return True

    async def all(self) -> Sequence[Recording]:
        found: list[Recording] = []
        after = None
        while True:
            page = await self._records.page(KIND, "", after=after, limit=PAGE)
            found += [one for record in page.records for one in _decode(record.data)]
            if not page.has_more:
                return found
            after = page.records[-1].id

    async def delete(self, key: str) -> int:
        record = await self._records.get(KIND, key, None)
        if record is None or not await self._records.delete(KIND, key, None):
            return 0
        return len(_decode(record.data))
