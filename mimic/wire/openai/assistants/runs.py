"""Runs: each is read as the response to a thread, and has its answers from the same engine."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec

from mimic.engine.base import TOKENS_OF_PRIMING, Completion, Known, ToolCall, Usage, chat_tokens
from mimic.engine.overrides import Overrides
from mimic.errors import RequestError
from mimic.records.base import new_id
from mimic.spelling import shown
from mimic.wire.base import EventPlan
from mimic.wire.json import decode
from mimic.wire.openai.assistants.beta import Beta, beta_of
from mimic.wire.openai.assistants.objects import (
    SECONDS_OF_A_RUN,
    AssistantObject,
    Format,
    RawTool,
    RunObject,
    ThreadObject,
    Tools,
    choice_in,
    functions_in,
    known_resources,
    known_tools,
    written_format,
)
from mimic.wire.openai.assistants.threads import NewMessages, NewThread
from mimic.wire.openai.base import OpenAIWire, created_now
from mimic.wire.openai.parts import missing
from mimic.wire.openai.responses.items import RawItem, completed_item, read_items
from mimic.wire.openai.responses.request import ResponseParameters, ResponseRequest
from mimic.wire.openai.responses.tools import Mode
from mimic.wire.openai.responses.wire import ResponsesWire
from mimic.wire.openai.sampled import Metadata, Temperature, TopP
from mimic.wire.openai.tools import format_of

LEAST_TOKENS: Final = 256
"""The lowest limit of tokens that OpenAI accepts for a run."""
NOT_JSON: Final = b'event: thread.message.delta\ndata: {"delta": {"content": [{"index": 0, "text": {"value": "\n\n'

TokenLimit: TypeAlias = Annotated[int, msgspec.Meta(ge=LEAST_TOKENS)]


class Truncation(msgspec.Struct, frozen=True):
    """The messages of a thread that a run reads: as many as fit, or the last ones."""

    type: Literal["auto", "last_messages"]
    last_messages: Annotated[int, msgspec.Meta(ge=1)] | None = None


class RunFields(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a run. A null field takes the value of the assistant."""

    assistant_id: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    model: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    instructions: str | None = None
    tools: Tools | None = None
    metadata: Metadata | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    max_prompt_tokens: TokenLimit | None = None
    max_completion_tokens: TokenLimit | None = None
    truncation_strategy: Truncation | None = None
    tool_choice: Mode | RawTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: Format | None = None
    stream: bool | None = None

    @property
    def texts(self) -> Sequence[str]:
        """Further instructions."""
        return ()


class RunParameters(RunFields, frozen=True, kw_only=True):
    """A request for a run on a thread."""

    additional_instructions: str | None = None
    additional_messages: NewMessages | None = None

    @property
    def texts(self) -> Sequence[str]:
        return (self.additional_instructions,) if self.additional_instructions else ()


class ThreadRunParameters(RunFields, frozen=True, kw_only=True):
    """A request for a run on a new thread."""

    thread: NewThread | None = None
    tool_resources: Mapping[str, Any] | None = None


class ToolOutput(msgspec.Struct, frozen=True):
    """The output of a call. Without an id it belongs to the call in the same place."""

    tool_call_id: str | None = None
    output: str | None = None


class SubmittedOutputs(msgspec.Struct, frozen=True):
    """The outputs of all calls that a run waits for."""

    tool_outputs: Sequence[ToolOutput]
    stream: bool | None = None


class RunRequest(ResponseRequest, frozen=True, kw_only=True):
    """A request for the answer of a run.

    ``added`` are messages to add to the thread, which is created if ``thread`` is set. ``outputs`` belong to the calls
    of a run that waits; without them the run is new. ``over`` is true if not even the last message is within the limit
    of the prompt.
    """

    run: RunObject
    beta: Beta
    added: Sequence[RawItem] = ()
    thread: ThreadObject | None = None
    outputs: Mapping[str, str] | None = None
    over: bool = False


class WaitingRun(msgspec.Struct, frozen=True):
    """A run that waits for outputs: its calls until now, each group of one answer, their outputs, and its usage."""

    run: RunObject
    calls: Sequence[Sequence[ToolCall]]
    outputs: Mapping[str, str]
    usage: Usage


class RunHistory(ABC):
    """Stored assistants, threads and runs, as a wire reads them. An ``owner`` finds its own only."""

    @abstractmethod
    async def assistant(self, assistant_id: str, owner: str) -> AssistantObject:
        """An assistant. Raises RequestError if it is missing."""

    @abstractmethod
    async def messages(self, thread_id: str, owner: str) -> Sequence[RawItem]:
        """The messages of a thread, in order. Raises RequestError if it is missing, or if a run is active there."""

    @abstractmethod
    async def waiting(self, thread_id: str, run_id: str, owner: str) -> tuple[WaitingRun, Sequence[RawItem]]:
        """A run that waits for outputs, and the messages of its thread. Raises RequestError if it does not wait."""


class AnyRunWire(OpenAIWire[RunRequest, Completion]):
    """The common part of requests for the answer of a run. ``header`` chooses the version of the API."""

    def __init__(self, responses: ResponsesWire, history: RunHistory, header: str) -> None:
        self._responses = responses
        self._history = history
        self._header = header

    def whole(self, request: RunRequest, result: Completion) -> bytes:
        raise NotImplementedError  # a stored run has its own reply

    def broken(self, kind: Literal["malformed", "error"], error: RequestError, plan: EventPlan, sent: int) -> bytes:
        return NOT_JSON

    async def _new_run(
        self, data: RunFields, thread_id: str, items: Sequence[RawItem], overrides: Overrides, known: Known
    ) -> RunRequest:
        """The request for a new run, given the messages of its thread."""
        assistant = await self._history.assistant(data.assistant_id, known.owner)
        run = await _run_of(data, assistant, thread_id)
        return await self._request(run, items, bool(data.stream), overrides, known)

    async def _request(
        self,
        run: RunObject,
        items: Sequence[RawItem],
        stream: bool,
        overrides: Overrides,
        known: Known,
        calls: Sequence[RawItem] = (),
        used: Usage | None = None,
    ) -> RunRequest:
        """The request for an answer to messages, calls and outputs. ``used`` is the usage of the run until now."""
        used = used or Usage(0)
        kept, over = await _within_limits(run, items, calls, used)
        most = run.max_completion_tokens
        data = ResponseParameters(
            model=run.model,
            input=[*kept, *calls],
            instructions=run.instructions or None,
            tools=functions_in(run.tools) or None,
            tool_choice=_choice_of(run, is_first=not calls),
            parallel_tool_calls=run.parallel_tool_calls,
            temperature=run.temperature,
            top_p=run.top_p,
            max_output_tokens=None if most is None else max(1, most - used.completion_tokens),
            background=True,
            stream=stream,
        )
        request = await self._responses.read_data(data, overrides, known)
        texts = [message.text for message in request.prompts[0].messages]
        given = msgspec.convert(run.response_format, Format)
        fields = {
            **msgspec.structs.asdict(request),
            "items": (),  # the thread has them
            "prompts": () if over else request.prompts,
            "answer_format": await format_of(None if isinstance(given, str) else given, texts),
        }
        return RunRequest(**fields, run=run, over=over, beta=beta_of(self._header))


class RunWire(AnyRunWire):
    """Runs on a thread."""

    def __init__(self, responses: ResponsesWire, history: RunHistory, header: str, thread_id: str) -> None:
        super().__init__(responses, history, header)
        self._thread_id = thread_id

    async def read(self, body: bytes, query: bytes, overrides: Overrides, known: Known) -> RunRequest:
        beta_of(self._header)
        data = decode(_runs, body)
        items = await self._history.messages(self._thread_id, known.owner)
        added = _added([message.item(created_now()) for message in data.additional_messages or ()])
        request = await self._new_run(data, self._thread_id, [*items, *added], overrides, known)
        return msgspec.structs.replace(request, added=added)


class ThreadRunWire(AnyRunWire):
    """Runs on a new thread."""

    async def read(self, body: bytes, query: bytes, overrides: Overrides, known: Known) -> RunRequest:
        beta_of(self._header)
        data = decode(_thread_runs, body)
        now, new = created_now(), data.thread or NewThread()
        thread = ThreadObject(
            id=new_id("thread"),
            created_at=now,
            metadata=new.metadata or {},
            tool_resources=known_resources(new.tool_resources or {}),
        )
        added = _added(new.items(now))
        request = await self._new_run(data, thread.id, added, overrides, known)
        return msgspec.structs.replace(request, added=added, thread=thread)


class OutputsWire(AnyRunWire):
    """Outputs of the calls that a run waits for."""

    def __init__(self, responses: ResponsesWire, history: RunHistory, header: str, thread_id: str, run_id: str) -> None:
        super().__init__(responses, history, header)
        self._thread_id, self._run_id = thread_id, run_id

    async def read(self, body: bytes, query: bytes, overrides: Overrides, known: Known) -> RunRequest:
        beta_of(self._header)
        data = decode(_outputs, body)
        found, items = await self._history.waiting(self._thread_id, self._run_id, known.owner)
        outputs = _outputs_of(data.tool_outputs, [call.id for call in found.calls[-1]])
        calls = _items_of(found.calls, {**found.outputs, **outputs})
        request = await self._request(found.run, items, bool(data.stream), overrides, known, calls, found.usage)
        return msgspec.structs.replace(request, outputs=outputs)


_runs: Final = msgspec.json.Decoder(RunParameters)
_thread_runs: Final = msgspec.json.Decoder(ThreadRunParameters)
_outputs: Final = msgspec.json.Decoder(SubmittedOutputs)


async def _run_of(data: RunFields, assistant: AssistantObject, thread_id: str) -> RunObject:
    """The run at its start."""
    instructions = assistant.instructions if data.instructions is None else data.instructions
    now = created_now()
    return RunObject(
        id=new_id("run"),
        created_at=now,
        expires_at=now + SECONDS_OF_A_RUN,
        assistant_id=assistant.id,
        thread_id=thread_id,
        model=data.model or assistant.model,
        instructions="\n".join([text for text in (instructions, *data.texts) if text]),
        tools=assistant.tools if data.tools is None else await known_tools(data.tools),
        metadata=data.metadata or {},
        temperature=assistant.temperature if data.temperature is None else data.temperature,
        top_p=assistant.top_p if data.top_p is None else data.top_p,
        max_prompt_tokens=data.max_prompt_tokens,
        max_completion_tokens=data.max_completion_tokens,
        truncation_strategy=msgspec.to_builtins(_truncation_of(data.truncation_strategy)),
        response_format=assistant.response_format
        if data.response_format is None
        else written_format(data.response_format),
        tool_choice=data.tool_choice or "auto",
        parallel_tool_calls=data.parallel_tool_calls is not False,
    )


def _choice_of(run: RunObject, *, is_first: bool) -> Any:
    """The choice of tools. A call that the run must make is behind it after the first answer."""
    if not run.tools:
        return None
    return choice_in(run.tool_choice) if is_first or run.tool_choice == "none" else "auto"


def _truncation_of(given: Truncation | None) -> Truncation:
    """The truncation of a run. Raises RequestError without the number of last messages."""
    if given is None:
        return Truncation("auto")
    if given.type == "last_messages" and given.last_messages is None:
        raise missing("truncation_strategy.last_messages")
    return given


def _added(items: Sequence[RawItem]) -> Sequence[RawItem]:
    """Items to add to a thread, with their ids."""
    return [completed_item({**item, "id": new_id("msg")}) for item in items]


async def _within_limits(
    run: RunObject, items: Sequence[RawItem], calls: Sequence[RawItem], used: Usage
) -> tuple[Sequence[RawItem], bool]:
    """The last messages that a run may read, and whether even the last one is over the limit."""
    last = run.truncation_strategy["last_messages"]
    items = items[-last:] if last else items
    if run.max_prompt_tokens is None:
        return items, False
    system = [{"role": "system", "content": run.instructions}] if run.instructions else []
    left = run.max_prompt_tokens - used.prompt_tokens - TOKENS_OF_PRIMING
    left -= await _tokens_of([*system, *calls])
    for start in range(len(items) - 1, -1, -1):
        left -= await _tokens_of(items[start : start + 1])
        if left < 0:
            return items[min(start + 1, len(items) - 1) :], start == len(items) - 1
    return items, left < 0


async def _tokens_of(items: Sequence[RawItem]) -> int:
    """The tokens of items in a prompt."""
    return await chat_tokens(read_items(items).messages) - TOKENS_OF_PRIMING


def _outputs_of(given: Sequence[ToolOutput], calls: Sequence[str]) -> Mapping[str, str]:
    """The outputs by the ids of calls. Raises RequestError unless each call has one."""
    places = [*calls, *[""] * len(given)]
    outputs = {one.tool_call_id or place: one.output or "" for one, place in zip(given, places, strict=False)}
    if set(outputs) != set(calls):
        text = f"Expected tool outputs for call_ids {list(calls)}, got {[shown(one) for one in outputs]}"
        raise RequestError(400, text, param="tool_outputs")
    return outputs


def _items_of(groups: Sequence[Sequence[ToolCall]], outputs: Mapping[str, str]) -> Sequence[RawItem]:
    """Calls and their outputs as items of a response."""
    items: list[RawItem] = []
    for calls in groups:
        items += [
            {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}
            for call in calls
        ]
        items += [{"type": "function_call_output", "call_id": call.id, "output": outputs[call.id]} for call in calls]
    return items
