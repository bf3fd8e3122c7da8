"""Pages of objects, as OpenAI's lists have them. Pure."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from mimic.errors import UnknownCursor


class ObjectPage(msgspec.Struct, frozen=True):
    """A page of objects."""

    data: Sequence[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: Literal["list"] = "list"

    @classmethod
    def of(cls, objects: Sequence[dict[str, Any]], *, has_more: bool) -> "ObjectPage":
        """A page of some objects."""
        first, last = (objects[0]["id"], objects[-1]["id"]) if objects else (None, None)
        return cls(objects, first, last, has_more)


def page_of(objects: Sequence[dict[str, Any]], limit: int, after: str | None) -> ObjectPage:
    """The page of a whole list that begins after the object with an id. Raises UnknownCursor."""
    start = 0
    if after is not None:
        ids = [one["id"] for one in objects]
        if after not in ids:
            raise UnknownCursor(after)
        start = ids.index(after) + 1
    return ObjectPage.of(objects[start : start + limit], has_more=len(objects) > start + limit)
