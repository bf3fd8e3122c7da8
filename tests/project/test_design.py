"""The pages of design and measurements agree with the code: packages, names, dependencies and links."""

import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from mimic.settings import VARIABLES

ROOT = Path(__file__).parents[2]
DESIGN = ROOT / "docs" / "design"
MEASUREMENTS = ROOT / "docs" / "measurements"
PAGES = sorted([*DESIGN.glob("*.md"), *MEASUREMENTS.glob("*.md")])
SOURCES = {
    file: file.read_text() for folder in ("mimic", "seed", "benchmarks") for file in (ROOT / folder).rglob("*.py")
}
"""The texts of the code, by file."""
SECTIONS = ["Problem", "Choice", "Measured", "Rejected"]


def prose(page: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE)


def spans(page: str) -> list[str]:
    """The inline code of a page."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def is_name(name: str) -> bool:
    """True if a module of that name exists, or a name in a module or class."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        module = ".".join(parts[:length])
        try:
            found = find_spec(module)
        except ModuleNotFoundError:
            continue
        if found is None:
            continue
        value: object = import_module(module) if length < len(parts) else None
        for attribute in parts[length:]:
            if not hasattr(value, attribute):
                return False
            value = getattr(value, attribute)
        return True
    return False


@pytest.mark.parametrize("page", sorted({*DESIGN.glob("*.md")} - {DESIGN / "index.md"}), ids=lambda page: page.stem)
def test_a_page_of_the_design_has_four_sections(page: Path) -> None:
    """Problem, choice, measured and rejected, in this order."""
    assert re.findall(r"^## (.+)$", prose(page.read_text()), re.MULTILINE) == SECTIONS


@pytest.mark.parametrize("folder", [DESIGN, MEASUREMENTS])
def test_the_index_links_every_page(folder: Path) -> None:
    """No page of design or measurements is without a link from its index."""
    linked = set(re.findall(r"\]\(([\w-]+\.md)", (folder / "index.md").read_text()))
    assert linked == {page.name for page in folder.glob("*.md")} - {"index.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_and_pictures_exist(page: Path) -> None:
    """Every relative link leads to a file, and every anchor to a heading of it."""
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose(page.read_text())):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.is_file(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_names_exist(page: Path) -> None:
    """Modules, classes, files and settings in inline code are those of the project."""
    settings = {name for name, _ in VARIABLES.values()}
    for span in spans(page.read_text()):
        if re.fullmatch(r"(?:mimic|mimic_seed|benchmarks)(?:\.\w+)+", span):
            assert is_name(span), span
        elif re.fullmatch(r"(?:mimic|tests|benchmarks)/[\w/.]+", span):
            assert (ROOT / span).exists(), span
        elif re.fullmatch(r"MIMIC_[A-Z_]+", span):
            assert span in settings, span
        elif re.fullmatch(r"[a-z_0-9/]+\.py", span):
            assert any(file.as_posix().endswith(f"/{span}") for file in SOURCES), span
        elif re.fullmatch(r"(?:[A-Z][a-z]+){2,}(?:\.\w+)?", span):
            name, _, attribute = span.partition(".")
            defining = [text for text in SOURCES.values() if re.search(rf"\b{name}\b", text)]
            assert any(re.search(rf"\b{attribute}\b", text) for text in defining), span


@pytest.mark.parametrize("page", sorted(MEASUREMENTS.glob("*.md")), ids=lambda page: page.stem)
def test_a_measurement_has_its_date_and_its_commands_exist(page: Path) -> None:
    """Commands are modules of benchmarks, targets of make, or the command line."""
    text = page.read_text()
    assert re.search(r"\b20\d\d-\d\d-\d\d\b", text)
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for line in re.findall(r"^(?:python -m \S+|make \S+|mimic \S+)", text, re.MULTILINE):
        program, *_, name = line.split()
        if program == "python":
            assert is_name(name), line
        elif program == "make":
            assert name in targets, line
        else:
            assert name in {"seed", "serve", "export"}, line


def dependencies() -> Iterator[tuple[str, Requirement]]:
    """The dependencies of the project, each with the heading of its table."""
    tomllib = pytest.importorskip("tomllib")
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    tables = {"At run time": pyproject["project"]["dependencies"]}
    tables |= {f"Extra `{name}`": named for name, named in pyproject["project"]["optional-dependencies"].items()}
    tables |= {f"Group `{name}`": named for name, named in pyproject["dependency-groups"].items()}
    for heading, requirements in tables.items():
        for requirement in requirements:
            yield heading, Requirement(requirement)


def bounds(requirement: str) -> set[str]:
    """The bounds of a requirement, in any order."""
    return set(requirement.split(","))


def test_the_page_of_dependencies_lists_each_with_its_bounds() -> None:
    """Every dependency of ``pyproject.toml`` is in the table of its group with a reason, and there is no other."""
    listed: set[tuple[str, str, frozenset[str]]] = set()
    for section in re.split(r"^### ", (DESIGN / "dependencies.md").read_text(), flags=re.MULTILINE)[1:]:
        heading = section.partition("\n")[0]
        for name, bound in re.findall(r"^\| ([\w.-]+) \| `([^`]+)` \| \S.* \|$", section, re.MULTILINE):
            listed.add((heading, name, frozenset(bounds(bound))))
    assert listed == {
        (heading, requirement.name, frozenset(bounds(str(requirement.specifier))))
        for heading, requirement in dependencies()
    }
