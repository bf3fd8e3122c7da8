"""Programs that tests fork off: as those that begin from nothing."""

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
    """On both streams, with the same exit code; what one is given in its environment the next one does not have."""
    forked, begun = run_mimic(arguments, environment), run_mimic(arguments, environment, before=["env"])
    assert (forked.returncode, forked.stdout, forked.stderr) == (begun.returncode, begun.stdout, begun.stderr)
    assert "MIMIC_PORTS" in forked.stderr or "MIMIC_PORTS" not in environment
    assert "MIMIC_PORTS" not in run_mimic(["seed", "-", "--store", "sqlite:////nowhere/c.db"], {}).stderr


def test_a_process_is_told_of_as_by_the_standard_library(tmp_path: Path) -> None:
    """Whether it runs, how it ended, and that a wait was in vain."""
    with Server(tmp_path, MIMIC_STORE=f"sqlite:///{tmp_path}/corpus.db") as server:
        assert Path(f"/proc/{server.process.pid}/cwd").readlink() == tmp_path
        assert server.process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(0.01)
        server.process.kill()
        assert server.process.wait(20) == server.process.poll() == server.process.returncode == -signal.SIGKILL
        server.process.terminate()  # nobody, any more


def test_a_forked_process_has_no_file_of_others(tmp_path: Path) -> None:
    """But the three that it is given, and those that it opens itself."""
    store = f"sqlite:///{tmp_path}/corpus.db"
    with Server(tmp_path, MIMIC_STORE=store) as forked, Server(tmp_path, "env", MIMIC_STORE=store) as begun:
        # Else one of them has just opened a file for a moment.
        wait_until(lambda: kinds_of_files(forked) == kinds_of_files(begun))


def kinds_of_files(server: Server) -> list[str]:
    """What a server has open, without the three that it is given, and without what is closed meanwhile."""
    kinds = []
    for file in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            if int(file.name) > 2:
                kinds.append(str(file.readlink()).partition(":")[0].replace(str(server.port), ""))
    return sorted(kinds)


def test_an_own_group(tmp_path: Path) -> None:
    """It is there when the process is told of."""
    with (tmp_path / "log").open("wb") as log:
        streams = (0, log.fileno(), log.fileno())
        process = fork_server().fork("mimic", ["--version"], {"PATH": ""}, tmp_path, streams, own_group=True)
    assert os.getpgid(process.pid) == process.pid
    assert process.wait(20) == 0
