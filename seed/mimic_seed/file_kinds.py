"""Kinds of files that are not dumps, by their first bytes, and a way to seed each kind. Pure."""

import re
from collections.abc import Sequence
from typing import Final

BEGINNING: Final = 512
"""Bytes that are enough to recognise the kind of a file."""


def _compressed(program: str, command: str) -> str:
    return f"the file is compressed with {program}, which Mimic does not read: `{command} FILE | mimic seed -`"


def _table(name: str) -> str:
    article = "an" if name[0] in "AO" else "a"
    return (
        f"the file is {article} {name} file: convert it to JSON Lines (pandas: `to_json(orient='records', lines=True)`)"
    )


_UTF16: Final = "the file is UTF-16 or UTF-32 and not UTF-8: `iconv -f UTF-16 -t UTF-8 FILE | mimic seed -`"
_ZIP: Final = (
    "the input is a zip archive, which cannot be read from a pipe: give it as a file, or `unzip -p FILE NAME | mimic "
    "seed -`"
)
_PARQUET: Final = (
    "the input is a Parquet file, which can be read neither from a pipe nor compressed: give it as a file of its own"
)
_PICKLE: Final = (
    "the file is a Python pickle, which can run any program: open it only if you trust it, and write it as JSON"
)

_MAGIC: Final[Sequence[tuple[int, bytes, str]]] = (
    (0, b"\xff\xfe", _UTF16),
    (0, b"\xfe\xff", _UTF16),
    (0, b"[\0", _UTF16),
    (0, b"{\0", _UTF16),
    (0, b"\0[", _UTF16),
    (0, b"\0{", _UTF16),
    (0, b"\0\0\0[", _UTF16),
    (0, b"\0\0\0{", _UTF16),
    (0, b"\x04\x22\x4d\x18", _compressed("lz4", "lz4 -dc")),
    (0, b"\x1f\x9d", _compressed("compress", "uncompress -c")),
    (0, b"\x89LZO", _compressed("lzop", "lzop -dc")),
    (0, b"PK\x03\x04", _ZIP),
    (0, b"PK\x05\x06", _ZIP),
    (0, b"7z\xbc\xaf\x27\x1c", "the file is a 7z archive: `7z e -so FILE NAME | mimic seed -`"),
    (0, b"Rar!\x1a\x07", "the file is a rar archive: `unrar p -inul FILE NAME | mimic seed -`"),
    (257, b"ustar", "the file is a tar archive: `tar -xOf FILE NAME | mimic seed -`"),
    (0, b"PAR1", _PARQUET),
    (0, b"ARROW1", _table("Arrow")),
    (0, b"\xff\xff\xff\xff", _table("Arrow")),
    (0, b"FEA1", _table("Feather")),
    (0, b"ORC", _table("ORC")),
    (0, b"Obj\x01", _table("Avro")),
    (0, b"\x89HDF\r\n\x1a\n", _table("HDF5")),
    (0, b"\x93NUMPY", _table("NumPy")),
    (0, b"SQLite format 3\0", "the file is an SQLite database, not a dump; name a Mimic corpus with --store"),
    (0, b"%PDF-", "the file is a PDF, not a dump"),
    (
        0,
        b"version https://git-lfs.github.com/spec/",
        "the file is a Git LFS pointer, not the dump itself: run `git lfs pull`, or download the file",
    ),
)
_PICKLE_PROTOCOL: Final = re.compile(rb"\x80[\x02-\x09][\x00-\xff]")
_MARKUP: Final = re.compile(rb"<(?:!doctype\s+html|html|head|body|\?xml|!--)[\s>?-]?", re.IGNORECASE)
_CELL: Final = rb"""(?:"[^"\n]*"|[\w.-]+(?: [\w.-]+)*)"""
_CSV: Final = re.compile(_CELL + rb"([,;\t|])(?:" + _CELL + rb")?(?:\1(?:" + _CELL + rb")?)*\r?\n")
"""The first line of a table. Prose has a space after its commas."""


def kind_of(beginning: bytes) -> str | None:
    """The kind of a file and a way to seed it, by its first bytes; None if the kind is not known."""
    for position, magic, kind in _MAGIC:
        if beginning.startswith(magic, position):
            return kind
    if _PICKLE_PROTOCOL.match(beginning):
        return _PICKLE
    if _MARKUP.match(beginning):
        return (
            "the file is a web page (HTML or XML), probably from a failed download or a link to a page: "
            "download the dump itself"
        )
    return None


def delimiter_of(beginning: bytes) -> str | None:
    """The delimiter of a table, by its header; None if the file is no table."""
    found = _CSV.match(beginning)
    return found[1].decode() if found else None
