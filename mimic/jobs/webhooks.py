"""The sender of webhooks: it signs an event and sends it to a target, as an attempt of a delivery or as a test."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import structlog

from mimic.errors import RequestError, WebhookFailed
from mimic.jobs.posting import Poster
from mimic.records.base import Claim, new_id
from mimic.stored.webhook_deliveries import OF_SETTING, Attempt, DeliveryStore, stored_in
from mimic.stored.webhook_endpoints import EndpointStore
from mimic.stored.webhook_targets import WebhookOptions
from mimic.wire.openai.base import created_now
from mimic.wire.openai.webhooks import EventData, EventType, WebhookEvent, signed_headers

log = structlog.get_logger("mimic")

SAMPLE_PREFIXES: Final[Mapping[str, str]] = {
    "response": "resp",
    "batch": "batch",
    "eval": "evalrun",
    "fine_tuning": "ftjob",
    "realtime": "rtc",
    "video": "video",
    "agent": "agent",
    "safety": "alert",
}
"""Prefixes of ids in tests, by the first word of the event's type."""


class _Target(msgspec.Struct, frozen=True):
    url: str
    secrets: Sequence[str]
    is_checked: bool


class WebhookSender:
    """Sends events to endpoints and to the targets of the settings."""

    def __init__(
        self, endpoints: EndpointStore, deliveries: DeliveryStore, poster: Poster, options: WebhookOptions
    ) -> None:
        self._endpoints = endpoints
        self._deliveries = deliveries
        self._poster = poster
        self._options = options

    async def deliver(self, claim: Claim) -> None:
        """Attempt a delivery, and write the outcome. Raises RecordChanged if another process has taken it over."""
        stored, now = stored_in(claim.record), created_now()
        target = await self._target_of(stored.target, now)
        if target is None:
            attempt = Attempt(at=now, error="target_removed")
        else:
            attempt = await self._attempt(target, claim.record.id, stored.event, now)
        status = await self._deliveries.record(claim, attempt, may_retry=target is not None)
        if status == "failed":
            log.warning(
                "a webhook was not delivered",
                delivery=claim.record.id,
                tries=stored.tries + 1,
                reason=attempt.error or attempt.status_code,
            )

    async def test(self, endpoint_id: str, owner: str, event_type: EventType) -> int:
        """Send a sample event to an endpoint, and return the status of its answer. Raises RequestError."""
        stored, now = await self._endpoints.stored(endpoint_id, owner), created_now()
        target = _Target(stored.url, stored.secrets_at(now), is_checked=True)
        sample = EventData(new_id(SAMPLE_PREFIXES[event_type.partition(".")[0]]))
        event = WebhookEvent(id=new_id("evt"), created_at=now, type=event_type, data=sample)
        attempt = await self._attempt(target, new_id("wh"), event, now)
        if attempt.status_code is None:
            text = f"The endpoint did not answer: {attempt.error}."
            raise RequestError(400, text, code="webhook_endpoint_unreachable")
        return attempt.status_code

    async def _target_of(self, name: str, now: int) -> _Target | None:
        """The target of a delivery, or None if it was removed meanwhile."""
        if name.startswith(OF_SETTING):
            number = int(name.removeprefix(OF_SETTING))
            if number >= len(self._options.urls):
                return None
            return _Target(self._options.urls[number], [self._options.secret], is_checked=False)
        try:
            stored = await self._endpoints.stored(name)
        except RequestError:
            return None
        return _Target(stored.url, stored.secrets_at(now), is_checked=True)

    async def _attempt(self, target: _Target, message_id: str, event: WebhookEvent, now: int) -> Attempt:
        body = msgspec.json.encode(event)
        headers = signed_headers(message_id, body, target.secrets, now)
        try:
            status = await self._poster.post(target.url, headers, body, is_checked=target.is_checked)
        except WebhookFailed as exc:
            return Attempt(at=now, error=exc.reason)
        return Attempt(at=now, status_code=status)
