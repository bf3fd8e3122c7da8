"""Mimic can be installed and imported on systems without POSIX."""

import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from tests.project.test_project import modules
from tests.support.servers import Server, run_mimic

ROOT = Path(__file__).parents[2]
WITHOUT_POSIX = """
import asyncio  # that of this system needs fcntl
import os, select, signal, socket, sys
from importlib import import_module

HIDDEN = {"uvloop", "fcntl", "resource", "termios", "pwd", "grp"}

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

for name in HIDDEN:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Hide())
for module, names in {
    os: ("fork", "getuid", "killpg", "nice", "setsid", "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK"),
    select: ("poll", "POLLHUP", "POLLERR", "POLLRDHUP"),
    signal: ("SIGHUP", "SIGKILL", "SIGUSR1"),
    socket: ("AF_UNIX", "TCP_NOTSENT_LOWAT"),
}.items():
    for name in names:
        delattr(module, name)

for name in sys.argv[1:]:
    import_module(name)
"""
OPTIONAL = {
    "mimic.corpus.similar.embedding_model": "onnxruntime",
    "mimic.corpus.similar.vectors": "onnxruntime",
    "mimic.pytest_plugin": "pytest",
    "mimic.server.observability.tracing": "opentelemetry",
}
"""Modules that need a package which Mimic does not require, each with that package."""


def test_every_module_imports_without_posix() -> None:
    """Modules import without uvloop, fcntl, resource and select.poll, and without signals, flags and calls of POSIX."""
    names = [name for name in modules() if name not in OPTIONAL or find_spec(OPTIONAL[name])]
    command = [sys.executable, "-W", "error", "-c", WITHOUT_POSIX, *names]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_uvloop_is_not_asked_for_on_windows() -> None:
    """The package uvloop has no wheels for Windows, and does not build there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [uvloop] = [one for one in project["dependencies"] if one.startswith("uvloop")]
    [pinned] = [one for one in (ROOT / "requirements.lock").read_text().splitlines() if one.startswith("uvloop==")]
    assert {one.partition("; ")[2] for one in (uvloop, pinned)} == {"sys_platform != 'win32'"}


WITHOUT_UVLOOP = """
import sys

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name == "uvloop":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hide())
"""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_without_uvloop_answers_in_whole_and_in_pieces(tmp_path: Path, workers: str) -> None:
    """The server runs on asyncio's event loop."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_UVLOOP)
    store = f"sqlite:///{tmp_path}/corpus.db"
    assert run_mimic(["seed", "--sample", "--quiet", "--store", store], {}).returncode == 0
    question = {"model": "v2", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
    with (
        Server(tmp_path, MIMIC_STORE=store, MIMIC_WORKERS=workers, PYTHONPATH=str(tmp_path)) as server,
        httpx.Client(base_url=f"{server.url}/v1", timeout=30) as client,
    ):
        maps = Path(f"/proc/{server.process.pid}/maps")
        assert not maps.exists() or "uvloop" not in maps.read_text()
        assert client.post("/chat/completions", json=question).status_code == 200
        streamed = client.post("/chat/completions", json={**question, "stream": True})
        assert streamed.text.endswith("data: [DONE]\n\n")
    assert server.process.returncode == 0
