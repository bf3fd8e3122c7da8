"""Tokens as OpenAI's models count them: the encoding ``o200k_base``, without network access.

The spelling of a special token, such as ``<|endoftext|>``, is encoded as ordinary text.
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
"""The last text token of each encoding; higher numbers are special tokens."""
LONGEST_PIECE: Final = 100_000
"""Characters to encode at a time. The encoder takes 75 bytes of memory for each character of a word."""
LONGEST_KEPT: Final = 10_000
"""Characters of the longest text to cache."""
BYTES_OF_ENTRY: Final = 120
"""Approximate size of a dictionary entry, in bytes."""

# No word of o200k_base's pattern crosses these boundaries, so the text on either side can be encoded separately.
_BOUNDARY: Final = re.compile(
    r"(?<=[\r\n])(?=[A-Za-z0-9\u4e00-\u9fff])"  # between a line break and the next line
    r"|(?<=\S)(?= [A-Za-z0-9])"  # before a single space
    r"|(?<=[^\w\s])(?=[0-9])"  # between punctuation and a number
    r"|(?<=[A-Za-z\u4e00-\u9fff])(?=[,.;:!?\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f])"  # before punctuation
)
_SPECIAL: Final = "<|"
"""The beginning of a special token. One function of the encoder does not take it as ordinary text."""
_ENCODING: Final = Tokenizer.from_pretrained("o200k_base")
EncodingName: TypeAlias = Literal["o200k_base", "cl100k_base"]
incremental_decoder = getincrementaldecoder("utf-8")
"""Joins the bytes of several tokens into a character."""

_ENCODING.encode_ordinary("Unhurriedly")  # builds the tables for words of several tokens now, not in the first request


def encode(text: str, longest_piece: int = LONGEST_PIECE) -> list[int]:
    """The tokens of a text. Encodes at most ``longest_piece`` characters at a time.

    The result may have one token too many after 50,000 characters without a space, a line break or punctuation.
    """
    if len(text) <= longest_piece:
        return _ENCODING.encode_ordinary(text)
    return [token for piece in _pieces(text, longest_piece) for token in _ENCODING.encode_ordinary(piece)]


class EncodedTexts:
    """A cache of the tokens of texts, of at most ``max_bytes``.

    Clients send each message of a chat again with the next one, and tests repeat requests. New entries go into a young
    generation. When the young generation takes half of the bytes, it replaces the old one, which is dropped. An entry
    found in the old generation moves to the young one. No order of entries has to be kept.
    """

    def __init__(self, max_bytes: int = 32_000_000) -> None:
        self._bytes = max_bytes // 2
        self._free = self._bytes
        self._young: dict[str, Sequence[int]] = {}
        self._old: dict[str, Sequence[int]] = {}

    def get(self, text: str) -> Sequence[int]:
        """The tokens of a text, from the cache or encoded now."""
        found = self._young.get(text)
        if found is None:
            found = self._old.get(text)
            if found is None:
                found = array("I", encode(text))  # a ninth of the memory of a list
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
    """The tokens of each text. Long texts are encoded in a thread, so that other requests do not wait."""
    if sum(map(len, texts)) <= LONGEST_PIECE:
        return [_encoded.get(text) for text in texts]
    return await asyncio.to_thread(lambda: [array("I", encode(text)) for text in texts])


def count(text: str) -> int:
    """The number of tokens of a text."""
    if len(text) > LONGEST_PIECE or _SPECIAL in text:
        return len(encode(text))
    return len(_ENCODING.encode_flat(text)) // 4  # a third less time: no list of integers; four bytes a token


def text_of(tokens: Iterable[int], errors: str = "strict", encoding: EncodingName = "o200k_base") -> str:
    """The text of some tokens.

    Raises ValueError or OverflowError if a number is no token. Raises UnicodeDecodeError if the bytes are not UTF-8,
    unless ``errors`` has another value than ``strict`` (see :meth:`bytes.decode`).
    """
    return b"".join(map(_bytes_of(encoding), tokens)).decode(errors=errors)


def bytes_of(token: int) -> bytes:
    """The UTF-8 bytes of a token, which may be a part of a character. Raises ValueError if the number is no token."""
    return _ENCODING.decode_token_bytes(token)


def decode(tokens: Iterable[int]) -> Iterator[str]:
    """Yield the text that each token adds.

    A character of several tokens comes with the last of them; the others add an empty text. A character that is
    incomplete at the end is dropped. Raises ValueError if a number is no token.
    """
    decoder = incremental_decoder()
    return (decoder.decode(_ENCODING.decode_token_bytes(token)) for token in tokens)


def cut(tokens: Sequence[int], most: int) -> Sequence[int]:
    """The first tokens, at most ``most``, so that they end with a whole character."""
    decoder = incremental_decoder()
    end = 0
    for number, token in enumerate(tokens[:most], 1):
        decoder.decode(_ENCODING.decode_token_bytes(token))
        if decoder.getstate() == (b"", 0):
            end = number
    return tokens[:end]


@cache
def _bytes_of(encoding: EncodingName) -> Callable[[int], bytes]:
    """A function that returns the bytes of a token. Loads cl100k_base at its first use: it takes 40 ms and 12 MB."""
    return (_ENCODING if encoding == "o200k_base" else Tokenizer.from_pretrained(encoding)).decode_token_bytes


def _pieces(text: str, longest: int) -> Iterator[str]:
    start = 0
    while start < len(text):
        boundary = _BOUNDARY.search(text, start + longest // 2, start + longest)
        end = boundary.start() if boundary else start + longest
        yield text[start:end]
        start = end
