"""Faults on purpose: which one befalls a request, by its header or by the settings; and those before an answer.

Those in the middle of an answer are in ``mimic.api.openai.mishaps``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.openapi.spec import OpenAPIHeader, OpenAPIMediaType, OpenAPIResponse, OpenAPIType, Parameter, Schema
from litestar.types import ASGIApp, Receive, Scope, Send

from mimic.api.errors import ApiError, ErrorBody, ErrorDetail, type_of
from mimic.api.keys import require_key
from mimic.api.replies import EVENTS
from mimic.api.throttle import Limited
from mimic.moods import NONE, Chance, Mood, drawn, parse_mood
from mimic.server.http11.asgi import hang_up

FAULT_HEADER: Final = "x-mimic-fault"
QUOTA: Final = "insufficient_quota"

_CODES: Final = {429: "rate_limit_exceeded", 503: "server_is_overloaded", 401: "invalid_api_key"}
_OF_QUOTA: Final = frozenset({QUOTA, "credit_balance_exhausted"})
"""Codes that OpenAI has for a 429 of another type, which waiting does not help."""


@dataclass
class Moody(Limited):
    """A route with faults, for the OpenAPI document: the header that asks for one, and the one that tells of it.

    What it answers may also be a stream.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        answer = (self.responses or {}).get("200")
        if isinstance(answer, OpenAPIResponse) and answer.content:
            answer.content[EVENTS] = OpenAPIMediaType(schema=Schema(description="Server-sent events."))
        text = Schema(type=OpenAPIType.STRING, examples=["status=429; retry-after=2"])
        asking = (
            "A fault on purpose: status=NNN, disconnect, stall, malformed, error, slow-headers, empty or none, "
            "with what goes with it, as `stall; after=5; seconds=30`."
        )
        header = Parameter(name=FAULT_HEADER, param_in="header", schema=text, description=asking)
        self.parameters = [*(self.parameters or ()), header]
        self.tell({FAULT_HEADER: OpenAPIHeader(schema=text, description="The fault that befell the request, if any.")})


class Moods:
    """The faults of some routes; :meth:`befall` is their middleware. ``point`` is where on the line of chances to draw.

    What is to happen in the middle of an answer stands in ``state["mood"]``, what has happened in ``state["fault"]``.
    """

    def __init__(self, chances: Sequence[Chance], point: Callable[[], float]) -> None:
        self._chances = chances
        self._point = point

    def befall(self, app: ASGIApp) -> ASGIApp:
        """The application of one route, and what befalls its requests."""

        async def moody(scope: Scope, receive: Receive, send: Send) -> None:
            mood = await self._mood(scope)
            scope["state"]["mood"] = mood
            if mood and mood.kind == "status":
                scope["state"]["fault"] = mood
                await _refuse(mood, send)
            elif mood and mood.kind == "disconnect" and not mood.after:
                scope["state"]["fault"] = mood
                while (await receive()).get("more_body"):  # else what is not read yet makes it a reset, or not
                    pass
                await hang_up(scope, receive)
            else:
                await app(scope, receive, send)

        return moody

    async def _mood(self, scope: Scope) -> Mood | None:
        """Raises ApiError where the header does not parse, or a key is asked for and missing."""
        text = next((value for name, value in scope["headers"] if name == b"x-mimic-fault"), None)
        if text is None and not self._chances:
            return None
        await require_key(ASGIConnection(scope), scope["route_handler"])
        if text is None:
            return drawn(self._chances, self._point())
        if text.strip() == NONE.encode():
            return None
        try:
            return parse_mood(text.decode("latin-1"))
        except ValueError as exc:
            raise ApiError(
                400, f"Invalid header '{FAULT_HEADER}': {exc}.", param=FAULT_HEADER, code="invalid_value"
            ) from None


def befallen(request: Request[Any, Any, Any]) -> Mood | None:
    """The fault that befalls this answer, which is on record from now on."""
    mood: Mood | None = request.scope["state"].get("mood")
    if mood:
        request.scope["state"]["fault"] = mood
    return mood


def error_of(mood: Mood, status: int) -> ErrorBody:
    """What is told of a fault, in OpenAI's shape, by default with its type and code for that status."""
    code = mood.code or _CODES.get(status)
    kind = mood.type or (QUOTA if code in _OF_QUOTA else type_of(status))
    return ErrorBody(ErrorDetail(f"{_phrase(status)}: a fault on purpose ({mood})", kind, None, code))


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in _STATUSES else f"Error {status}"


_STATUSES: Final = frozenset(HTTPStatus)


async def _refuse(mood: Mood, send: Send) -> None:
    body = msgspec.json.encode(error_of(mood, mood.status or 0))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if mood.retry_after is not None:
        headers.append((b"retry-after", f"{mood.retry_after:g}".encode()))
    if mood.should_retry is not None:
        headers.append((b"x-should-retry", str(mood.should_retry).lower().encode()))
    await send({"type": "http.response.start", "status": mood.status or 0, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
