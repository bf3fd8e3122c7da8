"""The store of assistants: those of clients in the records, and those of a setting."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mimic.errors import RecordChanged, RequestError
from mimic.records.base import Change, Draft, Order, Record, Records, new_id
from mimic.spelling import shown
from mimic.stored.pages import ObjectPage
from mimic.wire.openai.assistants.beta import Beta
from mimic.wire.openai.assistants.beta import shown as shown_in
from mimic.wire.openai.assistants.objects import AssistantFields, AssistantObject
from mimic.wire.openai.base import Names, created_now
from mimic.wire.openai.parts import missing

KIND: Final = "assistant"
_is_own_id: Final = re.compile(r"asst_[0-9a-f]{48}").fullmatch
"""Matches the ids that Mimic gives. All other ids are accepted like the name of a model."""


class AssistantStore:
    """Assistants. Each method with an owner finds the stored assistants of this owner only.

    ``configured`` are assistants by their ids, which belong to all owners.
    """

    def __init__(self, records: Records, names: Names, configured: Mapping[str, AssistantFields]) -> None:
        self._records = records
        self._names = names
        self._configured = configured

    async def create(self, fields: AssistantFields, owner: str) -> AssistantObject:
        """Create an assistant. Raises RequestError."""
        if not self._records.is_on:
            raise RequestError(400, "Assistants need records, which MIMIC_RECORDS=off switches off.")
        if fields.model is msgspec.UNSET:
            raise missing("model")
        new = AssistantObject(id=new_id("asst"), created_at=created_now(), model=fields.model)
        assistant = await new.changed(fields)
        data = _written(assistant)
        await self._records.put(Draft(kind=KIND, id=assistant.id, owner=owner, data=data, lives=None))
        return assistant

    async def get(self, assistant_id: str, owner: str) -> AssistantObject:
        """An assistant: stored, of the setting, or the default one for an unknown id. Raises RequestError (404)."""
        record = await self._records.get(KIND, assistant_id, owner)
        if record is not None:
            return _stored_in(record)
        fields = self._configured.get(assistant_id)
        if fields is None and (self._names.strict or _is_own_id(assistant_id)):
            raise _no_assistant(assistant_id)
        default = AssistantObject(id=assistant_id, created_at=0, model=self._names.default)
        return default if fields is None else await default.changed(fields)

    async def update(self, assistant_id: str, fields: AssistantFields, owner: str) -> AssistantObject:
        """Replace the given fields of a stored assistant. Raises RequestError."""
        while True:
            record = await self._find(assistant_id, owner)
            assistant = await _stored_in(record).changed(fields)
            try:
                await self._records.update(record, Change(data=_written(assistant)))
            except RecordChanged:
                continue
            return assistant

    async def delete(self, assistant_id: str, owner: str) -> None:
        """Delete a stored assistant. Raises RequestError (404)."""
        if not await self._records.delete(KIND, assistant_id, owner):
            raise _no_assistant(assistant_id)

    async def page(
        self, owner: str, limit: int, after: str | None, before: str | None, order: Order, beta: Beta
    ) -> ObjectPage:
        """A page of the stored assistants. Raises UnknownCursor."""
        found = await self._records.page(KIND, owner, after=after, before=before, order=order, limit=limit)
        objects: list[dict[str, Any]] = [shown_in(_stored_in(record), beta) for record in found.records]
        return ObjectPage.of(objects, has_more=found.has_more)

    async def _find(self, assistant_id: str, owner: str) -> Record:
        record = await self._records.get(KIND, assistant_id, owner)
        if record is None:
            raise _no_assistant(assistant_id)
        return record


def _written(assistant: AssistantObject) -> bytes:
    return msgspec.json.encode(assistant)


def _stored_in(record: Record) -> AssistantObject:
    return msgspec.json.decode(record.data, type=AssistantObject)


def _no_assistant(assistant_id: str) -> RequestError:
    return RequestError(404, f"No assistant found with id '{shown(assistant_id)}'.")
