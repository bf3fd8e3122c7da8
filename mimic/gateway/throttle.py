"""Requests and tokens per minute for each key, with the headers and errors that OpenAI's API has for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from math import ceil
from typing import Any, Final, Protocol

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.openapi.spec import OpenAPIHeader, OpenAPIResponse, OpenAPIType, Operation, Schema
from litestar.types import ASGIApp, Receive, Scope, Send

from mimic.gateway.auth import key_of, require_key
from mimic.gateway.ledger import Ledger
from mimic.gateway.rate_limits import TokenBucket, written
from mimic.server.errors import ApiError

_TEXT: Final = Schema(type=OpenAPIType.STRING)
_HEADERS: Final = {
    f"x-ratelimit-{name}-{unit}": OpenAPIHeader(
        schema=_TEXT, description=f"Where {setting} limits {unit} in a minute: {meaning}."
    )
    for unit, setting in (("requests", "MIMIC_RPM"), ("tokens", "MIMIC_TPM"))
    for name, meaning in (
        ("limit", "how many"),
        ("remaining", "how many are left"),
        ("reset", "in how long all are there again, as `120ms`, `8.64s` or `1m0s`"),
    )
}


@dataclass
class Limited(Operation):
    """A route with limits, for the OpenAPI document: the headers of its answers."""

    def __post_init__(self) -> None:
        self.tell(_HEADERS)

    def tell(self, headers: Mapping[str, OpenAPIHeader]) -> None:
        """Add headers to all answers."""
        for response in (self.responses or {}).values():
            if isinstance(response, OpenAPIResponse):
                response.headers = {**(response.headers or {}), **headers}


class Used(Protocol):
    """How many tokens a request has used."""

    @property
    def prompt_tokens(self) -> int:
        """Of what was asked."""

    @property
    def total_tokens(self) -> int:
        """Of that and of what is answered."""


class Throttle:
    """What each key may ask for in a minute; 0 is no limit. :meth:`admit` is the middleware of the routes that count.

    What a request may still take stands in ``state["admission"]``, where there is a limit.
    """

    def __init__(self, ledger: Ledger, rpm: int, tpm: int) -> None:
        self._ledger = ledger
        self._requests = TokenBucket("requests", rpm) if rpm else None
        self._tokens = TokenBucket("tokens", tpm) if tpm else None

    def admit(self, app: ASGIApp) -> ASGIApp:
        """The application of one route, for requests that are within the limits."""
        if not (self._requests or self._tokens):
            return app

        async def admitted(scope: Scope, receive: Receive, send: Send) -> None:
            connection = ASGIConnection[Any, Any, Any, Any](scope)
            await require_key(connection, scope["route_handler"])  # else wrong keys had buckets, too
            admission = Admission(self._ledger, key_of(connection) or "", scope["state"]["headers"])
            scope["state"]["admission"] = admission
            self._take_one(admission)
            await app(scope, receive, send)

        return admitted

    def _take_one(self, admission: "Admission") -> None:
        if self._tokens:
            admission.tokens = self._tokens
            admission.take(self._tokens, 0)
        if self._requests:
            admission.take(self._requests, 1)


class Admission:
    """One request's way to the buckets of its key. ``headers`` are those of its answer."""

    tokens: TokenBucket | None = None

    def __init__(self, ledger: Ledger, key: str, headers: dict[bytes, bytes]) -> None:
        self._ledger = ledger
        self._name = blake2b(key.encode("latin-1", "replace"), digest_size=16).digest()  # keys are kept nowhere
        self._headers = headers

    def take(self, allowance: TokenBucket, amount: int) -> None:
        """Take so many requests or tokens, and say in the headers what is left. Raises ApiError, 429."""
        bucket = allowance.unit.encode() + self._name
        granted, missing = self._ledger.take(bucket, allowance.seconds_of(amount))
        told = {
            "limit": str(allowance.most),
            "remaining": str(allowance.remaining(missing)),
            "reset": written(missing),
        }
        for name, value in told.items():
            self._headers[f"x-ratelimit-{name}-{allowance.unit}".encode()] = value.encode()
        if not granted:
            raise _refused(allowance, missing, amount)


def spend(request: Request[Any, Any, Any], usage: Used) -> None:
    """Put the tokens of a request on record, and take them from what its key may use. Raises ApiError, 429."""
    state = request.scope["state"]
    state["usage"] = usage
    admission: Admission | None = state.get("admission")
    if admission and admission.tokens:
        admission.take(admission.tokens, usage.total_tokens)


def _refused(allowance: TokenBucket, missing: float, amount: int) -> ApiError:
    wait = allowance.wait(missing, amount)
    headers = {"retry-after": str(ceil(wait - 1e-6)), "retry-after-ms": str(ceil(wait * 1000 - 1e-3))}
    if amount > allowance.most:
        headers = {"x-should-retry": "false"}  # it would never help
    text = allowance.refusal(missing, amount)
    return ApiError(429, text, code="rate_limit_exceeded", headers=headers, kind=allowance.unit)
