"""Answers of other services in OpenAI's formats, read into neutral form. A cut answer is no answer."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

import msgspec

from mimic.engine.base import FinishReason, Usage
from mimic.wire.base import Given, GivenAnswer, GivenCall, GivenChoice

T = TypeVar("T")

END: Final = b"[DONE]"
_REASONS: Final[dict[str | None, FinishReason]] = {
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}
"""The neutral form of finish reasons; all others are ``stop``."""


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Text(msgspec.Struct, frozen=True):
    """A function or a custom tool, in a message or in a chunk."""

    name: str | None = None
    arguments: str | None = None
    input: str | None = None


class _Call(msgspec.Struct, frozen=True):
    index: int | None = None
    function: _Text | None = None
    custom: _Text | None = None


class _Message(msgspec.Struct, frozen=True):
    """A message, or the addition of a chunk to it."""

    content: str | None = None
    refusal: str | None = None
    tool_calls: Sequence[_Call] | None = None
    function_call: _Text | None = None


class _Choice(msgspec.Struct, frozen=True):
    index: int = 0
    message: _Message | None = None
    delta: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Body(msgspec.Struct, frozen=True):
    """A whole answer, or a chunk of a stream."""

    choices: Sequence[_Choice]
    id: str = ""
    usage: _Usage | None = None


class _Calls:
    """The tool calls of a choice, put together from their pieces."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._arguments: dict[int, str] = {}
        self._custom: set[int] = set()

    def add(self, message: _Message) -> None:
        """Add the calls of a message or of a chunk."""
        for position, call in enumerate(message.tool_calls or ()):
            number = position if call.index is None else call.index
            self._add(number, call.custom or call.function, is_custom=call.custom is not None)
        self._add(0, message.function_call, is_custom=False)

    def _add(self, number: int, piece: _Text | None, *, is_custom: bool) -> None:
        if piece is None:
            return
        self._names[number] = self._names.get(number, "") + (piece.name or "")
        text = piece.input if is_custom else piece.arguments
        self._arguments[number] = self._arguments.get(number, "") + (text or "")
        if is_custom:
            self._custom.add(number)

    def calls(self) -> Sequence[GivenCall]:
        """The calls in their order."""
        return [
            GivenCall(name, self._arguments[number], number in self._custom)
            for number, name in sorted(self._names.items())
        ]


class _Growing:
    """A choice, put together from the chunks of a stream."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._calls = _Calls()
        self.reason: str | None = None

    def add(self, choice: _Choice) -> None:
        """Add a message, or a chunk."""
        message = choice.message or choice.delta or _Message()
        self._texts += [text for text in (choice.text, message.content, message.refusal) if text]
        self._calls.add(message)
        self.reason = choice.finish_reason or self.reason

    def choice(self) -> GivenChoice:
        """The choice as a whole."""
        return GivenChoice("".join(self._texts), self._calls.calls(), _REASONS.get(self.reason, "stop"))


_decode: Final = msgspec.json.Decoder(_Body).decode


def given_choices(body: bytes, *, is_stream: bool) -> Given | None:
    """The answer in a body of chat completions or of completions. None if it is cut, or another thing."""
    try:
        bodies = [_decode(data) for data in events_in(body)] if is_stream else [_decode(body)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if is_stream and not has_end(body):
        return None
    growing: dict[int, _Growing] = {}
    for one in bodies:
        for choice in one.choices:
            growing.setdefault(choice.index, _Growing()).add(choice)
    if not growing or any(one.reason is None for one in growing.values()):
        return None
    usage = next((one.usage for one in reversed(bodies) if one.usage), None)
    answer = GivenAnswer(
        [one.choice() for _, one in sorted(growing.items())],
        Usage(usage.prompt_tokens, usage.completion_tokens) if usage else None,
    )
    return Given(next((one.id for one in bodies if one.id), ""), answer)


def events_in(stream: bytes) -> Iterator[bytes]:
    """Yield the data of each event of a stream, without its end mark."""
    for event in stream.replace(b"\r\n", b"\n").split(b"\n\n"):
        lines = [line.removeprefix(b"data:").strip() for line in event.split(b"\n") if line.startswith(b"data:")]
        data = b"\n".join(lines)
        if data and data != END:
            yield data


def has_end(stream: bytes) -> bool:
    """True if a stream ends with its end mark, complete with the line end after it."""
    return stream.replace(b"\r\n", b"\n").endswith(b"data: " + END + b"\n\n")


def read_or_none(read: Callable[[Any], T], value: Any) -> T | None:
    """A value that is read, or None if it does not have the form."""
    try:
        return read(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
