"""A failed first seeding leaves no file, whatever the failure; other kinds of files are never touched."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.support.corpora import SMALL, conversation, seed, twin
from tests.support.servers import Seeding, Server, children, run_mimic
from tests.support.timing import wait_until

LARGE: Final = json.dumps(twin("new", 2000))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The future folder of the store, empty."""
    folder = tmp_path / "stores"
    folder.mkdir()
    return folder


def run(folder: Path, *arguments: str, limit: int | None = None, **environment: str) -> tuple[int, str]:
    """Run ``mimic seed``; return its exit code and its output."""
    before = () if limit is None else ("prlimit", f"--fsize={limit}")
    words = ("seed", "--quiet", "--store", f"sqlite:///{folder}/corpus.db", *arguments)
    done = run_mimic(words, environment, before=before)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("content", "options", "code"),
    [
        ("", (), 1),
        ("[]", (), 1),
        (LARGE[:-1], (), 1),
        ('{"dialog": []}', (), 1),
        ("PAR1", (), 1),
        (json.dumps([*SMALL, {}]), ("--strict",), 1),
        (None, (), 1),
        (LARGE, ("--versions", "v9"), 2),
        (LARGE, ("--match", "furthest"), 2),
    ],
)
def test_bad_input_leaves_nothing(folder: Path, content: str | None, options: Sequence[str], code: int) -> None:
    """Bad input, a missing file and a wrong option leave no file."""
    dump = folder.parent / "dump.json"
    if content is not None:
        dump.write_text(content)
    assert run(folder, str(dump), *options)[0] == code
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("limit", [0, 300, 100_000, 2_000_000])
def test_no_space_leaves_nothing(folder: Path, limit: int) -> None:
    """A disk that is full at the start or fills up leaves no file."""
    dump = folder.parent / "dump.json"
    dump.write_text(LARGE)
    code, said = run(folder, str(dump), limit=limit)
    assert code == 3
    assert "no space left" in said
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("share", [0.0, 0.9])
def test_a_signal_leaves_nothing(folder: Path, number: signal.Signals, share: float) -> None:
    """Signals at the beginning and later leave no file, and a shared folder stays."""
    (folder / "theirs").write_text("theirs")
    seeding = Seeding(f"sqlite:///{folder}/corpus.db", json.loads(LARGE))
    seeding.feed(share)
    wait_until((folder / "corpus.db.new").exists)
    if share:
        wait_until(lambda: bool(children(seeding.process.pid)))
    seeding.process.send_signal(number)
    seeding.process.wait(timeout=30)
    code, said = seeding.end()
    assert (code, said) == (130, "Stopped.\n")
    assert [file.name for file in folder.iterdir()] == ["theirs"]


def test_a_terminal_that_is_closed_may_be_outlived(folder: Path) -> None:
    """A seeding under nohup survives a closed terminal."""
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    seeding = Seeding(f"sqlite:///{folder}/corpus.db", SMALL, before=(sys.executable, "-c", ignoring))
    wait_until((folder / "corpus.db.new").exists)
    seeding.process.send_signal(signal.SIGHUP)
    assert seeding.end() == (0, "")
    assert (folder / "corpus.db").exists()


def test_an_index_process_that_is_killed_leaves_nothing(folder: Path) -> None:
    """The seeder reports the killed process."""
    seeding = Seeding(f"sqlite:///{folder}/corpus.db", json.loads(LARGE))
    seeding.feed(0.5)
    wait_until(lambda: bool(children(seeding.process.pid)))
    for process in children(seeding.process.pid):
        os.kill(process, signal.SIGKILL)
    code, said = seeding.end()
    assert code == 3
    assert "the process that makes the index ended with -9" in said
    assert list(folder.iterdir()) == []


def test_files_of_a_killed_seeder_go_with_the_next_failure(folder: Path) -> None:
    """The next seeding removes the files of a killed one, even if it fails."""
    seeding = Seeding(f"sqlite:///{folder}/corpus.db", json.loads(LARGE))
    seeding.feed(0.5)
    wait_until((folder / "corpus.db.new").exists)
    seeding.process.kill()
    seeding.end()
    assert (folder / "corpus.db.lock").exists()
    assert run(folder, "/dev/null")[0] == 1
    assert [file.name for file in folder.iterdir() if "index-" not in file.name] == []


@pytest.mark.parametrize("content", ["[]", LARGE[:-1]])
def test_a_later_failure_leaves_the_corpus_as_it_was(folder: Path, content: str) -> None:
    """A failed seeding keeps the corpus's bytes and time; only the record of the last seeding changes."""
    seed(f"sqlite:///{folder}/corpus.db", SMALL, folder.parent)

    def state() -> dict[str, tuple[bytes, int]]:
        found = (file for file in folder.rglob("*") if file.is_file() and file.suffix != ".seeding")
        return {str(file): (file.read_bytes(), file.stat().st_mtime_ns) for file in found}

    before = state()
    assert len(before) > 2
    dump = folder.parent / "bad.json"
    dump.write_text(content)
    assert run(folder, str(dump))[0] == 1
    assert state() == before
    assert b'"failed"' in (folder / "corpus.db.seeding").read_bytes()


@pytest.fixture
def kinds(folder: Path) -> Iterator[dict[str, Path]]:
    """A file of each kind that is not regular, in a scratch folder."""
    kinds = {name: folder / name for name in ("folder", "pipe", "socket", "link", "device", "block")}
    kinds["folder"].mkdir()
    os.mkfifo(kinds["pipe"])
    kinds["link"].symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        before = Path.cwd()
        os.chdir(folder)  # the name of a socket may not be long
        try:
            listener.bind("socket")
        finally:
            os.chdir(before)
        for name, kind, number in (("device", "c", (1, 3)), ("block", "b", (240, 250))):
            made = subprocess.run(["mknod", kinds[name], kind, *map(str, number)], check=False, capture_output=True)
            if made.returncode:
                del kinds[name]
        yield kinds


def test_a_store_that_is_no_file_is_refused_and_left_alone(folder: Path, kinds: dict[str, Path]) -> None:
    """A seeding ends and a server reports the reason at once and runs on."""
    dump = folder.parent / "dump.json"
    dump.write_text(json.dumps(SMALL))
    names = {"folder": "a folder", "pipe": "a named pipe", "socket": "a socket"}
    before = sorted(file.name for file in folder.iterdir())
    for name, path in kinds.items():
        was = path.lstat()
        done = run_mimic(("seed", "--quiet", "--store", path, dump), {})
        target = path.resolve()
        assert done.returncode == 3
        assert done.stderr == f"Error: {target} is {names.get(name, 'a device')} and not a file: name another store\n"
        now = path.lstat()
        assert (now.st_ino, now.st_mode, now.st_mtime_ns) == (was.st_ino, was.st_mode, was.st_mtime_ns)
        assert sorted(file.name for file in folder.iterdir()) == before
    with Server(folder.parent, MIMIC_STORE=str(kinds["pipe"])) as server:
        answer = httpx.get(f"{server.url}/ready")
        assert answer.status_code == 503
        assert "is a named pipe and not a file" in server.log()


def test_a_dump_that_is_no_file_is_refused(folder: Path, kinds: dict[str, Path]) -> None:
    """A device is not opened. A pipe, and a link to a file, are read."""
    for name in ("folder", "link", "device", "block"):
        if name in kinds:
            code, said = run(folder, str(kinds[name]))
            assert code == 1
            told = "is a folder: name a file in it" if name == "folder" else "is a device and not a file"
            assert said == f"Error: {kinds[name]}: {told}\n"
    assert list(folder.glob("corpus.db*")) == []
    dump = folder.parent / "dump.json"
    dump.write_text(json.dumps([conversation("a", ("human", "hi"), ("gpt", "hello"))]))
    link = folder / "dump"
    link.symlink_to(dump)
    assert run(folder, str(link))[0] == 0


@pytest.mark.parametrize("suffix", [".lock", ".seeding", ".new"])
def test_a_pipe_in_the_place_of_a_temporary_file_is_left_alone(folder: Path, suffix: str) -> None:
    """A pipe of another program at the place of a temporary file is neither opened nor removed."""
    dump = folder.parent / "dump.json"
    dump.write_text(json.dumps(SMALL))
    os.mkfifo(folder / f"corpus.db{suffix}")
    code, said = run(folder, str(dump))
    assert code == 3
    assert f"corpus.db{suffix} is a named pipe and not a file" in said
    assert [file.name for file in folder.iterdir()] == [f"corpus.db{suffix}"]
