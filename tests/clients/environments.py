"""Environments for clients that do not fit into the one of the tests. Each is made once for its lock file."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest

from tests.clients.chats import KEY

ROOT: Final = Path(__file__).parents[2]
"""The folder in which programs run, which may be modules of the tests."""


def python_with(lock: Path, cache: pytest.Cache) -> Path:
    """The Python of an environment with the packages of a lock file."""
    digest = sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder: Path = cache.mkdir(f"{lock.parent.name.replace('_', '-')}-{digest}")
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        uv = Path(sys.executable).with_name("uv")
        environment = {
            name: value for name, value in os.environ.items() if name != "SSL_CERT_DIR"
        }  # of tests/conftest.py
        environment["UV_SYSTEM_CERTS"] = "true"
        for command in (
            (uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder),
            (uv, "pip", "install", "--quiet", "--python", python, "--requirement", lock),
        ):
            ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
            assert ran.returncode == 0, ran.stderr
        done.touch()
    return python


def run_python(python: Path, url: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the Python with the server at a URL in its settings."""
    environment = {"PATH": os.environ["PATH"], "OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": url, "OPENAI_API_BASE": url}
    command = (python, *arguments)
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
