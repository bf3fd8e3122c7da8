"""Records as rows of the table ``records``: columns, conditions, and the record of a row. Pure."""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from mimic.records.base import FORMAT, Record

COLUMNS: Final = (
    *("kind", "id", "owner", "parent", "position", "state", "data", "created", "expires", "due"),
    *("revision", "generation", "holder"),
)
ALL: Final = ", ".join(COLUMNS)
WITHOUT_DATA: Final = ", ".join("x''" if column == "data" else column for column in COLUMNS)
LIVE: Final = f"format <= {FORMAT} AND (expires IS NULL OR expires > :now)"
HELD: Final = (
    f"kind = :kind AND id = :id AND created = :created AND holder = :holder AND generation = :generation AND {LIVE}"
)

Values: TypeAlias = dict[str, Any]


def owned(owner: str | None) -> str:
    """A condition for the records of an owner."""
    return "owner = :owner" if owner is not None else "TRUE"


def record_in(row: Sequence[Any]) -> Record:
    """The record of a row with all columns."""
    return Record(**dict(zip(COLUMNS, row, strict=True)))
