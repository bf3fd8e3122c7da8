"""The site of the documentation: dead links fail its build. ``make check`` builds the whole site."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = """# Title

```{toctree}
page
```
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with the configuration of the site and a page that the test writes."""
    pytest.importorskip("sphinx")
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "conf.py", tmp_path / "docs")
    shutil.copytree(ROOT / "docs" / "_static", tmp_path / "docs" / "_static")
    (tmp_path / "mimic" / "page").mkdir(parents=True)
    shutil.copy(ROOT / "mimic" / "page" / "icon.svg", tmp_path / "mimic" / "page")
    (tmp_path / "docs" / "index.md").write_text(PAGE)
    (tmp_path / "figures.json").write_text("{}")
    return tmp_path


def build(project: Path, page: str) -> subprocess.CompletedProcess[str]:
    """Build the site with this page, as ``make docs`` does."""
    (project / "docs" / "page.md").write_text(page)
    options = ("--quiet", "--fresh-env", "--fail-on-warning", "--keep-going")
    command = (sys.executable, "-m", "sphinx", *options, "docs", "built")
    return subprocess.run(command, cwd=project, check=False, capture_output=True, text=True)


def test_dead_links_fail_the_build(project: Path) -> None:
    """Links to absent pages, files and headings are errors, each with its line."""
    dead = ("absent.md", "../absent.json", "index.md#absent", "#absent")
    built = build(project, "# Page\n\n" + "\n\n".join(f"[a link]({target})" for target in dead))
    assert built.returncode != 0
    for line in range(3, 11, 2):
        assert f"page.md:{line}: WARNING" in built.stderr, built.stderr


def test_links_lead_to_pages_and_files(project: Path) -> None:
    """Links to documents outside the folder lead to their pages, and links to other files to downloads."""
    (project / "CHANGELOG.md").write_text(
        "# Changelog\n\nSee [the page](docs/page.md#part) and [itself](CHANGELOG.md).\n"
    )
    (project / "docs" / "changelog.md").write_text("---\norphan: true\n---\n```{include} ../CHANGELOG.md\n```\n")
    built = build(
        project, "# Page\n\n## Part\n\n[log](../CHANGELOG.md), [figures](../figures.json), [start](index.md)\n"
    )
    assert (built.returncode, built.stderr) == (0, "")
    page = (project / "built" / "page.html").read_text()
    assert 'href="changelog.html"' in page
    assert "figures.json" in page
    log = (project / "built" / "changelog.html").read_text()
    assert 'href="page.html#part"' in log
