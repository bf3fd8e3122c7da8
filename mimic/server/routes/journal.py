"""``/mimic/requests``: the journal of what was asked lately, for tests to look at, and to begin anew."""

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
from mimic.server.error_handlers import documented
from mimic.server.guards import SECURITY, require_key
from mimic.server.options import Defaults

PATH: Final = "/mimic/requests"


def journal_is_on(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """A guard. Raises RequestError, 403, where there is no journal."""
    defaults: Defaults = connection.app.state.defaults
    if not defaults.journal:
        text = "There is no journal: set MIMIC_JOURNAL to how many requests it is to keep, as MIMIC_JOURNAL=1000"
        raise RequestError(403, text, code="journal_disabled")


@get(
    PATH,
    summary="What was asked lately",
    tags=["Tests"],
    description=(
        "The journal of requests, where `MIMIC_JOURNAL` switches it on: all below `/v1`, and every other `POST`. "
        "A request is in it from when it comes; what is not known yet is null."
    ),
    guards=[require_key, journal_is_on],
    security=SECURITY,
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
    security=SECURITY,
    responses=documented(401, 503),
)
async def forget_requests(ledger: NamedDependency[Ledger]) -> None:
    """For all worker processes."""
    if ledger.is_open:
        ledger.reset()
