"""``/mimic/requests``: the journal of what was asked lately, for tests to look at, and to begin anew."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
import structlog
from litestar import Response, delete, get
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter
from litestar.types import HTTPResponseStartEvent, HTTPScope

from mimic.api.errors import ApiError, documented
from mimic.api.keys import SECURITY_SCHEME, require_key
from mimic.errors import StoreError
from mimic.journal import MOST_ENTRIES, Entry, Requests, shortened
from mimic.ledger import Ledger
from mimic.moods import Mood
from mimic.server.http11.asgi import ENDED_WITH
from mimic.settings import Settings

log = structlog.get_logger("mimic")

PATH: Final = "/mimic/requests"
OPENAI_PREFIX: Final = "/v1/"
CLIENT_LEFT: Final = 499


class Journal:
    """The newest ``most`` requests, in the ledger. An entry that cannot be written is lost, and the log says so."""

    def __init__(self, ledger: Ledger, most: int) -> None:
        self._ledger = ledger
        self._most = most

    def open(self, entry: Entry) -> int:
        """Put a request on record that came in just now; returns its number."""
        try:
            return self._ledger.write(entry.id, entry.route, msgspec.json.encode(entry), self._most)
        except StoreError as exc:
            log.warning("a request is not in the journal", request_id=entry.id, cause=repr(exc.__cause__))
            return 0

    def close(self, number: int, entry: Entry) -> None:
        """Put on record how it ended."""
        try:
            self._ledger.rewrite(number, entry.id, entry.route, msgspec.json.encode(entry))
        except StoreError as exc:
            log.warning("how a request ended is not in the journal", request_id=entry.id, cause=repr(exc.__cause__))


class Record:
    """One request on its way into the journal: it is there from the beginning, and again when it has ended."""

    def __init__(self, journal: Journal, scope: HTTPScope, state: Mapping[str, Any]) -> None:
        self._journal = journal
        self._state = state
        path = shortened(scope["path"]) or ""
        now = datetime.now(UTC)
        # Which route it is nobody knows yet; most have no parameters.
        entry = Entry(id=state["request_id"], at=now, method=scope["method"], path=path, route=path)
        self._entry = entry
        self._number = journal.open(entry)

    def begin(self, message: HTTPResponseStartEvent, seconds: float) -> None:
        """The answer begins."""
        headers = dict(message["headers"])
        self._entry = msgspec.structs.replace(
            self._entry,
            status=message["status"],
            match=_header(headers, b"x-mimic-match"),
            source=_header(headers, b"x-mimic-source"),
            score=_header(headers, b"x-mimic-score"),
            streamed=headers.get(b"content-type", b"").startswith(b"text/event-stream"),
            first_byte_ms=round(seconds * 1000, 1),
        )

    def end(self, route: str, seconds: float, *, client_left: bool) -> None:
        """It is over."""
        usage, fault = self._state.get("usage"), self._state.get("fault")
        ended_with = self._state.get(ENDED_WITH)
        entry = msgspec.structs.replace(
            self._entry,
            route=route,
            model=shortened(self._state.get("model")),
            version=self._state.get("version"),
            prompt_tokens=usage and usage.prompt_tokens,
            completion_tokens=usage and usage.total_tokens - usage.prompt_tokens,
            last_byte_ms=round(seconds * 1000, 1),
            fault=fault and str(fault),
            status=ended_with or self._entry.status,
            client_left=not ended_with and (client_left or has_left(self._entry.status, fault)),
        )
        self._journal.close(self._number, entry)


def has_left(status: int | None, fault: Mood | None) -> bool:
    """Whether a request ended since its client left: 499 may also be a status that was asked for."""
    return status == CLIENT_LEFT and not (fault and fault.kind == "status")


def is_recorded(scope: HTTPScope) -> bool:
    """Whether a request is for the journal: what clients ask, not what watches the server."""
    return scope["path"].startswith(OPENAI_PREFIX) or scope["method"] == "POST"


def _header(headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else shortened(value.decode("latin-1"))


def journal_is_on(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """A guard. Raises ApiError, 403, where there is no journal."""
    settings: Settings = connection.app.state.settings
    if not settings.journal:
        text = "There is no journal: set MIMIC_JOURNAL to how many requests it is to keep, as MIMIC_JOURNAL=1000"
        raise ApiError(403, text, code="journal_disabled")


@get(
    PATH,
    summary="What was asked lately",
    tags=["Tests"],
    description=(
        "The journal of requests, where `MIMIC_JOURNAL` switches it on: all below `/v1`, and every other `POST`. "
        "A request is in it from when it comes; what is not known yet is null."
    ),
    guards=[require_key, journal_is_on],
    security=[{SECURITY_SCHEME: []}, {}],
    responses={
        200: ResponseSpec(Requests, description="The newest, in the order they came.", generate_examples=False),
        **documented(400, 401, 403, 503),
    },
)
async def recent_requests(
    ledger: NamedDependency[Ledger],
    limit: Annotated[int, QueryParameter(description="The newest so many.", ge=1, le=MOST_ENTRIES)] = MOST_ENTRIES,
    route: Annotated[str | None, QueryParameter(description="Of a route, as `/v1/chat/completions`.")] = None,
) -> Response[Any]:
    """Whichever worker process answered them."""
    total, entries = ledger.read(limit, route)
    return Response({"total": total, "requests": [msgspec.Raw(entry) for entry in entries]})


@delete(
    PATH,
    summary="Begin anew",
    tags=["Tests"],
    description=(
        "Empties the journal, fills up what `MIMIC_RPM` and `MIMIC_TPM` allow each key, and lets the faults of "
        "`MIMIC_FAULTS` begin again with the first, where `MIMIC_FAULT_SEED` is set."
    ),
    guards=[require_key],
    security=[{SECURITY_SCHEME: []}, {}],
    responses=documented(401, 503),
)
async def forget_requests(ledger: NamedDependency[Ledger], settings: NamedDependency[Settings]) -> None:
    """For all worker processes."""
    if settings.needs_ledger:
        ledger.reset()
