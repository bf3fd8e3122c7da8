"""Records as documents: keys, conditions, and the expressions that make and change a document. Pure.

All times are expressions of the server's clock, ``$$NOW``.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from bson.int64 import Int64
from pymongo import IndexModel

from mimic.corpus.stores.mongodb.client import Fields
from mimic.records.base import FORMAT, Change, Draft, Lease, Record

NEVER: Final = datetime(9999, 12, 31, tzinfo=UTC)
"""``expires`` of records that do not expire: MongoDB orders missing values before dates."""
KNOWN: Final[Fields] = {"format": {"$lte": FORMAT}}
LIVE: Final[Fields] = {**KNOWN, "$expr": {"$gt": ["$expires", "$$NOW"]}}
_FREE: Final[Fields] = {"$or": [{"$eq": [{"$type": "$holder"}, "missing"]}, {"$lte": ["$leased", "$$NOW"]}]}
INDEXES: Final = (
    IndexModel([("kind", 1), ("parent", 1), ("owner", 1), ("position", 1), ("_id", 1)], name="listed"),
    IndexModel([("due", 1)], name="waiting", sparse=True),
    IndexModel([("finished", 1), ("created", 1), ("kind", 1), ("size", 1), ("format", 1)], name="finished"),
    IndexModel([("expires", 1)], name="expiring"),
    IndexModel([("holder", 1)], name="held", sparse=True),
)


def key_of(kind: str, record_id: str) -> str:
    """The ``_id`` of a record."""
    return f"{kind}/{record_id}"


def record_in(document: Mapping[str, Any]) -> Record:
    """The record of a document."""
    due = document.get("due")
    return Record(
        kind=document["kind"],
        id=document["id"],
        owner=document["owner"],
        parent=document["parent"],
        position=int(document["position"]),
        state=document["state"],
        data=document.get("data", b""),
        created=document["created"].timestamp(),
        expires=None if document["expires"] == NEVER else document["expires"].timestamp(),
        due=due.timestamp() if due else None,
        revision=document["revision"],
        generation=document["generation"],
        holder=document.get("holder"),
    )


# Conditions


def owned(owner: str | None) -> Fields:
    """A condition for the records of an owner."""
    return {} if owner is None else {"owner": owner}


def listed(kind: str, parent: str, owner: str | None) -> Fields:
    """A condition for the records of a list."""
    return {"kind": kind, "parent": parent, **owned(owner), **LIVE}


def claimable(kinds: Sequence[str], record_id: str | None) -> Fields:
    """A condition for jobs that are due and that no lease holds, or for the one with this id."""
    return {
        "kind": {"$in": list(kinds)},
        "due": {"$type": "date"},
        **KNOWN,
        "$expr": {"$and": [{"$lte": ["$due", "$$NOW"]}, {"$gt": ["$expires", "$$NOW"]}, _FREE]},
        **({} if record_id is None else {"id": record_id}),
    }


def unchanged(record: Record) -> Fields:
    """A condition for the record as it was read, and not for a later one of the same id."""
    return {
        "_id": key_of(record.kind, record.id),
        "created": datetime.fromtimestamp(record.created, UTC),
        "revision": record.revision,
        **LIVE,
    }


def held(lease: Lease) -> Fields:
    """A condition for the record of a lease, unless the lease was lost."""
    return {
        "_id": key_of(lease.kind, lease.id),
        "created": datetime.fromtimestamp(lease.created, UTC),
        "holder": lease.holder,
        "generation": lease.generation,
        **LIVE,
    }


# Expressions


def from_now(seconds: float) -> Fields:
    """An expression for a moment."""
    return {"$add": ["$$NOW", round(seconds * 1000)]}


def creation(draft: Draft, lives: float | None, number: int) -> Fields:
    """A stage that makes a new document, unless one exists.

    ``lives`` is the seconds until it expires, and ``number`` its place among drafts of one time.
    """
    is_new = {"$eq": [{"$type": "$revision"}, "missing"]}
    is_expired = {"$and": [{"$lte": ["$expires", "$$NOW"]}, {"$lte": ["$format", FORMAT]}]}
    return {"$replaceWith": {"$cond": [{"$or": [is_new, is_expired]}, _document(draft, lives, number), "$$ROOT"]}}


def _document(draft: Draft, lives: float | None, number: int) -> Fields:
    """An expression for a new document."""
    fixed: Fields = {
        "_id": key_of(draft.kind, draft.id),
        "kind": draft.kind,
        "id": draft.id,
        "owner": draft.owner,
        "parent": draft.parent,
        "state": draft.state,
        "data": draft.data,
        "size": len(draft.data),
        "finished": draft.due is None,
        "format": FORMAT,
        "revision": 1,
        "generation": 0,
    }
    in_microseconds = {"$add": [{"$multiply": [{"$toLong": "$$NOW"}, 1000]}, number]}
    timed: Fields = {
        "created": "$$NOW",
        "expires": NEVER if lives is None else from_now(lives),
        "position": in_microseconds if draft.position is None else Int64(draft.position),
    }
    if draft.due is not None:
        timed["due"] = from_now(draft.due)
    return {"$mergeObjects": [{"$literal": fixed}, timed]}


def changes_of(change: Change) -> Fields:
    """The fields that a change sets, as expressions."""
    changes: Fields = {"revision": {"$add": ["$revision", 1]}}
    if change.data is not msgspec.UNSET:
        changes |= {"data": {"$literal": change.data}, "size": len(change.data)}
    if change.state is not msgspec.UNSET:
        changes["state"] = {"$literal": change.state}
    if change.lives is not msgspec.UNSET:
        changes["expires"] = NEVER if change.lives is None else from_now(change.lives)
    if change.due is not msgspec.UNSET:
        due = "$$REMOVE" if change.due is None else from_now(change.due)
        changes |= {"due": due, "finished": change.due is None, "holder": "$$REMOVE", "leased": "$$REMOVE"}
    return changes


def claim_by(holder: str, seconds: float) -> Fields:
    """The fields that a claim sets, as expressions."""
    return {"holder": holder, "leased": from_now(seconds), "generation": {"$add": ["$generation", 1]}}
