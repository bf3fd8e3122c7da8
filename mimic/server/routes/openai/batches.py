"""Routes of batches."""

from typing import Annotated, Final

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter, QueryParameter

from mimic.server.error_handlers import error_responses
from mimic.server.routes.openai.shared import GUARDS, AfterItem
from mimic.stored.batches import BatchPage, BatchStore
from mimic.wire.openai.batches import BatchObject, NewBatch

PATH: Final = "/v1/batches"
BATCH_PATH: Final = f"{PATH}/{{batch_id:str}}"
MOST: Final = 100
WITH_METHODS: Final = (PATH,)
"""Paths with several methods."""

Limit = Annotated[int, QueryParameter(description="The maximum number of batches.", ge=0, le=MOST)]
BatchId = Annotated[str, PathParameter(description="The id of a batch.", min_length=1, max_length=200)]


@post(
    PATH,
    status_code=200,
    summary="Create a batch",
    guards=GUARDS,
    description="Answers the requests in a file, one a line, in the background.",
    responses=error_responses(400, 401, 413, 415, 503),
)
async def create_batch(
    data: JSONBody[NewBatch], batches: NamedDependency[BatchStore], owner: NamedDependency[str]
) -> BatchObject:
    """Create a batch."""
    return await batches.create(data, owner)


@get(
    PATH,
    summary="List the batches",
    guards=GUARDS,
    responses=error_responses(400, 401, 503),
)
async def list_batches(
    batches: NamedDependency[BatchStore],
    owner: NamedDependency[str],
    limit: Limit = 20,
    after: AfterItem = None,
) -> BatchPage:
    """Return a page of the batches, the newest first."""
    return await batches.page(owner, limit, after)


@get(
    BATCH_PATH,
    summary="Retrieve a batch",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def retrieve_batch(
    batch_id: BatchId, batches: NamedDependency[BatchStore], owner: NamedDependency[str]
) -> BatchObject:
    """Return a batch, with the number of lines that were answered until now."""
    return await batches.get(batch_id, owner)


@post(
    f"{BATCH_PATH}/cancel",
    status_code=200,
    summary="Cancel a batch",
    guards=GUARDS,
    description="Lines that are not answered yet are left out; the output has the others.",
    responses=error_responses(400, 401, 404, 503),
)
async def cancel_batch(
    batch_id: BatchId, batches: NamedDependency[BatchStore], owner: NamedDependency[str]
) -> BatchObject:
    """Cancel a batch that has not ended."""
    return await batches.cancel(batch_id, owner)


ROUTES: Final = (create_batch, list_batches, retrieve_batch, cancel_batch)
