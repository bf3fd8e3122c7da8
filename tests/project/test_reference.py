"""The reference in ``docs/reference``: its pages agree with the code."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mimic.corpus.manifest import ExitCode
from mimic.gateway.errors import STATUS
from mimic.gateway.faults import KINDS
from mimic.server.http11 import refusals
from mimic.settings import VARIABLES, Settings
from mimic.wire.openai.errors import type_of
from mimic.wire.violations import violation_at

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
ROW = re.compile(r"^\| (.+) \|$", re.MULTILINE)
VIOLATIONS = (
    *("Object missing required field `a`", "Expected `int`, got `str`", "Invalid enum value 'a'"),
    *("Expected `int` <= 1", "Expected `int` >= 1", "Expected `float` <= 1.0", "Expected `float` >= 1.0"),
    *("Expected `array` of length >= 1", "Expected `str` of length >= 1"),
    *("Expected `array` of length <= 1", "Expected `str` of length <= 1", "Expected `object` of length <= 1"),
)
"""Messages of msgspec, one of each kind."""


def rows(page: str) -> Iterator[list[str]]:
    """The cells of each row in the tables of a page."""
    for line in ROW.findall((REFERENCE / page).read_text()):
        yield [cell.replace(r"\|", "|").strip() for cell in re.split(r"(?<!\\)\|", line)]


def codes_in(text: str) -> list[str]:
    """The texts that stand as code in a cell."""
    return re.findall(r"`([^`]+)`", text)


SETTINGS = {codes_in(row[0])[0]: row for row in rows("settings.md") if len(row) == 4 and row[0].startswith("`")}


def test_generated_tables_are_up_to_date() -> None:
    """``make reference`` writes nothing new."""
    program = (
        "from docs.generate import pages; print([file.name for file, text in pages() if file.read_text() != text])"
    )
    # In a process of its own: clients of other tests change click.
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_every_setting_is_listed() -> None:
    """Settings in the page are the settings of the code."""
    assert set(SETTINGS) == {name for name, _ in VARIABLES.values()}
    example = (ROOT / ".env.example").read_text()
    defaults = dict(re.findall(r"^#([A-Z_]+)=(.*)$", example, re.MULTILINE))
    assert {name: row[2] for name, row in SETTINGS.items()} == {
        name: f"`{default}`" if default else "empty" for name, default in defaults.items()
    }


@pytest.mark.parametrize(("field", "name"), [(field, name) for field, (name, _) in VARIABLES.items()])
def test_types_of_settings_are_as_listed(field: str, name: str) -> None:
    """A setting takes every listed word and the ends of a listed range, and nothing beyond the range."""
    kind, default, parse = SETTINGS[name][1], SETTINGS[name][2].strip("`"), VARIABLES[field][1]
    if default != "empty":
        assert parse(default) == getattr(Settings(), field)
    words = codes_in(kind)
    if found := re.search(r"(integer|number), (\d+) to (\d+)", kind):
        least, most = int(found[2]), int(found[3])
        assert (parse(found[2]), parse(found[3])) == (least, most)
        for beyond in (least - 1, most + 1):
            with pytest.raises(ValueError, match="expected"):
                parse(str(beyond))
    elif kind == "switch":
        assert (parse("on"), parse("off")) == (True, False)
    elif words and "MEAN" not in words:
        assert [parse(word) for word in words] == words
        if "any text" not in kind:
            with pytest.raises(ValueError, match="expected one of " + ", ".join(words)):
                parse("another")


def error_codes() -> set[str]:
    """Codes of the table of statuses, of refusals and of violations, and constants that the code calls ``code``."""
    found = {code for _, code in STATUS.values() if code} | {violation_at(one, "a").code for one in VIOLATIONS}
    found |= {one.code for one in vars(refusals).values() if isinstance(one, refusals.Refusal)}
    for file in (ROOT / "mimic").rglob("*.py"):
        found |= set(codes_of(ast.parse(file.read_text())))
    return found


def codes_of(tree: ast.Module) -> Iterator[str]:
    """Constants that a module assigns to the name ``code``, passes as ``code``, or has in a mapping as ``code``."""
    for node in ast.walk(tree):
        values: list[ast.expr] = []
        if isinstance(node, ast.keyword) and node.arg == "code":
            values = [node.value]
        elif isinstance(node, ast.Dict):
            values = [value for key, value in zip(node.keys, node.values, strict=True) if constant(key) == "code"]
        elif isinstance(node, ast.Assign):
            names = [name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)]
            values = list(getattr(node.value, "elts", [node.value])) if "code" in names else []
        yield from (text for value in values if re.fullmatch(r"[a-z]+(_[a-z]+)+", text := constant(value)))


def constant(node: ast.expr | None) -> str:
    """The text of a constant; empty where a node is something else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def test_every_error_code_is_listed() -> None:
    """Codes in the page are the codes of the code."""
    listed = [code for row in rows("errors.md") if row[0].isdigit() for code in codes_in(row[1])]
    assert len(listed) == len(set(listed))
    assert set(listed) == error_codes()


def test_statuses_of_errors_are_as_listed() -> None:
    """Errors of the domain and refusals have the listed statuses, and types of errors the listed names."""
    statuses = {code: int(row[0]) for row in rows("errors.md") if row[0].isdigit() for code in codes_in(row[1])}
    for status, code in STATUS.values():
        assert code is None or statuses[code] == status
    for one in vars(refusals).values():
        assert not isinstance(one, refusals.Refusal) or statuses[one.code] == one.status
    types = {name for row in rows("errors.md") for name in codes_in(row[0])}
    assert {type_of(status) for status in range(400, 600)} <= types


def test_every_header_is_listed() -> None:
    """Headers of Mimic's own that stand in the code are in the page."""
    page = (REFERENCE / "routes.md").read_text()
    named = {name for file in (ROOT / "mimic").rglob("*.py") for name in headers_in(ast.parse(file.read_text()))}
    assert {"x-mimic-match", "x-request-id", "x-client-request-id"} <= named
    assert [name for name in sorted(named) if f"`{name}`" not in page] == []
    for unit in ("requests", "tokens"):
        for name in ("limit", "remaining", "reset"):
            assert f"`x-ratelimit-{name}-{unit}`" in page


def headers_in(tree: ast.Module) -> Iterator[str]:
    """Names of headers that are constants of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
            if re.fullmatch(r"x-(mimic|request|client|should)-[a-z-]+[a-z]", text):
                yield text


def test_exit_codes_are_as_listed() -> None:
    """Exit codes of ``mimic seed`` are those of the code."""
    seeding = (REFERENCE / "command-line.md").read_text().partition("## `mimic serve`")[0]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", seeding, re.MULTILINE)] == sorted(ExitCode)


def test_every_label_is_explained() -> None:
    """Each label of a metric has a row, and a row has the values that the code knows."""
    metrics = [row for row in rows("metrics.md") if len(row) == 4 and row[0] != "metric"]
    explained = {codes_in(row[0])[0]: row[1] for row in rows("metrics.md") if len(row) == 2 and row[0].startswith("`")}
    assert {label for row in metrics for label in codes_in(row[2])} == set(explained)
    assert codes_in(explained["kind"]) == list(KINDS)
