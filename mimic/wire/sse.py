"""Server-sent events: an event for each token of an answer."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, zip_longest
from typing import Final, TypeAlias

import msgspec

from mimic.tokens import bytes_of, incremental_decoder

MARKER: Final = os.urandom(16).hex()
"""The text in an event of which :class:`Template` is made: one that nobody else has, so that it is there once."""

_LINE_BREAKS: Final = ((b"\xc2\x85", rb"\u0085"), (b"\xe2\x80\xa8", rb"\u2028"), (b"\xe2\x80\xa9", rb"\u2029"))
"""Characters at which some clients, wrongly, end a line of a stream, and how JSON may write them instead."""


class Template(msgspec.Struct, frozen=True):
    """The events of an answer without their texts: the bytes before such a text, and those behind it."""

    before: bytes
    behind: bytes

    @classmethod
    def of(cls, event: msgspec.Struct) -> "Template":
        """What stands around the text :data:`MARKER` in an event."""
        before, behind = frames([event]).split(b'"%s"' % MARKER.encode())
        return cls(before, behind)


class TokenStream(msgspec.Struct, frozen=True):
    """One answer in a stream: the template of its events, its tokens, and the events that end it, as frames."""

    template: Template
    tokens: Sequence[int]
    end: bytes

    def frames(self) -> Iterator[bytes]:
        """An event for each token, with the last one the end; the end alone where there is no token."""
        before, behind = self.template.before, self.template.behind
        texts = texts_of(self.tokens)
        last = before + texts[-1] + behind if texts else b""
        return chain((before + text + behind for text in texts[:-1]), (last + self.end,))


class PartedStream(msgspec.Struct, frozen=True):
    """One answer of several parts, as calls of tools are: before the tokens of each part the frames that open it."""

    parts: Sequence[tuple[bytes, TokenStream]]
    end: bytes

    def frames(self) -> Iterator[bytes]:
        """An event for each token; with the first one of a part what opens it, with the last one of all the end."""
        waiting = b""
        for opening, stream in self.parts:
            if waiting:
                yield waiting
            steps = stream.frames()
            waiting = opening + next(steps)
            for step in steps:
                yield waiting
                waiting = step
        yield waiting + self.end


Track: TypeAlias = TokenStream | PartedStream


def frames(events: Iterable[msgspec.Struct]) -> bytes:
    """Server-sent events."""
    return b"".join([b"data: " + _on_one_line(msgspec.json.encode(event)) + b"\n\n" for event in events])


def in_turn(tracks: Sequence[Track]) -> Iterator[bytes]:
    """The steps of a stream: in each of them the next token of every answer that goes on."""
    if len(tracks) == 1:
        return tracks[0].frames()
    return map(b"".join, zip_longest(*(track.frames() for track in tracks), fillvalue=b""))


def texts_of(tokens: Sequence[int]) -> list[bytes]:
    """The text that each token adds, in JSON."""
    texts = list(map(_TEXTS.__getitem__, tokens))
    return texts if all(texts) else list(_joined(tokens, texts))


def _joined(tokens: Sequence[int], texts: Sequence[bytes]) -> Iterator[bytes]:
    """The texts, with each character that several tokens make where the last of them is."""
    decoder, is_whole = incremental_decoder(), True
    for token, text in zip(tokens, texts, strict=True):
        if text and is_whole:
            yield text
        else:
            yield _on_one_line(msgspec.json.encode(decoder.decode(bytes_of(token))))
            is_whole = not decoder.getstate()[0]


class _Texts(dict[int, bytes]):
    """The JSON of tokens that are whole characters, of which there are 200,000 at most, made when first asked for.

    Nothing for those that are only a part of a character.
    """

    def __missing__(self, token: int) -> bytes:
        text = b""
        with suppress(UnicodeDecodeError):
            text = _on_one_line(msgspec.json.encode(bytes_of(token).decode()))
        self[token] = text
        return text


_TEXTS: Final = _Texts()


def _on_one_line(data: bytes) -> bytes:
    for character, escape in _LINE_BREAKS:
        data = data.replace(character, escape)
    return data
