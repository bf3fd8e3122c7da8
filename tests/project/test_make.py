"""The chores of the Makefile."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_help_lists_every_target() -> None:
    """``make help`` has each target with its description."""
    makefile = (ROOT / "Makefile").read_text()
    [phony] = re.findall(r"^\.PHONY: ((?:.*\\\n)*.*)$", makefile, re.MULTILINE)
    help_text = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    listed = dict(re.findall(r"^make (\S+) +(\S.*)$", help_text, re.MULTILINE))
    assert set(listed) == set(phony.replace("\\\n", " ").split())


def test_make_alone_runs_mimic() -> None:
    """``make`` is the same as ``make run``, as the README says."""
    plans = [
        subprocess.run(["make", "--dry-run", *target], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        for target in ([], ["run"])
    ]
    assert plans[0] == plans[1]
