"""A reader of documents, who pastes their blocks into a shell, in order, and compares the outputs that they show.

A block of ``sh`` is pasted as it is. A block of ``python`` or ``js`` is written to a file and run; pytest runs the
tests in it. A block of ``text``, ``http`` or ``json`` after these shows the standard output, in which ``...`` stands
for any text. A block of ``yaml`` is parsed. The ports 8000 to 8009 are replaced by free ones.
"""

import json
import os
import queue
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple, Self

import yaml

from mimic.testing import free_port
from tests.support.fork_shim import ForkListener

ROOT: Final = Path(__file__).parents[2]
SECONDS: Final = 60
"""The time that a block may take. A block that blocks its shell takes longer."""

SHOWN: Final = ("text", "http", "json")
"""Languages of blocks that show an output."""
LANGUAGES: Final = frozenset({*SHOWN, "sh", "python", "js", "yaml"})
SUFFIXES: Final = {"python": ".py", "js": ".mjs"}
FENCE: Final = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE
)
PORT: Final = re.compile(r"\b800[0-9]\b")
DONE: Final = "the block is done:"
LINKED: Final = ("Makefile", "pyproject.toml", "requirements.lock", "mimic", "seed", "docs", "benchmarks", "tests")
"""Parts of the project's folder that a reader's commands may use."""
UNUSED: Final = ("cacheprovider", "faker", "langsmith_plugin", "locust", "schemathesis", "hypothesispytest", "xdist")
"""Plugins that take long to load."""
SAMPLE: Final = ROOT / "seed" / "mimic_seed" / "sample.json"
DOWNLOADED: Final = {"ShareGPT_V3_unfiltered_cleaned_split.json": 1000, "dump.json": 20}
"""Dumps that documents name, and the most conversations of the sample corpus in the place of each."""
PYTEST: Final = ("-q", "-c", os.devnull, "-W", "error", *(f"-pno:{name}" for name in UNUSED))
FORK_SHIM: Final = Path(__file__).with_name("fork_shim.py")
SHIMS: Final = {
    # Programs are forked. Tests are not: the order in which a session collects garbage depends on its loaded modules.
    ".venv/bin/python": '[ "$1" != -m ] || exec {python} "$@"\nexec {python} -S -E {fork_shim} {socket} python "$@"',
    ".venv/bin/pip": 'echo "$@" >> pip.log',
    ".venv/bin/pytest": 'echo "$@" >> pytest.log',
    ".venv/bin/locust": 'exec {python} -m locust "$@"',
    # The server's first lines are no output of a later block.
    ".venv/bin/mimic": '[ "$1" != serve ] || exec 1>&2\nexec {python} -S -E {fork_shim} {socket} mimic "$@"',
    # The wheel's own test runs the installed command.
    "bin/uvx": '[ "$1 $2 $3" = "--from . mimic-chat" ] && shift 3 && exec .venv/bin/mimic "$@"',
    "bin/docker": 'echo "$@" >> docker.log',
    "bin/llm": 'exec {python} -P -m llm "$@"',
    "bin/npm": 'echo "$@" >> npm.log',
}
"""Programs of the reader. Downloads and containers are recorded only."""


class Block(NamedTuple):
    """A fenced block of a document, and the line of its fence."""

    language: str
    text: str
    line: int


def blocks_of(document: Path) -> list[Block]:
    """The blocks of a document, without the indentation of the lists that they are in."""
    source = document.read_text()
    return [
        Block(
            found["language"],
            re.sub(rf"^{found['indent']}", "", found["text"], flags=re.MULTILINE),
            source.count("\n", 0, found.start()) + 1,
        )
        for found in FENCE.finditer(source)
    ]


class Reader:
    """A reader with a shell in a copy of the project's folder. A context manager, which ends what the shell started.

    ``variables`` are added to the environment. ``port`` is the port of a server that runs already, in place of 8000.
    ``replaced`` are other texts of the blocks, each with the text in place of it.
    """

    def __init__(
        self, folder: Path, port: int | None = None, *, replaced: Mapping[str, str] | None = None, **variables: str
    ) -> None:
        self.folder = folder
        self._replaced = replaced or {}
        self._ports = {} if port is None else {"8000": str(port)}
        self._until = ExitStack()
        self._forks = ForkListener()
        for name in LINKED:
            (folder / name).symlink_to(ROOT / name)
        for name, command in SHIMS.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            names = {
                "python": shlex.quote(sys.executable),
                "fork_shim": FORK_SHIM,
                "socket": shlex.quote(self._forks.socket),
            }
            file.write_text(f"#!/bin/bash\n{command.format(**names)}\n")
            file.chmod(0o755)
        for name, most in DOWNLOADED.items():
            (folder / name).write_text(json.dumps(json.loads(SAMPLE.read_text())[:most]))
        for mark in ("installed", "installed-dev"):
            (folder / ".venv" / mark).touch()
        self._environment = {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "HOME": str(folder),
            "NO_PROXY": "127.0.0.1",
            "MIMIC_PORT": self._free("8000"),
            **variables,
        }

    def __enter__(self) -> Self:
        self._until.enter_context(self._forks)
        self._errors = self._until.enter_context((self.folder / "errors").open("wb"))
        script, self._script = os.pipe()  # no command of a block can read the next block as its standard input
        self._until.callback(os.close, self._script)
        self._shell = subprocess.Popen(
            ("bash", "--norc", "--noprofile", f"/dev/fd/{script}"),
            stdin=subprocess.DEVNULL,
            pass_fds=(script,),
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=self._environment,
            cwd=self.folder,
            text=True,
            start_new_session=True,
        )
        os.close(script)
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self._paste("failed=0; trap 'failed=$?; echo \"$BASH_COMMAND\" >&2' ERR")
        return self

    def __exit__(self, *exc: object) -> None:
        os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.communicate()
        self._until.close()

    def follow(self, document: Path) -> None:
        """Run every block of a document. A failure names the document and the line."""
        printed = ""
        for block in blocks_of(document):
            where = f"{document.name}:{block.line}"
            if block.language in SHOWN:
                shown = self._adapted(block.text)
                assert is_shown(shown, printed, block.language), f"{where}: it prints\n{printed}"
            elif block.language == "yaml":
                assert yaml.safe_load(block.text), where
            else:
                printed = self.run(block, where)

    def run(self, block: Block, where: str) -> str:
        """Run a block; returns its standard output. Asserts that it ends, and that no command of it fails."""
        self._paste(f"failed=0\n{self._command(block)}\nprintf '\\n%s %s\\n' '{DONE}' $failed")
        printed: list[str] = []
        while True:
            try:
                line = self._lines.get(timeout=SECONDS)
            except queue.Empty:
                raise AssertionError(f"{where}: it blocks the shell\n{self._said()}") from None
            if line.startswith(DONE):
                assert line.split() == [*DONE.split(), "0"], (
                    f"{where}: a command failed\n{''.join(printed)}{self._said()}"
                )
                return "".join(printed)
            printed.append(line)

    def _command(self, block: Block) -> str:
        """The command that runs a block."""
        text = self._adapted(block.text)
        if block.language == "sh":
            return text
        suffix = SUFFIXES[block.language]
        name = f"test_{block.line}{suffix}" if "def test_" in text else f"block_{block.line}{suffix}"
        (self.folder / name).write_text(text)
        if block.language == "js":
            return f"node {name}"
        pytest = " ".join(("-m", "pytest", *PYTEST))
        return f".venv/bin/python {pytest} {name}" if name.startswith("test_") else f".venv/bin/python {name}"

    def _adapted(self, text: str) -> str:
        """A text of a document with the ports and other names of this machine."""
        for original, own in self._replaced.items():
            text = text.replace(original, own)
        return PORT.sub(lambda found: self._free(found[0]), text)

    def _free(self, port: str) -> str:
        """The port that stands for one of a document."""
        return self._ports.setdefault(port, str(free_port()))

    def _paste(self, text: str) -> None:
        os.write(self._script, f"{text}\n".encode())

    def _listen(self) -> None:
        assert self._shell.stdout
        for line in self._shell.stdout:
            self._lines.put(line)

    def _said(self) -> str:
        return (self.folder / "errors").read_text()[-3000:]


def is_shown(shown: str, printed: str, language: str) -> bool:
    """True for an output as a document shows it: ``...`` is any text, and white space in JSON does not count."""
    if language == "json":
        shown, printed = (re.sub(r"\s+", "", text) for text in (shown, printed))
    printed = printed.replace("\r\n", "\n")
    pattern = ".*?".join(map(re.escape, shown.strip().split("...")))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None
