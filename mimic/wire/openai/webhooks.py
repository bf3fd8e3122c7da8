"""Webhooks as OpenAI sends them: events, and their signatures by the rules of Standard Webhooks. Pure."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Literal, TypeAlias

import msgspec
from standardwebhooks import Webhook

ResponseEventType: TypeAlias = Literal[
    "response.completed", "response.failed", "response.cancelled", "response.incomplete"
]
BatchEventType: TypeAlias = Literal["batch.completed", "batch.failed", "batch.expired", "batch.cancelled"]
EventType: TypeAlias = Literal[
    "response.completed",
    "response.failed",
    "response.cancelled",
    "response.incomplete",
    "batch.completed",
    "batch.failed",
    "batch.expired",
    "batch.cancelled",
    "eval.run.succeeded",
    "eval.run.failed",
    "eval.run.canceled",
    "fine_tuning.job.succeeded",
    "fine_tuning.job.failed",
    "fine_tuning.job.cancelled",
    "realtime.call.incoming",
    "video.completed",
    "video.failed",
    "agent.environment.ready",
    "agent.environment.failed",
    "agent.environment.suspended",
    "agent.environment.expired",
    "agent.session.created",
    "agent.session.action_required",
    "agent.session.in_progress",
    "agent.session.idle",
    "agent.session.failed",
    "safety.alert.created",
]
"""Types of events that OpenAI's endpoints may ask for."""


class EventData(msgspec.Struct, frozen=True):
    """The object of an event."""

    id: str


class WebhookEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it is sent. ``created_at`` is in seconds since 1970."""

    id: str
    object: Literal["event"] = "event"
    created_at: int
    type: str
    data: EventData

    @classmethod
    def of(cls, event_type: str, object_id: str, created_at: int) -> "WebhookEvent":
        """The event of an object. Its id follows from type and object: the event may be made twice."""
        return cls(
            id=fixed_id("evt", event_type, object_id),
            created_at=created_at,
            type=event_type,
            data=EventData(object_id),
        )


def fixed_id(prefix: str, *parts: str) -> str:
    """An id that follows from its parts, which no part contains a NUL of."""
    return f"{prefix}_{blake2b(chr(0).join(parts).encode(), digest_size=24).hexdigest()}"


def signed_headers(message_id: str, body: bytes, signing_secrets: Sequence[str], at: int) -> Mapping[str, str]:
    """The headers of a message that is sent at a time in seconds since 1970, with a signature by each secret."""
    moment, text = datetime.fromtimestamp(at, UTC), body.decode()
    signatures = [Webhook(secret).sign(message_id, moment, text) for secret in signing_secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(signatures),
    }
