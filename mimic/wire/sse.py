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
"""The text in an event of which :class:`Template` is made: one that nobody else has, so that it is there once."""

_LINE_BREAKS: Final = ((b"\xc2\x85", rb"\u0085"), (b"\xe2\x80\xa8", rb"\u2028"), (b"\xe2\x80\xa9", rb"\u2029"))
"""Characters at which some clients, wrongly, end a line of a stream, and how JSON may write them instead."""


class Template(msgspec.Struct, frozen=True):
    """What stands around something that varies: the bytes before it, and those behind it."""

    before: bytes
    behind: bytes

    @classmethod
    def of(cls, event: msgspec.Struct) -> "Template":
        """What stands around the text :data:`MARKER` in an object."""
        before, behind = on_one_line(msgspec.json.encode(event)).split(b'"%s"' % MARKER.encode())
        return cls(before, behind)

    def filled(self, value: bytes) -> bytes:
        """With a value in it."""
        return self.before + value + self.behind

    def around(self, inner: "Template") -> "Template":
        """With another template in it."""
        return Template(self.before + inner.before, inner.behind + self.behind)


class TokenStream(msgspec.Struct, frozen=True):
    """One answer in a stream: the template of its events, its tokens, and the events that end it, as frames.

    An event for each token, with the last one the end; the end alone where there is no token.
    """

    template: Template
    tokens: Sequence[int]
    end: bytes

    def __iter__(self) -> Iterator[bytes]:
        before, behind = self.template.before, self.template.behind
        texts = texts_of(self.tokens)
        last = before + texts[-1] + behind if texts else b""
        return chain(map(b"".join, zip(repeat(before), texts[:-1], repeat(behind))), (last + self.end,))

    def whole(self, opening: bytes, ending: bytes) -> bytes:
        """All of them between an opening and an ending, copied once."""
        texts = texts_of(self.tokens)
        if not texts:
            return opening + self.end + ending
        before, behind = self.template.before, self.template.behind
        texts[0] = opening + before + texts[0]
        texts[-1] += behind + self.end + ending
        return (behind + before).join(texts)


class PartedStream(msgspec.Struct, frozen=True):
    """One answer of several parts, as calls of tools are: before the tokens of each part the frames that open it.

    An event for each token; with the first one of a part what opens it, with the last one of all the end.
    """

    parts: Sequence[tuple[bytes, TokenStream]]
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
        """All of them between an opening and an ending."""
        return b"".join((opening, *self, ending))


class InTurn(msgspec.Struct, frozen=True):
    """Several answers in a stream: in each step the next token of every answer that goes on."""

    streams: Sequence[Iterable[bytes]]

    def __iter__(self) -> Iterator[bytes]:
        return map(b"".join, zip_longest(*self.streams, fillvalue=b""))

    def whole(self, opening: bytes, ending: bytes) -> bytes:
        """All of them between an opening and an ending."""
        return b"".join((opening, *self, ending))


def frames(events: Iterable[msgspec.Struct]) -> bytes:
    """Server-sent events."""
    return b"".join([b"data: " + on_one_line(msgspec.json.encode(event)) + b"\n\n" for event in events])


def texts_of(tokens: Sequence[int]) -> list[bytes]:
    """The text that each token adds, in JSON: a character that several tokens make where the last of them is."""
    texts = list(map(_TEXTS.__getitem__, tokens))
    start = 0
    with suppress(ValueError):  # when there is no part of a character any more
        while True:
            start = _join(tokens, texts, texts.index(b"", start))
    return texts


def _join(tokens: Sequence[int], texts: list[bytes], start: int) -> int:
    """Put the characters that the tokens from ``start`` make into the texts, until one is whole; returns the next."""
    held = b""
    for index in range(start, len(tokens)):
        held += bytes_of(tokens[index])
        text, used = utf_8_decode(held, "strict", False)
        texts[index] = _quoted(text)
        held = held[used:]
        if not held:
            return index + 1
    return len(tokens)


@lru_cache(maxsize=8192)  # of the characters that take several tokens a text has few different ones
def _quoted(text: str) -> bytes:
    return on_one_line(msgspec.json.encode(text))


class _Texts(dict[int, bytes]):
    """The JSON of tokens that are whole characters, of which there are 200,000 at most, made when first asked for.

    Nothing for those that are only a part of a character.
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
