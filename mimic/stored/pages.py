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


def page_of(objects: Sequence[dict[str, Any]], limit: int, after: str | None, before: str | None = None) -> ObjectPage:
    """The page of a whole list after the object with an id, and before another one. Raises UnknownCursor.

    A page that has only an end has the objects right before it. An empty cursor counts as none.
    """
    after, before = after or None, before or None
    ids = [one["id"] for one in objects]
    for cursor in (after, before):
        if cursor is not None and cursor not in ids:
            raise UnknownCursor(cursor)
    start = 0 if after is None else ids.index(after) + 1
    between = objects[start : len(ids) if before is None else ids.index(before)]
    kept = between[-limit:] if after is None and before is not None else between[:limit]
    return ObjectPage.of(kept, has_more=len(between) > limit)
