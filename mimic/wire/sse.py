"""Server-sent events: an event for each token of an answer."""

import os
from codecs import utf_8_decode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import chain, repeat, zip_longest
from typing import Final

import msgspec

from mimic.tokens import bytes_of

MARKER: Final = os.urandom(16).hex()
"""The text that marks the variable part of an event for :class:`Template`; random, so that it is unique."""

_LINE_BREAKS: Final = ((b"\xc2\x85", rb"\u0085"), (b"\xe2\x80\xa8", rb"\u2028"), (b"\xe2\x80\xa9", rb"\u2029"))
"""Characters at which some clients wrongly end a line of a stream, and their JSON escapes."""


class Template(msgspec.Struct, frozen=True):
    """The constant bytes before and after a variable part."""

    before: bytes
    after: bytes

    @classmethod
    def of(cls, event: msgspec.Struct) -> "Template":
        """The bytes around the text :data:`MARKER` in an object."""
        before, after = on_one_line(msgspec.json.encode(event)).split(b'"%s"' % MARKER.encode())
        return cls(before, after)

    def fill(self, value: bytes) -> bytes:
        """The template with a value."""
        return self.before + value + self.after

    def around(self, inner: "Template") -> "Template":
        """The template with another template inside."""
        return Template(self.before + inner.before, inner.after + self.after)


class TokenStream(msgspec.Struct, frozen=True):
    """An answer in a stream: the template of its events, its tokens, and the frames that end it.

    Each token is an event, and the end follows the last one. Without tokens there is only the end.
    """

    template: Template
    tokens: Sequence[int]
    end: bytes

    def __iter__(self) -> Iterator[bytes]:
        before, after = self.template.before, self.template.after
        texts = texts_of(self.tokens)
        last = before + texts[-1] + after if texts else b""
        return chain(map(b"".join, zip(repeat(before), texts[:-1], repeat(after))), (last + self.end,))

    def whole(self, opening: bytes, ending: bytes) -> bytes:
        """All events between an opening and an ending, copied once."""
        texts = texts_of(self.tokens)
        if not texts:
            return opening + self.end + ending
        before, after = self.template.before, self.template.after
        texts[0] = opening + before + texts[0]
        texts[-1] += after + self.end + ending
        return (after + before).join(texts)


class DetailedStream(msgspec.Struct, frozen=True):
    """An answer in a stream, with details of each token in its event: :class:`TokenStream` without details.

    ``before``, ``between`` and ``after`` are the constant bytes around the text and the details, which are JSON.
    """

    before: bytes
    between: bytes
    after: bytes
    tokens: Sequence[int]
    details: Iterable[bytes]
    end: bytes

    def __iter__(self) -> Iterator[bytes]:
        waiting = b""
        for text, details in zip(texts_of(self.tokens), self.details, strict=True):
            if waiting:
                yield waiting
            waiting = b"".join((self.before, text, self.between, details, self.after))
        yield waiting + self.end

    def whole(self, opening: bytes, ending: bytes) -> bytes:
        """All events between an opening and an ending."""
        return b"".join((opening, *self, ending))


class PartedStream(msgspec.Struct, frozen=True):
    """An answer in several parts, for example tool calls. Each part has frames that open it.

    Each token is an event. A part's opening comes with its first token, and the end with the last token of all.
    """

    parts: Sequence[tuple[bytes, TokenStream | DetailedStream]]
    end: bytes

    def __iter__(self) -> Iterator[bytes]:
        waiting = b""
        for opening, stream in self.parts:
            if waiting:
                yield waiting
            steps = iter(stream)
            waiting = opening + next(steps)
            for step in steps:
                yield waiting
                waiting = step
        yield waiting + self.end

    def whole(self, opening: bytes, ending: bytes) -> bytes:
        """All events between an opening and an ending."""
        return b"".join((opening, *self, ending))


class InTurn(msgspec.Struct, frozen=True):
    """Several answers in a stream: each step has the next token of every unfinished answer."""

    streams: Sequence[Iterable[bytes]]

    def __iter__(self) -> Iterator[bytes]:
        return map(b"".join, zip_longest(*self.streams, fillvalue=b""))

    def whole(self, opening: bytes, ending: bytes) -> bytes:
        """All events between an opening and an ending."""
        return b"".join((opening, *self, ending))


def frames(events: Iterable[msgspec.Struct]) -> bytes:
    """Encode objects as server-sent events."""
    return b"".join([b"data: " + on_one_line(msgspec.json.encode(event)) + b"\n\n" for event in events])


def texts_of(tokens: Sequence[int]) -> list[bytes]:
    """The text that each token adds, in JSON. A character of several tokens is in the text of the last one."""
    texts = list(map(_TEXTS.__getitem__, tokens))
    start = 0
    with suppress(ValueError):  # no incomplete character is left
        while True:
            start = _join(tokens, texts, texts.index(b"", start))
    return texts


def _join(tokens: Sequence[int], texts: list[bytes], start: int) -> int:
    """Complete the characters from token ``start`` on, up to a whole one. Return the index after it."""
    held = b""
    for index in range(start, len(tokens)):
        held += bytes_of(tokens[index])
        text, used = utf_8_decode(held, "strict", False)
        texts[index] = _json_of(text)
        held = held[used:]
        if not held:
            return index + 1
    return len(tokens)


@lru_cache(maxsize=8192)  # a text has few different characters of several tokens
def _json_of(text: str) -> bytes:
    return on_one_line(msgspec.json.encode(text))


class _Texts(dict[int, bytes]):
    """The JSON of tokens that are whole characters: a cache of at most 200,000 texts.

    The text of an incomplete character is empty.
    """

    def __missing__(self, token: int) -> bytes:
        text = b""
        with suppress(UnicodeDecodeError):
            text = on_one_line(msgspec.json.encode(bytes_of(token).decode()))
        self[token] = text
        return text


_TEXTS: Final = _Texts()


def on_one_line(data: bytes) -> bytes:
    """JSON without the characters at which some clients end a line."""
    if data.isascii():
        return data
    for character, escape in _LINE_BREAKS:
        data = data.replace(character, escape)
    return data
