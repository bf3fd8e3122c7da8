"""Files of other kinds: each is named, with a way to seed its content."""

import io
import pickle
import sqlite3
import tarfile
import zipfile
from pathlib import Path

import pytest

from mimic.errors import ForeignFile
from tests.support.reading import ONE, error

DUMP = f"[{ONE}]".encode()


def _zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("dump.json", DUMP)
    return file.getvalue()


def _tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("dump.json")
        member.size = len(DUMP)
        archive.addfile(member, io.BytesIO(DUMP))
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "named", "advice"),
    [
        (b"\x04\x22\x4d\x18", "compressed with lz4", "`lz4 -dc FILE | mimic seed -`"),
        (_zipped(), "a zip archive", "`unzip -p FILE NAME | mimic seed -`"),
        (_tarred(), "a tar archive", "`tar -xOf FILE NAME | mimic seed -`"),
        (b"PAR1\x15\x04\x15", "a Parquet file", "give it as a file of its own"),
        (b"\xff\xff\xff\xff\x10\0\0\0", "an Arrow file", "convert it to JSON Lines"),
        (b"id,dialog\n1,hello\n", "a table (CSV) with the columns id, dialog", 'Understood are: {"conversations"'),
        (b'"id";"text"\r\n"1";"hello"\r\n', "a table (CSV) with the columns id, text", "Understood are: "),
        *((pickle.dumps([1], protocol), "a Python pickle", "write it as JSON") for protocol in (2, 3, 4, 5)),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 673000000\n",
            "a Git LFS pointer",
            "`git lfs pull`",
        ),
        (b"\n<!DOCTYPE html>\n<html><title>404</title>", "a web page", "download the dump itself"),
        (b'<?xml version="1.0"?><Error>', "a web page", "download the dump itself"),
        *(
            (DUMP.decode().encode(encoding), "UTF-16 or UTF-32 and not UTF-8", "`iconv -f UTF-16 -t UTF-8 FILE")
            for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
        ),
        (b"%PDF-1.7\n", "a PDF", "not a dump"),
    ],
)
def test_a_file_of_another_kind_is_named(data: bytes, named: str, advice: str) -> None:
    """The first bytes decide, in any pieces; the error has no byte, which would not help."""
    for step in (None, 1, 7):
        caught = error(data, step)
        assert isinstance(caught, ForeignFile)
        assert str(caught).startswith(("the file is ", "the input is "))
        assert named in str(caught)
        assert advice in str(caught)


def test_a_database_is_named(tmp_path: Path) -> None:
    """A database given as the dump, in place of the store, is named."""
    with sqlite3.connect(tmp_path / "own.db") as connection:
        connection.execute("CREATE TABLE t (a)")
    connection.close()
    assert "an SQLite database" in str(error((tmp_path / "own.db").read_bytes()))


def test_a_file_that_was_cut_off_is_named_as_well() -> None:
    """The first bytes are enough."""
    for data in (DUMP.decode().encode("utf-16"), _zipped()):
        assert isinstance(error(data[:7]), ForeignFile)


@pytest.mark.parametrize("data", [b"Hello, world\n", b"\xff", b"P", b"version 2", b"2024-01-01 start", b"# a, b\n"])
def test_unknown_content_is_refused_at_its_byte(data: bytes) -> None:
    """Unknown content is refused at its byte, without a guess."""
    for step in (None, 1):
        caught = error(data, step)
        assert not isinstance(caught, ForeignFile)
        assert "expected '[' (an array of conversations) or '{' (JSON Lines), found " in caught.expected
