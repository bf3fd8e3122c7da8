"""Sources of a dump: files and pipes, gzipped or not."""

import asyncio
import gzip
import hashlib
import os
import random
import sys
import zlib
from pathlib import Path

import pytest

from mimic.errors import BrokenDump, DumpError
from mimic_seed.compression import CHUNK_BYTES, CODINGS, Decompressor
from mimic_seed.source import Source

TEXT = random.Random(1).randbytes(1000).hex().encode() * 1000


async def read(source: Source) -> bytes:
    """The whole text; asserts the limit of a chunk."""
    async with source:
        chunks = [chunk async for chunk in source.chunks()]
    assert max(map(len, chunks), default=0) <= CHUNK_BYTES
    return b"".join(chunks)


@pytest.mark.anyio
@pytest.mark.parametrize("text", [b"", b"[]", TEXT], ids=["empty", "short", "long"])
async def test_a_file_is_read_gzipped_or_not(tmp_path: Path, text: bytes) -> None:
    """The content decides, not the name. Size and SHA-256 are those of the file."""
    for stored in (text, gzip.compress(text), gzip.compress(text[:7]) + gzip.compress(text[7:]) + b"\0" * 512):
        if stored == b"":
            continue
        file = tmp_path / "dump.txt"
        file.write_bytes(stored)
        source = Source(file)
        assert await read(source) == text
        origin = source.origin()
        assert (origin.name, origin.bytes) == ("dump.txt", len(stored))
        assert origin.sha256 == hashlib.sha256(stored).hexdigest()
        assert source.total_bytes == len(stored)


@pytest.mark.anyio
async def test_much_text_in_few_bytes_comes_in_small_chunks(tmp_path: Path) -> None:
    """20 MB of the same byte, gzipped to 20 kB, come in small chunks."""
    file = tmp_path / "dump.gz"
    file.write_bytes(gzip.compress(b"x" * 20_000_000))
    total = 0
    async with Source(file) as source:
        async for chunk in source.chunks():
            assert len(chunk) <= CHUNK_BYTES
            total += len(chunk)
    assert total == 20_000_000


@pytest.mark.parametrize("cut", [2, 5, 100, -8, -1])
@pytest.mark.anyio
async def test_a_gzip_file_that_was_cut_off_is_refused(tmp_path: Path, cut: int) -> None:
    """A cut at any byte is an error."""
    file = tmp_path / "dump.gz"
    file.write_bytes(gzip.compress(TEXT)[:cut])
    with pytest.raises(BrokenDump, match=r"byte \d+: the gzip data end here"):
        await read(Source(file))


@pytest.mark.anyio
async def test_damaged_gzip_data_are_refused(tmp_path: Path) -> None:
    """A wrong checksum at the end is an error too, with the byte of the text up to which all was right."""
    file = tmp_path / "dump.gz"
    for damaged_byte in (3, 1000, -6):
        stored = bytearray(gzip.compress(TEXT))
        stored[damaged_byte] ^= 0xFF
        file.write_bytes(stored)
        with pytest.raises(BrokenDump, match=r"byte \d+: the gzip data"):
            await read(Source(file))
    with pytest.raises(BrokenDump, match=r"byte \d+: the gzip data after this byte .* are damaged .*check"):
        await read(Source(file))


@pytest.mark.anyio
async def test_an_unreadable_source_is_named(tmp_path: Path) -> None:
    """A missing file, and a folder, are errors with the name."""
    for path in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(DumpError, match=r"cannot be read: |is a folder"):
            await read(Source(path))


@pytest.mark.parametrize("stored", [TEXT, zlib.compress(TEXT, wbits=31)], ids=["plain", "gzipped"])
@pytest.mark.anyio
async def test_standard_input_is_read_from_a_pipe_and_from_a_file(tmp_path: Path, stored: bytes) -> None:
    """A shell gives either; only a file has a known total."""
    program = (
        "import asyncio, sys\n"
        "from mimic_seed.source import Source\n"
        "async def main():\n"
        "    async with Source('-') as source:\n"
        "        text = b''.join([chunk async for chunk in source.chunks()])\n"
        "        print(len(text), source.origin().name, source.total_bytes)\n"
        "asyncio.run(main())\n"
    )
    file = tmp_path / "dump"
    file.write_bytes(stored)
    command = (sys.executable, "-W", "error", "-c", program)
    pipe = asyncio.subprocess.PIPE
    piped = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    output, _ = await piped.communicate(stored)
    assert output.decode() == f"{len(TEXT)} standard input None\n"
    with file.open("rb") as opened:
        redirected = await asyncio.create_subprocess_exec(*command, stdin=opened, stdout=pipe)
    output, _ = await redirected.communicate()
    assert output.decode() == f"{len(TEXT)} standard input {len(stored)}\n"


@pytest.mark.anyio
async def test_a_named_pipe_is_waited_for_without_blocking(tmp_path: Path) -> None:
    """The wait for a writer blocks no other task, and can be cancelled."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await read(Source(pipe))
    reading = asyncio.create_task(read(Source(pipe)))
    await asyncio.sleep(0.1)
    await asyncio.to_thread(pipe.write_bytes, TEXT)
    assert await reading == TEXT


@pytest.mark.parametrize("padding", [0, 1, 4, 512])
def test_gzip_members_with_padding_between_are_read_however_they_are_cut(padding: int) -> None:
    """Nothing is lost if zeros straddle two chunks."""
    stored = gzip.compress(b"one") + b"\0" * padding + gzip.compress(b"TWO") + b"\0" * padding
    for step in range(1, len(stored) + 1):
        gunzip = Decompressor(CODINGS["gzip"])
        text = b"".join(
            piece for start in range(0, len(stored), step) for piece in gunzip.feed(stored[start : start + step])
        )
        gunzip.close()
        assert text == b"oneTWO"


@pytest.mark.anyio
async def test_gzip_is_known_however_little_comes_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe may give a single byte."""
    stored = gzip.compress(TEXT)
    receiver, sender = os.pipe()
    os.write(sender, stored[:1])
    with os.fdopen(receiver) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        async with Source("-") as source:
            asyncio.get_running_loop().call_later(0.1, os.write, sender, stored[1:])
            asyncio.get_running_loop().call_later(0.2, os.close, sender)
            assert b"".join([piece async for piece in source.chunks()]) == TEXT


@pytest.mark.anyio
async def test_a_terminal_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell continues to use it."""
    ours, theirs = os.openpty()
    left = os.dup(theirs)
    try:
        monkeypatch.setattr(sys, "stdin", os.fdopen(theirs))
        os.write(ours, b"[]\n\x04")
        async with Source("-") as source:
            assert b"".join([piece async for piece in source.chunks()]) == b"[]\n"
        assert os.get_blocking(left)
    finally:
        os.close(left)
        os.close(ours)
