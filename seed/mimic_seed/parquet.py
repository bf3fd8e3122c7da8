"""Rows of a Parquet file as JSON Lines, in batches of bounded size. The package pyarrow, an extra, reads the file."""

from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import msgspec

from mimic.errors import DumpError, ForeignFile
from mimic_seed.csv_reader import cell_value, check_columns
from mimic_seed.formats import FORMATS, IDS, lists

MAGIC: Final = b"PAR1"

ROWS: Final = 32
"""Rows to read at a time. A row may have 16 MiB."""
BUFFER_BYTES: Final = 1024 * 1024
"""Bytes of a column to read at a time. A row group often has 100 MB."""

_COLUMNS: Final = frozenset((*IDS, *(field for one in FORMATS for field in one.FIELDS)))
_MISSING: Final = (
    "the file is a Parquet file, and pyarrow, which reads it, is not installed: pip install 'mimic-chat[parquet]', "
    "or convert the file to JSON Lines (pandas: `to_json(orient='records', lines=True)`)"
)
_FAILED: Final = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    ArithmeticError,
    NotImplementedError,
    MemoryError,
)
"""Errors of pyarrow: its own ones are subclasses of these."""

_encode_lines: Final = msgspec.json.Encoder(enc_hook=str).encode_lines


class ParquetRows:
    """The rows of an open Parquet file. Columns that no format reads stay in the file."""

    def __init__(self, file: BinaryIO) -> None:
        """Raises ForeignFile if pyarrow is missing or no format has the columns, and DumpError for a damaged file."""
        try:
            from pyarrow.parquet import ParquetFile  # noqa: PLC0415 - optional, and slow to import
        except ImportError:
            raise ForeignFile(_MISSING) from None
        try:
            self._file = ParquetFile(file, pre_buffer=False, buffer_size=BUFFER_BYTES)
            names: list[str] = self._file.schema_arrow.names
        except _FAILED as exc:
            raise _damaged(exc) from exc
        self._columns = [name for name in names if name in _COLUMNS]
        check_columns("Parquet file", names, {name: [] for name in self._columns})

    def chunks(self) -> Iterator[tuple[bytes, float]]:
        """Yield some rows as lines of JSON, with the share of all rows read so far. Raises DumpError."""
        read, total = 0, self._file.metadata.num_rows
        try:
            for batch in self._file.iter_batches(ROWS, columns=self._columns, use_threads=False):
                read += batch.num_rows
                yield _encode_lines([_element(row) for row in batch.to_pylist()]), read / total
        except _FAILED as exc:
            raise _damaged(exc) from exc


def _element(row: dict[str, Any]) -> Any:
    """A row as an element. A column of messages may have JSON texts."""
    for name in lists.MESSAGES:
        if isinstance(text := row.get(name), str):
            row[name] = cell_value(name, text)
    return _without_nulls(row)


def _without_nulls(value: Any) -> Any:
    """A value without its null fields: a column has the fields of all rows. Bytes, which are no text, become ``{}``."""
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value]
    return {} if isinstance(value, bytes) else value


def _damaged(exc: Exception) -> DumpError:
    reason = " ".join(str(exc).split())
    return DumpError(f"is a Parquet file that is damaged ({reason})")
