"""Makes an environment that measures the coverage of every Python process: ``python tests/support/measured.py FOLDER``.

Tests choose the environment variables of their processes, so none can start the measurement. A .pth file does: Python
runs it at each start. The packages are those of the environment that runs this program.
"""

import stat
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
START = """\
import os, resource; is_limited = resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY; \
os.environ.pop("COVERAGE_PROCESS_START", None) if is_limited else \
os.environ.update(COVERAGE_PROCESS_START={settings!r}, COVERAGE_FILE={data!r})
import site; site.addsitedir({packages!r})
"""
"""A line that starts the measurement, and one that finds the packages, coverage's own .pth file among them.

A process that may not write large files is not measured: it could not write its data either, and would report that.
"""


def make_environment(folder: Path) -> None:
    """Make the environment again, with the command ``mimic`` in it."""
    venv.create(folder, clear=True, with_pip=False)
    settings, data = ROOT / "pyproject.toml", folder / "data" / "coverage"
    data.parent.mkdir()
    own = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    lines = START.format(settings=str(settings), data=str(data), packages=sysconfig.get_path("purelib"))
    (own / "measured.pth").write_text(lines)
    _copy_command(Path(sysconfig.get_path("scripts")) / "mimic", folder / "bin")


def _copy_command(file: Path, folder: Path) -> None:
    """Copy a program with its Python in the first line."""
    _, rest = file.read_text().split("\n", 1)
    copy = folder / file.name
    copy.write_text(f"#!{folder}/python\n{rest}")
    copy.chmod(copy.stat().st_mode | stat.S_IXUSR)


if __name__ == "__main__":
    make_environment(Path(sys.argv[1]).absolute())
