"""OpenAI's form of uploads: files that come in parts."""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from mimic.wire.openai.files import ExpiresAfter, FileObject, Purpose


class NewUpload(msgspec.Struct, frozen=True, kw_only=True):
    """The file that will come in parts."""

    bytes: Annotated[int, msgspec.Meta(ge=0)]
    filename: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
    mime_type: str
    purpose: Purpose
    expires_after: ExpiresAfter | None = None


class CompletedParts(msgspec.Struct, frozen=True):
    """The parts of the file, in order. ``md5`` is the checksum of the whole file."""

    part_ids: Annotated[Sequence[str], msgspec.Meta(min_length=1, max_length=10_000)]
    md5: str | None = None


class UploadObject(msgspec.Struct, frozen=True, kw_only=True):
    """An upload. It has a file after its completion."""

    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Literal["pending", "completed", "cancelled"] = "pending"
    file: FileObject | None = None


class UploadPartObject(msgspec.Struct, frozen=True, kw_only=True):
    """A part of an upload."""

    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str
