"""The body of a request for a response: its fields, and the fields that the answer repeats."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec

from mimic.engine.base import CompletionRequest, Limits
from mimic.engine.sampling import Sampling
from mimic.wire.openai.ignored import IgnoredFields, Matters
from mimic.wire.openai.responses.answer import ConversationReference, ResponseObject
from mimic.wire.openai.responses.history import NO_PAST, Past
from mimic.wire.openai.responses.items import MESSAGE, RawItem
from mimic.wire.openai.responses.tools import Mode, RawTool, TextOptions
from mimic.wire.openai.sampled import DEFAULT_SAMPLING, NO_LIMITS, Metadata, Temperature, TopP
from mimic.wire.openai.tools import MAX_TOOLS

LEAST_TOKENS: Final = 16
"""The lowest limit of an answer's tokens that OpenAI accepts."""

LOGPROBS: Final = "message.output_text.logprobs"
NO_REASONING: Final[Mapping[str, Any]] = {"effort": None, "summary": None}
PLAIN_TEXT: Final[Mapping[str, Any]] = {"format": {"type": "text"}, "verbosity": "medium"}
"""Values that a response repeats by default."""


class Reasoning(msgspec.Struct, frozen=True, omit_defaults=True):
    """Options of reasoning. The effort ``none`` gives none, and every other one the number of the setting."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None
    context: str | None = None
    mode: str | None = None


class ResponseStreamOptions(msgspec.Struct, frozen=True):
    """Options of a stream. Mimic adds no obfuscation."""

    include_obfuscation: bool | None = None


class InputFields(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a request that make up its prompt. A null field takes its default."""

    model: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    input: str | Sequence[RawItem] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    conversation: str | ConversationReference | None = None
    tools: Annotated[Sequence[RawTool], msgspec.Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: Mode | RawTool | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: Reasoning | None = None
    truncation: Literal["auto", "disabled"] | None = None

    @property
    def conversation_id(self) -> str:
        """The id of the conversation; empty without one."""
        return self.conversation.id if isinstance(self.conversation, ConversationReference) else self.conversation or ""

    def items(self) -> Sequence[RawItem]:
        """The items of the input. A text is the message of a user."""
        if isinstance(self.input, str):
            return ({"type": MESSAGE, "role": "user", "content": self.input},)
        return self.input or ()


class ResponseParameters(InputFields, frozen=True, kw_only=True):
    """The input so far, and the parameters to draw an answer from the messages that came next in the corpus."""

    background: bool | None = None
    context_management: Any = None
    include: Sequence[str] | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=LEAST_TOKENS)] | None = None
    max_tool_calls: Annotated[int, msgspec.Meta(ge=0)] | None = None
    metadata: Metadata | None = None
    moderation: Any = None
    prompt: Mapping[str, Any] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    temperature: Temperature | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    top_p: TopP | None = None
    user: str | None = None

    def sampling(self) -> Sampling:
        """The parameters of the draw."""
        if self.temperature is None and self.top_p is None:
            return DEFAULT_SAMPLING
        return Sampling(
            1.0 if self.temperature is None else self.temperature, 1.0 if self.top_p is None else self.top_p
        )

    @property
    def logprobs(self) -> int | None:
        """The number of likely tokens to show with log probabilities; None shows none."""
        return (self.top_logprobs or 0) if self.include and LOGPROBS in self.include else None

    @property
    def has_reasoning(self) -> bool:
        """True if a model may reason before its answer."""
        return self.reasoning is None or self.reasoning.effort != "none"

    def limits(self) -> Limits:
        """The limits of the answer."""
        return NO_LIMITS if self.max_output_tokens is None else Limits(max_tokens=self.max_output_tokens)


class ResponseRequest(CompletionRequest, frozen=True, kw_only=True):
    """A request for a response: the response at its start, its own input, and the items before it.

    Without ``generate``, the response has no output, and only makes its input known to the server.
    """

    response: ResponseObject
    items: Sequence[RawItem]
    past: Past = NO_PAST
    generate: bool = True


def response_of(
    data: ResponseParameters, response_id: str, model: str, created_at: int, *, is_stored: bool
) -> ResponseObject:
    """The response to a request at its start."""
    unset = msgspec.UNSET
    return ResponseObject(
        id=response_id,
        created_at=created_at,
        model=model,
        status="queued" if data.background else "in_progress",
        background=bool(data.background),
        conversation=unset if data.conversation is None else ConversationReference(data.conversation_id),
        instructions=data.instructions,
        max_output_tokens=data.max_output_tokens,
        max_tool_calls=data.max_tool_calls,
        metadata=data.metadata or {},
        parallel_tool_calls=data.parallel_tool_calls is not False,
        previous_response_id=data.previous_response_id,
        prompt=unset if data.prompt is None else {"variables": None, "version": None, **data.prompt},
        prompt_cache_key=data.prompt_cache_key,
        prompt_cache_retention=unset if data.prompt_cache_retention is None else data.prompt_cache_retention,
        reasoning=NO_REASONING if data.reasoning is None else {**NO_REASONING, **msgspec.to_builtins(data.reasoning)},
        safety_identifier=data.safety_identifier,
        store=is_stored,
        temperature=1.0 if data.temperature is None else data.temperature,
        text=PLAIN_TEXT if data.text is None else _text_of(data.text),
        tool_choice=data.tool_choice or "auto",
        tools=[_tool_of(tool) for tool in data.tools] if data.tools else (),
        top_logprobs=data.top_logprobs or 0,
        top_p=1.0 if data.top_p is None else data.top_p,
        truncation=data.truncation or "disabled",
        user=unset if data.user is None else data.user,
    )


def _text_of(given: TextOptions) -> Mapping[str, Any]:
    answer_format: Any = {"type": "text"} if given.format is None else msgspec.to_builtins(given.format)
    return {"format": answer_format, "verbosity": given.verbosity or "medium"}


def _tool_of(tool: RawTool) -> RawTool:
    """A tool with the fields that a strict client expects."""
    if tool.get("type") == "function":
        return {"description": None, "parameters": None, "strict": None, **tool}
    return tool


def _has_effort(reasoning: Reasoning) -> bool:
    return reasoning.effort not in {None, "none"}


def _is_not_medium(text: TextOptions) -> bool:
    return text.verbosity not in {None, "medium"}


_OF_INPUTS: Final[Mapping[str, Matters]] = {"reasoning": _has_effort, "text": _is_not_medium}
_OF_RESPONSES: Final[Mapping[str, Matters]] = {
    **_OF_INPUTS,
    "context_management": bool,
    "moderation": bool,
    "prompt": bool,
}
_NAMES: Final = {"reasoning": "reasoning.effort", "text": "text.verbosity"}
_left_out: Final = IgnoredFields(_OF_RESPONSES)


def ignored_fields(data: ResponseParameters) -> Sequence[str]:
    """The names of fields that were left out, and whose values would have changed a model's answer."""
    names = _left_out.of(data)
    return [_NAMES.get(name, name) for name in names] if names else ()
