"""Hostile schemas of tools and answers, over HTTP: no request is an error of the server."""

from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.corpora import SMALL
from tests.support.servers import SharedServers

_WORDS: Final = """
    type enum const properties required items prefixItems additionalProperties patternProperties pattern format minimum
    exclusiveMinimum multipleOf minLength maxLength minItems maxItems uniqueItems contains minContains maxContains
    minProperties maxProperties propertyNames anyOf oneOf allOf not if then else $ref $defs $id $schema $anchor
    $dynamicRef $dynamicAnchor $recursiveRef $vocabulary dependentRequired dependentSchemas dependencies
    unevaluatedItems unevaluatedProperties default examples nullable title contentEncoding additionalItems a
"""
KEYWORDS: Final = _WORDS.split()
TEXTS: Final = (
    *("object", "string", "integer", "array", "null", "number", "boolean", "a", "", "\0", "\U0001d518", "x" * 3000),
    *("#", "#/$defs/a", "#/properties/a", "#a", "#/%zz", "#/~2", "//", "http://[", "urn:x", "file:///etc/passwd"),
    *("(a+)+$", "(?=a)b", "[", "\\p{L}+", "^(?:a|b){1000}$", "(a{1,100}){1,100}", "\\d+\\", "(a)\\1", ".{100000}"),
    *("date-time", "email", "uuid", "regex", "uri", "idn-hostname", "ipv6", "json-pointer"),
    *(f"https://json-schema.org/draft/{draft}/schema" for draft in ("2019-09", "2020-12")),
)
NUMBERS: Final = (0, 1, -1, 2, 0.1, 0.3, 1e300, -1e308, 5e-324, 2**53, 2**64, -(2**63), 10**30, 100_000)
LEAVES: Final = st.sampled_from([*TEXTS, *NUMBERS, True, False, None])
SCHEMAS: Final = st.dictionaries(
    st.sampled_from(KEYWORDS),
    st.recursive(
        LEAVES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=4),
        max_leaves=12,
    ),
    max_size=6,
)


@pytest.fixture(scope="module")
def client(serve: SharedServers) -> Iterator[httpx.Client]:
    """A client of a server that answers everything."""
    with httpx.Client(base_url=serve(SMALL, MIMIC_ON_MISS="any").url, timeout=20) as client:
        yield client


def check(client: httpx.Client, schema: Any) -> None:
    """Assert that a tool and an answer with the schema are made or refused, and that the server says where it fails."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", **schema}}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    chat = {"model": "m", "messages": [{"role": "user", "content": "John Doe is 42"}]}
    for fields in ({"tools": [tool], "tool_choice": "required"}, {"response_format": form}):
        answer = client.post("/v1/chat/completions", json={**chat, **fields})
        assert answer.status_code in {200, 400}, answer.text
        if answer.status_code == 400:
            assert answer.json()["error"]["param"] in {"tools[0].function.parameters", "response_format"}


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(schema=SCHEMAS)
def test_hostile_schemas_are_no_errors_of_the_server(client: httpx.Client, schema: Any) -> None:
    """Keywords with values of any type, endless references and patterns, and numbers beyond all bounds."""
    check(client, schema)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@settings(max_examples=5_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(schema=SCHEMAS)
def test_thousands_of_hostile_schemas_are_no_errors_of_the_server(client: httpx.Client, schema: Any) -> None:
    """The same with more of them."""
    check(client, schema)
