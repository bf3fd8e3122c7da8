"""The wires of the Responses API: answers, and counts of tokens."""

from collections.abc import Sequence
from typing import ClassVar, Final, Literal

import msgspec
from msgspec.structs import replace

from mimic.engine.base import (
    TEXT,
    AnswerFormat,
    ChatMessage,
    Completion,
    CompletionRequest,
    Known,
    Prompt,
    Tool,
    ToolChoice,
    chat_tokens,
    definition_tokens,
)
from mimic.engine.overrides import NO_OVERRIDES, Overrides
from mimic.errors import RequestError
from mimic.wire.base import EventPlan, Given
from mimic.wire.json import decode
from mimic.wire.openai.base import OpenAIWire, created_now, new_response_id
from mimic.wire.openai.ignored import not_acted_on
from mimic.wire.openai.responses.answer import finished
from mimic.wire.openai.responses.events import NOT_JSON, error_events, plan_of
from mimic.wire.openai.responses.given import FINISHED, forwarded_body, given_response
from mimic.wire.openai.responses.history import NO_PAST, History, Past
from mimic.wire.openai.responses.items import ItemList, RawItem, check_results, read_items, referenced_id
from mimic.wire.openai.responses.request import (
    InputFields,
    ResponseParameters,
    ResponseRequest,
    ignored_fields,
    response_of,
)
from mimic.wire.openai.responses.tools import check_required, choice_of, format_of, tools_of
from mimic.wire.openai.sampled import CompletionOptions

_responses: Final = msgspec.json.Decoder(ResponseParameters)
_inputs: Final = msgspec.json.Decoder(InputFields)


class ReadInput(msgspec.Struct, frozen=True):
    """The fields of :class:`InputFields` in neutral form.

    ``past`` are the items before the own ``items``, ``ignored`` the names of items, parts and tools that are left out.
    """

    prompt: Prompt
    past: Past
    items: Sequence[RawItem]
    ignored: Sequence[str]
    tools: Sequence[Tool] = ()
    tool_choice: ToolChoice = ToolChoice()
    answer_format: AnswerFormat = TEXT


class TokenCount(msgspec.Struct, frozen=True):
    """The number of tokens of an input."""

    is_large: ClassVar[bool] = False
    usage: ClassVar[None] = None

    input_tokens: int
    object: Literal["response.input_tokens"] = "response.input_tokens"


class InputReader:
    """Reads inputs, with the items that they refer to."""

    def __init__(self, history: History) -> None:
        self._history = history

    async def read(self, data: InputFields, owner: str) -> ReadInput:
        """Read an input. Raises RequestError."""
        items = data.items()
        if isinstance(data.input, str):
            own = ItemList([ChatMessage("user", data.input)], ())
        else:
            items = [await self._resolve(item, owner) for item in items]
            own = read_items(items)
        past, messages = NO_PAST, own.messages
        if data.previous_response_id is not None or data.conversation is not None:
            past = await self._past(data, owner)
            messages = [*read_items(past.items).messages, *own.messages]
        if own.results:
            check_results(own.results, [*past.items, *items])
        if data.instructions is not None:
            prompt = Prompt([ChatMessage("system", data.instructions), *messages])
        else:
            prompt = Prompt(messages)
        read = ReadInput(prompt, past, items, own.ignored)
        if data.tools is None and data.tool_choice is None and data.text is None:
            return read
        check_required(data.tool_choice, data.tools or ())
        tools, ignored_tools = await tools_of(data.tools or ())
        return msgspec.structs.replace(
            read,
            tools=tools,
            tool_choice=choice_of(data.tool_choice, tools),
            answer_format=await format_of(data.text.format if data.text else None, [one.text for one in messages]),
            ignored=[*own.ignored, *ignored_tools],
        )

    async def _past(self, data: InputFields, owner: str) -> Past:
        """The items before the input. Raises RequestError."""
        if data.conversation is None:
            return await self._history.before(data.previous_response_id or "", owner)
        if data.previous_response_id is not None:
            text = (
                "Mutually exclusive parameters. Ensure you are only providing one of: 'previous_response_id' or "
                "'conversation'."
            )
            raise RequestError(400, text, param="previous_response_id", code="mutually_exclusive_parameters")
        return await self._history.conversation(data.conversation_id, owner)

    async def _resolve(self, item: RawItem, owner: str) -> RawItem:
        """An item, or the item that it refers to."""
        reference = referenced_id(item)
        return item if reference is None else await self._history.item(reference, owner)


class ResponsesWire(OpenAIWire[ResponseRequest, Completion]):
    """OpenAI's responses."""

    ends = tuple(f"response.{state}".encode() for state in FINISHED)

    def __init__(self, options: CompletionOptions, history: History) -> None:
        self._options = options
        self._history = history
        self._input = InputReader(history)

    async def read(self, body: bytes, query: bytes, overrides: Overrides, known: Known) -> ResponseRequest:
        return await self.read_data(decode(_responses, body), overrides, known)

    async def read_data(self, data: ResponseParameters, overrides: Overrides, known: Known) -> ResponseRequest:
        """Return the neutral form of decoded data. Raises RequestError."""
        options = self._options
        known.model = model = data.model or options.names.default
        known.version = version = options.names.version_of(model)
        if data.background and not self._history.is_on:
            text = "Responses in the background need records, which MIMIC_RECORDS=off switches off."
            raise RequestError(400, text, param="background", code="unsupported_parameter")
        given = await self._input.read(data, known.owner)
        ignored = ignored_fields(data)
        if given.ignored:
            ignored = [*ignored, *given.ignored]
        if ignored and options.strict:
            raise not_acted_on(ignored[0])
        is_stored = data.store is not False and self._history.is_on
        limits, reasoning = data.limits(), 0
        if options.reasoning and data.has_reasoning:
            limits, reasoning = limits.after_reasoning(options.reasoning)
        return ResponseRequest(
            model=model,
            version=version,
            prompts=(given.prompt,),
            sampling=data.sampling(),
            limits=limits,
            reasoning=reasoning,
            tools=given.tools,
            tool_choice=given.tool_choice,
            parallel_tool_calls=data.parallel_tool_calls is not False,
            tool_mode=None if overrides is NO_OVERRIDES else overrides.tool_mode(),
            answer_format=given.answer_format,
            policy=options.policy if overrides is NO_OVERRIDES else overrides.policy(options.policy),
            stream=bool(data.stream),
            stored=is_stored or bool(data.background) or data.conversation is not None,
            logprobs=data.logprobs,
            ignored=ignored,
            response=response_of(data, new_response_id(), model, created_now(), is_stored=is_stored),
            items=given.items,
            past=given.past,
        )

    def whole(self, request: ResponseRequest, result: Completion) -> bytes:
        return msgspec.json.encode(finished(request.response, result, created_now(), request.logprobs))

    def streams(self, request: ResponseRequest) -> bool:
        return request.stream

    def events(self, request: ResponseRequest, result: Completion) -> EventPlan:
        return plan_of(request.response, result, created_now(), request.logprobs)

    def broken(self, kind: Literal["malformed", "error"], error: RequestError, plan: EventPlan, sent: int) -> bytes:
        return NOT_JSON if kind == "malformed" else error_events(plan, error, sent)

    def is_relayed(self, request: ResponseRequest) -> bool:
        """False for work in the background and for conversations: both live in the records here."""
        return not request.response.background and request.response.conversation is msgspec.UNSET

    def given(self, body: bytes, *, is_stream: bool) -> Given | None:
        return given_response(body, is_stream=is_stream)

    def forwarded(self, request: ResponseRequest, body: bytes) -> bytes:
        return forwarded_body(request, body) if request.response.previous_response_id else body

    def identified(self, request: ResponseRequest, answer_id: str) -> ResponseRequest:
        return replace(request, response=replace(request.response, id=answer_id))


class TokenCountWire(OpenAIWire[CompletionRequest, TokenCount]):
    """Counts of the tokens of an input."""

    def __init__(self, options: CompletionOptions, history: History) -> None:
        self._names = options.names
        self._input = InputReader(history)

    async def read(self, body: bytes, query: bytes, overrides: Overrides, known: Known) -> CompletionRequest:
        data = decode(_inputs, body)
        known.model = model = data.model or self._names.default
        version = self._names.version_of(model)
        given = await self._input.read(data, known.owner)
        return CompletionRequest(
            model=model,
            version=version,
            prompts=(given.prompt,),
            tools=given.tools,
            answer_format=given.answer_format,
            ignored=given.ignored,
        )

    def whole(self, request: CompletionRequest, result: TokenCount) -> bytes:
        return msgspec.json.encode(result)


async def count_tokens(request: CompletionRequest) -> TokenCount:
    """Count the tokens of an input as the usage of a response does."""
    return TokenCount(await chat_tokens(request.prompts[0].messages) + await definition_tokens(request))
