"""``mimic seed`` with files of other formats, several files at once, and ``mimic export``."""

import gzip
import hashlib
import json
import lzma
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from mimic.corpus.stores import open_store
from tests.support.corpora import SMALL
from tests.support.servers import run_mimic

HI = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


def mimic(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    return run_mimic(arguments, {}, stdin=stdin)


def export(store: Path, *options: str) -> list[Any]:
    """The corpus of a store by ``mimic export``."""
    run = mimic("export", "--store", store, *options)
    assert run.returncode == 0, run.stderr
    text = run.stdout
    return json.loads(text) if text.startswith("[") else list(map(json.loads, text.splitlines()))


@pytest.mark.anyio
async def test_several_files_make_one_corpus(tmp_path: Path) -> None:
    """The files are read in the order given, each in its format; the report and the manifest have every SHA-256."""
    files = [tmp_path / name for name in ("a.json", "b.jsonl.xz", "c.csv.gz", "export.zip")]
    files[0].write_text(json.dumps(SMALL))
    files[1].write_bytes(lzma.compress(json.dumps({"id": "a_0", "messages": HI, "tools": [{}]}).encode()))
    files[2].write_bytes(gzip.compress(b"prompt,completion\nhi,hello\nonly one\n"))
    with zipfile.ZipFile(files[3], "w") as archive:
        archive.writestr("conversations.json", json.dumps([{"uuid": "u", "chat_messages": [], "name": ""}]))
    run = mimic("seed", *files, "--store", tmp_path / "own.db")
    assert run.returncode == 0, run.stderr
    report = run.stdout
    assert "Seeded 10 conversations, 25 messages from a.json and 3 more (" in report
    assert "Left out, since a corpus has texts only: 1 definitions of tools" in report
    assert "Kept 1 conversations with the id of an earlier one" in report
    assert "c.csv.gz, conversation 1: a row with another number of cells than the header" in report
    sums = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    async with open_store(f"sqlite:///{tmp_path}/own.db") as store:
        for entry in (await store.seeded()).values():
            assert [(one.name, one.sha256) for one in entry.sources] == [
                (file.name, name) for file, name in zip(files, sums, strict=True)
            ]
            assert entry.source.bytes == sum(file.stat().st_size for file in files)
            assert entry.source.sha256 == hashlib.sha256("".join(f"{name}\n" for name in sums).encode()).hexdigest()
            assert all(name in report for name in sums)
    assert [one.get("id") for one in export(tmp_path / "own.db")] == [*(one["id"] for one in SMALL), "a_0", None, "u"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[{]", "b.json: byte 2: "),
        (b"title,body\n1,2\n", "b.json: the file is a table (CSV) with the columns title, body. Understood are: "),
        (b"PK\x03\x04", "b.json: is a zip archive that is damaged"),
        (None, "b.json: cannot be read: No such file or directory"),
    ],
)
def test_an_error_names_the_file(tmp_path: Path, content: bytes | None, problem: str) -> None:
    """A file that cannot be read, among several, ends the seeding, and the old corpus stays."""
    good, bad = tmp_path / "a.json", tmp_path / "b.json"
    good.write_text(json.dumps(SMALL))
    if content is not None:
        bad.write_bytes(content)
    run = mimic("seed", good, bad, "--store", tmp_path / "own.db")
    assert run.returncode == 1
    assert f"Error: {problem}" in run.stderr
    alone = mimic("seed", bad, "--store", tmp_path / "own.db")
    assert alone.returncode == 1
    assert f"Error: {bad}: {problem.removeprefix('b.json: ')}" in alone.stderr
    assert mimic("export", "--store", tmp_path / "own.db").returncode == 3


def test_wrong_usage(tmp_path: Path) -> None:
    """Standard input can be read once, and a zip archive not from a pipe."""
    assert mimic("seed", "-", "-", "--store", tmp_path / "own.db").returncode == 2
    assert mimic("seed", "--sample", "x", "--store", tmp_path / "own.db").returncode == 2
    piped = mimic("seed", "-", "--store", tmp_path / "own.db", stdin=b"PK\x03\x04" + b"x" * 1000)
    assert "a zip archive, which cannot be read from a pipe" in piped.stderr
    assert mimic("export", "--format", "x").returncode == 2


def test_an_export_seeds_the_same_corpus(tmp_path: Path) -> None:
    """ShareGPT's format is exact; OpenAI's gives the same corpus again once its senders are roles."""
    mimic("seed", "--sample", "--store", tmp_path / "a.db")
    sharegpt = export(tmp_path / "a.db")
    for name, other in (("sharegpt", "b"), ("openai", "c"), ("openai", "d")):
        before = {"b": "a", "c": "b", "d": "c"}[other]
        piped = mimic("export", "--store", tmp_path / f"{before}.db", "--format", name).stdout
        assert mimic("seed", "-", "--store", tmp_path / f"{other}.db", stdin=piped.encode()).returncode == 0
    assert export(tmp_path / "b.db") == sharegpt
    assert export(tmp_path / "d.db") == export(tmp_path / "c.db")
    assert all("id" not in one for one in export(tmp_path / "d.db", "--format", "openai", "--without-ids"))


def test_an_export_to_a_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    """A reader that stops early is no crash."""
    mimic("seed", "--sample", "--store", tmp_path / "a.db")
    command = f"set -o pipefail; {sys.executable} -m mimic export --store {tmp_path}/a.db | head -c 10"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
