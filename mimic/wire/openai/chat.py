"""``/v1/chat/completions``: OpenAI's chat format."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from mimic.engine.base import Answer, ChatMessage, Completion, FinishReason, Prompt, ToolCall
from mimic.engine.logprobs import certain
from mimic.errors import RequestError
from mimic.wire.base import Steps
from mimic.wire.openai.base import OpenAIUsage, created_now, new_id
from mimic.wire.openai.ignored import OF_CHATS, IgnoredFields, ignored_parts
from mimic.wire.openai.logprobs import ChatLogprobs, chat_logprobs, logprobs_in, with_logprobs
from mimic.wire.openai.parts import Part, joined_text, missing
from mimic.wire.openai.sampled import (
    KeptChat,
    Metadata,
    OpenAIRequest,
    Sampled,
    SampledWire,
    UsageField,
    choice_in_json,
)
from mimic.wire.openai.tools import (
    MAX_TOOLS,
    AnyChoice,
    AnyFormat,
    AnyTool,
    AnyToolCall,
    FunctionCall,
    FunctionDefinition,
    Named,
    calls_of,
    choice_of,
    format_of,
    has_grammar,
    old_choice_of,
    render,
    tools_of,
)
from mimic.wire.sse import MARKER, DetailedStream, PartedStream, Template, TokenStream

PATH: Final = "/v1/chat/completions"

TokenLimit: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
MAY_BE_SILENT: Final = frozenset({"assistant", "function"})

ChatFinishReason: TypeAlias = FinishReason | Literal["function_call"]
"""``function_call`` is the reason for the deprecated ``functions``."""

NOTHING_GIVEN: Final = (None,) * 6

Role: TypeAlias = Literal["developer", "system", "user", "assistant", "tool", "function"]


class OpenAIMessage(msgspec.Struct, frozen=True):
    """A message of the chat. An assistant's message with tool calls may have no content."""

    role: Role
    content: str | Sequence[Part | str] | msgspec.UnsetType | None = msgspec.UNSET
    name: str | None = None
    tool_calls: Sequence[AnyToolCall] | None = None
    tool_call_id: str | None = None
    function_call: FunctionCall | None = None

    def neutral(self, path: str) -> ChatMessage:
        """The message in neutral form. Raises RequestError if content or a text is missing."""
        text = self.content if isinstance(self.content, str) else self._join_parts(path)
        if self.tool_calls or self.function_call:
            return ChatMessage(self.role, text, self.name, calls_of(self.tool_calls, self.function_call))
        return ChatMessage(self.role, text, self.name, (), self.tool_call_id)

    def _join_parts(self, path: str) -> str | None:
        """The joined text parts; None if there are none, for example for an image alone."""
        content = self.content
        if content is None and self.role not in MAY_BE_SILENT:
            text = f"Invalid type for '{path}.content': expected a string or an array, but got null instead."
            raise RequestError(400, text, param=f"{path}.content", code="invalid_type")
        if content is msgspec.UNSET and self.role not in MAY_BE_SILENT:
            raise missing(f"{path}.content")
        if isinstance(content, str):
            return content
        return joined_text(content, f"{path}.content") if content else None


class ChatCompletionRequest(Sampled, frozen=True, kw_only=True):
    """The chat so far, and the parameters to draw an answer from the messages that came next in the corpus."""

    messages: Annotated[Sequence[OpenAIMessage], msgspec.Meta(min_length=1)]
    max_tokens: TokenLimit | None = None
    max_completion_tokens: TokenLimit | None = None
    reasoning_effort: Any = None
    verbosity: Any = None
    modalities: Any = None
    audio: Any = None
    web_search_options: Any = None
    moderation: Any = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    tools: Annotated[Sequence[AnyTool], msgspec.Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: AnyChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: Annotated[Sequence[FunctionDefinition], msgspec.Meta(max_length=MAX_TOOLS)] | None = None
    function_call: Literal["none", "auto"] | Named | None = None
    response_format: AnyFormat | None = None
    store: bool | None = None
    metadata: Metadata | None = None

    @property
    def has_reasoning(self) -> bool:
        return bool(self.reasoning_effort != "none")

    @property
    def token_limit(self) -> int | None:
        """The most tokens of an answer; the newer name takes precedence."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    def most_likely(self) -> int | None:
        if self.logprobs:
            return self.top_logprobs or 0
        if self.top_logprobs:
            raise RequestError(
                400,
                "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.",
                param="top_logprobs",
                code="invalid_parameter_combination",
            )
        return None


class AnswerMessage(msgspec.Struct, frozen=True):
    """The assistant's text, and its tool calls."""

    content: str | None
    role: Literal["assistant"] = "assistant"
    refusal: None = None
    annotations: Sequence[None] = ()
    tool_calls: Sequence[AnyToolCall] | msgspec.UnsetType = msgspec.UNSET
    function_call: FunctionCall | msgspec.UnsetType = msgspec.UNSET


class ChatChoice(msgspec.Struct, frozen=True):
    """An answer, one of ``n``."""

    index: int
    message: AnswerMessage
    finish_reason: ChatFinishReason
    logprobs: ChatLogprobs | None = None


class ChatCompletion(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answers."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: Sequence[ChatChoice]
    usage: OpenAIUsage
    service_tier: Literal["default"] = "default"


class FunctionDelta(msgspec.Struct, frozen=True, omit_defaults=True):
    """The addition of a chunk to the call of a function."""

    arguments: str
    name: str | msgspec.UnsetType = msgspec.UNSET


class CustomDelta(msgspec.Struct, frozen=True, omit_defaults=True):
    """The addition of a chunk to the call of a custom tool."""

    input: str
    name: str | msgspec.UnsetType = msgspec.UNSET


class ToolCallDelta(msgspec.Struct, frozen=True, omit_defaults=True):
    """The addition of a chunk to a tool call; the first one has the id, type and name."""

    index: int
    id: str | msgspec.UnsetType = msgspec.UNSET
    type: Literal["function", "custom"] | msgspec.UnsetType = msgspec.UNSET
    function: FunctionDelta | msgspec.UnsetType = msgspec.UNSET
    custom: CustomDelta | msgspec.UnsetType = msgspec.UNSET


class Delta(msgspec.Struct, frozen=True, omit_defaults=True):
    """The addition of a chunk to an answer."""

    role: Literal["assistant"] | msgspec.UnsetType = msgspec.UNSET
    content: str | msgspec.UnsetType | None = msgspec.UNSET
    tool_calls: Sequence[ToolCallDelta] | msgspec.UnsetType = msgspec.UNSET
    function_call: FunctionDelta | msgspec.UnsetType = msgspec.UNSET


class ChunkChoice(msgspec.Struct, frozen=True):
    """The addition of a chunk to the answer with this index."""

    index: int
    delta: Delta
    logprobs: ChatLogprobs | None = None
    finish_reason: ChatFinishReason | None = None


class ChatCompletionChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A token of an answer. ``usage`` is present if requested, and null before the last chunk."""

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
    left_out = IgnoredFields(OF_CHATS)

    def ignored(self, data: ChatCompletionRequest) -> Sequence[str]:
        """Fields, grammars of custom tools, and content parts."""
        fields = self.left_out.of(data)
        if data.tools and has_grammar(data.tools):
            fields = [*fields, "tools.custom.format"]
        for message in data.messages:
            if isinstance(message.content, list):
                return [*fields, *ignored_parts(_passed_over(data.messages))]
        return fields

    async def prompts(self, data: ChatCompletionRequest) -> Sequence[Prompt]:
        messages = [
            ChatMessage(message.role, message.content, message.name)
            if isinstance(message.content, str) and message.tool_calls is None and message.tool_call_id is None
            else message.neutral(f"messages[{index}]")
            for index, message in enumerate(data.messages)
        ]
        return (Prompt(messages),)

    async def extend(self, request: OpenAIRequest, data: ChatCompletionRequest) -> OpenAIRequest:
        """The request with its tools and the form of its answer. Raises RequestError."""
        given = (data.tools, data.tool_choice, data.functions, data.function_call, data.response_format, data.store)
        if given == NOTHING_GIVEN:
            return request
        tools = await tools_of(data.tools or (), data.functions or ())
        is_old = not data.tools and bool(data.functions or data.function_call)
        choice = old_choice_of(data.function_call, tools) if is_old else choice_of(data.tool_choice, tools)
        texts = [message.text for message in request.prompts[0].messages]
        return replace(
            request,
            tools=tools,
            tool_choice=choice,
            parallel_tool_calls=data.parallel_tool_calls is not False and not is_old,
            answer_format=await format_of(data.response_format, texts),
            old_functions=is_old,
            stored=bool(data.store),
            kept=_kept(data) if data.store else None,
        )

    def whole(self, request: OpenAIRequest, result: Completion) -> bytes:
        choices = [
            ChatChoice(index, _call_message(answer, request), _reason(answer.finish_reason, request))
            if answer.tool_calls
            else ChatChoice(index, AnswerMessage(answer.text), answer.finish_reason)
            for index, answer in enumerate(result.answers)
        ]
        if request.logprobs is not None:
            choices = [
                replace(choice, logprobs=chat_logprobs(logprobs_in(answer, request.logprobs)))
                for choice, answer in zip(choices, result.answers, strict=True)
            ]
        answer_id, created = _identity(request)
        usage = OpenAIUsage.of(result.usage)
        return msgspec.json.encode(
            ChatCompletion(id=answer_id, created=created, model=request.model, choices=choices, usage=usage)
        )

    def stream(self, chunk: Template, index: int, answer: Answer, request: OpenAIRequest) -> Steps:
        """The chunks of an answer. The first chunk of a tool call has its id, its name and an empty text."""
        if not answer.tool_calls:
            return super().stream(chunk, index, answer, request)
        parts: list[tuple[bytes, TokenStream | DetailedStream]] = []
        if answer.text:
            template = chunk.around(self._text_template(index))
            parts.append((b"", self._tokens(template, answer.text_tokens, request)))
        for number, call in enumerate(answer.tool_calls):
            first = choice_in_json(ChunkChoice(index, _call_delta(number, call, "", request, is_first=True)))
            template = Template.of(ChunkChoice(index, _call_delta(number, call, MARKER, request, is_first=False)))
            parts.append((chunk.fill(first), self._tokens(chunk.around(template), call.tokens, request)))
        end = ChunkChoice(index, Delta(), None, _reason(answer.finish_reason, request))
        return PartedStream(parts, chunk.fill(choice_in_json(end)))

    def _tokens(
        self, template: Template, tokens: Sequence[int], request: OpenAIRequest
    ) -> TokenStream | DetailedStream:
        """The chunks of a part of an answer with tool calls."""
        if request.logprobs is None:
            return TokenStream(template, tokens, b"")
        logprobs = (chat_logprobs((one,)) for one in certain(tokens, request.logprobs))
        return with_logprobs(template, tokens, logprobs, b"")

    def logprobs(self, index: int, answer: Answer, request: OpenAIRequest) -> Iterable[ChatLogprobs]:
        return (chat_logprobs((one,)) for one in logprobs_in(answer, request.logprobs))

    def blank(self, request: OpenAIRequest, usage: UsageField) -> ChatCompletionChunk:
        answer_id, created = _identity(request)
        return ChatCompletionChunk(id=answer_id, created=created, model=request.model, choices=(), usage=usage)

    def choice(self, index: int, text: str | None, finish_reason: FinishReason | None = None) -> ChunkChoice:
        return ChunkChoice(index, Delta() if text is None else Delta(content=text), None, finish_reason)

    def opening(self, request: OpenAIRequest, result: Completion) -> Iterable[bytes]:
        """The role of each answer."""
        return [
            _role_of(index, bool(answer.tool_calls) and not answer.text) for index, answer in enumerate(result.answers)
        ]


def _identity(request: OpenAIRequest) -> tuple[str, int]:
    """Id and time of an answer."""
    kept = request.kept
    return (kept.id, kept.created) if kept else (new_id("chatcmpl"), created_now())


def _kept(data: ChatCompletionRequest) -> KeptChat:
    return KeptChat(new_id("chatcmpl"), created_now(), msgspec.to_builtins(data.messages), data.metadata or {})


def _passed_over(messages: Sequence[OpenAIMessage]) -> Iterator[str]:
    """The types of the content parts that have no text."""
    for message in messages:
        for part in message.content if isinstance(message.content, list) else ():
            if isinstance(part, Part) and part.text is None:
                yield part.type


@cache
def _role_of(index: int, is_silent: bool) -> bytes:
    return choice_in_json(ChunkChoice(index, Delta(role="assistant", content=None if is_silent else "")))


def _call_message(answer: Answer, request: OpenAIRequest) -> AnswerMessage:
    if request.old_functions:
        call = answer.tool_calls[0]
        return AnswerMessage(answer.text or None, function_call=FunctionCall(call.name, call.arguments))
    return AnswerMessage(answer.text or None, tool_calls=[render(call) for call in answer.tool_calls])


def _reason(reason: FinishReason, request: OpenAIRequest) -> ChatFinishReason:
    return "function_call" if request.old_functions and reason == "tool_calls" else reason


def _call_delta(number: int, call: ToolCall, text: str, request: OpenAIRequest, *, is_first: bool) -> Delta:
    """The addition of a chunk to a call: first everything but its arguments."""
    name = call.name if is_first else msgspec.UNSET
    if request.old_functions:
        return Delta(function_call=FunctionDelta(text, name))
    function = msgspec.UNSET if call.is_custom else FunctionDelta(text, name)
    custom = CustomDelta(text, name) if call.is_custom else msgspec.UNSET
    if not is_first:
        return Delta(tool_calls=(ToolCallDelta(number, function=function, custom=custom),))
    kind: Literal["function", "custom"] = "custom" if call.is_custom else "function"
    return Delta(tool_calls=(ToolCallDelta(number, call.id, kind, function, custom),))
