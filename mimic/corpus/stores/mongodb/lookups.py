"""The queries that answer a lookup, and the indexes that they use.

An index on the hash of ``value``, with ``from``, finds the last message: for Mimic, and for everybody who queries the
collection. It takes the place of the digest of the last message, which documents in MongoDB do not have. The pair of
the last two messages is found by its digest: an index on two texts of a document would be one on two hashes, which
MongoDB refuses.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from pymongo import IndexModel

from mimic.corpus.layout import UNNUMBERED
from mimic.corpus.schemas import MESSAGES, POSITION, SCHEMAS, Lookup, Schema
from mimic.corpus.stores.mongodb.client import Fields

BY_VALUE: Final = "value"
"""The field, and the name, of the index on the hash of texts."""
_REPLACED: Final = "messageDigest"
"""The indexed field of a schema that BY_VALUE replaces."""


Value: TypeAlias = Any
"""A text, or a number: those of one field are of one type."""


class Key(NamedTuple):
    """The indexed field that narrows a lookup down, whose name is that of the index, and its value."""

    field: str
    value: Value


def key_of(lookup: Lookup, layout: int) -> Key | None:
    """The key of a lookup in a collection of that layout; None where no index helps."""
    if lookup.index is None:
        return None
    if lookup.index == _REPLACED and layout > UNNUMBERED:
        return Key(BY_VALUE, lookup.fields["value"])
    return Key(lookup.index, lookup.key)


def stored(position: int, document: Fields) -> Fields:
    """A schema's document as it lies in MongoDB: with its position, without the field that BY_VALUE replaces."""
    fields = {"_id": position, **document}
    fields.pop(_REPLACED, None)
    return fields


def index_models(schema: Schema) -> list[IndexModel]:
    """The indexes of a version. With ``_id`` at the end, documents come out in corpus order without a sort.

    That on texts holds all documents, since a query of a user's does not say that the message was answered. Those on
    digests are partial.
    """
    models = []
    for field in schema.indexes:
        if field == _REPLACED:
            models.append(IndexModel([("value", "hashed"), ("from", 1), ("_id", 1)], name=BY_VALUE))
        else:
            keys = [(field, 1), ("_id", 1)]
            models.append(IndexModel(keys, name=field, partialFilterExpression={field: {"$exists": True}}))
    return models


def find_query(lookup: Lookup, key: Key | None) -> Fields:
    """The arguments of the ``find`` that answers a lookup alone."""
    answer = dict.fromkeys(SCHEMAS[lookup.version].answer, 1)  # and with it _id, which is the position
    del answer[POSITION]
    fields = dict(lookup.fields)
    answer.update(dict.fromkeys(roles_to_check(lookup, key), 1))
    query: Fields = {"projection": answer, "sort": [("_id", 1)]}
    if key is None:
        return {"filter": {MESSAGES: {"$elemMatch": fields}}, **query}
    return {"filter": {key.field: key.value, **fields, **_answered(key.field)}, **query, "hint": key.field}


def roles_to_check(lookup: Lookup, key: Key | None) -> Mapping[str, str]:
    """The fields whose sender is to have a role, where the key is the text alone; a digest is one of roles, too."""
    return lookup.roles if key is not None and key.field == BY_VALUE else {}


def _compared(lookups: Sequence[Lookup]) -> list[str]:
    return [field for lookup in lookups for field in (*lookup.fields, *lookup.roles)]


def gathered_query(lookups: Sequence[Lookup], field: str, keys: Sequence[Value]) -> Fields:
    """The arguments of the ``find`` that answers several lookups of a version by one index, in the index's order.

    Documents with equal keys come one after the other, in corpus order or, by BY_VALUE, in the order of sender and
    corpus. No query can ask for the order of hashes: the hint gives it.
    """
    projection = dict.fromkeys((*SCHEMAS[lookups[0].version].answer, *_compared(lookups), field), 1)
    del projection[POSITION]
    query: Fields = {"filter": {field: {"$in": list(keys)}, **_answered(field)}, "projection": projection}
    return {**query, "hint": field} if field == BY_VALUE else {**query, "hint": field, "sort": [(field, 1), ("_id", 1)]}


def _answered(field: str) -> Fields:
    """A condition that the last messages of conversations do not meet; where digests are found, it is met already."""
    return {"nextMessageType": {"$ne": None}} if field == BY_VALUE else {}
