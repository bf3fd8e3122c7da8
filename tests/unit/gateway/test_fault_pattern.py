"""The pattern of ``x-mimic-fault`` in the OpenAPI document agrees with the parser."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimic.gateway.faults import NONE, PATTERN, parse_fault

VALUES = ("0", "5", "0.5", "3600", "3600.1", "1000000", "1000001", "true", "maybe", "word_1", "Word", "", "429", "399")
PARAMETERS = ("after", "seconds", "retry-after", "should-retry", "type", "code", "status", "")
KINDS = (
    "status",
    "disconnect",
    "stall",
    "malformed",
    "error",
    "slow-headers",
    "empty",
    "break-tool-call",
    "none",
    "other",
)
BLANKS = st.sampled_from(["", " ", "\t"])


@st.composite
def headers(draw: st.DrawFn) -> str:
    """Headers, many of them valid: kinds with possible names and values."""
    kind = draw(st.sampled_from(KINDS))
    head = f"{kind}={draw(st.sampled_from(VALUES))}" if draw(st.booleans()) == (kind == "status") else kind
    pairs = draw(st.lists(st.tuples(st.sampled_from(PARAMETERS), st.sampled_from(VALUES)), max_size=3))
    parts = [head, *(f"{name}{draw(BLANKS)}={draw(BLANKS)}{value}" for name, value in pairs)]
    return ";".join(f"{draw(BLANKS)}{part}{draw(BLANKS)}" for part in parts)


def is_parsed(header: str) -> bool:
    """Return True if the header parses."""
    try:
        return header.strip(" \t") == NONE or bool(parse_fault(header))
    except ValueError:
        return False


@settings(max_examples=5 * settings().max_examples)
@given(headers())
def test_the_pattern_matches_exactly_valid_headers(header: str) -> None:
    """Any combination matches the pattern exactly if it parses."""
    assert bool(re.fullmatch(PATTERN, header)) == is_parsed(header)


@settings(max_examples=settings().max_examples // 2)
@given(st.from_regex(PATTERN, fullmatch=True))
def test_headers_made_from_the_pattern_parse(header: str) -> None:
    """Requests generated from the document, as by testing tools, parse."""
    assert is_parsed(header.removesuffix("\n"))


@pytest.mark.parametrize("header", ["stall; after=1; after=2", "status=429; code=a; type=b; code=c", "empty; after=1"])
def test_names_are_unique(header: str) -> None:
    """Repeated names, and names of another kind, neither match nor parse."""
    assert not re.fullmatch(PATTERN, header)
    assert not is_parsed(header)
