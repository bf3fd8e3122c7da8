"""Log probabilities in OpenAI's formats: of chats, and the older one of prompts."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from mimic.engine.base import Answer
from mimic.engine.logprobs import Logprobs, TokenLogprob, certain
from mimic.tokens import bytes_of, incremental_decoder
from mimic.wire.sse import DetailedStream, Template, on_one_line

_NONE: Final = b'"logprobs":null'


class TopLogprob(msgspec.Struct, frozen=True, gc=False):
    """A likely token in the place of another."""

    token: str
    logprob: float
    bytes: Sequence[int]


class ContentLogprob(msgspec.Struct, frozen=True, gc=False):
    r"""A token, its log probability and bytes, and the most likely tokens in its place.

    The name of a token that is a part of a character has its bytes as escapes, for example ``\xf0\x9f``.
    """

    token: str
    logprob: float
    bytes: Sequence[int]
    top_logprobs: Sequence[TopLogprob]


class ChatLogprobs(msgspec.Struct, frozen=True):
    """The log probabilities of an answer in a chat, an item a token."""

    content: Sequence[ContentLogprob]
    refusal: None = None


class TextLogprobs(msgspec.Struct, frozen=True):
    """The log probabilities of an answer to a prompt: each list has an item a token.

    ``text_offset`` counts the characters before a token. ``top_logprobs`` always has the token itself.
    """

    tokens: Sequence[str]
    token_logprobs: Sequence[float]
    top_logprobs: Sequence[Mapping[str, float]]
    text_offset: Sequence[int]


class Offsets:
    """The place of each token in a text, in characters. A part of a character has the place of the character."""

    def __init__(self) -> None:
        self._next = 0
        self._decoder: Final = incremental_decoder()

    def place(self, token: int) -> int:
        """The place of the next token."""
        place = self._next
        self._next += len(self._decoder.decode(bytes_of(token)))
        return place


def logprobs_in(answer: Answer, top: int | None) -> Logprobs:
    """The log probabilities of all tokens of an answer."""
    return answer.logprobs or certain(answer.tokens, top or 0)


def with_logprobs(
    template: Template, tokens: Sequence[int], logprobs: Iterable[msgspec.Struct], end: bytes
) -> DetailedStream:
    """A stream of tokens with their log probabilities, in the place of the null in a template of events."""
    between, name, after = template.after.partition(_NONE)
    name = name.removesuffix(b"null")
    details = (on_one_line(msgspec.json.encode(one)) for one in logprobs)
    return DetailedStream(template.before, between + name, after, tokens, details, end)


def chat_logprobs(logprobs: Iterable[TokenLogprob]) -> ChatLogprobs:
    """The log probabilities of some tokens, for a chat."""
    return ChatLogprobs([_content(one) for one in logprobs])


def text_logprobs(logprobs: Iterable[TokenLogprob], offsets: Offsets) -> TextLogprobs:
    """The log probabilities of the next tokens of a text."""
    ones = list(logprobs)
    return TextLogprobs(
        [_name_in_text(one.token) for one in ones],
        [one.logprob for one in ones],
        [{_name_in_text(token): logprob for token, logprob in (*one.top, (one.token, one.logprob))} for one in ones],
        [offsets.place(one.token) for one in ones],
    )


def _content(one: TokenLogprob) -> ContentLogprob:
    top = [TopLogprob(_name(token), logprob, _numbers(token)) for token, logprob in one.top]
    return ContentLogprob(_name(one.token), one.logprob, _numbers(one.token), top)


@lru_cache(maxsize=8192)
def _name(token: int) -> str:
    """The text of a token, or its bytes as escapes if it is a part of a character."""
    data = bytes_of(token)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "".join(f"\\x{number:02x}" for number in data)


@lru_cache(maxsize=8192)
def _name_in_text(token: int) -> str:
    """The older name of a token: it marks escapes."""
    name = _name(token)
    return name if name.encode() == bytes_of(token) else f"bytes:{name}"


@lru_cache(maxsize=8192)
def _numbers(token: int) -> Sequence[int]:
    return tuple(bytes_of(token))
