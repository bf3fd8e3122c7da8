"""The golden record: answers, journal and metrics are those of the recording."""

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest

from tests.golden.cases import GROUPS, Group
from tests.golden.record import OPENAPI, Servers, load, openapi, play

MOST_SHOWN: Final = 10
"""The most cases of a group whose differences are shown."""
UNIONS: Final = ("anyOf", "oneOf")
"""Keywords of JSON Schema whose order means nothing."""


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """Servers of the golden corpus, by their settings."""
    with Servers() as servers:
        yield servers


@pytest.fixture(scope="module")
def record() -> Mapping[str, Any]:
    """The answers that were recorded."""
    return load()


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_answers_are_as_recorded(group: Group, servers: Servers, record: Mapping[str, Any]) -> None:
    """Every request gets the recorded answer, and leaves the recorded entries in the journal and the metrics."""
    expected, got = record[group.name], play(servers.port(group), group)
    problems = [
        f"--- {case.name}\n{case}\n{difference}"
        for case in group.cases
        if (difference := _difference(expected["cases"].get(case.name), got["cases"][case.name]))
    ]
    for part in ("journal", "counters"):
        if difference := _difference(expected[part], got[part]):
            problems.append(f"--- {part}\n{difference}")
    if problems:
        text = "\n\n".join(problems[:MOST_SHOWN])
        pytest.fail(f"{len(problems)} differences in {group.name!r} (- recorded, + got)\n\n{text}", pytrace=False)
    assert list(expected["cases"]) == [case.name for case in group.cases]


def test_groups_are_as_recorded(record: Mapping[str, Any]) -> None:
    """The record has exactly the groups that are played."""
    assert list(record) == [group.name for group in GROUPS]


def test_description_of_the_api_is_as_recorded(servers: Servers) -> None:
    """The OpenAPI document is the recorded one, except for the version of Mimic and the order of keys and unions."""
    recorded, got = map(json.loads, (OPENAPI.read_text(), openapi(servers.port(GROUPS[0]))))
    if difference := _difference(_with_sorted_unions(recorded), _with_sorted_unions(got)):
        pytest.fail(f"The OpenAPI document differs (- recorded, + got)\n\n{difference}", pytrace=False)


def _with_sorted_unions(value: Any) -> Any:
    """The same schemas, with the members of each union sorted: their order depends on the version of Litestar."""
    if isinstance(value, list):
        return [_with_sorted_unions(item) for item in value]
    if not isinstance(value, dict):
        return value
    parts = {key: _with_sorted_unions(item) for key, item in value.items()}
    return {key: sorted(part, key=json.dumps) if key in UNIONS else part for key, part in parts.items()}


def _difference(expected: object, got: object) -> str:
    return "" if expected == got else _difference_of_lines(_readable(expected), _readable(got))


def _difference_of_lines(expected: str, got: str) -> str:
    lines = difflib.unified_diff(expected.splitlines(), got.splitlines(), lineterm="", n=1)
    return "\n".join(list(lines)[2:])


def _readable(value: object) -> str:
    """JSON on many lines, also inside a text."""
    return json.dumps(value, indent=1, ensure_ascii=False).replace(',\\"', ',\n\\"')
