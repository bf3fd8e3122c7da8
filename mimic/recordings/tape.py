"""The pieces of an answer while it is read, with the times of their arrival."""

import codecs
import time
from collections.abc import Sequence
from typing import Final

from mimic.gateway.originals import Original
from mimic.recordings.base import Chunk

MOST_BYTES: Final = 4 * 1024 * 1024
"""Bytes of the longest answer that is recorded."""
MOST_KEPT: Final = 64 * 1024 * 1024
"""Bytes of the longest answer that is kept in memory."""


class Tape:
    """Pieces of bytes, and their times since the tape was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._pieces: list[tuple[float, bytes]] = []
        self._size = 0

    @property
    def is_too_long(self) -> bool:
        """True if the answer is too long for a recording."""
        return self._size > MOST_BYTES

    @property
    def is_cut(self) -> bool:
        """True if the answer is so long that only its last pieces are kept."""
        return self._size > MOST_KEPT

    @property
    def body(self) -> bytes:
        """All pieces together."""
        return b"".join(piece for _, piece in self._pieces)

    def has_at_end(self, marks: Sequence[bytes]) -> bool:
        """True if one of the marks is in the last two pieces: a mark may lie across them."""
        last = self._pieces[-1][1]
        if len(self._pieces) > 1:
            last = self._pieces[-2][1] + last
        return any(mark in last for mark in marks)

    def add(self, piece: bytes) -> None:
        """Add a piece that just arrived."""
        self._size += len(piece)
        self._pieces.append((time.monotonic() - self._began, piece))
        if self.is_cut:
            del self._pieces[:-2]

    def original(self, answer_id: str, media_type: str) -> Original:
        """The pieces, to be sent on."""
        return Original(answer_id, self._pieces, media_type)

    def chunks(self) -> Sequence[Chunk]:
        """The pieces as texts. A character that two pieces share goes to the second one. Empty if it is no UTF-8."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            found = [(seconds, decoder.decode(piece)) for seconds, piece in self._pieces]
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return ()
        return [Chunk(round(seconds, 3), text) for seconds, text in found if text]
