"""Guards of the routes below ``/v1``, and the query parameters of their lists of items."""

from typing import Annotated, Final, Literal

from litestar.params import QueryParameter

from mimic.server.guards import require_key
from mimic.server.request_ids import check_client_id

GUARDS: Final = (require_key, check_client_id)
MOST_ITEMS: Final = 100

ItemLimit = Annotated[int, QueryParameter(description="The maximum number of items.", ge=1, le=MOST_ITEMS)]
ItemOrder = Annotated[
    Literal["asc", "desc"], QueryParameter(description="The order of the items: `desc` begins with the last one.")
]
AfterItem = Annotated[str | None, QueryParameter(description="The id of the item before the page.")]
