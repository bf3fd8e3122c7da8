"""The change log and its fragments."""

import re
import subprocess
import sys
from pathlib import Path

from mimic import __version__

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "changes"
KINDS = ("Added", "Changed", "Fixed", "Removed")
NOT_FRAGMENTS = {"template.md.jinja"}


def test_fragments_are_well_formed() -> None:
    """A fragment has a name, a kind and one sentence, and the change log takes it as it is."""
    fragments = [file for file in FOLDER.iterdir() if file.name not in NOT_FRAGMENTS]
    for file in fragments:
        assert re.fullmatch(rf"[a-z0-9-]+\.({'|'.join(KINDS).lower()})\.md", file.name), file.name
        assert re.fullmatch(r"\S.*\.\n", file.read_text()), file.name
    command = (sys.executable, "-m", "towncrier", "build", "--draft", "--version", "0")
    draft = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for file in fragments:
        assert f"\n- {file.read_text()}" in draft


def test_the_change_log_has_this_version() -> None:
    """The newest version of the change log is the version of Mimic; each section has one of four names."""
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## (\S+) \(\d{4}-\d{2}-\d{2}\)$", text, re.MULTILINE)
    assert versions[0] == __version__
    assert len(versions) == len(set(versions)) == text.count("\n## ")
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= set(KINDS)


def test_the_change_log_has_one_sentence_a_line() -> None:
    """An entry is one line that ends with a full stop."""
    _, _, entries = (ROOT / "CHANGELOG.md").read_text().partition("<!-- towncrier release notes start -->")
    lines = [line for line in entries.splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"- \S.*\.", line)] == []
