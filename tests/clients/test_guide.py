"""The guide's page about clients: its blocks run, with each client."""

import json
import shlex
from pathlib import Path

import pytest

from tests.support.documents import ROOT, SAMPLE, Reader
from tests.support.node import Command
from tests.support.servers import SharedServers


@pytest.mark.timeout(300)
def test_the_clients_of_the_guide(tmp_path: Path, serve: SharedServers, node: tuple[Command, Path]) -> None:
    """Each block, in order; the outputs are as they are shown."""
    command, folder = node
    (tmp_path / "node_modules").symlink_to(folder / "node_modules")
    with Reader(tmp_path, serve(json.loads(SAMPLE.read_text())).port) as reader:
        program = tmp_path / "bin" / "node"
        program.write_text(f'#!/bin/bash\nexec {shlex.join(map(str, command))} "$@"\n')
        program.chmod(0o755)
        reader.follow(ROOT / "docs" / "guide" / "clients.md")
