"""The SQLite file of records: its place, its errors, its clock, and records of newer formats."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mimic.errors import LeaseLost, RecordChanged, RecordsUnavailable, SettingError
from mimic.records import OFF, open_records
from mimic.records.base import FORMAT, Change, Draft, RecordOptions, Records, new_id
from mimic.records.sqlite.file import RecordsFile
from mimic.records.sqlite.records import SQLiteRecords

pytestmark = pytest.mark.anyio

OPTIONS = RecordOptions()


async def fill(records: Records) -> None:
    """Use records once."""
    async with records:
        stored = await records.put(Draft(kind="a", id="1"))
        assert await records.get("a", "1", None) == stored


async def test_nothing_is_made_before_the_first_record(sqlite_url: str, tmp_path: Path) -> None:
    """Reads and claims leave the folder empty; the file is beside the corpus, for its owner only."""
    async with open_records("", sqlite_url, OPTIONS) as records:
        assert await records.get("a", "b", None) is None
        assert await records.claim(["a"], 10) is None
        assert await records.sizes() == {}
        await records.sweep()
        assert list(tmp_path.iterdir()) == []
    await fill(open_records("", sqlite_url, OPTIONS))
    assert [file.name for file in tmp_path.iterdir()] == ["corpus.db.records"]
    assert (tmp_path / "corpus.db.records").stat().st_mode & 0o777 == 0o600
    async with open_records("", sqlite_url, OPTIONS) as records:
        assert await records.get("a", "1", None)


async def test_records_have_a_place_of_their_own(sqlite_url: str, tmp_path: Path) -> None:
    """``MIMIC_RECORDS`` names a file, which must not be the corpus."""
    await fill(open_records(f"{tmp_path}/own.db", sqlite_url, OPTIONS))
    assert [file.name for file in tmp_path.iterdir()] == ["own.db"]
    with pytest.raises(SettingError, match=r"MIMIC_RECORDS: it names the file of the corpus"):
        open_records(sqlite_url, sqlite_url, OPTIONS)
    with pytest.raises(SettingError, match=r"MIMIC_RECORDS: expected sqlite:"):
        open_records("nothing", sqlite_url, OPTIONS)
    with pytest.raises(SettingError, match=r"MIMIC_RECORDS: not the URL of a MongoDB database"):
        open_records("mongodb://localhost", sqlite_url, OPTIONS)


async def test_a_folder_that_is_not_writable_gets_no_records(tmp_path: Path) -> None:
    """The records are in a temporary file, with one warning, and end with the server."""
    store = f"sqlite:///{tmp_path}/nowhere/corpus.db"
    with capture_logs() as logs:
        async with open_records("", store, OPTIONS) as records:
            assert await records.get("a", "1", None) is None
            assert logs == []
            await records.put(Draft(kind="a", id="1", due=0))
            assert await records.claim(["a"], 60)
            assert await records.get("a", "1", None)
            folder = records._file.path.parent  # type: ignore[attr-defined]
            assert folder.exists()
    assert not folder.exists()
    assert len(logs) == 1
    assert "temporary file" in logs[0]["event"]


async def test_processes_share_a_temporary_file(tmp_path: Path) -> None:
    """A single process logs the warning."""
    store, folder = f"sqlite:///{tmp_path}/nowhere/corpus.db", tmp_path / "shared"
    folder.mkdir()
    with capture_logs() as logs:
        async with open_records("", store, OPTIONS, folder) as one, open_records("", store, OPTIONS, folder) as other:
            stored = await one.put(Draft(kind="a", id="1"))
            assert await other.get("a", "1", None) == stored
            await other.put(Draft(kind="a", id="2"))
    assert len(logs) == 1
    assert (folder / "records.db").exists()


async def test_records_that_are_off_store_nothing(sqlite_url: str, tmp_path: Path) -> None:
    """A draft is accepted and forgotten."""
    async with open_records(OFF, sqlite_url, OPTIONS) as records:
        assert not records.is_on
        record = await records.put(Draft(kind="a", id="1", due=0, data=b"x"))
        assert (record.id, record.data) == ("1", b"x")
        assert await records.get("a", "1", None) is None
        assert await records.claim(["a"], 1) is None
        assert await records.page("a", "") == ([], False)
        with pytest.raises(RecordChanged):
            await records.update(record, Change(data=b"y"))
    assert list(tmp_path.iterdir()) == []


async def test_other_files_are_refused(tmp_path: Path) -> None:
    """A text, another database and a newer layout are not changed."""
    text, database, newer = tmp_path / "a.txt", tmp_path / "a.db", tmp_path / "newer.db"
    text.write_text("text" * 1000)
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE a (b)")
    connection.close()
    await fill(SQLiteRecords(RecordsFile(newer)))
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version=2")
    connection.close()
    for file in (text, database, newer, tmp_path):
        before = file.read_bytes() if file.is_file() else b""
        async with SQLiteRecords(RecordsFile(file)) as records:
            with pytest.raises(RecordsUnavailable) as refused:
                await records.put(Draft(kind="a", id="1"))
            assert file.name in refused.value.public
            assert str(tmp_path) not in refused.value.public.replace(file.name, "")
            with pytest.raises(RecordsUnavailable):
                await records.get("a", "1", None)
        assert not file.is_file() or file.read_bytes() == before


async def test_records_of_a_newer_format_are_absent_and_stay(tmp_path: Path) -> None:
    """No read finds them, and neither a draft, an expiry nor the bounds remove them."""
    file = tmp_path / "records.db"
    async with SQLiteRecords(RecordsFile(file), RecordOptions(most=3)) as records:
        await records.put_all([Draft(kind="a", id=name, due=due, lives=1.0) for name, due in (("1", None), ("2", 0))])
        claim = await records.claim(["a"], 60)
        assert claim
        connection = sqlite3.connect(file, isolation_level=None)
        connection.execute("UPDATE records SET format = ?", (FORMAT + 1,))
        await asyncio.sleep(1.1)
        assert await records.get_all("a", ["1", "2"], None) == []
        assert await records.page("a", "") == ([], False)
        assert await records.browse() == []
        with pytest.raises(RecordChanged):
            await records.put(Draft(kind="a", id="1"))
        with pytest.raises(LeaseLost):
            await records.renew(claim.lease, 60)
        assert not await records.delete("a", "1", None)
        await records.put(Draft(kind="a", id="3"))
        await records.put(Draft(kind="a", id="4"))
        await records.sweep()
        assert connection.execute("SELECT id FROM records ORDER BY id").fetchall() == [("1",), ("2",), ("4",)]
        connection.close()


async def test_a_clock_that_is_set_back_changes_no_order_and_no_lease(tmp_path: Path) -> None:
    """Positions grow all the same, and a lease lasts as long as stated."""
    now = [1_000_000.0]
    async with (
        SQLiteRecords(RecordsFile(tmp_path / "records.db"), now=lambda: now[0]) as records,
        SQLiteRecords(RecordsFile(tmp_path / "records.db"), now=lambda: now[0]) as other,
    ):
        await records.put(Draft(kind="a", id="1", due=-1000))
        claim = await records.claim(["a"], 1.0)
        assert claim
        now[0] -= 900
        await records.put(Draft(kind="a", id="0"))
        assert [record.id for record in (await records.page("a", "")).records] == ["1", "0"]
        assert await other.claim(["a"], 10) is None
        await asyncio.sleep(1.1)
        assert await other.claim(["a"], 10)


async def test_waiting_changes_are_committed_together(tmp_path: Path) -> None:
    """A refused change does not disturb the others of its commit."""
    async with SQLiteRecords(RecordsFile(tmp_path / "records.db")) as records:
        first = await records.put(Draft(kind="a", id="1"))
        changes = [records.update(first, Change(data=b"x")) for _ in range(3)]
        puts = [records.put(Draft(kind="b", id=new_id("b"))) for _ in range(500)]
        results = await asyncio.gather(*changes, *puts, return_exceptions=True)
        assert [isinstance(result, RecordChanged) for result in results[:3]] == [False, True, True]
        assert not any(isinstance(result, BaseException) for result in results[3:])
        assert (await records.sizes())["b"].records == 500


FULL = """
import asyncio, resource, sys
from pathlib import Path
from mimic.errors import RecordsUnavailable
from mimic.records.base import Draft
from mimic.records.sqlite.file import RecordsFile
from mimic.records.sqlite.records import SQLiteRecords

async def main():
    async with SQLiteRecords(RecordsFile(Path(sys.argv[1]))) as records:
        await records.put(Draft(kind="a", id="first"))
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
        stored, error = ["first"], None
        while error is None:
            try:
                await records.put(Draft(kind="a", id=str(len(stored)), data=bytes(20_000)))
                stored.append(str(len(stored)))
            except RecordsUnavailable as exc:
                error = exc
        assert "no space left for" in str(error), error
        assert [one.id for one in await records.get_all("a", stored, None)] == stored
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        await records.put(Draft(kind="a", id="after", data=bytes(20_000)))
        assert (await records.sizes())["a"].records == len(stored) + 1

asyncio.run(main())
"""


def test_a_full_disk_is_an_error_and_loses_nothing(tmp_path: Path) -> None:
    """Stored records can be read, and with space again new ones are stored."""
    command = [sys.executable, "-W", "error", "-c", FULL, str(tmp_path / "records.db")]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ, timeout=60)
    assert run.returncode == 0, run.stderr
