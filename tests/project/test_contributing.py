"""CONTRIBUTING and the links of documents outside the site: files, targets and names exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
PLACEHOLDER = re.compile(r"NAME|FORMAT|VENDOR|KIND")


def test_named_files_exist() -> None:
    """Paths that stand as code are paths of the repository, except in examples with a placeholder."""
    named = re.findall(r"`((?:mimic|seed|tests|docs|changes)/[\w./-]+)`", TEXT)
    assert len(named) > 30
    assert [path for path in named if not PLACEHOLDER.search(path) and not (ROOT / path).exists()] == []


def test_named_parts_of_modules_exist() -> None:
    """A name that stands before ``of`` and a module is in the text of this module."""
    named = re.findall(r"`(\w+)` (?:of|from|in) `([\w/]+\.py)`", TEXT)
    assert len(named) > 15
    assert [(name, path) for name, path in named if name not in (ROOT / path).read_text()] == []


def test_named_targets_exist() -> None:
    """Commands of make are targets of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", TEXT)) <= targets


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_lead_to_files(name: str) -> None:
    """Relative links lead to files of the repository, and their anchors to headings."""
    file = ROOT / name
    for path, anchor in re.findall(r"\]\((?!\w+:)([^)\s#]*)(?:#([^)\s]+))?\)", without_code(file.read_text())):
        target = file.parent / path if path else file
        assert target.exists(), path
        if anchor and target.suffix == ".md":
            assert anchor in {anchor_of(line) for line in target.read_text().splitlines() if line.startswith("#")}


def without_code(text: str) -> str:
    """A text without blocks and spans of code."""
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def anchor_of(heading: str) -> str:
    """The anchor of a heading, as GitHub and MyST make it."""
    return re.sub(r"[^\w\- ]", "", heading.lstrip("# ").lower()).replace(" ", "-")
