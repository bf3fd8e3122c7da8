"""Reads conversations from the bytes of a table (CSV, RFC 4180) with a header. Pure.

A row is one element: its cells are the fields that the header names. A cell of a field with messages holds JSON.
"""

import codecs
import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from mimic.corpus.conversation import Conversation
from mimic.corpus.manifest import Skipped
from mimic.corpus.sizes import fits
from mimic.errors import BrokenDump, ForeignFile
from mimic_seed.conversation_builder import LARGEST_ELEMENT, SHOWN_OF_ID, TOO_LARGE
from mimic_seed.formats import FORMATS, IDS, SHAPES, id_of, lists, messages_in
from mimic_seed.formats.base import Unreadable

SHOWN_COLUMNS: Final = 10
"""Columns that an error names."""

_JSON_COLUMNS: Final = frozenset(
    (*lists.MESSAGES, "prompt", "completion", "chosen", "history", "tools", "functions"),
)
_CUT_OFF: Final = "unexpected end of data"
"""csv's error for a text that ends inside quotes."""


class CsvReader:
    """A push parser for tables, with the interface of :class:`mimic_seed.reader.DumpReader`."""

    def __init__(self, delimiter: str) -> None:
        csv.field_size_limit(2 * LARGEST_ELEMENT)  # the reader itself limits rows
        self.unusable_ids = 0
        self.left_out: Counter[str] = Counter()
        self._delimiter = delimiter
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._offset = 0
        self._line = 1
        self._text = ""
        """The beginning of a line."""
        self._rows: list[str] = []
        """Lines of rows that are not complete: the last one is inside quotes."""
        self._size = 0
        self._quotes = 0
        self._fewest_lines = 0
        """Lines to wait for before rows are parsed again, so that the time does not grow with their square."""
        self._columns: Sequence[str] | None = None
        self._position = 0

    def feed(self, data: bytes) -> list[Conversation | Skipped]:
        """Take the next bytes. Returns the conversations that they complete. Raises BrokenDump."""
        return list(self._lines(self._decode(data), is_all=False))

    def close(self) -> list[Conversation | Skipped]:
        """Take the end of the bytes. Raises BrokenDump if the last row is not complete."""
        return list(self._lines(self._decode(b"", final=True), is_all=True))

    def _decode(self, data: bytes, *, final: bool = False) -> str:
        pending = len(self._decoder.getstate()[0])
        try:
            text = self._decoder.decode(data, final)
        except UnicodeDecodeError as exc:
            raise BrokenDump(self._offset - pending + exc.start, "expected UTF-8", None) from exc
        self._offset += len(data)
        return text

    def _lines(self, text: str, *, is_all: bool) -> Iterator[Conversation | Skipped]:
        self._size += len(text)
        *lines, self._text = (self._text + text).split("\n") if "\n" in text or is_all else [self._text + text]
        for line in lines:
            yield from self._take(line + "\n", is_all=False)
        if is_all and (self._text or self._rows):
            yield from self._take(self._text, is_all=True)
        if self._size > LARGEST_ELEMENT:
            raise BrokenDump(self._offset, "a row has more than 16 MiB (a quote without its end?)", self._line)

    def _take(self, line: str, *, is_all: bool) -> Iterator[Conversation | Skipped]:
        """Take a line. Rows are parsed as soon as every quote before the end of a line is closed."""
        self._rows.append(line)
        self._quotes += line.count('"')
        if (self._quotes % 2 or len(self._rows) < self._fewest_lines) and not is_all:
            return
        try:
            rows = list(csv.reader(self._rows, delimiter=self._delimiter, strict=True))
        except csv.Error as exc:
            if str(exc) == _CUT_OFF and not is_all:  # a quote inside of a cell without quotes
                self._fewest_lines = 2 * len(self._rows)
                return
            expected = "the table ends here, inside quotes (truncated file?)" if str(exc) == _CUT_OFF else str(exc)
            raise BrokenDump(self._offset, expected, self._line) from exc
        self._line += len(self._rows)
        self._rows.clear()
        self._size = self._quotes = self._fewest_lines = 0
        for cells in rows:
            if cells:
                yield from self._read(cells)

    def _read(self, cells: Sequence[str]) -> Iterator[Conversation | Skipped]:
        if self._columns is None:
            self._columns = self._header(cells)
            return
        position, self._position = self._position, self._position + 1
        element = {name: cell_value(name, cell) for name, cell in zip(self._columns, cells, strict=False) if name}
        name = id_of(element)[0]
        found: Counter[str] = Counter()
        try:
            if len(cells) != len(self._columns):
                raise Unreadable("a row with another number of cells than the header")
            conversation = Conversation(name, messages_in(element, found))
            if not fits(conversation):
                raise Unreadable(*TOO_LARGE)
        except Unreadable as exc:
            yield Skipped(position, name and name[:SHOWN_OF_ID], exc.reason, exc.detail)
        else:
            self.left_out.update(found)
            yield conversation

    def _header(self, cells: Sequence[str]) -> Sequence[str]:
        """The names of the columns. Raises ForeignFile if no format has them."""
        names = [cell.strip().casefold() for cell in cells]
        check_columns("table (CSV)", cells, dict.fromkeys(names, ""))
        return names


def check_columns(kind: str, columns: Sequence[str], example: Mapping[str, Any]) -> None:
    """Raises ForeignFile if no format has the fields of an example row."""
    if not any(one.matches(example) for one in FORMATS):
        shown = ", ".join(column[:SHOWN_OF_ID] for column in columns[:SHOWN_COLUMNS])
        raise ForeignFile(f"the file is a {kind} with the columns {shown}. Understood are: {SHAPES}")


def cell_value(name: str, cell: str) -> Any:
    """The value of a cell: JSON in a column for messages, otherwise the text. An empty id is no id."""
    if name in IDS:
        return cell or None
    if name in _JSON_COLUMNS and cell[:1] in ("[", "{"):
        try:
            return msgspec.json.decode(cell)
        except (ValueError, RecursionError):
            return cell
    return cell
