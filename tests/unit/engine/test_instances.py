"""Instances of JSON schemas are valid, deterministic, and made of texts of the chat."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from mimic.engine.instances import phrases
from mimic.engine.instances.chat_values import ChatValues, subjects
from mimic.engine.instances.maker import instance
from mimic.engine.instances.patterns import matching
from mimic.engine.instances.schema import JsonSchema, SchemaProblem
from mimic.engine.instances.text_values import TextValues
from mimic.engine.instances.values import NoValues
from tests.support.json_schemas import schemas

TEXT = {"type": "string"}
WHOLE = {"type": "integer"}
LIST = {
    "type": "object",
    "properties": {"value": WHOLE, "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
    "required": ["value", "next"],
    "additionalProperties": False,
}


def of(*required: str, **properties: Any) -> dict[str, Any]:
    """A schema of an object with these properties, all or some of them required."""
    return {"type": "object", "properties": properties, "required": list(required or properties)}


def judge_of(schema: Any) -> Any:
    """An independent validator of a schema. It takes a second to load: processes that only collect this file do not."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415

    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


@contextmanager
def ends_of_recursion() -> Iterator[None]:
    """Ignore the end of the validator's recursion, for a schema that refers to nothing but itself.

    Its maps are in Rust, where the same end is a panic, which is no Exception and whose class cannot be imported.
    """
    try:
        yield
    except RecursionError:
        pass
    except BaseException as exc:
        if type(exc).__module__ != "pyo3_runtime" or "RecursionError" not in str(exc):
            raise


def check(schema: Any) -> None:
    """Assert that the instance is deterministic and valid by an independent validator, or refused."""
    try:
        made = instance(JsonSchema(schema), NoValues(), "answer")
    except SchemaProblem:
        return
    assert made == instance(JsonSchema(schema), NoValues(), "answer")
    judge = judge_of(schema)
    with ends_of_recursion():
        assert judge.is_valid(made), made


@given(schemas())
def test_drawn_schemas_get_valid_instances(schema: Any) -> None:
    """Drawn schemas with nearly all keywords of draft 2020-12 get valid instances."""
    check(schema)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(schemas())
def test_ten_thousand_drawn_schemas_get_valid_instances(schema: Any) -> None:
    """Ten thousand drawn schemas get valid instances."""
    check(schema)


@pytest.mark.parametrize(
    ("schema", "made"),
    [
        (True, "answer"),
        ({"const": [1, {"a": None}]}, [1, {"a": None}]),
        ({"type": "integer", "minimum": 5, "multipleOf": 4}, 8),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
        ({"type": "array", "prefixItems": [TEXT, WHOLE], "items": False, "minItems": 2}, ["answer", 1]),
        ({"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True, "minItems": 3}, ["a", "b", "c"]),
        ({"type": "array", "items": WHOLE, "contains": {"const": 7}, "minItems": 2}, [7, 1]),
        ({"oneOf": [{"type": "integer", "multipleOf": 3}, {"type": "integer", "multipleOf": 5}]}, 3),
        ({"type": "string", "pattern": "^[A-Z]{3}-\\d{2}$"}, "AHO-18"),
        ({"type": "string", "format": "date"}, "2024-05-17"),
        ({"type": ["null", "boolean"]}, True),
        ({"type": "string", "default": "plain", "examples": ["other"]}, "plain"),
        ({"allOf": [{"$ref": "#/$defs/a"}, {"maximum": 3}], "$defs": {"a": {"type": "integer", "minimum": 2}}}, 2),
        (of(a=TEXT) | {"dependentRequired": {"a": ["b"]}}, {"a": "a", "b": "b"}),
        (of(a={"if": {"type": "string"}, "then": {"const": "x"}}), {"a": "x"}),
    ],
)
def test_instances_of_keywords(schema: Any, made: Any) -> None:
    """Each keyword gets its plainest value."""
    assert instance(JsonSchema(schema), NoValues(), "answer") == made


def test_a_schema_that_contains_itself_comes_to_an_end() -> None:
    """A linked list ends; an endless schema is refused."""
    made = instance(JsonSchema(LIST), NoValues())
    assert judge_of(LIST).is_valid(made)
    with pytest.raises(SchemaProblem):
        instance(JsonSchema(of(next={"$ref": "#"})), NoValues())


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "strin"}, "at /type: "),
        ({"$ref": "https://example.com/schema"}, "at /$ref: 'https://example.com/schema' is not in this schema"),
        ({"properties": {"a": {"$ref": "#/$defs/b"}}}, "at /properties/a/$ref: "),
        ({"type": "string", "pattern": "("}, "at /pattern: "),
        ({"properties": {"a": {"type": "object", "required": "a"}}}, "at /properties/a/required: "),
        ({"enum": ["x" * 300_000]}, "the schema has 300,"),
    ],
)
def test_an_invalid_schema_is_refused(schema: Any, problem: str) -> None:
    """The error has the place in the schema. Nothing is ever fetched."""
    with pytest.raises(SchemaProblem) as refused:
        JsonSchema(schema)
    assert str(refused.value).startswith(problem)


def test_a_contradiction_is_named() -> None:
    """The error of a schema that cannot be met has its place."""
    with pytest.raises(SchemaProblem, match="at /properties/a: no value can meet it"):
        instance(JsonSchema(of(a={"type": "integer", "minimum": 5, "maximum": 3})), NoValues())


def test_large_and_evil_schemas_are_bounded() -> None:
    """Steps are limited instead of time, so that the same request always gets the same answer."""
    deep: Any = TEXT
    for _ in range(200):
        deep = of(a=deep)
    with pytest.raises(SchemaProblem, match="levels deep"):
        JsonSchema(deep)
    wide = of(**{f"a{n}": {"anyOf": [of(x={"not": {}}), {"type": "string", "pattern": "^(a+)+$"}]} for n in range(200)})
    assert set(instance(JsonSchema(wide), NoValues()).values()) == {"aaaa"}  # type: ignore[union-attr]
    with pytest.raises(SchemaProblem):
        instance(JsonSchema({"type": "array", "minItems": 1_000_000}), NoValues())


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "a{100000}"},
        {"type": "string", "pattern": "^((((a+)+)+)+)+$"},
        {"type": "integer", "minimum": 1e25},
        {"type": "number", "exclusiveMinimum": 1.79e308},
        {"allOf": [{"anyOf": [{"const": n}, {"const": n + 1}]} for n in range(40)]},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    ],
)
def test_extreme_schemas_are_met_or_refused(schema: Any) -> None:
    """Extreme numbers of JSON are kept, and no search takes long."""
    with suppress(SchemaProblem):
        made = instance(JsonSchema(schema), NoValues())
        assert judge_of(schema).is_valid(msgspec.json.decode(msgspec.json.encode(made)))


def test_numbers_that_are_too_long_for_json_are_not_taken() -> None:
    """A number of forty digits is not used as an argument."""
    assert instance(JsonSchema(of(a=WHOLE)), ChatValues(["what is " + "9" * 40])) == {"a": 1}


@pytest.mark.parametrize(
    ("pattern", "made"),
    [
        ("^(\\w+)-\\1$", "ah-ah"),
        ("^(?<year>\\d{4})-\\k<year>$", "0741-0741"),
        ("^\\p{Lu}\\p{Ll}+$", "Aho"),
        ("^[^\\s@]+@[^\\s@]+$", "ah@ov"),
        ("^(?:USD|EUR)$", "USD"),
        ("x" * 5_000, None),
        ("(", None),
    ],
)
def test_strings_of_patterns(pattern: str, made: str | None) -> None:
    """Strings are short and readable; an invalid pattern has none."""
    assert next(iter(matching(pattern)), None) == made


@pytest.mark.parametrize(
    ("said", "schema", "made"),
    [
        ("magic_function(3)", of(input=WHOLE), {"input": 3}),
        ("What is the weather in San Francisco, CA?", of(location=TEXT), {"location": "San Francisco, CA"}),
        (
            "What's the weather like in Paris today in fahrenheit?",
            of(location=TEXT, unit={"enum": ["celsius", "fahrenheit"]}),
            {"location": "Paris", "unit": "fahrenheit"},
        ),
        (
            "Book a flight from New York to Tokyo on 2025-03-01 for 2 people",
            of(origin=TEXT, destination=TEXT, date={"type": "string", "format": "date"}, passengers=WHOLE),
            {"origin": "New York", "destination": "Tokyo", "date": "2025-03-01", "passengers": 2},
        ),
        ("Book it for May 17, 2024", of(day={"type": "string", "format": "date"}), {"day": "2024-05-17"}),
        ("Add 12 and 30", of(a=WHOLE, b=WHOLE), {"a": 12, "b": 30}),
        ("What is 3 * (4 + 5)?", of(expression=TEXT), {"expression": "3 * (4 + 5)"}),
        (
            'Send an email to ada@example.org with the subject "Lunch" and body: see you at noon',
            of(to=TEXT, subject=TEXT, body=TEXT),
            {"to": "ada@example.org", "subject": "Lunch", "body": "see you at noon"},
        ),
        ("Open https://example.com/a?b=1.", of(url=TEXT), {"url": "https://example.com/a?b=1"}),
        ("Extract: John Doe is 42 years old", of(name=TEXT, age=WHOLE), {"name": "John Doe", "age": 42}),
        (
            "Create tasks: buy milk, walk the dog and call mom",
            of(tasks={"type": "array", "items": TEXT}),
            {"tasks": ["buy milk", "walk the dog", "call mom"]},
        ),
        (
            "Turn the lights off in the kitchen",
            of(room={"enum": ["living_room", "kitchen"]}, on={"type": "boolean"}),
            {"room": "kitchen", "on": False},
        ),
        ("weather in sf", of("city", city=TEXT, days=WHOLE), {"city": "sf"}),
        ("weather in sf for 3 days", of("city", city=TEXT, days=WHOLE), {"city": "sf", "days": 3}),
        ("", of(city=TEXT), {"city": "city"}),
    ],
)
def test_arguments_come_from_the_chat(said: str, schema: Any, made: Any) -> None:
    """Numbers, quotations, names, dates, addresses, members of an enum and mentioned optional fields are used."""
    assert instance(JsonSchema(schema), ChatValues([said])) == made


def test_several_things_are_asked_about() -> None:
    """Each call of a tool has one of the things."""
    said = "Compare the weather in Paris, Rome and London"
    assert subjects(said) == 3
    cities = [instance(JsonSchema(of(city=TEXT)), ChatValues([said], skip)) for skip in range(3)]
    assert cities == [{"city": "Paris"}, {"city": "Rome"}, {"city": "London"}]
    assert subjects("What is the weather in San Francisco, CA?") == 1


RECIPE = """Here is a simple recipe for pancakes:

1. Mix 2 cups of flour with 3 eggs.
2. Add 250 ml of milk.
3. Fry for 4 minutes.

Enjoy your breakfast!"""


@pytest.mark.parametrize(
    ("answer", "question", "schema", "made"),
    [
        (
            RECIPE,
            "Give me a recipe",
            of(title=TEXT, steps={"type": "array", "items": TEXT}, minutes=WHOLE, vegan={"type": "boolean"}),
            {
                "title": "Here is a simple recipe for pancakes",
                "steps": ["Mix 2 cups of flour with 3 eggs.", "Add 250 ml of milk.", "Fry for 4 minutes."],
                "minutes": 4,
                "vegan": True,
            },
        ),
        (RECIPE, "Give me a recipe", of(answer=TEXT), {"answer": RECIPE}),
        ("Nice to meet you!", "Jason is 25 years old", of(name=TEXT, age=WHOLE), {"name": "Jason", "age": 25}),
        ("It seems good to me.", "Is it bad?", of(verdict={"enum": ["good", "bad"]}), {"verdict": "bad"}),
        ("7 × 8 = 56. Think of 5, 6, 7, 8.", "What is 7 * 8?", of(answer=WHOLE), {"answer": 56}),  # noqa: RUF001
        ("No, not at all.", "Is it?", of(true={"type": "boolean"}), {"true": False}),
    ],
)
def test_structured_answers_read_like_the_answer(answer: str, question: str, schema: Any, made: Any) -> None:
    """Title, sentences, lists and numbers are those of the answer; facts of the question come first."""
    assert instance(JsonSchema(schema), TextValues(answer, question)) == made


def test_long_texts_are_looked_at_in_bounded_time() -> None:
    """Every expression takes at most linear time over adversarial texts."""
    for piece in ("a, ", "A ", "1.", "((1+", "a@", "in ", '"', "and A ", "\n- x", "5 x "):
        text = piece * 20_000
        found: list[object] = [
            phrases.numbers(text),
            phrases.names(text),
            phrases.list_items(text),
            phrases.dates(text),
        ]
        found += [phrases.quotations(text), phrases.emails(text), phrases.expressions(text), phrases.sentences(text)]
        found += [phrases.words_after(text, "in"), phrases.urls(text), phrases.times(text)]
        assert all(isinstance(one, (list, tuple)) for one in found)
