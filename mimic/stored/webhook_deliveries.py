"""Deliveries of webhooks: an event and a target, the attempts so far, and the pauses between them.

A delivery is a job. Its id follows from event and target, so it exists once, although its event may be announced twice.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec

from mimic.records.base import Change, Claim, Draft, Order, Record, Records
from mimic.stored.pages import ObjectPage
from mimic.stored.webhook_endpoints import EndpointStore
from mimic.wire.openai.webhooks import WebhookEvent, fixed_id

KIND: Final = "webhook_delivery"
OF_SETTING: Final = "setting-"
"""Prefix of a target in the settings, before its number."""
SECONDS_LISTED: Final = 86_400.0
"""Seconds that a delivery is listed after its last attempt."""
MOST_ATTEMPTS: Final = 20
"""Attempts that a delivery keeps for lists: the newest ones."""
LONGEST_PAUSE: Final = 3_600.0

DeliveryStatus: TypeAlias = Literal["pending", "delivered", "failed"]


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt at a time in Unix seconds: the status of the answer, or the reason for its absence."""

    at: int
    status_code: int | None = None
    error: str | None = None

    @property
    def is_successful(self) -> bool:
        """Return True if the target acknowledged the event."""
        return self.status_code is not None and 200 <= self.status_code < 300  # noqa: PLR2004 - 2xx


class StoredDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a record. ``target`` is the id of an endpoint, or a number of the settings. ``tries`` counts all."""

    event: WebhookEvent
    target: str
    attempts: Sequence[Attempt] = ()
    tries: int = 0

    def after(self, attempt: Attempt) -> "StoredDelivery":
        """The delivery with one more attempt."""
        attempts = [*self.attempts, attempt][-MOST_ATTEMPTS:]
        return msgspec.structs.replace(self, attempts=attempts, tries=self.tries + 1)


class DeliveryObject(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery. Its id is the header ``webhook-id``; a target in the settings has no endpoint."""

    id: str
    object: Literal["webhook_delivery"] = "webhook_delivery"
    created_at: int
    status: DeliveryStatus
    webhook_endpoint_id: str | None
    event: WebhookEvent
    tries: int
    attempts: Sequence[Attempt]


class DeliveryStore:
    """Deliveries in the records. ``targets`` is the number of targets in the settings.

    ``window`` is the sum of the pauses between attempts, in seconds, after which a delivery fails.
    """

    def __init__(self, records: Records, endpoints: EndpointStore, targets: int, window: float) -> None:
        self._records = records
        self._endpoints = endpoints
        self._targets = [f"{OF_SETTING}{number}" for number in range(targets)]
        self._window = window

    async def targets(self, event_type: str, owner: str) -> Sequence[str]:
        """The targets that want events of this type of this owner: those of the settings, and the owner's endpoints."""
        endpoints = await self._endpoints.all(owner)
        return [*self._targets, *(one for one, stored in endpoints if event_type in stored.event_types)]

    async def announce(self, event: WebhookEvent, owner: str) -> None:
        """Create a delivery for each target. Deliveries that exist stay as they are."""
        drafts = [
            Draft(
                kind=KIND,
                id=fixed_id("wh", event.id, target),
                owner=owner,
                state="pending",
                data=msgspec.json.encode(StoredDelivery(event=event, target=target)),
                lives=self._window + SECONDS_LISTED,
                due=0,
            )
            for target in await self.targets(event.type, owner)
        ]
        await self._records.put_all(drafts)

    async def record(self, claim: Claim, attempt: Attempt, *, may_retry: bool = True) -> DeliveryStatus:
        """Write the outcome of an attempt: the end of the delivery, or a pause. Raises RecordChanged."""
        delivery = stored_in(claim.record).after(attempt)
        pause = pause_after(delivery.tries, self._window) if may_retry else None
        status: DeliveryStatus = "pending"
        if attempt.is_successful or pause is None:
            status, pause = "delivered" if attempt.is_successful else "failed", None
        lives = SECONDS_LISTED if pause is None else msgspec.UNSET
        change = Change(data=msgspec.json.encode(delivery), state=status, due=pause, lives=lives)
        await self._records.update(claim.record, change, claim.lease)
        return status

    async def page(self, owner: str, limit: int, after: str | None, order: Order) -> ObjectPage:
        """A page of deliveries. Raises UnknownCursor."""
        found = await self._records.page(KIND, owner, after=after, order=order, limit=limit)
        return ObjectPage.of([_shown(record) for record in found.records], has_more=found.has_more)


def pause_after(tries: int, window: float) -> float | None:
    """Seconds until the next attempt: 1, 2, 4 and so on, up to an hour. None if the pauses exceed the window."""
    pauses = [min(2.0**number, LONGEST_PAUSE) for number in range(tries)]
    return pauses[-1] if sum(pauses) <= window else None


def stored_in(record: Record) -> StoredDelivery:
    """The delivery in a record."""
    return msgspec.json.decode(record.data, type=StoredDelivery)


def _shown(record: Record) -> dict[str, Any]:
    stored = stored_in(record)
    shown: dict[str, Any] = msgspec.to_builtins(
        DeliveryObject(
            id=record.id,
            created_at=int(record.created),
            status=record.state,  # type: ignore[arg-type]
            webhook_endpoint_id=None if stored.target.startswith(OF_SETTING) else stored.target,
            event=stored.event,
            tries=stored.tries,
            attempts=stored.attempts,
        )
    )
    return shown
