"""Temporary folders: those of killed processes are removed, and no others."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mimic.corpus.stores.tempdirs import temporary_folder
from mimic.errors import StoreUnavailable

pytestmark = pytest.mark.anyio

HOLDS_ONE = """
import asyncio
from mimic.corpus.stores.tempdirs import temporary_folder

async def main():
    async with temporary_folder() as folder:
        (folder / "file").write_text("x")
        print(folder, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_files_of_a_killed_process_are_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders of live processes, other names, and files stay."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    others = tmp_path / "mimic-indexes", tmp_path / "mimic-index-link"
    others[0].mkdir()
    others[1].symlink_to(others[0])
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS_ONE], env={"TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout
        held = Path(holder.stdout.readline().strip())
        async with temporary_folder() as folder, temporary_folder() as another:
            assert set(tmp_path.iterdir()) == {held, folder, another, *others}
        holder.kill()
    assert (held / "file").exists()
    async with temporary_folder() as folder:
        assert set(tmp_path.iterdir()) == {folder, *others}
    assert set(tmp_path.iterdir()) == set(others)


async def test_an_unusable_place_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is the store's, with the path."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(StoreUnavailable, match=f"cannot use {tmp_path}/missing/mimic-index-.*: No such file"):
        async with temporary_folder():
            pass


MAKES_MANY = """
import asyncio
from mimic.corpus.stores.tempdirs import temporary_folder

async def main():
    for _ in range(400):
        async with temporary_folder() as folder:
            (folder / "file").write_text("x")
            await asyncio.sleep(0)
            (folder / "file").read_text()

asyncio.run(main())
"""


def test_processes_that_clean_up_leave_new_folders_alone(tmp_path: Path) -> None:
    """A folder that was made a moment ago, and is not locked yet, is removed before its process locks it, or stays."""
    command, environment = [sys.executable, "-c", MAKES_MANY], {"TMPDIR": str(tmp_path)}
    makers = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    errors = [maker.communicate(timeout=100)[1] for maker in makers]
    assert errors == [""] * 4
    assert list(tmp_path.iterdir()) == []
