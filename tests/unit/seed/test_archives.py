"""Compressed files and zip archives: read in bounded memory, and refused if they are damaged."""

import bz2
import gzip
import hashlib
import io
import lzma
import random
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mimic.errors import BrokenDump, DumpError
from mimic_seed.compression import CHUNK_BYTES, CODINGS, Decompressor, coding_of
from mimic_seed.source import Source
from tests.support.reading import ONE

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstd.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "bzip2": bz2.compress,
}
TEXT = random.Random(1).randbytes(1000).hex().encode() * 300


def decompressed(name: str, stored: bytes, step: int) -> bytes:
    """The text of compressed bytes, fed in pieces."""
    decompressor = Decompressor(CODINGS[name])
    pieces = [piece for at in range(0, len(stored), step) for piece in decompressor.feed(stored[at : at + step])]
    decompressor.close()
    assert max(map(len, pieces), default=0) <= CHUNK_BYTES
    return b"".join(pieces)


@pytest.mark.parametrize("name", COMPRESS)
def test_a_compressed_text_is_read_however_it_is_cut(name: str) -> None:
    """The first bytes name the coding. Several members or frames follow one another."""
    compress = COMPRESS[name]
    long = compress(TEXT)
    for text, stored in ((b"", compress(b"")), (b"one", compress(b"one")), (TEXT, long)):
        assert coding_of(stored) == CODINGS[name]
        for step in (1, 7, len(stored)) if len(stored) < 10_000 else (1000, len(stored)):
            assert decompressed(name, stored, step) == text
    assert decompressed(name, compress(b"one") + compress(b"two"), 5) == b"onetwo"
    for cut in (7, -1):
        with pytest.raises(BrokenDump, match=f"the {name} data .*(end here|damaged)"):
            decompressed(name, long[:cut], 1000)
    with pytest.raises(BrokenDump, match=f"the {name} data .*(end here|damaged)"):
        decompressed(name, long[:20] + b"nonsense" * 100, 1000)


@pytest.mark.parametrize("name", COMPRESS)
def test_a_bomb_comes_in_small_pieces(name: str) -> None:
    """10 MB of zeros in a few thousand bytes."""
    assert len(decompressed(name, COMPRESS[name](bytes(10_000_000)), 1000)) == 10_000_000


def test_a_window_that_takes_much_memory_is_refused() -> None:
    """The window of zstd and the dictionary of xz are limited."""
    options: Any = {
        zstd.CompressionParameter.window_log: 28,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
    }
    compressor = zstd.ZstdCompressor(options=options)
    stored = compressor.compress(b"x" * 1000) + compressor.flush()
    with pytest.raises(BrokenDump, match="the zstd data"):
        decompressed("zstd", stored, 1000)
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 512 * 1024 * 1024}]
    header = lzma.compress(b"", filters=[{"id": lzma.FILTER_LZMA2, "preset": 1}])[:12]
    assert header.startswith(CODINGS["xz"].magic)
    encoded = lzma._encode_filter_properties(filters[0])  # type: ignore[attr-defined]
    block = bytes([2, 0, 0x21, 1]) + encoded + bytes(3)
    block += zlib.crc32(block).to_bytes(4, "little")
    with pytest.raises(BrokenDump, match=r"the xz data .*emory"):
        decompressed("xz", header + block + b"\0" * 100, 1000)


def zipped(**files: bytes) -> bytes:
    """A zip archive with these files; a double underscore stands for a slash, a single one for a dot."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), data)
    return file.getvalue()


async def documents(path: Path) -> dict[str, bytes]:
    """The texts in a file, by name."""
    async with Source(path) as source:
        found = {
            document.name: b"".join([chunk async for chunk in document.chunks]) async for document in source.documents()
        }
        assert source.bytes_read == source.total_bytes == path.stat().st_size
        assert source.origin().sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.mark.anyio
async def test_the_conversations_of_an_export_are_read(tmp_path: Path) -> None:
    """Several parts come in the order of their names; other files are ignored."""
    file = tmp_path / "export.zip"
    dump = f"[{ONE}]".encode()
    file.write_bytes(zipped(user_json=b"{}", x__conversations_json=dump, chat_html=b"<html>"))
    assert await documents(file) == {"x/conversations.json": dump}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as written:
        for number in (2, 1):
            written.writestr(f"conversations-00{number}.json", dump)
        written.writestr("other.json", b"[]")
    file.write_bytes(archive.getvalue())
    assert list(await documents(file)) == ["conversations-001.json", "conversations-002.json"]
    file.write_bytes(zipped(readme_txt=b"", own_jsonl=TEXT))
    assert await documents(file) == {"own.jsonl": TEXT}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("stored", "problem"),
    [
        (zipped(readme_txt=b"hi"), "without a file of conversations"),
        (zipped(), "without a file of conversations"),
        (zipped(a_json=b"[]", b_csv=b""), r"several files that may have conversations \(a.json, b.csv\)"),
        (zipped(a_json=TEXT)[:200], "damaged"),
        (zipped(a_json=TEXT)[:40] + b"nonsense" + zipped(a_json=TEXT)[48:], "damaged"),
        (b"PK\x03\x04", "damaged"),
    ],
)
async def test_an_archive_that_cannot_be_read_is_refused(tmp_path: Path, stored: bytes, problem: str) -> None:
    """The error has the files found; a damaged file is found at its checksum at the latest."""
    file = tmp_path / "export.zip"
    file.write_bytes(stored)
    with pytest.raises(DumpError, match=problem):
        await documents(file)


@pytest.mark.anyio
async def test_an_archive_with_a_password_is_refused(tmp_path: Path) -> None:
    """The flag of the file shows its encryption."""
    file = tmp_path / "export.zip"
    stored = bytearray(zipped(conversations_json=b"[]"))
    stored[stored.index(b"PK\x01\x02") + 8] |= 1
    file.write_bytes(stored)
    with pytest.raises(DumpError, match="with a password"):
        await documents(file)


@pytest.mark.anyio
async def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    """A file of 110 MB in 110 kB ends after 100 MB, which came in small chunks."""
    file = tmp_path / "export.zip"
    file.write_bytes(zipped(conversations_json=b" " * 110_000_000))
    size = 0
    async with Source(file) as source:
        async for document in source.documents():
            with pytest.raises(BrokenDump, match=r"more than 200 times its size \(a zip bomb\?\)"):
                async for chunk in document.chunks:
                    assert len(chunk) <= CHUNK_BYTES
                    size += len(chunk)
            break
    assert 100_000_000 < size < 101_000_000
