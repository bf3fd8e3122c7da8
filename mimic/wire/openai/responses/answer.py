"""The object ``response``: its fields, its items, and its forms from the start to the end."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec

from mimic.engine.base import Answer, Completion, ToolCall, Usage
from mimic.errors import RequestError
from mimic.wire.openai.logprobs import ContentLogprob, chat_logprobs, logprobs_in

Status: TypeAlias = Literal["queued", "in_progress", "completed", "failed", "cancelled", "incomplete"]
ItemStatus: TypeAlias = Literal["in_progress", "completed", "incomplete"]

_ERROR_CODES = frozenset({"server_error", "rate_limit_exceeded", "invalid_prompt"})
"""Codes of a failed response that Mimic gives. Clients accept no others than those of OpenAI."""


NO_ANSWER: Final = Answer("", (), "stop", None)
"""The answer of a response without output."""
SUMMARY: Final = "Mimic looks in its corpus for the message that came next."
"""The summary of the reasoning before each answer."""


class OutputText(msgspec.Struct, frozen=True, tag_field="type", tag="output_text"):
    """The text of a message."""

    text: str
    annotations: Sequence[None] = ()
    logprobs: Sequence[ContentLogprob] = ()


class OutputMessage(msgspec.Struct, frozen=True, tag_field="type", tag="message"):
    """An item of an answer: a text."""

    id: str
    status: ItemStatus
    content: Sequence[OutputText]
    role: Literal["assistant"] = "assistant"


class OutputFunctionCall(msgspec.Struct, frozen=True, tag_field="type", tag="function_call"):
    """An item of an answer: the call of a function. Its arguments are JSON in a string."""

    id: str
    status: ItemStatus
    call_id: str
    name: str
    arguments: str


class OutputCustomCall(msgspec.Struct, frozen=True, tag_field="type", tag="custom_tool_call"):
    """An item of an answer: the call of a custom tool."""

    id: str
    status: ItemStatus
    call_id: str
    name: str
    input: str


class SummaryText(msgspec.Struct, frozen=True, tag_field="type", tag="summary_text"):
    """A text about the reasoning before an answer."""

    text: str


class OutputReasoning(msgspec.Struct, frozen=True, tag_field="type", tag="reasoning"):
    """An item of an answer: the reasoning before it."""

    id: str
    summary: Sequence[SummaryText]
    encrypted_content: str


TokenItem: TypeAlias = OutputMessage | OutputFunctionCall | OutputCustomCall
"""An item with the tokens of an answer."""
OutputItem: TypeAlias = OutputReasoning | TokenItem


class InputDetails(msgspec.Struct, frozen=True):
    """Details of the input's tokens. Mimic counts no cached tokens."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0


class OutputDetails(msgspec.Struct, frozen=True):
    """Details of the output's tokens."""

    reasoning_tokens: int = 0


class ResponseUsage(msgspec.Struct, frozen=True):
    """Tokens of ``o200k_base``."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: InputDetails = InputDetails()
    output_tokens_details: OutputDetails = OutputDetails()

    @classmethod
    def of(cls, usage: Usage) -> "ResponseUsage":
        """The usage of a completion."""
        details = OutputDetails(usage.reasoning_tokens)
        return cls(usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, output_tokens_details=details)


class IncompleteDetails(msgspec.Struct, frozen=True):
    """The reason for the end of an incomplete answer."""

    reason: Literal["max_output_tokens", "content_filter"]


class ResponseError(msgspec.Struct, frozen=True):
    """The error of a failed response."""

    code: str
    message: str


class ConversationReference(msgspec.Struct, frozen=True):
    """A conversation by its id."""

    id: str


class ResponseObject(msgspec.Struct, frozen=True, kw_only=True):
    """A response. Many of its fields repeat those of the request, with their defaults."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Status = "in_progress"
    background: bool = False
    conversation: ConversationReference | msgspec.UnsetType = msgspec.UNSET
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    metadata: Mapping[str, str] = {}
    model: str
    output: Sequence[OutputItem] = ()
    parallel_tool_calls: bool = True
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    previous_response_id: str | None = None
    prompt: Mapping[str, Any] | msgspec.UnsetType = msgspec.UNSET
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | msgspec.UnsetType = msgspec.UNSET
    reasoning: Mapping[str, Any] = {}
    safety_identifier: str | None = None
    service_tier: Literal["default"] = "default"
    store: bool = True
    temperature: float = 1.0
    text: Mapping[str, Any] = {}
    tool_choice: str | Mapping[str, Any] = "auto"
    tools: Sequence[Mapping[str, Any]] = ()
    top_logprobs: int = 0
    top_p: float = 1.0
    truncation: Literal["auto", "disabled"] = "disabled"
    usage: ResponseUsage | None = None
    user: str | msgspec.UnsetType = msgspec.UNSET


def finished(response: ResponseObject, completion: Completion, at: int, top: int | None = None) -> ResponseObject:
    """The response with its answer; incomplete if the answer was cut at the limit of tokens.

    ``at`` is the end in seconds since 1970, and ``top`` the number of likely tokens to show with log probabilities;
    None shows none.
    """
    is_cut = answer_of(completion).finish_reason == "length"
    return msgspec.structs.replace(
        response,
        status="incomplete" if is_cut else "completed",
        completed_at=None if is_cut else at,
        incomplete_details=IncompleteDetails("max_output_tokens") if is_cut else None,
        output=output_of(response, completion, top),
        usage=ResponseUsage.of(completion.usage),
    )


def failed(response: ResponseObject, error: RequestError) -> ResponseObject:
    """The response with an error in place of an answer."""
    code = error.code if error.code in _ERROR_CODES else "server_error"
    return msgspec.structs.replace(response, status="failed", error=ResponseError(code, str(error)))


def answer_of(completion: Completion) -> Answer:
    """The answer of a response; :data:`NO_ANSWER` if the request wants no output."""
    return completion.answers[0] if completion.answers else NO_ANSWER


def output_of(response: ResponseObject, completion: Completion, top: int | None) -> Sequence[OutputItem]:
    """The items of an answer: the reasoning, if there is some, then a message, and calls of tools.

    Of a cut answer the last item is incomplete. If the reasoning took all tokens, it is the only item.
    """
    answer = answer_of(completion)
    if answer is NO_ANSWER:
        return ()
    if not completion.usage.reasoning_tokens:
        return _items_of(response.id, answer, top)
    reasoning = _reasoning_item(response)
    if answer.finish_reason == "length" and not answer.tokens:
        return (reasoning,)
    return (reasoning, *_items_of(response.id, answer, top))


def _reasoning_item(response: ResponseObject) -> OutputReasoning:
    """The item of the reasoning. It has a summary if the request wants one, and nothing is encrypted."""
    wanted = response.reasoning.get("summary") or response.reasoning.get("generate_summary")
    summary = (SummaryText(SUMMARY),) if wanted else ()
    content = b64encode(response.id.encode()).decode()
    return OutputReasoning(item_id(response.id, "rs", 0), summary, content)


def _items_of(response_id: str, answer: Answer, top: int | None) -> Sequence[TokenItem]:
    status: ItemStatus = "incomplete" if answer.finish_reason == "length" else "completed"
    if not answer.tool_calls:
        return (_message_item(response_id, answer, status, top),)
    items: list[TokenItem] = [_message_item(response_id, answer, "completed", top)] if answer.text else []
    last = len(answer.tool_calls) - 1
    return items + [
        call_item(response_id, len(items) + index, call, status if index == last else "completed")
        for index, call in enumerate(answer.tool_calls)
    ]


def _message_item(response_id: str, answer: Answer, status: ItemStatus, top: int | None) -> OutputMessage:
    """The item of the text."""
    logprobs = () if top is None else chat_logprobs(logprobs_in(answer, top)[: len(answer.text_tokens)]).content
    text = OutputText(answer.text, logprobs=logprobs)
    return OutputMessage(item_id(response_id, "msg", 0), status, (text,))


def call_item(response_id: str, index: int, call: ToolCall, status: ItemStatus) -> TokenItem:
    """The item of a call."""
    if call.is_custom:
        return OutputCustomCall(item_id(response_id, "ctc", index), status, call.id, call.name, call.arguments)
    return OutputFunctionCall(item_id(response_id, "fc", index), status, call.id, call.name, call.arguments)


ID_DIGITS = 48
"""Hexadecimal digits of the id of a response."""


def item_id(response_id: str, prefix: str, index: int) -> str:
    """The id of an item, which follows from the id of its response: an item leads to its response."""
    return f"{prefix}_{response_id.partition('_')[2]}{index:04x}"


def response_id_of(item_id: str) -> str:
    """The id of the response that an item with this id belongs to, if the id is one of Mimic's."""
    return f"resp_{item_id.partition('_')[2][:ID_DIGITS]}"
