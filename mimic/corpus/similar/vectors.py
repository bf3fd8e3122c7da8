"""Vectors of messages: a file ``vectors.npy`` in the folder of the index, made by a seeding and mapped by servers.

The file has a row for each different text of a user, in corpus order: the place of its first message, and its vector
with one byte for each dimension. A dimension is the byte times the scale of the row, so a cosine is at most 0.01 off.
"""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from mimic.corpus.conversation import Coordinates
from mimic.corpus.similar.embedding_model import Matrix
from mimic.corpus.stores.tempdirs import NO_SPACE
from mimic.errors import StoreFull, StoreUnavailable, UnusableStore

FILE: Final = "vectors.npy"
LARGEST: Final = 127
"""The largest byte of a vector."""
ROWS_AT_A_TIME: Final = 512
"""Rows that are converted to numbers for the matrix product: they stay in the cache, and in this thread."""


class VectorWriter:
    """Writes a given number of vectors to the file of a folder. A context manager.

    Methods block. They raise StoreFull if no space is left, and StoreUnavailable.
    """

    def __init__(self, folder: Path, rows: int, size: int) -> None:
        self._type = _row_type(size)
        header = {"descr": npy.dtype_to_descr(self._type), "fortran_order": False, "shape": (rows,)}
        try:
            self._file = (folder / FILE).open("wb")
            npy.write_array_header_2_0(self._file, header)
        except OSError as exc:
            raise written_error(exc) from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        except OSError as closing:
            if exc is None:
                raise written_error(closing) from closing

    def add(self, places: Sequence[Coordinates], vectors: Sequence[Matrix]) -> None:
        """Append rows."""
        rows = np.zeros(len(places), self._type)
        rows["place"] = [(place.message, place.conversation, place.index) for place in places]
        rows["vector"], rows["scale"] = quantized(np.stack(vectors))
        try:
            self._file.write(rows.tobytes())
        except OSError as exc:
            raise written_error(exc) from exc


class VectorIndex:
    """The vectors of a folder, which several threads may search at once. The folder may be removed."""

    def __init__(self, folder: Path, rows: int) -> None:
        """Raises UnusableStore if the file is missing, damaged, or has another number of rows."""
        try:
            self._rows: NDArray[Any] = np.load(folder / FILE, mmap_mode="r")
            is_whole = self._rows.shape == (rows,) and self._rows.dtype.names == _row_type(1).names
        except (OSError, ValueError) as exc:
            problem = "the vectors of the corpus are missing or damaged: restore them, or seed again"
            raise UnusableStore(f"{problem} ({exc})", public=problem) from exc
        if not is_whole:
            text = f"the vectors of the corpus are not the {rows} that were seeded: restore them, or seed again"
            raise UnusableStore(text, public=text)

    def nearest(self, vector: Matrix, most: int) -> list[tuple[float, Coordinates]]:
        """Return the cosines and places of the nearest messages, the nearest first.

        An exact search: the product of all vectors and this one. Blocks.
        """
        cosines = np.empty(len(self._rows), np.float32)
        for start in range(0, len(cosines), ROWS_AT_A_TIME):
            rows = self._rows[start : start + ROWS_AT_A_TIME]
            cosines[start : start + len(rows)] = (rows["vector"].astype(np.float32) @ vector) * rows["scale"]
        best = np.argpartition(-cosines, most)[:most] if most < len(cosines) else np.arange(len(cosines))
        best = best[np.argsort(-cosines[best])]
        places = self._rows[best]["place"]
        return [(float(cosines[row]), Coordinates(*map(int, place))) for row, place in zip(best, places, strict=True)]


def quantized(vectors: Matrix) -> tuple[NDArray[np.int8], Matrix]:
    """The vectors (rows) as bytes, and the scale of each row."""
    largest = np.abs(vectors).max(axis=1)
    scales = np.where(largest == 0, 1, largest) / LARGEST
    return np.round(vectors / scales[:, None]).astype(np.int8), np.asarray(scales, np.float32)


def written_error(exc: OSError) -> StoreFull | StoreUnavailable:
    """The error of a store for a failed write."""
    kind = StoreFull if exc.errno in NO_SPACE else StoreUnavailable
    return kind(f"the vectors cannot be written: {exc}")


def _row_type(size: int) -> np.dtype[Any]:
    """Message, conversation and index of a place; scale and bytes of a vector."""
    return np.dtype([("place", "<u4", (3,)), ("scale", "<f4"), ("vector", "i1", (size,))])
