"""``/v1/chat/completions``: OpenAI's chat format."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from mimic.engine.base import ChatMessage, Completion, FinishReason, Prompt
from mimic.errors import RequestError
from mimic.wire.openai.base import OpenAIUsage, created_now, new_id
from mimic.wire.openai.sampled import OpenAIRequest, Sampled, SampledWire, UsageField, choice_in_json

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
        return ChatMessage(self.role, self._joined(path), self.name)

    def _joined(self, path: str) -> str | None:
        """The text parts joined; None where there are none, as with an image alone."""
        content = self.content
        if content is None and self.role not in MAY_BE_SILENT:
            text = f"Invalid type for '{path}.content': expected a string or an array, but got null instead."
            raise RequestError(400, text, param=f"{path}.content", code="invalid_type")
        if content is msgspec.UNSET and self.role not in MAY_BE_SILENT:
            raise _missing(f"{path}.content")
        if isinstance(content, str):
            return content
        if not content:
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


class ChatWire(SampledWire[ChatCompletionRequest, ChatCompletionChunk]):
    """OpenAI's chat completions."""

    kind = ChatCompletionRequest

    async def prompts(self, data: ChatCompletionRequest) -> Sequence[Prompt]:
        messages = [
            ChatMessage(one.role, one.content, one.name)
            if isinstance(one.content, str)
            else one.neutral(f"messages[{index}]")
            for index, one in enumerate(data.messages)
        ]
        return (Prompt(messages),)

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

    def blank(self, request: OpenAIRequest, usage: UsageField) -> ChatCompletionChunk:
        return ChatCompletionChunk(
            id=new_id("chatcmpl"), created=created_now(), model=request.model, choices=(), usage=usage
        )

    def choice(self, index: int, text: str | None, finish_reason: FinishReason | None = None) -> ChunkChoice:
        return ChunkChoice(index, Delta() if text is None else Delta(content=text), None, finish_reason)

    def opening(self, request: OpenAIRequest, result: Completion) -> Iterable[bytes]:
        """The role of each answer."""
        return map(_role_of, range(len(result.answers)))


@cache
def _role_of(index: int) -> bytes:
    return choice_in_json(ChunkChoice(index, Delta(role="assistant", content="")))


def _missing(path: str) -> RequestError:
    text = f"Missing required parameter: '{path}'."
    return RequestError(400, text, param=path, code="missing_required_parameter")
