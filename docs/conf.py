"""The site that ``make docs`` builds from this folder with Sphinx, MyST and Furo."""

import os
import re
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import toctree
from sphinx.application import Sphinx

from mimic import __version__

DOCS = Path(__file__).parent
ROOT = DOCS.parent

project = "Mimic"
author = "The authors of Mimic"
copyright = author  # noqa: A001 - the name that Sphinx reads
version = release = __version__
html_title = f"Mimic {__version__}"

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
nitpicky = True
suppress_warnings = ["misc.highlighting_failure"]  # JSON that is shown in part has an ellipsis

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "../mimic/page/icon.svg"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
# Summaries of search results are fetched, which browsers refuse to a page of file://.
html_show_search_summary = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"

ORDER = {
    "guide": (
        *(
            "getting-started",
            "clients",
            "matching",
            "sampling",
            "tools",
            "responses",
            "moderations",
            "files",
            "batches",
            "webhooks",
            "pace",
            "faults",
            "limits",
            "testing",
        ),
        *("seeding", "stores", "mongodb", "operations", "load-testing", "page"),
    ),
    "reference": ("settings", "routes", "errors", "command-line", "metrics"),
    "design": (
        "leaves",
        "corpus",
        "sqlite",
        "mongodb",
        "engine",
        "wire",
        "gateway",
        "jobs",
        "server",
        "seed",
        "testing",
        "page",
    ),
    "measurements": ("versions", "hot-path"),
}
"""Pages of a folder in the order of the table of contents, after its index. Other pages follow, by name."""

PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Files beside this folder that are pages of the site, each by the page that shows it."""

_LINK = re.compile(r"(?<=\]\()(?!\w+:|#|/)([^()\s]+?)(#[^()\s]*)?(?=\))")


def resolve_links(text: str, folder: Path, page_folder: Path) -> str:
    """A text of a file in ``folder``, with links as they are in a page in ``page_folder``.

    Links to pages lead to pages. Other files of the repository are offered as downloads by MyST.
    """

    def resolved(link: re.Match[str]) -> str:
        target, anchor = folder.joinpath(link[1]).resolve(), link[2] or ""
        name = PAGES.get(os.path.relpath(target, ROOT))
        return os.path.relpath(DOCS / name if name else target, page_folder) + anchor

    return _LINK.sub(resolved, text)


def _read_page(_: Sphinx, name: str, source: list[str]) -> None:
    folder = (DOCS / name).parent
    source[0] = resolve_links(source[0], folder, folder)


def _read_included(_: Sphinx, path: Path, name: str, source: list[str]) -> None:
    source[0] = resolve_links(source[0], (DOCS / path).parent, DOCS)


def _sort_entries(_: Sphinx, tree: nodes.document) -> None:
    def place(entry: tuple[str | None, str]) -> tuple[int, str]:
        folder, _, name = entry[1].rpartition("/")
        order = ("index", *ORDER.get(folder, ()))
        return (order.index(name) if name in order else len(order), name)

    for contents in tree.findall(toctree):
        if contents["glob"]:
            contents["entries"].sort(key=place)


def setup(app: Sphinx) -> None:
    """Resolve the links of all pages and of the files that they include, and sort the tables of contents."""
    app.connect("source-read", _read_page)
    app.connect("include-read", _read_included)
    app.connect("doctree-read", _sort_entries)
