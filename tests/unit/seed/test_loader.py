"""Seeding compared with a plain reading of the same file."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from mimic.corpus.manifest import Progress
from mimic.corpus.schemas import VERSIONS
from mimic.corpus.stores import open_store
from mimic.corpus.stores.base import Store
from mimic.errors import NothingToSeed, SkippedConversation
from mimic_seed.loader import load
from mimic_seed.source import Source
from tests.support.corpora import SMALL, conversation, fill, seed_text

pytestmark = pytest.mark.anyio

SAMPLE = Path(__file__).parents[3] / "seed" / "mimic_seed" / "sample.json"


@pytest.mark.parametrize("batch_size", [1, 2, 7, 21, 22, 1000])
async def test_every_message_is_there_whatever_the_batch_size(tmp_path: Path, batch_size: int) -> None:
    """The messages of the sample are complete and in order, last batch included."""
    plain = json.loads(SAMPLE.read_text())
    expected = [(m["from"], m["value"]) for element in plain for m in element["conversations"]]
    path = tmp_path / "corpus.db"
    async with open_store(f"sqlite:///{path}") as store:
        report = await load(Source(SAMPLE), store, VERSIONS, batch_size=batch_size, depth="last")
    assert (report.conversations, report.messages) == (len(plain), len(expected))
    connection = sqlite3.connect(path)
    for version in ("v2", "v3"):
        rows = connection.execute(f'SELECT "from", value FROM {version} ORDER BY position').fetchall()
        assert rows == expected
    nested = [json.loads(row[0]) for row in connection.execute("SELECT conversations FROM v1 ORDER BY position")]
    connection.close()
    assert nested == [element["conversations"] for element in plain]


async def test_a_batch_is_bounded_in_bytes_too(tmp_path: Path) -> None:
    """Large messages do not pile up in a batch of a thousand."""
    dump = [conversation(str(n), ("human", "x" * 1_000_000)) for n in range(12)]
    seen: list[int] = []
    async with open_store(f"sqlite:///{tmp_path / 'corpus.db'}") as store:
        async with store.replace(["v2"]) as replacement:
            kind = type(replacement)
        add = kind.add

        async def counting(self, version, documents):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            seen.append(len(documents))
            await add(self, version, documents)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kind, "add", counting)
            await fill(store, dump, tmp_path, ["v2"], depth="last")
    assert sum(seen) == 12
    assert max(seen) <= 5


async def test_progress_is_reported_from_start_to_end(store: Store, tmp_path: Path) -> None:
    """Progress has the phases in order: reading to the last byte, an index for each version, publishing."""
    file = tmp_path / "dump.json"
    file.write_text(json.dumps(list(SMALL) * 300))  # read in two chunks
    told: list[Progress] = []
    await load(Source(file), store, VERSIONS, on_progress=told.append, depth="last")
    phases = [progress.phase for progress in told]
    assert phases == sorted(phases, key=["reading", "indexing", "publishing"].index)
    assert phases.count("indexing") == 3
    done = [progress.bytes for progress in told]
    assert done == sorted(done)
    assert done[-1] == told[-1].total_bytes == file.stat().st_size
    assert told[-1].messages == 21 * 300


async def test_the_record_ends_with_the_report(store: Store, tmp_path: Path) -> None:
    """The record equals the report of the seeder."""
    report = await fill(store, SMALL, tmp_path)
    seeding = await store.seeding()
    assert seeding
    assert seeding.state == "done"
    assert seeding.report == report
    assert seeding.error is None


async def test_strict_makes_the_first_broken_conversation_fatal(store: Store, tmp_path: Path) -> None:
    """The error names the conversation, and nothing is replaced."""
    await fill(store, SMALL, tmp_path)
    before = await store.seeded()
    text = json.dumps([*SMALL, {"id": "bad"}, {"id": "worse"}])
    with pytest.raises(SkippedConversation, match=r"conversation 7 \(id bad\): without messages"):
        await seed_text(store, text, tmp_path, strict=True)
    assert await store.seeded() == before
    report = await seed_text(store, text, tmp_path)
    assert report.skipped == {"without messages": 2}
    assert [skipped.position for skipped in report.examples] == [7, 8]


async def test_an_input_without_conversations_replaces_nothing(store: Store, tmp_path: Path) -> None:
    """An empty array is more likely a mistake than a wish."""
    await fill(store, SMALL, tmp_path)
    with pytest.raises(NothingToSeed, match="nothing was replaced"):
        await seed_text(store, "[]", tmp_path)
    assert (await store.seeded())["v1"].conversations == 7


async def test_a_conversation_of_16_mib_is_stored(store: Store, tmp_path: Path) -> None:
    """The largest conversation that is not skipped fits each version."""
    dump = [conversation("big", *[("human", "x" * 5_000_000), ("gpt", "y" * 5_000_000), ("human", "z" * 5_000_000)])]
    report = await fill(store, dump, tmp_path, depth="last")
    assert not report.skipped
    assert report.versions["v3"].documents == 3


def test_the_peak_memory_is_this_programs_own() -> None:
    """The kernel also counts the large process that has started the seeder; the report does not."""
    large = bytearray(200_000_000)
    large[::4096] = b"x" * len(large[::4096])
    show = "from mimic_seed.loader import peak_memory_bytes; print(peak_memory_bytes())"
    shown = subprocess.run([sys.executable, "-c", show], check=True, capture_output=True, text=True).stdout
    assert 10_000_000 < int(shown) < len(large) / 2
