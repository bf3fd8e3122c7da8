"""``/v1/chat/completions``: OpenAI's chat format."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from mimic.engine.base import Answer, ChatMessage, Completion, FinishReason, Known, Prompt
from mimic.engine.overrides import Overrides
from mimic.errors import RequestError
from mimic.wire.base import EventPlan
from mimic.wire.json import decode
from mimic.wire.openai.base import (
    DONE,
    CompletionOptions,
    OpenAIRequest,
    OpenAIUsage,
    OpenAIWire,
    Sampled,
    created_now,
    new_id,
)
from mimic.wire.sse import MARKER, Template, TokenStream, frames, in_turn

PATH: Final = "/v1/chat/completions"

TokenLimit: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
MAY_BE_SILENT: Final = frozenset({"assistant", "function"})

Role: TypeAlias = Literal["developer", "system", "user", "assistant", "tool", "function"]


class Part(msgspec.Struct, frozen=True):
    """A part of a message. Those of other types than ``text`` are accepted and left out."""

    type: Literal["text", "image_url", "input_audio", "file", "refusal"]
    text: str | None = None


class OpenAIMessage(msgspec.Struct, frozen=True):
    """A message of the chat. An assistant's may have no content, where it called tools."""

    role: Role
    content: str | Sequence[Part] | msgspec.UnsetType | None = msgspec.UNSET
    name: str | None = None

    def neutral(self, path: str) -> ChatMessage:
        """The message in neutral form. Raises RequestError where content or a text is missing."""
        content = self.content
        return ChatMessage(self.role, content if isinstance(content, str) else self._joined(path), self.name)

    def _joined(self, path: str) -> str | None:
        """The text parts joined; None where there are none, as with an image alone."""
        content = self.content
        if content is None and self.role not in MAY_BE_SILENT:
            text = f"Invalid type for '{path}.content': expected a string or an array, but got null instead."
            raise RequestError(400, text, param=f"{path}.content", code="invalid_type")
        if content is msgspec.UNSET and self.role not in MAY_BE_SILENT:
            raise _missing(f"{path}.content")
        if not content or isinstance(content, str):
            return None
        texts = [self._text(part, f"{path}.content[{n}]") for n, part in enumerate(content) if part.type == "text"]
        return "".join(texts) if texts else None

    def _text(self, part: Part, path: str) -> str:
        if part.text is None:
            raise _missing(f"{path}.text")
        return part.text


class ChatCompletionRequest(Sampled, frozen=True, kw_only=True):
    """The chat so far, and how to draw the answer from all that came next in the corpus."""

    messages: Annotated[Sequence[OpenAIMessage], msgspec.Meta(min_length=1)]
    max_tokens: TokenLimit | None = None
    max_completion_tokens: TokenLimit | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None

    @property
    def token_limit(self) -> int | None:
        """The newer name of the limit wins."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


class AnswerMessage(msgspec.Struct, frozen=True):
    """What the assistant says."""

    content: str
    role: Literal["assistant"] = "assistant"
    refusal: None = None
    annotations: Sequence[None] = ()


class ChatChoice(msgspec.Struct, frozen=True):
    """One of ``n`` answers."""

    index: int
    message: AnswerMessage
    finish_reason: FinishReason
    logprobs: None = None


class ChatCompletion(msgspec.Struct, frozen=True, kw_only=True):
    """The answers, whole."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: Sequence[ChatChoice]
    usage: OpenAIUsage
    service_tier: Literal["default"] = "default"


class Delta(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a chunk adds to an answer."""

    role: Literal["assistant"] | msgspec.UnsetType = msgspec.UNSET
    content: str | msgspec.UnsetType = msgspec.UNSET


class ChunkChoice(msgspec.Struct, frozen=True):
    """What a chunk adds to which answer."""

    index: int
    delta: Delta
    logprobs: None = None
    finish_reason: FinishReason | None = None


class ChatCompletionChunk(msgspec.Struct, frozen=True, kw_only=True):
    """One token of an answer; ``usage`` is there if it was asked for, and null until the last chunk."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: Sequence[ChunkChoice]
    usage: OpenAIUsage | msgspec.UnsetType | None = msgspec.UNSET
    service_tier: Literal["default"] = "default"


class ChatWire(OpenAIWire[OpenAIRequest, Completion]):
    """OpenAI's chat completions."""

    def __init__(self, options: CompletionOptions) -> None:
        self._options = options
        self._decoder = msgspec.json.Decoder(ChatCompletionRequest)

    async def read(self, body: bytes, query: bytes, overrides: Overrides, known: Known) -> OpenAIRequest:
        data = decode(self._decoder, body)
        known.model = data.model
        data.check()
        policy = overrides.policy(self._options.policy)
        known.version = version = self._options.names.version_of(data.model)
        messages = [message.neutral(f"messages[{index}]") for index, message in enumerate(data.messages)]
        return OpenAIRequest(
            model=data.model,
            version=version,
            prompts=(Prompt(messages),),
            sampling=data.sampling(),
            limits=data.limits(),
            policy=policy,
            stream=bool(data.stream),
            include_usage=data.wants_usage(),
        )

    def whole(self, request: OpenAIRequest, result: Completion) -> bytes:
        choices = [
            ChatChoice(index, AnswerMessage(one.text), one.finish_reason) for index, one in enumerate(result.answers)
        ]
        return msgspec.json.encode(
            ChatCompletion(
                id=new_id("chatcmpl"),
                created=created_now(),
                model=request.model,
                choices=choices,
                usage=OpenAIUsage.of(result.usage),
            )
        )

    def streams(self, request: OpenAIRequest) -> bool:
        return request.stream

    def events(self, request: OpenAIRequest, result: Completion) -> EventPlan:
        """The roles, a chunk a token, the ends, the usage."""
        usage = OpenAIUsage.of(result.usage) if request.include_usage else None
        blank = ChatCompletionChunk(
            id=new_id("chatcmpl"),
            created=created_now(),
            model=request.model,
            choices=(),
            usage=None if usage else msgspec.UNSET,
        )
        answers = result.answers
        opening = [_chunk(blank, index, Delta(role="assistant", content="")) for index in range(len(answers))]
        ending = [msgspec.structs.replace(blank, usage=usage)] if usage else []
        tokens = result.usage.completion_tokens
        return EventPlan(frames(opening), _steps(blank, answers), frames(ending), DONE, tokens)


def _steps(blank: ChatCompletionChunk, answers: Sequence[Answer]) -> Iterator[bytes]:
    streams = [
        TokenStream(
            Template.of(_chunk(blank, index, Delta(content=MARKER))),
            answer.tokens,
            frames([_chunk(blank, index, Delta(), answer.finish_reason)]),
        )
        for index, answer in enumerate(answers)
    ]
    return in_turn(streams)


def _chunk(
    blank: ChatCompletionChunk, index: int, delta: Delta, finish_reason: FinishReason | None = None
) -> ChatCompletionChunk:
    return msgspec.structs.replace(blank, choices=(ChunkChoice(index, delta, None, finish_reason),))


def _missing(path: str) -> RequestError:
    text = f"Missing required parameter: '{path}'."
    return RequestError(400, text, param=path, code="missing_required_parameter")
