"""The store of webhook endpoints: URLs that clients register for events of their responses."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import msgspec

from mimic.errors import RecordChanged, RequestError
from mimic.records.base import Change, Draft, Record, Records, new_id
from mimic.spelling import shown
from mimic.stored.pages import ObjectPage
from mimic.stored.webhook_targets import TargetGuard
from mimic.wire.openai.webhook_secrets import hint_of, new_secret
from mimic.wire.openai.webhooks import EventType

KIND: Final = "webhook_endpoint"
MOST: Final = 100
"""Endpoints of an owner."""
NEVER: Final = 10 * 365 * 86_400.0
"""Seconds until an endpoint is due, for no work: the bounds of the records remove finished records only."""
SECONDS_OF_OLD_SECRET: Final = 86_400


class StoredEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a record. Events are also signed with the old secret until ``old_until``. Times are Unix seconds."""

    created_at: int
    updated_at: int
    name: str
    url: str
    event_types: Sequence[EventType]
    secret: str
    old_secret: str | None = None
    old_until: int = 0

    def secrets_at(self, now: int) -> Sequence[str]:
        """The secrets that sign an event."""
        return [self.secret, self.old_secret] if self.old_secret and now < self.old_until else [self.secret]


class WebhookEndpointObject(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook endpoint. Its secret is shown when it is created or rotated only."""

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    created_at: int
    updated_at: int
    name: str
    url: str
    event_types: Sequence[EventType]
    signing_secret_hint: str
    signing_secret: str | msgspec.UnsetType = msgspec.UNSET


class EndpointStore:
    """Webhook endpoints in the records. Each method with an owner finds the endpoints of this owner only.

    ``now`` is the time of a change, in Unix seconds.
    """

    def __init__(self, records: Records, guard: TargetGuard) -> None:
        self._records = records
        self._guard = guard

    async def create(
        self, owner: str, name: str, url: str, event_types: Sequence[EventType], now: int
    ) -> WebhookEndpointObject:
        """Create an endpoint with a new secret. Raises RequestError for a URL that is not allowed."""
        if not self._records.is_on:
            raise RequestError(400, "Webhook endpoints need records, which MIMIC_RECORDS=off switches off.")
        await self._guard.check(url)
        if len(await self.all(owner)) >= MOST:
            raise RequestError(
                400, f"There are {MOST} webhook endpoints already: delete one.", code="too_many_endpoints"
            )
        stored = StoredEndpoint(
            created_at=now, updated_at=now, name=name, url=url, event_types=event_types, secret=new_secret()
        )
        endpoint_id = new_id("whe")
        await self._records.put(
            Draft(kind=KIND, id=endpoint_id, owner=owner, data=_written(stored), lives=None, due=NEVER)
        )
        return _shown(endpoint_id, stored, has_secret=True)

    async def get(self, endpoint_id: str, owner: str) -> WebhookEndpointObject:
        """An endpoint. Raises RequestError (404)."""
        return _shown(endpoint_id, stored_in(await self._find(endpoint_id, owner)))

    async def update(self, endpoint_id: str, owner: str, now: int, **changes: Any) -> WebhookEndpointObject:
        """Change fields of StoredEndpoint. Raises RequestError (404), and for a URL that is not allowed."""
        if "url" in changes:
            await self._find(endpoint_id, owner)
            await self._guard.check(changes["url"])

        def change(stored: StoredEndpoint) -> StoredEndpoint:
            changed = msgspec.structs.replace(stored, **changes)
            return stored if changed == stored else msgspec.structs.replace(changed, updated_at=now)

        return _shown(endpoint_id, await self._change(endpoint_id, owner, change))

    async def rotate(self, endpoint_id: str, owner: str, now: int, *, keeps_old: bool) -> WebhookEndpointObject:
        """Replace the secret, and return the new one. The old one may sign for a day. Raises RequestError (404)."""

        def change(stored: StoredEndpoint) -> StoredEndpoint:
            return msgspec.structs.replace(
                stored,
                secret=new_secret(),
                updated_at=now,
                old_secret=stored.secret if keeps_old else None,
                old_until=now + SECONDS_OF_OLD_SECRET if keeps_old else 0,
            )

        return _shown(endpoint_id, await self._change(endpoint_id, owner, change), has_secret=True)

    async def delete(self, endpoint_id: str, owner: str) -> None:
        """Delete an endpoint: its deliveries end. Raises RequestError (404)."""
        if not await self._records.delete(KIND, endpoint_id, owner):
            raise _no_endpoint(endpoint_id)

    async def page(self, owner: str, limit: int, after: str | None) -> ObjectPage:
        """A page of endpoints, the newest first. Raises UnknownCursor."""
        found = await self._records.page(KIND, owner, after=after, order="desc", limit=limit)
        objects = [msgspec.to_builtins(_shown(record.id, stored_in(record))) for record in found.records]
        return ObjectPage.of(objects, has_more=found.has_more)

    async def all(self, owner: str) -> Sequence[tuple[str, StoredEndpoint]]:
        """All endpoints with their ids."""
        found = await self._records.page(KIND, owner, limit=MOST)
        return [(record.id, stored_in(record)) for record in found.records]

    async def stored(self, endpoint_id: str, owner: str | None = None) -> StoredEndpoint:
        """An endpoint with its secret, of any owner by default. Raises RequestError (404)."""
        return stored_in(await self._find(endpoint_id, owner))

    async def _find(self, endpoint_id: str, owner: str | None) -> Record:
        record = await self._records.get(KIND, endpoint_id, owner)
        if record is None:
            raise _no_endpoint(endpoint_id)
        return record

    async def _change(
        self, endpoint_id: str, owner: str, change: Callable[[StoredEndpoint], StoredEndpoint]
    ) -> StoredEndpoint:
        while True:
            record = await self._find(endpoint_id, owner)
            changed = change(stored_in(record))
            try:
                await self._records.update(record, Change(data=_written(changed)))
            except RecordChanged:  # another request changed it
                continue
            return changed


def _shown(endpoint_id: str, stored: StoredEndpoint, *, has_secret: bool = False) -> WebhookEndpointObject:
    return WebhookEndpointObject(
        id=endpoint_id,
        created_at=stored.created_at,
        updated_at=stored.updated_at,
        name=stored.name,
        url=stored.url,
        event_types=stored.event_types,
        signing_secret_hint=hint_of(stored.secret),
        signing_secret=stored.secret if has_secret else msgspec.UNSET,
    )


def _written(stored: StoredEndpoint) -> bytes:
    return msgspec.json.encode(stored)


def stored_in(record: Record) -> StoredEndpoint:
    """The endpoint in a record."""
    return msgspec.json.decode(record.data, type=StoredEndpoint)


def _no_endpoint(endpoint_id: str) -> RequestError:
    return RequestError(404, f"Webhook endpoint with id '{shown(endpoint_id)}' not found.")
