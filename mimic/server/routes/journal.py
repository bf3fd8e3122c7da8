"""``/mimic/requests``: the journal of recent requests, which tests can read and reset."""

from typing import Annotated, Any, Final

import msgspec
from litestar import Response, delete, get
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter

from mimic.errors import RequestError
from mimic.gateway.journal import MOST_ENTRIES, Requests
from mimic.gateway.ledger import Ledger
from mimic.server.error_handlers import error_responses
from mimic.server.guards import SECURITY, require_key
from mimic.server.options import Defaults

PATH: Final = "/mimic/requests"


def journal_is_on(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Guard a route. Raises RequestError (403) if there is no journal."""
    defaults: Defaults = connection.app.state.defaults
    if not defaults.journal:
        text = "There is no journal: set MIMIC_JOURNAL to the number of requests to keep, such as MIMIC_JOURNAL=1000"
        raise RequestError(403, text, code="journal_disabled")


@get(
    PATH,
    summary="Recent requests",
    tags=["Tests"],
    description=(
        "The journal of requests, if `MIMIC_JOURNAL` is set: all requests below `/v1`, and every other `POST`. "
        "A request is added when it arrives; values that are not known yet are null."
    ),
    guards=[require_key, journal_is_on],
    security=SECURITY,
    responses={
        200: ResponseSpec(Requests, description="The newest requests, in order of arrival.", generate_examples=False),
        **error_responses(400, 401, 403, 503),
    },
)
async def recent_requests(
    ledger: NamedDependency[Ledger],
    limit: Annotated[
        int, QueryParameter(description="The maximum number of requests.", ge=1, le=MOST_ENTRIES)
    ] = MOST_ENTRIES,
    route: Annotated[
        str | None, QueryParameter(description="Only requests of this route, such as `/v1/chat/completions`.")
    ] = None,
) -> Response[Any]:
    """Return the recent requests of all worker processes."""
    total, entries = ledger.read(limit, route)
    return Response({"total": total, "requests": [msgspec.Raw(entry) for entry in entries]})


@delete(
    PATH,
    summary="Reset",
    tags=["Tests"],
    description=(
        "Empties the journal, refills the rate limits of `MIMIC_RPM` and `MIMIC_TPM`, and, if `MIMIC_FAULT_SEED` is "
        "set, restarts the faults of `MIMIC_FAULTS`."
    ),
    guards=[require_key],
    security=SECURITY,
    responses=error_responses(401, 503),
)
async def forget_requests(ledger: NamedDependency[Ledger]) -> None:
    """Reset the journal, limits and faults of all worker processes."""
    if ledger.is_open:
        ledger.reset()
