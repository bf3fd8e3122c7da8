"""OpenAI's form of files: objects, purposes, and the time that they are kept."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from mimic.errors import RequestError
from mimic.wire.json import convert
from mimic.wire.openai.parts import missing

BATCH: Final = "batch"
Purpose: TypeAlias = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
"""The purposes of files that clients upload."""
LONGEST_RANGE: Final = 40
"""Characters of a range that can be inside a file."""
FIELDS_OF_EXPIRY: Final = {"anchor": "expires_after[anchor]", "seconds": "expires_after[seconds]"}
"""The fields of an expiry in a form."""


class FileObject(msgspec.Struct, frozen=True, kw_only=True):
    """A file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    status_details: None = None
    expires_at: int | None = None


class ExpiresAfter(msgspec.Struct, frozen=True):
    """The expiry of a file: seconds after its creation, from an hour to 30 days."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, msgspec.Meta(ge=3600, le=2_592_000)]


class FileFields(msgspec.Struct, frozen=True):
    """The fields of a form beside the file. A form has ``expires_after[anchor]`` and ``expires_after[seconds]``."""

    purpose: Purpose
    expires_after: ExpiresAfter | None = None


def file_fields(form: Mapping[str, str]) -> FileFields:
    """Read the fields of a form. Raises RequestError, which names the field."""
    if "purpose" not in form:
        raise missing("purpose")
    purpose: Purpose = convert(form["purpose"], Purpose, "purpose")  # type: ignore[arg-type] # a type alias
    if not any(name in form for name in FIELDS_OF_EXPIRY.values()):
        return FileFields(purpose)
    expiry: dict[str, object] = {}
    for name, field in FIELDS_OF_EXPIRY.items():
        if field not in form:
            raise missing(field)
        expiry[name] = form[field]
    if form[FIELDS_OF_EXPIRY["seconds"]].isdecimal():
        expiry["seconds"] = int(form[FIELDS_OF_EXPIRY["seconds"]])
    return FileFields(purpose, convert(expiry, ExpiresAfter, "expires_after"))


def requested_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The first byte and the byte after the last one that a header ``Range`` asks for; None is the whole file.

    Several ranges, other units and malformed headers ask for the whole file (RFC 9110, 14.2). Raises RequestError (416)
    if the range is outside the file.
    """
    unit, equals, text = (header or "").replace(" ", "").partition("=")
    first, dash, last = text.partition("-")
    if (
        len(text) > LONGEST_RANGE
        or unit.lower() != "bytes"
        or not equals
        or not dash
        or not f"{first}{last}".isdecimal()
        or not text.isascii()
    ):
        return None
    if first and last and int(last) < int(first):
        return None
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if start >= end:
        text = f"The range is outside the file, which has {size:,} bytes."
        raise RequestError(416, text, code="range_not_satisfiable", headers={"content-range": f"bytes */{size}"})
    return start, end
