"""MongoDB queries for lookups, and their indexes.

An index on the hash of ``value``, with ``from``, finds the last message, also for users who query the collection. It
replaces the digest of the last message, which documents in MongoDB do not have. The last two messages are found by the
digest of the pair: MongoDB does not support an index on two hashes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from pymongo import IndexModel

from mimic.corpus.layout import UNNUMBERED
from mimic.corpus.schemas import MESSAGES, POSITION, SCHEMAS, Lookup, Schema
from mimic.corpus.stores.mongodb.client import Fields

BY_VALUE: Final = "value"
"""The field and the name of the index on the hash of texts."""
_REPLACED: Final = "messageDigest"
"""The indexed field of a schema that BY_VALUE replaces."""


Value: TypeAlias = Any
"""A text or a number. All values of a field have the same type."""


class Key(NamedTuple):
    """The indexed field that narrows a lookup, and its value. The index has the name of the field."""

    field: str
    value: Value


def key_of(lookup: Lookup, layout: int) -> Key | None:
    """The key of a lookup in a collection of this layout; None if there is no index for it."""
    if lookup.index is None:
        return None
    if lookup.index == _REPLACED and layout > UNNUMBERED:
        return Key(BY_VALUE, lookup.fields["value"])
    return Key(lookup.index, lookup.key)


def to_stored(position: int, document: Fields) -> Fields:
    """A schema's document for MongoDB: with its position as ``_id``, without the field that BY_VALUE replaces."""
    fields = {"_id": position, **document}
    fields.pop(_REPLACED, None)
    return fields


def index_models(schema: Schema) -> list[IndexModel]:
    """The indexes of a version. They end with ``_id``, so documents come in corpus order without a sort.

    The index on texts holds all documents, because a user's query has no condition on the answer. Indexes on digests
    are partial.
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
    """The arguments of ``find`` for a single lookup."""
    answer = dict.fromkeys(SCHEMAS[lookup.version].answer, 1)  # MongoDB adds _id, which is the position
    del answer[POSITION]
    fields = dict(lookup.fields)
    answer.update(dict.fromkeys(roles_to_check(lookup, key), 1))
    query: Fields = {"projection": answer, "sort": [("_id", 1)]}
    if key is None:
        return {"filter": {MESSAGES: {"$elemMatch": fields}}, **query}
    return {"filter": {key.field: key.value, **fields, **_has_answer(key.field)}, **query, "hint": key.field}


def roles_to_check(lookup: Lookup, key: Key | None) -> Mapping[str, str]:
    """The fields whose sender's role has to be checked: those of lookups by text. Digests include the roles."""
    return lookup.roles if key is not None and key.field == BY_VALUE else {}


def _fields_to_compare(lookups: Sequence[Lookup]) -> list[str]:
    return [field for lookup in lookups for field in (*lookup.fields, *lookup.roles)]


def gathered_query(lookups: Sequence[Lookup], field: str, keys: Sequence[Value]) -> Fields:
    """The arguments of ``find`` for several lookups of a version by one index, in the order of the index.

    Documents with equal keys come together, in corpus order; with BY_VALUE, in the order of sender and corpus. A query
    cannot request the order of hashes; the hint ensures it.
    """
    projection = dict.fromkeys((*SCHEMAS[lookups[0].version].answer, *_fields_to_compare(lookups), field), 1)
    del projection[POSITION]
    query: Fields = {"filter": {field: {"$in": list(keys)}, **_has_answer(field)}, "projection": projection}
    return {**query, "hint": field} if field == BY_VALUE else {**query, "hint": field, "sort": [(field, 1), ("_id", 1)]}


def _has_answer(field: str) -> Fields:
    """A condition that excludes the last messages of conversations. Partial indexes on digests exclude them anyway."""
    return {"nextMessageType": {"$ne": None}} if field == BY_VALUE else {}
