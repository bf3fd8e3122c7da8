"""Routes of uploads: files that come in parts."""

from dataclasses import dataclass
from typing import Annotated, Final

from litestar import post
from litestar.di import NamedDependency
from litestar.openapi.spec import Operation
from litestar.params import JSONBody, PathParameter

from mimic.server.bodies import JSONRequest
from mimic.server.error_handlers import error_responses
from mimic.server.forms import read_form
from mimic.server.routes.openai.files import FILE, form_of
from mimic.server.routes.openai.shared import GUARDS
from mimic.stored.uploads import UploadStore
from mimic.wire.openai.uploads import CompletedParts, NewUpload, UploadObject, UploadPartObject

PATH: Final = "/v1/uploads"
UPLOAD_PATH: Final = f"{PATH}/{{upload_id:str}}"
MOST_PART_BYTES: Final = 64 * 1024 * 1024
"""Limit of a part."""

UploadId = Annotated[str, PathParameter(description="The id of an upload.", min_length=1, max_length=200)]


@dataclass
class PartOperation(Operation):
    """The upload of a part."""

    def __post_init__(self) -> None:
        self.request_body = form_of({"data": FILE}, "data")


@post(
    PATH,
    status_code=200,
    summary="Begin an upload",
    guards=GUARDS,
    description="Begins a file that comes in parts. It must be completed within an hour.",
    responses=error_responses(400, 401, 413, 415, 503),
)
async def create_upload(
    data: JSONBody[NewUpload], uploads: NamedDependency[UploadStore], owner: NamedDependency[str]
) -> UploadObject:
    """Begin an upload."""
    return await uploads.create(data, owner)


@post(
    f"{UPLOAD_PATH}/parts",
    status_code=200,
    summary="Add a part to an upload",
    operation_class=PartOperation,
    guards=GUARDS,
    description="Stores a part of at most 64 MB. Parts may come in any order, and at the same time.",
    request_max_body_size=None,
    responses=error_responses(400, 401, 404, 413, 415, 503),
)
async def add_part(
    upload_id: UploadId, request: JSONRequest, uploads: NamedDependency[UploadStore], owner: NamedDependency[str]
) -> UploadPartObject:
    """Write the content of the part, then its record."""
    part_id, content = await uploads.new_part(upload_id, owner)
    async with content:
        await read_form(request, "data", content, MOST_PART_BYTES)
    return await uploads.add_part(upload_id, part_id, content.size, owner)


@post(
    f"{UPLOAD_PATH}/complete",
    status_code=200,
    summary="Complete an upload",
    guards=GUARDS,
    description="Makes a file of the parts in this order. Their sizes must add up to the announced size.",
    responses=error_responses(400, 401, 404, 413, 415, 503),
)
async def complete_upload(
    upload_id: UploadId,
    data: JSONBody[CompletedParts],
    uploads: NamedDependency[UploadStore],
    owner: NamedDependency[str],
) -> UploadObject:
    """Return the upload with its file."""
    return await uploads.complete(upload_id, data, owner)


@post(
    f"{UPLOAD_PATH}/cancel",
    status_code=200,
    summary="Cancel an upload",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def cancel_upload(
    upload_id: UploadId, uploads: NamedDependency[UploadStore], owner: NamedDependency[str]
) -> UploadObject:
    """Cancel an upload, and delete its parts."""
    return await uploads.cancel(upload_id, owner)


ROUTES: Final = (create_upload, add_part, complete_upload, cancel_upload)
