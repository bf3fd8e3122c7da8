"""Draws JSON schemas of draft 2020-12 with most of its keywords, some of which cannot be met."""

from typing import Any

from hypothesis import strategies as st

NAMES = st.sampled_from(["a", "b", "city", "unit price", "x_1", "naïve", "is_ok", "items", "$odd", "a/b"])
TEXTS = st.sampled_from(["", "x", "yes", "Paris, France", "ünï", "1", "null"])
PATTERNS = st.sampled_from(
    [
        "^[a-z]+$",
        r"^\d{2,4}$",
        "a|b",
        "^x_",
        r"^[^\s@]+@[^\s@]+\.[a-z]{2,}$",
        r"^(?:\+\d{1,3} )?\d+$",
        "^.{3}$",
        "[A-Z]",
        r"^(?!0)\d+$",
        r"^\w+-\w+$",
    ]
)
FORMATS = st.sampled_from(
    ["date-time", "date", "time", "email", "hostname", "ipv4", "ipv6", "uri", "uuid", "duration", "json-pointer"]
)
SCALARS = st.none() | st.booleans() | st.integers(-5, 100) | TEXTS | st.sampled_from([0.5, -2.25, 1e3])
KINDS = st.sampled_from(["boolean", "null", "string", "integer"])
COUNTS = st.integers(0, 4)


def schemas() -> st.SearchStrategy[Any]:
    """Schemas, some of them with definitions that refer to themselves."""
    return st.builds(_with_definitions, _nodes(), st.lists(_nodes(), max_size=2), st.booleans())


def _with_definitions(node: Any, definitions: list[Any], has_list: bool) -> Any:
    if isinstance(node, bool):
        return node
    listed = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/list"}, {"type": "null"}]}}}
    if has_list:
        listed["required"] = ["next"]
    found = {
        "0": definitions[0] if definitions else True,
        "1": definitions[1] if len(definitions) > 1 else {"type": "string"},
    }
    return {**node, "$defs": {**found, "list": listed}}


def _nodes() -> st.SearchStrategy[Any]:
    return st.recursive(_leaves(), _inner, max_leaves=8)


def _leaves() -> st.SearchStrategy[Any]:
    return (
        _some({"type": st.just("string"), "minLength": COUNTS, "maxLength": st.integers(2, 30)}, ["type"])
        | _some({"type": st.just("string"), "pattern": PATTERNS}, ["type", "pattern"])
        | _some({"type": st.just("string"), "format": FORMATS}, ["type", "format"])
        | _numbers("integer")
        | _numbers("number")
        | st.builds(lambda kind: {"type": kind}, st.sampled_from(["boolean", "null", "string", "array", "object"]))
        | st.builds(lambda kinds: {"type": kinds}, st.lists(KINDS, min_size=1, unique=True))
        | st.builds(lambda members: {"enum": members}, st.lists(SCALARS, min_size=1, max_size=4))
        | st.builds(lambda value: {"const": value}, SCALARS | st.lists(SCALARS, max_size=2))
        | st.builds(lambda name: {"$ref": "#/$defs/" + name}, st.sampled_from(["0", "1", "list"]))
        | st.builds(lambda value: {"default": value, "examples": [value], "description": "a thing"}, SCALARS)
        | st.just(True)
        | st.just({})
    )  # fmt: skip


def _numbers(kind: str) -> st.SearchStrategy[Any]:
    bounds: dict[str, st.SearchStrategy[Any]] = {
        "type": st.just(kind),
        "minimum": st.integers(-10, 10) | st.sampled_from([-0.5, 2.5]),
        "maximum": st.integers(8, 1000),
        "exclusiveMinimum": st.integers(-10, 10),
        "exclusiveMaximum": st.integers(9, 1000),
        "multipleOf": st.sampled_from([1, 2, 5, 0.5, 0.1, 7]),
    }
    return _some(bounds, ["type"])


def _inner(nodes: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    properties = st.dictionaries(NAMES, nodes, max_size=3)
    return (
        _some(
            {
                "type": st.just("object"),
                "properties": properties,
                "required": st.lists(NAMES, max_size=2, unique=True),
                "additionalProperties": st.booleans() | nodes,
                "patternProperties": st.dictionaries(PATTERNS, nodes, max_size=1),
                "propertyNames": st.just({"pattern": "^[a-z]"}),
                "minProperties": st.integers(0, 3),
                "maxProperties": st.integers(2, 5),
                "dependentRequired": st.just({"a": ["b"]}),
                "dependentSchemas": st.builds(lambda node: {"a": node}, nodes),
                "unevaluatedProperties": st.just(False),
            },
            ["type", "properties"],
        )
        | _some(
            {
                "type": st.just("array"),
                "items": nodes,
                "prefixItems": st.lists(nodes, min_size=1, max_size=3),
                "minItems": COUNTS,
                "maxItems": st.integers(2, 6),
                "uniqueItems": st.booleans(),
                "contains": nodes,
                "minContains": st.integers(0, 2),
            },
            ["type"],
        )
        | st.builds(lambda one, other: {"allOf": [one, other]}, nodes, nodes)
        | st.builds(lambda some: {"anyOf": some}, st.lists(nodes, min_size=1, max_size=3))
        | st.builds(lambda some: {"oneOf": some}, st.lists(nodes, min_size=1, max_size=3))
        | st.builds(lambda one, other: {"if": one, "then": other, "else": True}, nodes, nodes)
        | st.builds(lambda one, other: _merged(one, {"not": other}), nodes, nodes)
    )


def _merged(one: Any, other: dict[str, Any]) -> Any:
    return {**(one if isinstance(one, dict) else {}), **other}


def _some(keywords: dict[str, st.SearchStrategy[Any]], always: list[str]) -> st.SearchStrategy[Any]:
    """Objects with their required keywords, and some of the others."""
    optional = {name: one for name, one in keywords.items() if name not in always}
    return st.fixed_dictionaries({name: keywords[name] for name in always}, optional=optional)
