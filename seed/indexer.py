"""Making the index of messages by what they are like from packed conversations: here, or as a process of its own.

``python -m seed.indexer FOLDER DEPTH`` reads packs from standard input, framed as ``multiprocessing.connection`` does,
up to an empty one. It ends with FULL where no space is left, says on standard error what went wrong, and commits
nothing where its input ends before that.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import msgspec

from mimic.conversations import Conversation
from mimic.errors import StoreError, StoreFull
from mimic.match_index import IndexWriter

FAILED: Final = 1
FULL: Final = 28

_decoder: Final = msgspec.msgpack.Decoder(list[Conversation])


def pack(conversations: Sequence[Conversation]) -> bytes:
    """Conversations as bytes."""
    return msgspec.msgpack.encode(conversations)


def write_index(folder: Path, packs: Iterable[bytes], depth: str) -> None:
    """Make the index of all that the packs hold. Raises StoreFull and StoreUnavailable."""
    with IndexWriter(folder, nearest=depth == "nearest") as writer:
        for packed in packs:
            for conversation in _decoder.decode(packed):
                writer.add(conversation)
        writer.finish()


def _received(connection: "Connection[bytes, bytes]") -> Iterator[bytes]:
    while packed := connection.recv_bytes():
        yield packed


def main() -> None:
    """The process."""
    folder, depth = sys.argv[1:]
    try:
        write_index(Path(folder), _received(Connection(sys.stdin.fileno())), depth)
    except EOFError:
        sys.exit("nobody wants the index any more")
    except StoreError as exc:
        sys.stderr.write(str(exc))
        sys.exit(FULL if isinstance(exc, StoreFull) else FAILED)


if __name__ == "__main__":
    main()
