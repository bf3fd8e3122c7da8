"""Index of messages by their likeness, made from packed conversations: here, or in a process of its own.

``python -m mimic_seed.index_worker FOLDER DEPTH`` reads packs from standard input. The length of each pack comes before
it in four bytes, and an empty pack is the last. The process exits with FULL where no space is left, and writes errors
to standard error. It commits nothing where its input ends before the empty pack.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from mimic.corpus.conversation import Conversation
from mimic.corpus.similar.index import IndexWriter
from mimic.errors import StoreError, StoreFull

FAILED: Final = 1
FULL: Final = 28
NEAREST: Final = frozenset({"nearest", "meaning"})
"""Depths of an index with terms."""

_decoder: Final = msgspec.msgpack.Decoder(list[Conversation])


def pack(conversations: Sequence[Conversation]) -> bytes:
    """Conversations as bytes."""
    return msgspec.msgpack.encode(conversations)


def write_index(folder: Path, packs: Iterable[bytes], depth: str) -> None:
    """Make the index of all that the packs hold. Raises StoreFull and StoreUnavailable."""
    with IndexWriter(folder, nearest=depth in NEAREST) as writer:
        for packed in packs:
            for conversation in _decoder.decode(packed):
                writer.add(conversation)
        writer.finish()


def send(file: BinaryIO, packed: bytes) -> None:
    """Hand a pack over; an empty one is the last."""
    file.write(len(packed).to_bytes(4, "big"))
    file.write(packed)
    file.flush()


def _received(file: BinaryIO) -> Iterator[bytes]:
    while size := int.from_bytes(_read(file, 4), "big"):
        yield _read(file, size)


def _read(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    return data


def main() -> None:
    """The process."""
    folder, depth = sys.argv[1:]
    try:
        write_index(Path(folder), _received(sys.stdin.buffer), depth)
    except EOFError:
        sys.exit("no process waits for the index any more")
    except StoreError as exc:
        sys.stderr.write(str(exc))
        sys.exit(FULL if isinstance(exc, StoreFull) else FAILED)


if __name__ == "__main__":
    main()
