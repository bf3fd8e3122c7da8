"""Reads conversations from the bytes of a file: JSON or a table, by its first bytes. Pure."""

from collections import Counter

from mimic.corpus.conversation import Conversation
from mimic.corpus.manifest import Skipped
from mimic_seed.csv_reader import CsvReader
from mimic_seed.file_kinds import BEGINNING, delimiter_of
from mimic_seed.reader import BYTE_ORDER_MARK, DumpReader


class FileReader:
    """A push parser for any file, with the interface of :class:`mimic_seed.reader.DumpReader`."""

    def __init__(self) -> None:
        self._reader: DumpReader | CsvReader | None = None
        self._beginning = b""

    @property
    def unusable_ids(self) -> int:
        """The number of conversations so far that were kept without their ids."""
        return self._reader.unusable_ids if self._reader else 0

    @property
    def left_out(self) -> Counter[str]:
        """Counts of data so far that the corpus does not keep, by name."""
        return self._reader.left_out if self._reader else Counter()

    def feed(self, data: bytes) -> list[Conversation | Skipped]:
        """Take the next bytes. Returns the conversations that they complete. Raises BrokenDump."""
        if self._reader:
            return self._reader.feed(data)
        self._beginning += data
        text = self._beginning.removeprefix(BYTE_ORDER_MARK)
        if len(self._beginning) < BEGINNING and text.lstrip()[:1] not in (b"[", b"{"):
            return []
        return self._choose(text)

    def close(self) -> list[Conversation | Skipped]:
        """Take the end of the bytes. Raises BrokenDump."""
        found = [] if self._reader else self._choose(self._beginning.removeprefix(BYTE_ORDER_MARK))
        return [*found, *(self._reader.close() if self._reader else ())]

    def _choose(self, text: bytes) -> list[Conversation | Skipped]:
        delimiter = delimiter_of(text[:BEGINNING])
        self._reader = CsvReader(delimiter) if delimiter else DumpReader()
        return self._reader.feed(self._beginning)
