"""A single step from a file to an answer: ``mimic serve FILE``, ``mimic chat`` and ``mimic search``."""

import json
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.project.test_banner import serving
from tests.support.servers import run_mimic
from tests.support.timing import wait_until


def mimic(
    folder: Path, *arguments: object, stdin: str | None = None, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a folder."""
    return run_mimic([str(one) for one in arguments], settings, stdin=(stdin or "").encode(), folder=folder)


def write(file: Path, answer: str) -> None:
    """Write a file with one conversation."""
    said = [{"role": "user", "content": "Where is my order?"}, {"role": "assistant", "content": answer}]
    file.write_text(json.dumps({"id": "order 1", "messages": said}))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_file_is_served_and_seeded_again_when_it_changes(tmp_path: Path, workers: str) -> None:
    """A file that cannot be read leaves the old corpus, and the temporary store is removed at the end."""
    file, temporary = tmp_path / "own.jsonl", tmp_path / "tmp"
    write(file, "Today.")
    temporary.mkdir()
    with serving(tmp_path, "own.jsonl", "--watch", "--workers", workers, TMPDIR=str(temporary)) as (port, out):
        url = f"http://127.0.0.1:{port}"

        def answer() -> str:
            return mimic(tmp_path, "chat", "where is my order", "--url", url).stdout

        wait_until(lambda: answer() == "Today.\n")
        assert "Serving own.jsonl: 1 conversations" in out.read_text()
        write(file, "Tomorrow.")
        wait_until(lambda: answer() == "Tomorrow.\n")
        file.write_text("no conversations")
        wait_until(lambda: "cannot be seeded" in (tmp_path / "log").read_text())
        assert answer() == "Tomorrow.\n"
        assert any(temporary.iterdir())
    wait_until(lambda: not any(temporary.iterdir()))


def test_a_terminal_asks_a_server(tmp_path: Path) -> None:
    """An answer comes with its rung, score and source; a chat goes on, and a search lists messages."""
    said = [{"from": "human", "value": "say \x1b[31mred"}, {"from": "gpt", "value": "\x1b[31mred\nline"}]
    (tmp_path / "own.json").write_text(json.dumps([{"id": "a b", "conversations": said}]))
    with serving(tmp_path, "own.json", MIMIC_API_KEYS="a-secret-key") as (port, _):
        settings = {"MIMIC_API_KEYS": "a-secret-key", "MIMIC_PORT": str(port)}
        wait_until(lambda: mimic(tmp_path, "chat", "x", **settings).returncode == 0)
        once = mimic(tmp_path, "chat", "say \x1b[31mred", **settings)
        assert once.stdout == " [31mred\nline\n"
        assert once.stderr == "[last, score 1.000, from a b#1]\n"
        several = mimic(tmp_path, "chat", stdin="say red\n\nsay \x1b[31mred\n", **settings)
        assert several.returncode == 0
        assert several.stderr.count("from a b#1]") == 2
        found = mimic(tmp_path, "search", "say red", **settings)
        assert found.stdout.splitlines()[0].endswith(" human a b#0: say  [31mred")
        assert mimic(tmp_path, "search", "say red", "--limit", "1", "--version", "v2", **settings).returncode == 0
        for refused, problem in (
            (mimic(tmp_path, "chat", "hi", MIMIC_PORT=str(port)), "key"),
            (mimic(tmp_path, "chat", "hi", "--model", "\n", **settings), ""),
            (mimic(tmp_path, "search", "hi", "--version", "v9", **settings), "v9"),
        ):
            assert "Traceback" not in refused.stderr
            assert problem in refused.stderr
        assert mimic(tmp_path, "search", "hi", "--version", "v9", **settings).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (("chat", "hi", "--url", "http://127.0.0.1:1"), 1, "cannot reach http://127.0.0.1:1: "),
        (("search", "hi", "--url", "nonsense"), 2, "is no address such as http://127.0.0.1:8000"),
        (("serve", "own.json", "--store", "x.db"), 2, "give either --store or one of them"),
        (("serve", "own.json", "--sample"), 2, "Give either FILE or --sample."),
        (("serve", "--watch"), 2, "--watch needs a FILE."),
        (("serve", "-", "--watch"), 2, "--watch needs a FILE."),
        (("serve", "-", "-"), 2, "standard input can be read once"),
        (("serve", "missing.json", "--port", "0"), 1, "missing.json: cannot be read: No such file or directory"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, arguments: tuple[str, ...], code: int, problem: str) -> None:
    """The exit code and the message say what is wrong; no traceback."""
    run = mimic(tmp_path, *arguments)
    assert run.returncode == code, run.stderr
    assert problem in run.stderr
    assert "Traceback" not in run.stderr


def test_the_sample_is_served_at_once(tmp_path: Path) -> None:
    """From nothing to an answer in a few seconds, without a store in the folder."""
    began = time.monotonic()
    with serving(tmp_path, "--sample") as (port, _):
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: mimic(tmp_path, "chat", "Why is the sky blue?", "--url", url).returncode == 0)
        assert time.monotonic() - began < 60
    assert not list(tmp_path.glob("*.db"))


def test_the_name_of_the_distribution_is_a_command() -> None:
    """Tools that run a distribution by its name find ``mimic-chat``, the same program as ``mimic``."""
    scripts = {script.name: script.value for script in entry_points(group="console_scripts")}
    assert scripts["mimic-chat"] == scripts["mimic"] == "mimic.cli:main"


def test_a_server_loads_only_packages_that_it_needs() -> None:
    """The start of a server is mostly imports: without seeder, MongoDB drivers, and plugins for pydantic."""
    program = (
        "import sys; from mimic.app import create_app, Settings; from mimic.cli import main; "
        "main(['serve', '--help'], standalone_mode=False); create_app(Settings()); "
        "print(*sys.modules, file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    loaded = set(run.stderr.split())
    assert {"mimic.cli.serve", "litestar", "splintr"} <= loaded
    assert not {"mimic_seed.loader", "mimic.cli.client", "pydantic", "pymongo", "motor", "onnxruntime"} & loaded
