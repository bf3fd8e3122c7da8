"""Validation of a batch: its input is read line by line, and cut into blocks."""

from collections.abc import AsyncIterable, Sequence
from typing import Final

import msgspec

from mimic.stored.batches import Block
from mimic.wire.openai.batches import (
    MOST_BYTES,
    MOST_ERRORS,
    MOST_LINE_BYTES,
    MOST_LINES,
    BatchError,
    InvalidLine,
    duplicate,
    model_of,
    read_line,
    too_long,
)

LINES_OF_A_BLOCK: Final = 100


class Checked(msgspec.Struct, frozen=True):
    """The input of a batch: the number of its lines, its blocks, the model of the first line, and its errors."""

    total: int
    blocks: Sequence[Block]
    model: str | None
    errors: Sequence[BatchError]


class InputChecker:
    """Checks lines as they come. Empty lines are left out."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._ids: set[str] = set()
        self._blocks: list[Block] = []
        self._errors: list[BatchError] = []
        self._model: str | None = None
        self._number = 0
        self._position = 0
        self._rest = b""

    def feed(self, piece: bytes) -> None:
        """Check the lines that end within a piece."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            self._take(line, len(line) + 1)
        if len(self._rest) > MOST_LINE_BYTES:  # the end of the line must not be waited for
            self._errors.append(msgspec.structs.replace(too_long().error, line=self._number + 1))

    @property
    def is_over(self) -> bool:
        """True if the rest of the input cannot change the result."""
        is_too_long = len(self._rest) > MOST_LINE_BYTES or self._position > MOST_BYTES
        return is_too_long or len(self._ids) > MOST_LINES or len(self._errors) >= MOST_ERRORS

    def close(self) -> Checked:
        """Check the last line, and the input as a whole."""
        if not self.is_over:
            self._take(self._rest, len(self._rest))
        total = len(self._ids)
        if self._position > MOST_BYTES:
            self._errors.append(BatchError("file_too_large", f"The input is larger than {MOST_BYTES // 10**6} MB."))
        if total > MOST_LINES:
            self._errors.append(BatchError("too_many_lines", f"The input has more than {MOST_LINES:,} lines."))
        if not total and not self._errors:
            self._errors.append(BatchError("empty_file", "The input has no lines."))
        return Checked(total, self._blocks, self._model, self._errors)

    def _take(self, line: bytes, size: int) -> None:
        self._number += 1
        start, self._position = self._position, self._position + size
        if not line.strip():
            return
        try:
            self._check(line)
        except InvalidLine as exc:
            self._errors.append(msgspec.structs.replace(exc.error, line=self._number))
            return
        if (len(self._ids) - 1) % LINES_OF_A_BLOCK == 0:
            self._blocks.append(Block(start=start, end=self._position, first=self._number))
        else:
            self._blocks[-1] = msgspec.structs.replace(self._blocks[-1], end=self._position)

    def _check(self, line: bytes) -> None:
        """Raises InvalidLine."""
        if len(line) > MOST_LINE_BYTES:
            raise too_long()
        found = read_line(line, self._endpoint)
        if found.custom_id in self._ids:
            raise duplicate(found.custom_id)
        self._ids.add(found.custom_id)
        self._model = self._model or model_of(found)


async def check_input(pieces: AsyncIterable[bytes], endpoint: str) -> Checked:
    """Check an input, up to the point where its errors are known."""
    checker = InputChecker(endpoint)
    async for piece in pieces:
        checker.feed(piece)
        if checker.is_over:
            break
    return checker.close()
