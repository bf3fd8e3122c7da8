"""Seeders killed at any moment: readers meanwhile, the files left, and the next seeding."""

import asyncio
import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Final, Self

import httpx
import pytest

from mimic.corpus.schemas import VERSIONS, Version
from mimic.corpus.stores import open_store
from mimic.corpus.stores.mongodb.timings import CATALOGUE_SECONDS, Timings
from mimic.corpus.stores.sqlite.store import SECONDS_TO_BELIEVE
from tests.support.corpora import Pairs, ask, assert_no_leftovers, expire_lease, reference, seed, twin
from tests.support.servers import Server, start_mimic

SECONDS_BETWEEN: Final = 0.2
"""Seconds between two rounds of a reader's questions: seeder, server and other tests need some of two cores."""
PHASES: Final = ("starting", "reading", "indexing", "publishing")
VICTIMS: Final = ("the seeder", "the index process", "both")
SECONDS_TO_END: Final = 20


CORPORA: Final = {"old": twin("old", 300), "new": twin("new", 1000)}
"""The second one takes half a second to seed."""

QUESTIONS: Final[Sequence[tuple[Version, str, Pairs]]] = [
    *((version, "question 7", [("human", "question 7")]) for version in VERSIONS),
    *((version, "continue", [("human", "continue")]) for version in VERSIONS),
    ("v3", "QUESTION 7?", [("human", "question 7")]),
]
"""The version, the message, and its text in the corpus, which differs if the index is needed."""

ANSWERS: Final[Sequence[Mapping[str, Pairs]]] = [
    {name: reference(corpus, found, version) for name, corpus in CORPORA.items()} for version, _, found in QUESTIONS
]


class Reader:
    """A client that asks a server again and again, and keeps the corpus of each answer, per question in order.

    It asks all questions once more at the end.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self.seen: list[list[str]] = [[] for _ in QUESTIONS]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _read(self) -> None:
        with httpx.Client(base_url=self._server.url, timeout=30) as client:
            is_last = False
            while not is_last:
                is_last = self._stopped.wait(SECONDS_BETWEEN)
                for number, seen in enumerate(self.seen):
                    seen.append(answered(client, number))


def answered(client: httpx.Client, number: int) -> str:
    """Ask a question; return the corpus with exactly this answer, or else the answer."""
    version, text, found = QUESTIONS[number]
    query = {"version": version} if found[-1][1] == text else {"version": version, "match": "normalized"}
    body = {"messages": [{"from": "human", "value": text}]}
    try:
        response = client.post("/conversation/completion", params=query, json=body)
        given = [(choice["from"], choice["value"]) for choice in response.json()["choices"]]
    except (httpx.HTTPError, KeyError, json.JSONDecodeError) as exc:
        return f"{exc!r} to {version} {text}"
    whose = [name for name, answer in ANSWERS[number].items() if answer == given]
    return whose[0] if whose else f"{len(given)} choices to {version} {text}: {given[:1]}"


class Seeder:
    """A ``mimic seed`` of the large dump, in a process of its own, which a test kills."""

    def __init__(self, url: str, folder: Path) -> None:
        self._folder = folder
        arguments = ("seed", "--not-nice", str(folder / "large.json"), "--store", url)
        environment = {"TMPDIR": str(folder / "temporary")}
        receiver, sender = os.pipe()
        with Path(os.devnull).open("wb") as nothing, os.fdopen(sender, "wb") as errors:
            self.process = start_mimic(arguments, environment, folder, nothing, errors)
        self._errors = os.fdopen(receiver)
        self.said = ""

    def wait_for(self, phase: str) -> None:
        """Wait until this phase begins, or until the seeder ends."""
        while phase != "starting" and not self.said.rpartition("\n")[2].startswith(phase):
            line = self._errors.readline()
            if not line:
                return
            self.said += f"\n{line.rstrip()}"

    def kill(self, victim: str) -> None:
        """Kill the seeder, its index process if there is one, or both; then wait for the end of both."""
        index = index_processes(self._folder)
        if victim != "the index process" or not index:
            self.process.kill()
        for process in index if victim != "the seeder" else ():
            with suppress(ProcessLookupError):  # already ended
                os.kill(process, signal.SIGKILL)
        self.end()

    def end(self) -> int:
        """Wait for the end of the seeder and of its index process; return the exit code of the seeder."""
        code = self.process.wait(timeout=SECONDS_TO_END)
        until = time.monotonic() + SECONDS_TO_END
        while left := index_processes(self._folder):
            assert time.monotonic() < until, f"{left} go on"
            time.sleep(0.02)
        with self._errors:
            self.said += self._errors.read()
        return code


def index_processes(folder: Path) -> list[int]:
    """The processes that make an index below a folder, by their command lines; a zombie has none."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"mimic_seed.index_worker" in command and os.fsencode(folder) in command:
            found.append(int(process.name))
    return found


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", [4, pytest.param(30, marks=pytest.mark.soak)])
def test_a_seeder_killed_at_any_moment_leaves_one_corpus_or_the_other(
    store_url: str, tmp_path: Path, kills: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers get whole answers all the time: of the old corpus and, once it is published, of the new one.

    No process of the seeder is left; the next seeding succeeds, and removes the files of the killed one.
    """
    (tmp_path / "large.json").write_text(json.dumps(CORPORA["new"]))
    temporary, of_server = tmp_path / "temporary", tmp_path / "temporary-of-the-server"
    for folder in (temporary, of_server):
        folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    timings = Timings(grace_seconds=CATALOGUE_SECONDS + 0.2)
    to_be_seen = 0.2 + (CATALOGUE_SECONDS if store_url.startswith("mongodb") else SECONDS_TO_BELIEVE)
    lasts = durations(store_url, tmp_path)
    chance = Random(kills)
    with Server(tmp_path, MIMIC_STORE=store_url, TMPDIR=str(of_server)) as server:
        for number in range(kills):
            seed(store_url, CORPORA["old"], tmp_path, timings=timings)
            assert_no_leftovers(store_url, tmp_path)
            assert list(temporary.iterdir()) == []
            phase, victim = PHASES[-1 - number % len(PHASES)], chance.choice(VICTIMS)
            # Publishing is mostly a wait for readers, after all other work.
            seconds = lasts[phase] * chance.random() ** (4 if phase == "publishing" else 1)
            moment = f"kill {number} of those with seed {kills}: {victim}, {seconds:.4f} s after {phase} began"
            time.sleep(to_be_seen)
            with Reader(server) as reader:
                seeder = Seeder(store_url, tmp_path)
                seeder.wait_for(phase)
                time.sleep(seconds)
                seeder.kill(victim)
                time.sleep(to_be_seen)
            whole = asyncio.run(corpus_in(store_url))
            assert whole in CORPORA, moment
            for seen in reader.seen:
                assert set(seen) <= set(CORPORA), moment
                assert seen == sorted(seen, key=["old", "new"].index), moment
                assert seen[-1] == whole, moment
            assert_ended(seeder, whole, moment)
            expire_lease(store_url)
        seed(store_url, CORPORA["old"], tmp_path, timings=timings)
        assert_no_leftovers(store_url, tmp_path)
        assert list(temporary.iterdir()) == []
    assert list(of_server.iterdir()) == []


def durations(url: str, folder: Path) -> Mapping[str, float]:
    """The time of each phase of an undisturbed seeding."""
    seeder = Seeder(url, folder)
    began = []
    for phase in PHASES:
        seeder.wait_for(phase)
        began.append(time.monotonic())
    assert seeder.end() == 0
    return {
        phase: end - start for phase, (start, end) in zip(PHASES, pairwise((*began, time.monotonic())), strict=True)
    }


async def corpus_in(url: str) -> str:
    """The corpus of a store, by exact answers to all questions."""
    async with open_store(url) as store:
        given = [await ask(store, [("human", text)], version) for version, text, found in QUESTIONS[:-1]]
    return next((name for name in CORPORA if given == [answers[name] for answers in ANSWERS[:-1]]), "neither")


def assert_ended(seeder: Seeder, whole: str, moment: str) -> None:
    """Assert that a seeder was killed, or done, or reported a killed index process."""
    code = seeder.process.poll()
    assert code in {-signal.SIGKILL, 0, 3}, moment
    assert "Traceback" not in seeder.said, moment
    if code == 0:
        assert whole == "new", moment
    elif code > 0:
        assert "Error: the process that makes the index ended with -9" in seeder.said, moment
        assert whole == "old", moment
