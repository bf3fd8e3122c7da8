"""Webhooks as OpenAI sends them: events, and their signatures by the rules of Standard Webhooks. Pure."""

import base64
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final, Literal, TypeAlias

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

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - not a secret
KEY_BYTES: Final = 32
LEAST_KEY_BYTES: Final = 24
MOST_KEY_BYTES: Final = 64
"""Bounds of the key in a secret, as Standard Webhooks states them."""
SHOWN_OF_SECRET: Final = 4


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


def new_secret() -> str:
    """A new signing secret."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def parse_secret(text: str) -> str:
    """Check a signing secret. Raises ValueError."""
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not text.startswith(SECRET_PREFIX) or not LEAST_KEY_BYTES <= len(key) <= MOST_KEY_BYTES:
        raise ValueError(
            f"expected {SECRET_PREFIX} and {LEAST_KEY_BYTES} to {MOST_KEY_BYTES} bytes in base64, "
            f'as from: echo "{SECRET_PREFIX}$(openssl rand -base64 {KEY_BYTES})"'
        )
    return text


def hint_of(secret: str) -> str:
    """The end of a secret, to recognize it by."""
    return f"{SECRET_PREFIX}...{re.sub('=+$', '', secret)[-SHOWN_OF_SECRET:]}"


def signed_headers(message_id: str, body: bytes, signing_secrets: Sequence[str], at: int) -> Mapping[str, str]:
    """The headers of a message that is sent at a time in seconds since 1970, with a signature by each secret."""
    moment, text = datetime.fromtimestamp(at, UTC), body.decode()
    signatures = [Webhook(secret).sign(message_id, moment, text) for secret in signing_secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(signatures),
    }
