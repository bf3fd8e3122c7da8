"""Tokens as OpenAI's models count them: the encoding ``o200k_base``, without network access.

Text that spells a special token, as ``<|endoftext|>``, counts as the text that it is.
"""

import asyncio
import re
from array import array
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from sys import getsizeof
from typing import Final, Literal, TypeAlias

from splintr import Tokenizer

LAST_TOKEN: Final = 199_997
LAST_CL100K_TOKEN: Final = 100_255
"""The last token of each encoding that stands for text; those beyond are special."""
LONGEST_PIECE: Final = 100_000
"""Characters encoded at a time: the encoder takes 75 bytes of memory for each character of one word."""
LONGEST_KEPT: Final = 10_000
"""Characters of a text whose tokens are kept in memory."""
BYTES_OF_ENTRY: Final = 120
"""Bytes that a dictionary takes for an entry, roughly."""

# No word of o200k_base's pattern reaches across these, so text may be encoded apart on both sides.
_BOUNDARY: Final = re.compile(
    r"(?<=[\r\n])(?=[A-Za-z0-9\u4e00-\u9fff])"  # between a line break and what begins the next line
    r"|(?<=\S)(?= [A-Za-z0-9])"  # before a single blank
    r"|(?<=[^\w\s])(?=[0-9])"  # between punctuation and a number
    r"|(?<=[A-Za-z\u4e00-\u9fff])(?=[,.;:!?\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f])"  # and before it
)
_ENCODING: Final = Tokenizer.from_pretrained("o200k_base")
EncodingName: TypeAlias = Literal["o200k_base", "cl100k_base"]
incremental_decoder = getincrementaldecoder("utf-8")
"""Makes one character of the bytes of several tokens."""

_ENCODING.encode_ordinary("Unhurriedly")  # it makes its tables at the first word that is not a token: not in a request


def encode(text: str, longest_piece: int = LONGEST_PIECE) -> list[int]:
    """The tokens of a text, of which at most ``longest_piece`` characters are encoded at a time.

    Of one that has 50,000 characters without a blank before a word, a line break or punctuation there may be one more.
    """
    if len(text) <= longest_piece:
        return _ENCODING.encode_ordinary(text)
    return [token for piece in _pieces(text, longest_piece) for token in _ENCODING.encode_ordinary(piece)]


class EncodedTexts:
    """Texts with their tokens, of which ``max_bytes`` in memory are kept for some time.

    A client sends each message of a chat again with the next one, and tests ask the same thing again and again. New
    entries go into a young generation. When that takes half of the bytes, it becomes the old one, and what was the old
    one is forgotten; what is found in the old one is young again. So there is no order to be kept for each entry.
    """

    def __init__(self, max_bytes: int = 32_000_000) -> None:
        self._bytes = max_bytes // 2
        self._free = self._bytes
        self._young: dict[str, Sequence[int]] = {}
        self._old: dict[str, Sequence[int]] = {}

    def get(self, text: str) -> Sequence[int]:
        """The tokens of a text, encoded now or kept."""
        found = self._young.get(text)
        if found is None:
            found = self._old.get(text)
            if found is None:
                found = array("I", encode(text))  # which takes a ninth of the memory of a list
            if len(text) <= LONGEST_KEPT:
                self._keep(text, found)
        return found

    def _keep(self, text: str, encoded: Sequence[int]) -> None:
        size = getsizeof(text) + getsizeof(encoded) + BYTES_OF_ENTRY
        if size > self._free:
            self._old, self._young, self._free = self._young, {}, self._bytes
        self._free -= size
        self._young[text] = encoded


_encoded: Final = EncodedTexts()


async def encode_all(texts: Sequence[str]) -> list[Sequence[int]]:
    """The tokens of each text; in a thread where together they would keep others waiting."""
    if sum(map(len, texts)) <= LONGEST_PIECE:
        return [_encoded.get(text) for text in texts]
    return await asyncio.to_thread(lambda: [array("I", encode(text)) for text in texts])


def count(text: str) -> int:
    """How many tokens a text has."""
    return len(encode(text))


def text_of(tokens: Iterable[int], errors: str = "strict", encoding: EncodingName = "o200k_base") -> str:
    """The text of some tokens.

    Raises ValueError or OverflowError where a number is no token, and UnicodeDecodeError where they make no text,
    unless ``errors`` says otherwise, as for :meth:`bytes.decode`.
    """
    return b"".join(map(_bytes_of(encoding), tokens)).decode(errors=errors)


def bytes_of(token: int) -> bytes:
    """What a token stands for in UTF-8, which may be a part of a character. Raises ValueError where it is no token."""
    return _ENCODING.decode_token_bytes(token)


def decode(tokens: Iterable[int]) -> Iterator[str]:
    """The text that each token adds, one by one.

    A character may take several tokens: it comes with the last of them, and what the others add of it is empty. Of a
    character that is not complete at the end nothing comes. Raises ValueError where a number is no token.
    """
    decoder = incremental_decoder()
    return (decoder.decode(_ENCODING.decode_token_bytes(token)) for token in tokens)


def cut(tokens: Sequence[int], most: int) -> Sequence[int]:
    """The first tokens, ``most`` of them or as many fewer as it takes to end with a whole character."""
    decoder = incremental_decoder()
    end = 0
    for number, token in enumerate(tokens[:most], 1):
        decoder.decode(_ENCODING.decode_token_bytes(token))
        if decoder.getstate() == (b"", 0):
            end = number
    return tokens[:end]


@cache
def _bytes_of(encoding: EncodingName) -> Callable[[int], bytes]:
    """The bytes of each token. An encoding takes 40 ms and 12 MB to load, so cl100k_base waits until it is needed."""
    return (_ENCODING if encoding == "o200k_base" else Tokenizer.from_pretrained(encoding)).decode_token_bytes


def _pieces(text: str, longest: int) -> Iterator[str]:
    start = 0
    while start < len(text):
        boundary = _BOUNDARY.search(text, start + longest // 2, start + longest)
        end = boundary.start() if boundary else start + longest
        yield text[start:end]
        start = end
