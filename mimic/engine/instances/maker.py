"""Makes an instance of a schema: deterministic, and valid as the validator judges, or there is none.

A node of the instance has to meet several schemas at once: its own, and whatever ``$ref``, ``allOf`` and a branch of
``anyOf`` add. They are kept as a list of parts, of which each keyword is asked. Where there is a choice (a branch, a
type, a member), the best one by the schema and the source of values is taken; if the whole is found to be invalid, the
nodes that the validator names choose anew.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, Final, Literal, TypeAlias

import msgspec

from mimic.engine.instances import scalars
from mimic.engine.instances.patterns import matching
from mimic.engine.instances.schema import JsonSchema, Node, SchemaProblem, pointer, validator_of
from mimic.engine.instances.values import Field, JsonValue, Values

MAX_STEPS: Final = 2_000
"""Nodes that are made for one instance, those of attempts that failed included, besides four for each subschema."""
MAX_ATTEMPTS: Final = 100
MAX_CANDIDATES: Final = 40
MOST: Final = 1.7e308
"""What numbers are made up to; more would be infinite, which JSON does not have."""
MAX_PARTS: Final = 500
"""Schemas that one value has to meet."""
SCALAR_WAYS: Final = 8
"""Values of a scalar that are tried where the whole is invalid."""
MAX_ITEMS: Final = 2_000
OPTIONAL_DEPTH: Final = 5
"""How deep properties go that may be left out."""
DEEPEST: Final = 48

Path: TypeAlias = tuple[str | int, ...]
Part: TypeAlias = Mapping[str, Any]
Type: TypeAlias = Literal["object", "array", "string", "integer", "number", "boolean", "null"]

ANY_TYPE: Final[Sequence[Type]] = ("string", "number", "boolean", "object", "array", "null")
OF_TYPES: Final[Mapping[Type, Sequence[str]]] = {
    "object": ("properties", "required", "additionalProperties", "patternProperties", "minProperties", "propertyNames"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "contains", "uniqueItems"),
    "string": ("pattern", "format", "minLength", "maxLength"),
    "number": ("minimum", "maximum", "multipleOf", "exclusiveMinimum", "exclusiveMaximum"),
}
DEPENDENT: Final = ("dependencies", "dependentRequired", "dependentSchemas")
LEAF: Final = frozenset(
    ("type", "enum", "const", "not", *OF_TYPES["string"], *OF_TYPES["number"])  # what a scalar is judged by
)


class _Impossible(Exception):
    """What was chosen so far leaves no value for the node."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(reason)
        self.path = path
        self.reason = reason


def instance(schema: JsonSchema, values: Values, name: str = "") -> JsonValue:
    """A valid instance, its contents from the source as far as they fit. Raises SchemaProblem. Blocks."""
    return _Maker(schema, values).make(name)


class _Maker:
    def __init__(self, schema: JsonSchema, values: Values) -> None:
        self._schema = schema
        self._values = values
        self._steps = 0
        self._most = MAX_STEPS + 4 * len(schema.nodes)
        self._turns: dict[Path, int] = {}
        self._ways: dict[Path, int] = {}
        self._validators: dict[tuple[int, ...], Any] = {}

    def make(self, name: str) -> JsonValue:
        problem: tuple[Path, str] = ((), "no value was found")
        for _ in range(MAX_ATTEMPTS):
            try:
                value = self._node([self._schema.root], (), Field(name))
            except _Impossible as exc:
                problem = (exc.path, exc.reason)
                break
            errors = list(islice(self._schema.validator.iter_errors(value), 20))
            if not errors:
                return value
            problem = (tuple(errors[0].instance_path), errors[0].message[:200])
            if not self._turn([tuple(error.instance_path) for error in errors]):
                break
        found = self._schema.unsatisfiable()
        path, reason = problem
        place = f", in the value at {pointer(path[:8])}" if path else ""
        raise found or SchemaProblem((), f"no value that meets the schema was found{place}: {reason}")

    def _turn(self, paths: Sequence[Path]) -> bool:
        """Let the nodes choose anew that errors are about: the node itself, else the nearest one above or below."""
        if self._steps > self._most:
            return False
        turned = False
        for path in dict.fromkeys(paths):
            places = (*self._below(path), *[path[:end] for end in range(len(path) - 1, -1, -1)])
            turned = any(self._next_way(place) for place in places) or turned
        return turned

    def _below(self, path: Path) -> list[Path]:
        """The node of a path, and behind it the nodes just below, which a rule about the whole may be about."""
        inner = sorted(
            (
                one
                for one in self._ways
                if len(one) == len(path) + 1 and one[: len(path)] == path and self._ways[one] > 1
            ),
            key=str,
        )
        return [path, *inner]

    def _choose(self, path: Path, count: int, turn: list[int]) -> int:
        """One of so many ways, as the node's turn says.

        ``turn`` holds the rest of the turn, and the number of ways so far.
        """
        if count <= 1:
            return 0
        index = turn[0] % count
        turn[0] //= count
        turn[1] = min(turn[1] * count, 10_000)
        self._ways[path] = max(self._ways.get(path, 1), turn[1])
        return index

    def _node(self, schemas: Sequence[Node], path: Path, field: Field, variant: int = 0) -> JsonValue:
        while True:
            try:
                return self._attempt(schemas, path, field, variant)
            except _Impossible:
                if self._steps > self._most or not self._next_way(path):
                    raise

    def _next_way(self, path: Path) -> bool:
        """Let a node choose anew, and all below it from the start. False if it has no further way."""
        if self._turns.get(path, 0) + 1 >= self._ways.get(path, 1):
            return False
        self._turns[path] = self._turns.get(path, 0) + 1
        for other in [one for one in self._turns if len(one) > len(path) and one[: len(path)] == path]:
            del self._turns[other]
        return True

    def _attempt(self, schemas: Sequence[Node], path: Path, field: Field, variant: int) -> JsonValue:
        self._steps += 1
        if self._steps > self._most:
            raise _Impossible(path, f"the search was given up after {self._most:,} steps")
        if len(path) > DEEPEST:
            raise _Impossible(path, f"it goes on for more than {DEEPEST} levels")
        turn = [self._turns.get(path, 0), 1]
        parts = self._expand(schemas, path, turn)
        self._steps += len(parts) // 8  # to judge by many takes longer
        field = _described(field, parts)
        for keyword in ("const", "enum"):
            if any(keyword in part for part in parts):
                return self._member(parts, path, field, turn, variant)
        kind = self._type(parts, path, field, turn)
        if kind == "object":
            return self._object(parts, path, field, turn)
        if kind == "array":
            return self._array(parts, path, field, turn)
        if kind == "null":
            return None
        return self._scalar(parts, kind, path, field, turn, variant)

    def _expand(self, schemas: Sequence[Node], path: Path, turn: list[int]) -> list[Part]:
        """The parts that a node has to meet, one branch of each choice among them. Raises _Impossible."""
        parts: list[Part] = []
        waiting = list(schemas)
        seen = 0
        while waiting:
            node = waiting.pop(0)
            seen += 1
            if seen > MAX_PARTS:
                raise _Impossible(path, "its references lead round in a circle")
            if node is True:
                continue
            if isinstance(node, bool) or node.get("not") in (True, {}):
                raise _Impossible(path, "the schema allows nothing here")
            parts.append(node)
            references = [node[key] for key in ("$ref", "$dynamicRef") if isinstance(node.get(key), str)]
            waiting += [self._schema.target(reference) for reference in references]
            waiting += node.get("allOf") or ()
            for keyword in ("anyOf", "oneOf"):
                if node.get(keyword):
                    waiting.append(self._branch(node[keyword], path, turn))
            if "if" in node:
                waiting += self._conditional(node, path, turn)
        return parts

    def _branch(self, branches: Sequence[Node], path: Path, turn: list[int]) -> Node:
        deep = len(path) > OPTIONAL_DEPTH
        finite = [one for one in branches if self._schema.height(one) != float("inf") and one is not False]
        if not finite:
            raise _Impossible(path, "none of its alternatives ever comes to an end")
        order = sorted(finite, key=lambda one: (self._schema.height(one) if deep else 0, not deep and _is_null(one)))
        return order[self._choose(path, len(order), turn)]

    def _conditional(self, node: Part, path: Path, turn: list[int]) -> list[Node]:
        ways: list[list[Node]] = [[node["if"], node.get("then", True)], [{"not": node["if"]}, node.get("else", True)]]
        if "then" not in node:
            ways.reverse()
        return ways[self._choose(path, 2, turn)]

    def _type(self, parts: Sequence[Part], path: Path, field: Field, turn: list[int]) -> Type:
        named = _types(parts)
        banned = {one for part in parts for one in _banned_types(part)}
        allowed = [kind for kind in named if kind not in banned and not (kind == "integer" and "number" in banned)]
        if not allowed:
            raise _Impossible(path, "no type is allowed by all of its schemas")
        order = sorted(allowed, key=lambda kind: kind == "null")
        if "null" in allowed and len(allowed) > 1 and not self._values.knows(field):
            order.reverse()
        return order[self._choose(path, len(order), turn)]

    def _member(self, parts: Sequence[Part], path: Path, field: Field, turn: list[int], variant: int) -> JsonValue:
        lists: list[list[JsonValue]] = [
            [part["const"]] if "const" in part else part["enum"] for part in parts if "const" in part or "enum" in part
        ]
        members = [one for one in lists[0] if all(any(_equal(one, other) for other in rest) for rest in lists[1:])]
        judge = self._judge(parts)
        members = [one for one in members if isinstance(one, (list, dict)) or judge.is_valid(one)]
        if not members:
            raise _Impossible(path, "no member of its enum meets the rest of the schema")
        if len(members) > 1:
            first: list[JsonValue] = [one for one in self._values.mentioned(members, field) if one in members]
            first += [part["default"] for part in parts if "default" in part and part["default"] in members]
            if None in members and not first and not self._values.knows(field):
                first = [None]
            members = [*first, *[one for one in members if not any(_equal(one, other) for other in first)]]
        return members[(self._choose(path, len(members), turn) + variant) % len(members)]

    def _scalar(
        self, parts: Sequence[Part], kind: Type, path: Path, field: Field, turn: list[int], variant: int
    ) -> JsonValue:
        judge = self._judge(parts)
        candidates = islice(self._candidates(parts, kind, field, variant), 3 * MAX_CANDIDATES)
        fitting = (one for one in candidates if _is_of(one, kind) and judge.is_valid(one))
        chosen = list(islice(fitting, 1 + self._choose(path, SCALAR_WAYS, turn)))
        if not chosen:
            raise _Impossible(path, f"no {kind} that meets the schema was found")
        return chosen[-1]

    def _candidates(self, parts: Sequence[Part], kind: Type, field: Field, variant: int) -> Iterator[JsonValue]:
        """Values for a scalar, the best first: of the source, of the schema, and made ones."""
        if not variant:
            yield from islice(self._of_source(kind, field), MAX_CANDIDATES)
        given = [part["default"] for part in parts if "default" in part]
        given += [one for part in parts if isinstance(part.get("examples"), list) for one in part["examples"]]
        yield from given[variant:]
        for number in range(variant, variant + 12):
            if kind == "string":
                yield from scalars.strings(parts, field.name, number)
            elif kind == "boolean":
                yield number % 2 == 0
            else:
                yield from scalars.numbers(parts, kind == "integer", number)

    def _of_source(self, kind: Type, field: Field) -> Iterator[JsonValue]:
        if kind == "string":
            yield from self._values.strings(field)
        elif kind == "boolean":
            yield from self._values.booleans(field)
        elif kind == "integer":
            yield from (int(one) if float(one).is_integer() else one for one in self._values.numbers(field))
        else:
            yield from self._values.numbers(field)

    def _judge(self, parts: Sequence[Part]) -> Any:
        """A validator of a scalar by all parts."""
        key = tuple([id(part) for part in parts])
        found = self._validators.get(key)
        if found is None:
            rules: list[Node] = [
                {name: part[name] for name in LEAF & part.keys() if name != "not" or _is_plain(part[name])}
                for part in parts
            ]
            found = self._validators[key] = validator_of({"allOf": rules or [True], **_draft(self._schema.root)})
        return found

    def _object(self, parts: Sequence[Part], path: Path, field: Field, turn: list[int]) -> JsonValue:
        names, parts = self._names(parts, path, field, turn)
        made: dict[str, JsonValue] = {}
        for name in names:
            made[name] = self._node(self._of_key(parts, name), (*path, name), Field(name))
        least = max([int(part.get("minProperties", 0)) for part in parts], default=0)
        for name in self._more_names(parts, path):
            if len(made) >= least:
                break
            if name in made or any(name in _rules(part) for part in parts):
                continue
            schemas = self._of_key(parts, name, is_new=True)
            if False not in schemas:
                made[name] = self._node(schemas, (*path, name), Field(name))
        if len(made) < least:
            raise _Impossible(path, f"no {least} properties were found")
        return made

    def _names(
        self, parts: Sequence[Part], path: Path, field: Field, turn: list[int]
    ) -> tuple[list[str], Sequence[Part]]:
        """The names of the properties to make, and the parts with those that these names bring with them."""
        declared = list(dict.fromkeys(name for part in parts for name in part.get("properties") or ()))
        required = dict.fromkeys(name for part in parts for name in part.get("required") or ())
        wanted = [name for name in declared if name not in required and self._may_have(parts, name, path)]
        if wanted:
            ways: list[list[str]] = [
                [name for name in wanted if self._wants(parts, name, path)],
                [],
                wanted,
                *[[name] for name in wanted[:12]],
                *[[other for other in wanted if other != name] for name in wanted[:12]],
            ]
            wanted = ways[self._choose(path, len(ways), turn)]
        most = min([int(part["maxProperties"]) for part in parts if "maxProperties" in part], default=1_000_000)
        names = [name for name in declared if name in required or name in wanted[: max(0, most - len(required))]]
        names += [name for name in required if name not in declared]
        added: list[Part] = list(parts)
        for _ in range(8):  # names bring rules with them, and rules bring names
            extra: list[Node] = []
            before = len(names)
            for part in list(added):
                names += _dependent_names(part, names)
                extra += _dependent_schemas(part, names)
            more = [part for part in self._expand(extra, path, turn) if all(part is not one for one in added)]
            added += more
            names += [name for part in more for name in part.get("required") or () if name not in names]
            if not more and len(names) == before:
                break
        return names, added

    def _may_have(self, parts: Sequence[Part], name: str, path: Path) -> bool:
        schemas = self._of_key(parts, name)
        if any(one is False or self._schema.height(one) == float("inf") for one in schemas):
            return False
        return not any(
            (part.get("not") or {}).get("required") == [name] for part in parts if isinstance(part.get("not"), Mapping)
        )

    def _wants(self, parts: Sequence[Part], name: str, path: Path) -> bool:
        """Whether to have a property that may be left out."""
        if len(path) >= OPTIONAL_DEPTH:
            return False
        described = [one for one in self._of_key(parts, name) if isinstance(one, Mapping)]
        return self._values.knows(_described(Field(name), described))

    def _of_key(self, parts: Sequence[Part], name: str, *, is_new: bool = False) -> list[Node]:
        """The schemas of a property; ``is_new`` if no part declares it, and unevaluated ones count."""
        found: list[Node] = []
        for part in parts:
            own: list[Node] = []
            if name in (part.get("properties") or {}):
                own.append(part["properties"][name])
            own += [
                schema for pattern, schema in (part.get("patternProperties") or {}).items() if _finds(pattern, name)
            ]
            if not own and "additionalProperties" in part:
                own.append(part["additionalProperties"])
            if not own and is_new and "unevaluatedProperties" in part:
                own.append(part["unevaluatedProperties"])
            found += own
        return found

    def _more_names(self, parts: Sequence[Part], path: Path) -> Iterator[str]:
        """Names that no part declares, for an object that needs more; those of ``patternProperties`` first."""
        rules: list[Node] = [part["propertyNames"] for part in parts if "propertyNames" in part]
        yield from (name for part in parts for name in part.get("properties") or ())
        for number in range(60):
            if rules:
                try:
                    name = self._node([*rules, {"type": "string"}], (*path, "propertyNames"), Field("name"), number)
                except _Impossible:
                    return
                if isinstance(name, str):
                    yield name
                continue
            for part in parts:
                for pattern in part.get("patternProperties") or ():
                    yield from (
                        text + end for text in islice(matching(pattern, number), 1) for end in ("", str(number + 1))
                    )
            yield f"key_{number + 1}"

    def _array(self, parts: Sequence[Part], path: Path, field: Field, turn: list[int]) -> JsonValue:
        fixed = max([len(_prefix(part)) for part in parts], default=0)
        needed = [
            part["contains"] for part in parts if "contains" in part for _ in range(int(part.get("minContains", 1)))
        ]
        count = self._count(parts, path, field, turn, fixed, len(needed))
        start = max(0, min(fixed, count - len(needed)))
        is_unique = any(part.get("uniqueItems") is True for part in parts)
        made: list[JsonValue] = []
        for index in range(count):
            schemas = self._of_index(parts, index)
            if start <= index < start + len(needed):
                schemas.append(needed[index - start])
            item = Field(field.name, field.description, index=index)
            made.append(self._item(schemas, (*path, index), item, made if is_unique else ()))
        return made

    def _count(self, parts: Sequence[Part], path: Path, field: Field, turn: list[int], fixed: int, needed: int) -> int:
        """The number of items."""
        least = max([int(part.get("minItems", 0)) for part in parts], default=0)
        most = min([int(part["maxItems"]) for part in parts if "maxItems" in part], default=MAX_ITEMS)
        closed = [len(_prefix(part)) for part in parts if _rest(part) is False]
        closed += [fixed for part in parts if part.get("unevaluatedItems") is False and not _has_rest(parts)]
        most = min([most, *closed])
        if least > most or least > MAX_ITEMS:
            raise _Impossible(path, f"it needs {least:,} items, and at most {most:,} can be made")
        hint = self._values.length(field)
        usual = fixed or (1 if hint is None else hint)
        if len(path) >= OPTIONAL_DEPTH and not fixed:
            usual = 0
        wanted = (max(usual, needed), fixed + needed, 1, 2, 0, 3, fixed + 1)
        counts = list(dict.fromkeys(min(most, max(least, count)) for count in wanted))
        return counts[self._choose(path, len(counts), turn)]

    def _item(self, schemas: Sequence[Node], path: Path, field: Field, others: Sequence[JsonValue]) -> JsonValue:
        """An item that equals none of the others."""
        value = self._node(schemas, path, field)
        variant = field.index or 0
        for attempt in range(24):
            if not any(_equal(value, other) for other in others):
                return value
            if attempt % 2:
                self._turns[path] = self._turns.get(path, 0) + 1
            value = self._node(schemas, path, field, variant + attempt // 2)
        raise _Impossible(path[:-1], "no further item was found that differs from those before")

    def _of_index(self, parts: Sequence[Part], index: int) -> list[Node]:
        found: list[Node] = []
        for part in parts:
            prefix = _prefix(part)
            if index < len(prefix):
                found.append(prefix[index])
            elif (rest := _rest(part)) is not None:
                found.append(rest)
        return found


def _prefix(part: Part) -> Sequence[Node]:
    """The schemas of the first items; until draft 2019-09 ``items`` held them."""
    if isinstance(part.get("prefixItems"), list):
        return part["prefixItems"]  # type: ignore[no-any-return]
    return part["items"] if isinstance(part.get("items"), list) else ()


def _rest(part: Part) -> Node | None:
    items = part.get("additionalItems") if isinstance(part.get("items"), list) else part.get("items")
    return items if isinstance(items, (bool, Mapping)) else None


def _has_rest(parts: Sequence[Part]) -> bool:
    return any(_rest(part) is not None for part in parts)


def _rules(part: Part) -> Mapping[str, Any]:
    """What the presence of a property asks for: other properties, or a schema."""
    return {key: value for keyword in DEPENDENT for key, value in (part.get(keyword) or {}).items()}


def _dependent_names(part: Part, names: Sequence[str]) -> list[str]:
    rules = _rules(part)
    wanted = [one for name in names for one in (rules.get(name) if isinstance(rules.get(name), list) else None) or ()]
    return [name for name in dict.fromkeys(wanted) if name not in names]


def _dependent_schemas(part: Part, names: Sequence[str]) -> list[Node]:
    rules = _rules(part)
    return [rules[name] for name in names if isinstance(rules.get(name), (bool, Mapping))]


def _described(field: Field, parts: Sequence[Part]) -> Field:
    """The field with what schemas say of it."""
    description, kind, members = field.description, field.format, field.members
    for part in parts:
        description = description or str(part.get("description") or part.get("title") or "")
        kind = kind or str(part.get("format") or "")
        members = members or part.get("enum") or ()
    return Field(field.name, description, kind, members, field.index)


def _types(parts: Sequence[Part]) -> list[Type]:
    """The types that all parts allow: those of ``type``; without one any, first those that other keywords are about."""
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
        named = allowed if named is None else [one for one in dict.fromkeys(named) if one in allowed]
    if named is not None:
        return [one for one in dict.fromkeys(named) if one != "integer" or "number" not in named]
    implied = [kind for kind in OF_TYPES if any(key in part for part in parts for key in OF_TYPES[kind])]
    return [*implied, *[kind for kind in ANY_TYPE if kind not in implied]]


def _banned_types(part: Part) -> Sequence[str]:
    ruled_out = part.get("not")
    if not isinstance(ruled_out, Mapping) or set(ruled_out) - {"type", "title", "description"}:
        return ()
    given = ruled_out.get("type", ())
    return [given] if isinstance(given, str) else given


def _is_plain(node: Node) -> bool:
    return isinstance(node, bool) or set(node) <= LEAF - {"not"}


def _is_null(node: Node) -> bool:
    return isinstance(node, Mapping) and (node.get("type") == "null" or ("const" in node and node["const"] is None))


def _is_of(value: JsonValue, kind: Type) -> bool:
    if kind == "string":
        return isinstance(value, str)
    if kind == "boolean":
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -MOST <= value <= MOST:
        return False
    return kind == "number" or float(value).is_integer()


def _equal(one: JsonValue, other: JsonValue) -> bool:
    """Whether JSON values are equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (dict, list)) and isinstance(other, (dict, list)):
        return msgspec.json.encode(one, order="sorted") == msgspec.json.encode(other, order="sorted")
    return one == other


@lru_cache(maxsize=256)
def _finds(pattern: str, name: str) -> bool:
    return bool(validator_of({"pattern": pattern}).is_valid(name))


def _draft(root: Node) -> Mapping[str, Any]:
    draft = root.get("$schema") if isinstance(root, Mapping) else None
    return {"$schema": draft} if isinstance(draft, str) else {}
