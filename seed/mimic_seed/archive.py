"""Files in a zip archive, read without unpacking it: the official exports, or the only file of conversations."""

import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from lzma import LZMAError
from typing import BinaryIO, Final

from mimic.errors import BrokenDump, DumpError
from mimic_seed.compression import CHUNK_BYTES

MAGIC: Final = (b"PK\x03\x04", b"PK\x05\x06")

NAMED: Final = 5
"""Files that an error names."""

BYTES_OF_ANY_RATIO: Final = 100_000_000
LARGEST_RATIO: Final = 200
"""Bytes of text for each compressed byte, beyond the first 100 MB. Texts of people reach 10, repetitive logs 50."""

_EXPORT: Final = re.compile(r"(?:.*/)?conversations(?:-\d+)?\.json")
_BOMB: Final = (
    f"the zip archive expands to more than {LARGEST_RATIO} times its size (a zip bomb?): "
    "if you trust it, unpack it first"
)
_READABLE: Final = re.compile(r".*\.(?:json|jsonl|ndjson|csv|tsv)", re.IGNORECASE)
_FAILED: Final = (zipfile.BadZipFile, zlib.error, LZMAError, EOFError, OSError, ValueError)


class Archive:
    """An open zip archive. Its files come in chunks of bounded size, whatever sizes the archive claims."""

    def __init__(self, file: BinaryIO) -> None:
        """Raises DumpError if the archive is damaged."""
        try:
            self._zip = zipfile.ZipFile(file)
        except _FAILED as exc:
            raise DumpError(f"is a zip archive that is damaged ({exc})") from exc

    def members(self) -> Sequence[zipfile.ZipInfo]:
        """The files with conversations, by name.

        Raises DumpError if the archive has none, or several that are not of an official export.
        """
        files = sorted((one for one in self._zip.infolist() if not one.is_dir()), key=lambda one: one.filename)
        found = [one for one in files if _EXPORT.fullmatch(one.filename)]
        found = found or [one for one in files if _READABLE.fullmatch(one.filename)]
        if not found:
            raise DumpError(
                "is a zip archive without a file of conversations: it has neither conversations.json (the exports of "
                "ChatGPT and Claude) nor another .json, .jsonl or .csv file"
            )
        if len(found) > 1 and not _EXPORT.fullmatch(found[0].filename):
            names = ", ".join(one.filename[:100] for one in found[:NAMED])
            more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
            raise DumpError(
                f"is a zip archive with several files that may have conversations ({names}{more}): choose one with "
                "`unzip -p FILE NAME | mimic seed -`"
            )
        if any(one.flag_bits & 1 for one in found):
            raise DumpError("is a zip archive with a password: unpack it first")
        return found

    def chunks(self, member: zipfile.ZipInfo) -> Iterator[bytes]:
        """Yield the bytes of a file. Raises BrokenDump if they are damaged, or far more than the archive has."""
        offset, most = 0, max(BYTES_OF_ANY_RATIO, LARGEST_RATIO * member.compress_size)
        try:
            with self._zip.open(member) as file:
                while data := file.read(CHUNK_BYTES):
                    yield data
                    offset += len(data)
                    if offset > most:
                        raise BrokenDump(offset, _BOMB)
        except (*_FAILED, NotImplementedError) as exc:
            raise BrokenDump(offset, f"the zip data after this byte of the text are damaged ({exc})") from exc
