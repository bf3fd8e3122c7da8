"""Seeding under load: every answer is of one corpus or the other, and no client waits for long."""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec
import pytest
import uvloop

from mimic.corpus.schemas import Version
from mimic.corpus.stores.mongodb.timings import CATALOGUE_SECONDS
from tests.support.corpora import Pairs, assert_no_leftovers, reference, seed, twin
from tests.support.servers import Server, run_mimic

CLIENTS: Final = 32
SECONDS_BETWEEN: Final = 0.06
"""Most seconds between two requests of a client: server and seeder need some of two cores."""
SECONDS_BESIDE_OTHERS: Final = 0.8
"""SECONDS_BETWEEN while other tests run."""
TIMES_ALONE: Final = 10
"""Seedings of the long run, which has the machine to itself."""
SHARE: Final = 0.02
"""Share of long answers, and of answers found by the index."""
MOST_MILLISECONDS: Final = 100
KINDS: Final = ("long", "completion", "alike", "chat", "streamed")

CONVERSATIONS: Final = 1000
CORPORA: Final = {name: twin(name, CONVERSATIONS) for name in ("old", "new")}
CONTINUE: Final[Mapping[Version, Mapping[str, Pairs]]] = {
    version: {name: reference(dump, [("human", "continue")], version) for name, dump in CORPORA.items()}
    for version in ("v2", "v3")
}


class Tally:
    """Results of clients: corpora of answers by kind, wrong answers, and pauses between bytes."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, str]] = Counter()
        self.wrong: list[str] = []
        self.pauses: list[float] = []
        self.busy = True

    def percentile(self, percent: float) -> float:
        """The pause in milliseconds that the given percentage of all did not exceed."""
        return sorted(self.pauses)[int(len(self.pauses) * percent / 100)] * 1000

    def __str__(self) -> str:
        points = ", ".join(f"p{percent:g} {self.percentile(percent):.1f} ms" for percent in (50, 99, 99.9))
        return f"{self.answers.total()} answers, {len(self.wrong)} wrong, pauses {points}, max {max(self.pauses):.3f} s"


class Question(msgspec.Struct, frozen=True):
    """A request: its kind, path and body, and the texts of its answer by either corpus."""

    kind: str
    path: str
    body: Any
    answers: Mapping[str, Sequence[str]]

    def texts(self, body: bytes) -> Sequence[str]:
        """The texts of an answer."""
        if self.kind == "streamed":
            events = [msgspec.json.decode(line[6:]) for line in body.split(b"\n\n")[:-2]]
            return ["".join(event["choices"][0]["delta"].get("content", "") for event in events if event["choices"])]
        choices = msgspec.json.decode(body)["choices"]
        return [choice["message"]["content"] if "message" in choice else choice["value"] for choice in choices]


def drawn(chance: Random) -> Question:
    """A random question of any kind."""
    version: Version = chance.choice(("v2", "v3"))
    number = chance.randrange(CONVERSATIONS)
    texts = {name: [dump[number]["conversations"][1]["value"]] for name, dump in CORPORA.items()}
    path = f"/conversation/completion?version={version}"
    if chance.random() < SHARE:
        texts = {name: [text for _, text in answers] for name, answers in CONTINUE[version].items()}
        return Question("long", path, _said("continue"), texts)
    if chance.random() < SHARE:
        return Question("alike", f"{path}&match=normalized", _said(f"QUESTION {number}?"), texts)
    kind = chance.choice(("completion", "chat", "streamed"))
    if kind == "completion":
        return Question(kind, path, _said(f"question {number}"), texts)
    chat = {"model": f"mimic-{version}", "messages": [{"role": "user", "content": f"question {number}"}]}
    return Question(kind, "/v1/chat/completions", {**chat, "stream": kind == "streamed"}, texts)


def _said(text: str) -> Any:
    return {"messages": [{"from": "human", "value": text}]}


async def ask(port: int, seed_of_chance: int, tally: Tally, pause: float) -> None:
    """Ask one question after another, over one connection that stays open."""
    chance = Random(seed_of_chance)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while tally.busy:
            await ask_once(drawn(chance), reader, writer, tally)
            await asyncio.sleep(chance.random() * pause)
    except (OSError, EOFError) as exc:
        tally.wrong.append(f"the connection ended: {exc!r}")
    finally:
        writer.close()


async def ask_once(
    question: Question, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tally: Tally
) -> None:
    """Send a request, and tally its answer."""
    body = msgspec.json.encode(question.body)
    head = f"POST {question.path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    before, pause, parts = time.perf_counter(), 0.0, []
    async for part in received(reader):
        now = time.perf_counter()
        before, pause = now, max(pause, now - before)
        parts.append(part)
    if question.kind != "alike":  # it waits until the new index is open
        tally.pauses.append(pause)
    status, text = parts[0], b"".join(parts[1:])
    whose = [name for name, texts in question.answers.items() if status == b"200" and question.texts(text) == texts]
    if whose:
        tally.answers[question.kind, whose[0]] += 1
    else:
        tally.wrong.append(f"{question.kind} {question.path}: {status!r} {text[:200]!r}")


async def received(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The status of an answer, and then its body piece by piece."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    yield head.split(b" ", 2)[1]
    if b"transfer-encoding: chunked" in head:
        while size := int(await reader.readline(), 16):
            yield (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
    else:
        yield await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))


async def seed_again(url: str, folder: Path, server: Server, times: int) -> tuple[Tally, Tally]:
    """Seed one dump and the other in turn, while all clients ask; return their results before and meanwhile."""
    options, pause = ((), SECONDS_BETWEEN) if times == TIMES_ALONE else (("--not-nice",), SECONDS_BESIDE_OTHERS)

    def seed_in_turn() -> None:
        for number in range(times):
            dump = folder / f"{('new', 'old')[number % 2]}.json"
            done = run_mimic(("seed", *options, dump, "--store", url, "--quiet"), {})
            assert done.returncode == 0, done.stderr
            time.sleep(CATALOGUE_SECONDS)

    warm, quiet, busy = Tally(), Tally(), Tally()
    for tally in (warm, quiet, busy):
        clients = [asyncio.create_task(ask(server.port, number, tally, pause)) for number in range(CLIENTS)]
        await asyncio.sleep(1)
        if tally is busy:
            await asyncio.to_thread(seed_in_turn)  # they are forked elsewhere, which holds up no client
        tally.busy = False
        await asyncio.gather(*clients)
    return quiet, busy


@pytest.mark.timeout(600)
@pytest.mark.parametrize("times", [2, pytest.param(TIMES_ALONE, marks=pytest.mark.soak)])
def test_seeding_again_disturbs_no_client(store_url: str, tmp_path: Path, times: int) -> None:
    """32 clients over connections that stay open get whole answers of one corpus or the other, and no error.

    Their pauses are printed, with tight limits only if no other tests run.
    """
    for name, dump in CORPORA.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(dump))
    seed(store_url, CORPORA["old"], tmp_path)
    with Server(tmp_path, MIMIC_STORE=store_url) as server:
        quiet, busy = uvloop.run(seed_again(store_url, tmp_path, server, times))
    sys.stderr.write(f"\nbefore: {quiet}\nwhile it is seeded {times} times: {busy}\n")
    assert busy.wrong == []
    assert {whose for _, whose in quiet.answers} == {"old"}
    assert set(busy.answers) == {(kind, name) for kind in KINDS for name in CORPORA}
    assert_no_leftovers(store_url, tmp_path)
    assert "Traceback" not in server.log()
    assert busy.percentile(99.9) < (MOST_MILLISECONDS if times == TIMES_ALONE else 30 * MOST_MILLISECONDS)
