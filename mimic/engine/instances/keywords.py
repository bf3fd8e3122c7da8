"""Keywords of JSON Schema: their meaning in a part, which is one of several schemas that a value has to meet. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec

from mimic.engine.instances.schema import Node
from mimic.engine.instances.values import Field, JsonValue

Part: TypeAlias = Mapping[str, Any]
Type: TypeAlias = Literal["object", "array", "string", "integer", "number", "boolean", "null"]

ANY_TYPE: Final[Sequence[Type]] = ("string", "number", "boolean", "object", "array", "null")
OF_TYPES: Final[Mapping[Type, Sequence[str]]] = {
    "object": ("properties", "required", "additionalProperties", "patternProperties", "minProperties", "propertyNames"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "contains", "uniqueItems"),
    "string": ("pattern", "format", "minLength", "maxLength"),
    "number": ("minimum", "maximum", "multipleOf", "exclusiveMinimum", "exclusiveMaximum"),
}
"""Keywords that imply a type."""
DEPENDENT: Final = ("dependencies", "dependentRequired", "dependentSchemas")
LEAF: Final = frozenset(("type", "enum", "const", "not", *OF_TYPES["string"], *OF_TYPES["number"]))
"""Keywords that constrain a scalar."""
MAX_NUMBER: Final = 1.7e308
"""The largest number to make. A larger one would be infinite, which JSON does not have."""


def describe(field: Field, parts: Sequence[Part]) -> Field:
    """The field with the description, format and members that the schemas give."""
    description, kind, members = field.description, field.format, field.members
    for part in parts:
        description = description or str(part.get("description") or part.get("title") or "")
        kind = kind or str(part.get("format") or "")
        members = members or part.get("enum") or ()
    return Field(field.name, description, kind, members, field.index, field.item)


def types_of(parts: Sequence[Part]) -> list[Type]:
    """The types that all parts allow. Without ``type``, any type: those that other keywords imply come first."""
    named: list[Type] | None = None
    for part in parts:
        given: Any = part.get("type")
        if given is None:
            continue
        allowed: list[Type] = [given] if isinstance(given, str) else list(given)  # type: ignore[list-item]
        if "number" in allowed:
            allowed.append("integer")
        if named is not None and "number" in named:
            named.append("integer")
        named = allowed if named is None else [kind for kind in dict.fromkeys(named) if kind in allowed]
    if named is not None:
        return [kind for kind in dict.fromkeys(named) if kind != "integer" or "number" not in named]
    implied = [kind for kind in OF_TYPES if any(key in part for part in parts for key in OF_TYPES[kind])]
    return [*implied, *[kind for kind in ANY_TYPE if kind not in implied]]


def banned_types(part: Part) -> Sequence[str]:
    """The types that ``not`` excludes."""
    excluded = part.get("not")
    if not isinstance(excluded, Mapping) or set(excluded) - {"type", "title", "description"}:
        return ()
    kinds = excluded.get("type", ())
    return [kinds] if isinstance(kinds, str) else kinds


def prefix_of(part: Part) -> Sequence[Node]:
    """The schemas of the first items. Up to draft 2019-09 ``items`` holds them."""
    if isinstance(part.get("prefixItems"), list):
        return part["prefixItems"]  # type: ignore[no-any-return]
    return part["items"] if isinstance(part.get("items"), list) else ()


def rest_of(part: Part) -> Node | None:
    """The schema of the items after the first ones."""
    items = part.get("additionalItems") if isinstance(part.get("items"), list) else part.get("items")
    return items if isinstance(items, (bool, Mapping)) else None


def rules_of(part: Part) -> Mapping[str, Any]:
    """The rules that come with each property: a list of other properties, or a schema."""
    return {key: value for keyword in DEPENDENT for key, value in (part.get(keyword) or {}).items()}


def dependent_names(part: Part, names: Sequence[str]) -> list[str]:
    """The further properties that these properties require."""
    rules = rules_of(part)
    required = [rule for name in names if isinstance(rules.get(name), list) for rule in rules[name]]
    return [name for name in dict.fromkeys(required) if name not in names]


def dependent_schemas(part: Part, names: Sequence[str]) -> list[Node]:
    """The schemas that come with these properties."""
    rules = rules_of(part)
    return [rules[name] for name in names if isinstance(rules.get(name), (bool, Mapping))]


def largest(parts: Sequence[Part], keyword: str) -> int:
    """The strictest lower limit of all parts, or 0."""
    return max([int(part.get(keyword, 0)) for part in parts], default=0)


def smallest(parts: Sequence[Part], keyword: str, default: int) -> int:
    """The strictest upper limit of all parts, or the default."""
    return min([int(part[keyword]) for part in parts if keyword in part], default=default)


def is_leaf(node: Node) -> bool:
    """True if a schema has nothing but keywords that constrain a scalar."""
    return isinstance(node, bool) or set(node) <= LEAF - {"not"}


def is_null(node: Node) -> bool:
    """True if a schema allows nothing but null."""
    return isinstance(node, Mapping) and (node.get("type") == "null" or ("const" in node and node["const"] is None))


def has_type(value: JsonValue, kind: Type) -> bool:
    """True if a value is a scalar of the type."""
    if kind == "string":
        return isinstance(value, str)
    if kind == "boolean":
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -MAX_NUMBER <= value <= MAX_NUMBER:
        return False
    return kind == "number" or float(value).is_integer()


def equal(first: JsonValue, second: JsonValue) -> bool:
    """True if JSON values are equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, (dict, list)) and isinstance(second, (dict, list)):
        return msgspec.json.encode(first, order="sorted") == msgspec.json.encode(second, order="sorted")
    return first == second


def draft_of(root: Node) -> Mapping[str, Any]:
    """The keyword that names the draft of a schema, if the schema has one."""
    draft = root.get("$schema") if isinstance(root, Mapping) else None
    return {"$schema": draft} if isinstance(draft, str) else {}
