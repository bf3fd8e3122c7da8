"""Reports: the results of benchmarks stand in the documentation as the benchmarks wrote them."""

import re
from pathlib import Path

from benchmarks.support.report import PAGE, RESULTS, with_results


def test_the_tables_of_versions_are_the_results() -> None:
    """The page shows the files that the benchmarks wrote, and changes with them."""
    page = PAGE.read_text()
    assert len(re.findall(r"<!-- begin ", page)) == 4
    assert with_results(page, RESULTS) == page


def test_results_replace_what_stands_between_their_comments(tmp_path: Path) -> None:
    """A result fills its place again and again; a place without a result stays as it is."""
    (tmp_path / "one-1MB.md").write_text("| new |\n")
    page = "<!-- begin one-1MB -->\nold\n<!-- end one-1MB -->\n\n<!-- begin other -->\n<!-- end other -->\n"
    filled = page.replace("old", "| new |")
    assert with_results(page, tmp_path) == filled
    assert with_results(filled, tmp_path) == filled
