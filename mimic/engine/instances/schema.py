"""A JSON schema of a request: checked and limited in size, with its references and its validator."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

import jsonschema_rs
import msgspec
from jsonschema_rs import canonical

Node: TypeAlias = bool | Mapping[str, Any]
"""A schema: an object, true or false."""

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 64
MAX_NODES: Final = 10_000
MAX_EXPLAINED: Final = 50
"""Subschemas of the largest schema to search for a contradiction."""

SINGLE: Final = ("additionalProperties", "propertyNames", "unevaluatedProperties", "items", "additionalItems")
SINGLE_OTHER: Final = ("contains", "unevaluatedItems", "not", "if", "then", "else", "contentSchema")
LISTS: Final = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
MAPS: Final = ("properties", "patternProperties", "dependentSchemas", "dependencies", "$defs", "definitions")
"""Keywords whose value is a schema, a list of schemas, or a mapping of names to schemas."""

PATTERNS: Final = (jsonschema_rs.RegexOptions(), jsonschema_rs.FancyRegexOptions(backtrack_limit=10_000))
"""Engines of regular expressions: linear time; bounded time for look-arounds and references to groups."""


class SchemaProblem(Exception):
    """A schema is invalid or too large, or no value for it was found.

    ``path`` holds the keys to the place in the schema, and ``reason`` is a phrase.
    """

    def __init__(self, path: Sequence[str | int], reason: str) -> None:
        super().__init__(f"at {pointer(path)}: {reason}" if path else reason)
        self.path = path
        self.reason = reason


class JsonSchema:
    """A valid schema. Raises SchemaProblem. Blocks, up to 0.1 s for the largest schemas."""

    def __init__(self, root: Node) -> None:
        self.root = root
        _check_size(root)
        self._targets: dict[str, Node] = {}
        self.nodes = list(_nodes(root))
        """Every subschema that is an object, with its path."""
        for node, _ in self.nodes:
            _note_names(self._targets, node)
        for node, path in self.nodes:
            self._check_references(node, path)
        self.validator = _validator(root)
        self._heights = self._measure([node for node, _ in self.nodes])

    def target(self, reference: str) -> Node:
        """The schema that a reference points to. Raises KeyError if the document does not have it."""
        if reference in self._targets:
            return self._targets[reference]
        base, _, fragment = reference.partition("#")
        document = self._targets[base] if base else self.root
        found = self._targets[reference] = _at(document, fragment)
        return found

    def height(self, node: Node) -> float:
        """The number of levels of the flattest instance of a schema; infinite if every instance is."""
        return 0 if isinstance(node, bool) else self._heights.get(id(node), 0)

    def unsatisfiable(self) -> SchemaProblem | None:
        """The deepest known place of a contradiction, or None. Large schemas are not searched."""
        if len(self.nodes) > MAX_EXPLAINED:
            return None  # the search takes exponential time
        try:
            found = canonical.find_unsatisfiable(self.root, offline=True)  # type: ignore[arg-type]
        except (ValueError, jsonschema_rs.ReferencingError):
            return None
        except BaseException as exc:
            if type(exc).__module__ == "pyo3_runtime":  # a panic of Rust code is no Exception
                return None
            raise
        if "" not in found:
            return None  # only an alternative or an optional property is impossible, which may not matter
        deepest = max([place for place in found if _at(self.root, place) is not False] or [""], key=len)
        return SchemaProblem([_unescape(part) for part in deepest.split("/")[1:]], "no value can meet it")

    def _check_references(self, node: Mapping[str, Any], path: Sequence[str | int]) -> None:
        for keyword in ("$ref", "$dynamicRef"):
            reference = node.get(keyword)
            if not isinstance(reference, str):
                continue
            try:
                self.target(reference)
            except (KeyError, IndexError, ValueError):
                raise SchemaProblem(
                    [*path, keyword], f"{reference[:100]!r} is not in this schema, and others are not fetched"
                ) from None

    def _measure(self, nodes: Sequence[Mapping[str, Any]]) -> dict[int, float]:
        """Heights by the id of the schema. They are a least fixed point, since a schema may contain itself."""
        heights: dict[int, float] = {id(node): math.inf for node in nodes}
        changed = True
        while changed:
            changed = False
            for node in reversed(nodes):
                height = self._height(node, heights)
                if height < heights[id(node)]:
                    heights[id(node)] = height
                    changed = True
        return heights

    def _height(self, node: Mapping[str, Any], heights: Mapping[int, float]) -> float:
        def of(other: Any) -> float:
            return (
                heights.get(id(other), 0.0) if isinstance(other, Mapping) else (0.0 if other is not False else math.inf)
            )

        if "const" in node or "enum" in node:
            return 0
        inner = 0.0
        types = node.get("type")
        is_object = types == "object" or (types is None and "required" in node)
        if is_object:
            properties = _mapping(node, "properties")
            required = [properties[name] for name in _list(node, "required") if name in properties]
            inner = max([1 + of(schema) for schema in required], default=1)
        elif types == "array":
            needed = min(node.get("minItems", 0), len(_list(node, "prefixItems")) or 1)
            items = _list(node, "prefixItems")[: int(needed)] or ([node["items"]] if needed and "items" in node else [])
            inner = max([1 + of(schema) for schema in items], default=1)
        parts = [inner]
        parts += [of(self.target(node[key])) for key in ("$ref", "$dynamicRef") if isinstance(node.get(key), str)]
        parts += [of(schema) for schema in _list(node, "allOf")]
        parts += [min(of(schema) for schema in node[key]) for key in ("anyOf", "oneOf") if _list(node, key)]
        return max(parts)


def validator_of(part: Mapping[str, Any]) -> Any:
    """A validator of a schema without references. Raises SchemaProblem."""
    return _validator(part)


def pointer(path: Sequence[str | int]) -> str:
    """A JSON pointer (RFC 6901)."""
    return "/" + "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _validator(node: Node) -> Any:
    error: ValueError | None = None
    for options in PATTERNS:
        try:
            return jsonschema_rs.validator_for(node, validate_formats=True, pattern_options=options, offline=True)  # type: ignore[arg-type]
        except ValueError as exc:
            error = error or exc
    if isinstance(error, jsonschema_rs.ValidationError):
        raise SchemaProblem(list(error.instance_path), error.message[:300])
    raise SchemaProblem((), str(error)[:300])


def _check_size(root: Node) -> None:
    size = len(msgspec.json.encode(root))
    if size > MAX_BYTES:
        raise SchemaProblem((), f"the schema has {size:,} bytes; at most {MAX_BYTES:,} are read")


def _nodes(root: Node) -> Iterator[tuple[Mapping[str, Any], tuple[str | int, ...]]]:
    """Yield every schema that is an object, with its path, from the root. Raises SchemaProblem."""
    seen = 0
    waiting: list[tuple[Any, tuple[str | int, ...]]] = [(root, ())]
    while waiting:
        node, place = waiting.pop()
        if not isinstance(node, Mapping):
            continue
        seen += 1
        if seen > MAX_NODES:
            raise SchemaProblem((), f"the schema has more than {MAX_NODES:,} subschemas")
        if len(place) > 2 * MAX_DEPTH:
            raise SchemaProblem(place[:8], f"the schema is more than {MAX_DEPTH} levels deep")
        yield node, place
        singles = [keyword for keyword in (*SINGLE, *SINGLE_OTHER) if isinstance(node.get(keyword), Mapping)]
        waiting += [(node[keyword], (*place, keyword)) for keyword in singles]
        for keyword in LISTS:
            waiting += [(inner, (*place, keyword, index)) for index, inner in enumerate(_list(node, keyword))]
        for keyword in MAPS:
            waiting += [(inner, (*place, keyword, name)) for name, inner in _mapping(node, keyword).items()]


def _note_names(targets: dict[str, Node], node: Mapping[str, Any]) -> None:
    for keyword in ("$anchor", "$dynamicAnchor"):
        if isinstance(node.get(keyword), str):
            targets.setdefault("#" + node[keyword], node)
    if isinstance(node.get("$id"), str):
        targets.setdefault(node["$id"].rstrip("#"), node)


def _at(document: Any, fragment: str) -> Node:
    found = document
    for part in fragment.split("/")[1:] if fragment else ():
        key = _unescape(unquote(part))
        found = found[int(key)] if isinstance(found, list) else found[key]
    if fragment and not fragment.startswith("/"):
        raise KeyError(fragment)
    if not isinstance(found, (bool, Mapping)):
        raise KeyError(fragment)
    return found


def _unescape(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


def _list(node: Mapping[str, Any], keyword: str) -> Sequence[Any]:
    value = node.get(keyword)
    return value if isinstance(value, list) else ()


def _mapping(node: Mapping[str, Any], keyword: str) -> Mapping[str, Any]:
    value = node.get(keyword)
    return value if isinstance(value, Mapping) else {}
