"""The banner of ``mimic serve``: the corpus, and a request that works in a shell."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from mimic.corpus.conversation import Message
from mimic.corpus.corpus import Corpus
from mimic.corpus.example import MOST_SOUGHT, example_of
from mimic.corpus.schemas import VERSIONS
from mimic.corpus.stores.base import Store
from mimic.testing import free_port
from mimic.testing.processes import listens
from tests.support.corpora import SMALL, Dump, ask, conversation, fill, seed
from tests.support.servers import start_mimic
from tests.support.timing import wait_until

NASTY: Final = 'it\'s $HOME `id` "q" \\n !! *? \u4f60\u597d'
DUMP: Final = [
    conversation("a", ("system", "be brief"), ("USER", "x" * 400), ("gpt", "a long one")),
    conversation("b", ("USER", NASTY), ("ASSISTANT", "the answer")),
]


@contextmanager
def serving(folder: Path, *arguments: str, **settings: str) -> Iterator[tuple[int, Path]]:
    """A server: its port, and the file of its standard output at the time when it listens."""
    port = free_port()
    out, log = folder / "out", folder / "log"
    with out.open("wb") as stdout, log.open("wb") as stderr:
        server = start_mimic(["serve", "--port", str(port), *arguments], settings, folder, stdout, stderr)
    try:
        wait_until(lambda: listens(port) or server.poll() is not None)
        assert server.poll() is None, log.read_text()
        yield port, out
    finally:
        server.terminate()
        server.wait(60)
    for line in log.read_text().splitlines():
        json.loads(line)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_shows_the_corpus_and_a_working_request(tmp_path: Path, workers: str) -> None:
    """The banner is printed once for any number of workers, its command works as it is, and the log stays JSON."""
    if not shutil.which("curl"):
        pytest.skip("there is no curl")
    seed(f"sqlite:///{tmp_path}/own.db", DUMP, tmp_path)
    with serving(tmp_path, "--store", "own.db", "--workers", workers) as (port, out):
        said = out.read_text()
        [command] = [part for part in said.split("\n\n") if "curl" in part]
        answer = subprocess.run(["bash", "-c", command], capture_output=True, check=True, timeout=30).stdout
    assert said.startswith(f"Mimic on http://127.0.0.1:{port}, with a page")
    assert said.count("Serving dump.json: 2 conversations, 5 messages, seeded 20") == 1
    assert " UTC; v1, v2, v3.\nTry one of its messages (answered by v3):\n" in said
    assert "\u4f60\u597d" in command
    assert json.loads(answer) == {"choices": [{"from": "ASSISTANT", "value": "the answer"}]}


def test_it_shows_how_to_seed(tmp_path: Path) -> None:
    """The banner of an empty store, or one without the default version, has the command; also in an ASCII output."""
    with serving(tmp_path, MIMIC_STORE="./own store.db") as (_, out):
        said = out.read_text()
        command = said.partition("In another terminal:\n\n  ")[2].partition("#")[0].replace("FILE", "--sample")
        assert "Nothing is seeded yet." in said
        assert command.split() == ["mimic", "seed", "--sample", "--store", "'./own", "store.db'"]
    seed(f"sqlite:///{tmp_path}/own.db", DUMP, tmp_path, ["v1"])
    with serving(tmp_path, MIMIC_STORE="own.db", MIMIC_API_KEYS="sk-one", PYTHONIOENCODING="ascii") as (_, out):
        said = out.read_text()
    assert "Serving dump.json: 2 conversations" in said
    assert "; v1.\nThe default version v3 is not seeded. In another terminal:" in said
    with serving(
        tmp_path, MIMIC_STORE="own.db", MIMIC_VERSION="v1", MIMIC_API_KEYS="sk-one", PYTHONIOENCODING="ascii"
    ) as (
        _,
        out,
    ):
        said = out.read_text()
    assert r"\u4f60\u597d" in said
    assert "-H 'authorization: Bearer ...'" in said
    assert "sk-" not in said


def test_no_password_is_shown(tmp_path: Path) -> None:
    """The banner has no password, not even for a store that does not exist."""
    url = f"mongodb://user:pa55word@127.0.0.1:{free_port()}/mimic"
    with serving(tmp_path, MIMIC_STORE=url) as (_, out):
        said = out.read_text()
    assert "The corpus cannot be read: MongoDB cannot be reached" in said
    assert "pa55word" not in said


def test_a_reader_that_is_gone_stops_no_server(tmp_path: Path) -> None:
    """The server runs on after a reader such as ``head -1`` has closed the pipe."""
    port = free_port()
    command = (sys.executable, "-P", "-m", "mimic", "serve", "--store", "own.db", "--port", str(port))
    reader, writer = os.pipe()
    os.close(reader)
    log = tmp_path / "log"
    with log.open("wb") as stderr, subprocess.Popen(command, cwd=tmp_path, stdout=writer, stderr=stderr) as server:
        os.close(writer)
        wait_until(lambda: listens(port) or server.poll() is not None)
        server.terminate()
        assert server.wait(timeout=30) == 0, log.read_text()
    assert "Traceback" not in log.read_text()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("dump", "expected"),
    [
        (SMALL, Message("human", "continue")),
        (DUMP, Message("USER", NASTY)),
        ([conversation("a", ("gpt", "alone"), ("human", "a\nb"), ("gpt", "x"))], Message("gpt", "alone")),
        ([conversation("a", ("human", "a question that nothing follows"))], None),
        ([conversation(str(n)) for n in range(MOST_SOUGHT)], None),
        ([conversation("a", ("human", "\u202e evil"), ("gpt", "x"))], None),
    ],
)
async def test_the_example_has_an_answer(store: Store, tmp_path: Path, dump: Dump, expected: Message | None) -> None:
    """In each version, a completion of the example has an answer; a short message of a user is preferred."""
    await fill(store, dump, tmp_path)
    for version in VERSIONS:
        found = await example_of(Corpus(store), version)
        if found:
            assert await ask(store, [(found.sender, found.value)], version)
        assert (found and found.value) == (expected and expected.value) or dump is SMALL
