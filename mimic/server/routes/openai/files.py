"""Routes of files."""

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, get_args
from urllib.parse import quote

import msgspec
from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema
from litestar.params import HeaderParameter, PathParameter, QueryParameter
from litestar.response import Stream

from mimic.server.bodies import JSONRequest
from mimic.server.error_handlers import error_responses
from mimic.server.forms import MULTIPART, read_form
from mimic.server.routes.openai.shared import GUARDS, AfterItem, ItemOrder
from mimic.server.routes.page import NO_SNIFFING
from mimic.stored.files import WHOLE, FilePage, FilePart, FileStore, StoredFile, lives_of, new_group
from mimic.wire.openai.base import created_now
from mimic.wire.openai.files import FIELDS_OF_EXPIRY, FileObject, Purpose, file_fields, requested_range

PATH: Final = "/v1/files"
FILE_PATH: Final = f"{PATH}/{{file_id:str}}"
WITH_METHODS: Final = (PATH, FILE_PATH)
"""Paths with several methods."""
MOST_BYTES: Final = 512 * 1024 * 1024
"""Limit of a file."""
MOST_LISTED: Final = 10_000

FileId = Annotated[str, PathParameter(description="The id of a file.", min_length=1, max_length=200)]


class DeletedFile(msgspec.Struct, frozen=True):
    """The answer to a deletion."""

    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


_TEXT: Final = Schema(type=OpenAPIType.STRING)
_PURPOSE: Final = Schema(type=OpenAPIType.STRING, enum=list(get_args(Purpose)))
FILE: Final = Schema(type=OpenAPIType.STRING, content_media_type="application/octet-stream")
"""A file in a form."""


def form_of(fields: dict[str, Schema], *required: str) -> RequestBody:
    """The description of a form in the OpenAPI document."""
    schema = Schema(type=OpenAPIType.OBJECT, properties=dict(fields), required=list(required))
    return RequestBody(content={MULTIPART: OpenAPIMediaType(schema=schema)}, required=True)


@dataclass
class FileOperation(Operation):
    """The upload of a file."""

    def __post_init__(self) -> None:
        expiry = dict.fromkeys(FIELDS_OF_EXPIRY.values(), _TEXT)
        self.request_body = form_of({"file": FILE, "purpose": _PURPOSE, **expiry}, "file", "purpose")


@post(
    PATH,
    status_code=200,
    summary="Upload a file",
    operation_class=FileOperation,
    guards=GUARDS,
    description="Stores a file of at most 512 MB. It is written as it arrives.",
    request_max_body_size=None,
    responses=error_responses(400, 401, 413, 415, 503),
)
async def create_file(
    request: JSONRequest, files: NamedDependency[FileStore], owner: NamedDependency[str]
) -> FileObject:
    """Write the file, then its record."""
    files.check_on()
    group = new_group()
    async with await files.new_content(group) as content:
        form = await read_form(request, "file", content, min(MOST_BYTES, files.most_bytes))
        fields = file_fields(form.fields)
    seconds = fields.expires_after.seconds if fields.expires_after else None
    file = StoredFile(
        created_at=created_now(),
        filename=form.filename,
        purpose=fields.purpose,
        group=group,
        parts=[FilePart(WHOLE, content.size)],
        lives=lives_of(fields.purpose, seconds),
    )
    return await files.create(file, owner)


@get(
    PATH,
    summary="List the files",
    guards=GUARDS,
    responses=error_responses(400, 401, 503),
)
async def list_files(
    files: NamedDependency[FileStore],
    owner: NamedDependency[str],
    limit: Annotated[
        int, QueryParameter(description="The maximum number of files.", ge=0, le=MOST_LISTED)
    ] = MOST_LISTED,
    order: ItemOrder = "desc",
    after: AfterItem = None,
    purpose: Annotated[str | None, QueryParameter(description="Only files with this purpose.")] = None,
) -> FilePage:
    """Return a page of the files."""
    return await files.page(owner, limit, after, order, purpose)


@get(
    FILE_PATH,
    summary="Retrieve a file",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def retrieve_file(file_id: FileId, files: NamedDependency[FileStore], owner: NamedDependency[str]) -> FileObject:
    """Return a file, without its content."""
    return (await files.find(file_id, owner)).shown()


@delete(
    FILE_PATH,
    status_code=200,
    summary="Delete a file",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def delete_file(file_id: FileId, files: NamedDependency[FileStore], owner: NamedDependency[str]) -> DeletedFile:
    """Delete a file and its content. A batch that still reads it fails."""
    await files.delete(file_id, owner)
    return DeletedFile(file_id)


@get(
    f"{FILE_PATH}/content",
    summary="Retrieve the content of a file",
    guards=GUARDS,
    media_type="application/octet-stream",
    description="Gives the bytes of a file, or a range of them with `Range`.",
    responses=error_responses(400, 401, 404, 416, 503),
)
async def retrieve_content(
    file_id: FileId,
    files: NamedDependency[FileStore],
    owner: NamedDependency[str],
    range_header: Annotated[
        str | None, HeaderParameter(name="range", description="A range of bytes, as `bytes=0-99`.")
    ] = None,
    condition: Annotated[
        str | None, HeaderParameter(name="if-range", description="The `etag` that the range belongs to.")
    ] = None,
) -> Response[Any]:
    """Return the bytes of a file."""
    file = await files.find(file_id, owner)
    tag = f'"{file.group}"'
    found = requested_range(range_header, file.size) if condition in {None, tag} else None
    start, end = found or (0, file.size)
    headers = {
        "content-length": str(end - start),
        "content-disposition": f"attachment; filename*=UTF-8''{quote(file.filename, safe='')}",
        "accept-ranges": "bytes",
        "etag": tag,
        **NO_SNIFFING,
    }
    if found:
        headers["content-range"] = f"bytes {start}-{end - 1}/{file.size}"
    pieces = files.read(file, start, end)
    return Stream(pieces, status_code=206 if found else 200, headers=headers, media_type="application/octet-stream")


ROUTES: Final = (create_file, list_files, retrieve_file, delete_file, retrieve_content)
