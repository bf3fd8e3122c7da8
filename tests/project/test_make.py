"""The chores: ``make help`` lists them."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_help_lists_every_target() -> None:
    """Each with what it does."""
    makefile = (ROOT / "Makefile").read_text()
    [phony] = re.findall(r"^\.PHONY: ((?:.*\\\n)*.*)$", makefile, re.MULTILINE)
    help_text = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    listed = dict(re.findall(r"^make (\S+) +(\S.*)$", help_text, re.MULTILINE))
    assert set(listed) == set(phony.replace("\\\n", " ").split())


def test_make_alone_runs_mimic() -> None:
    """As the README says of ``make run``."""
    plans = [
        subprocess.run(["make", "--dry-run", *target], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        for target in ([], ["run"])
    ]
    assert plans[0] == plans[1]
