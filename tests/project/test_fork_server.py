"""Forked programs of tests behave as programs started by a new interpreter."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.fork_server import fork_server
from tests.support.servers import Server, run_mimic
from tests.support.timing import wait_until


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--version"], {}),
        (["seed"], {}),
        (["seed", "-", "--store", "nonsense"], {}),
        (["seed", "-", "--store", "sqlite:////nowhere/corpus.db"], {"SEED_BATCH_SIZE": "7"}),
        (["seed", "-", "--store", "sqlite:////nowhere/corpus.db"], {"MIMIC_PORTS": "8000"}),
    ],
)
def test_a_command_says_the_same(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Both streams and the exit code are the same; the environment of one program does not reach the next."""
    forked, begun = run_mimic(arguments, environment), run_mimic(arguments, environment, before=["env"])
    assert (forked.returncode, forked.stdout, forked.stderr) == (begun.returncode, begun.stdout, begun.stderr)
    assert "MIMIC_PORTS" in forked.stderr or "MIMIC_PORTS" not in environment
    assert "MIMIC_PORTS" not in run_mimic(["seed", "-", "--store", "sqlite:////nowhere/c.db"], {}).stderr


def test_a_process_is_reported_as_by_the_standard_library(tmp_path: Path) -> None:
    """The process has the methods of ``subprocess.Popen``: running, exit code, and timeout of a wait."""
    with Server(tmp_path, MIMIC_STORE=f"sqlite:///{tmp_path}/corpus.db") as server:
        assert Path(f"/proc/{server.process.pid}/cwd").readlink() == tmp_path
        assert server.process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(0.01)
        server.process.kill()
        assert server.process.wait(20) == server.process.poll() == server.process.returncode == -signal.SIGKILL
        server.process.terminate()  # no process any more


def test_a_forked_process_has_no_file_of_others(tmp_path: Path) -> None:
    """A forked process has its three standard streams only, and files that it opens itself."""
    store = f"sqlite:///{tmp_path}/corpus.db"
    with Server(tmp_path, MIMIC_STORE=store) as forked, Server(tmp_path, "env", MIMIC_STORE=store) as begun:
        # One of them may have a file open for a moment.
        wait_until(lambda: kinds_of_files(forked) == kinds_of_files(begun))


def kinds_of_files(server: Server) -> list[str]:
    """The kinds of a server's open files, without its three streams and without files closed meanwhile."""
    kinds = []
    for file in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            if int(file.name) > 2:
                kinds.append(str(file.readlink()).partition(":")[0].replace(str(server.port), ""))
    return sorted(kinds)


def test_an_own_group(tmp_path: Path) -> None:
    """The process group exists as soon as the process is returned."""
    with (tmp_path / "log").open("wb") as log:
        streams = (0, log.fileno(), log.fileno())
        process = fork_server().fork("mimic", ["--version"], {"PATH": ""}, tmp_path, streams, own_group=True)
    assert os.getpgid(process.pid) == process.pid
    assert process.wait(20) == 0
