"""The objects of the Assistants API, and the fields that clients give."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec

from mimic.engine.base import Usage
from mimic.errors import RequestError
from mimic.wire.openai.parts import missing
from mimic.wire.openai.responses.items import MESSAGE, RawItem
from mimic.wire.openai.responses.tools import tools_of
from mimic.wire.openai.sampled import Metadata, Temperature, TopP
from mimic.wire.openai.tools import MAX_TOOLS, AnyFormat

RawTool: TypeAlias = dict[str, Any]
RunStatus: TypeAlias = Literal[
    "queued",
    "in_progress",
    "requires_action",
    "cancelling",
    "cancelled",
    "failed",
    "completed",
    "incomplete",
    "expired",
]
StepStatus: TypeAlias = Literal["in_progress", "cancelled", "failed", "completed", "expired"]
MessageReason: TypeAlias = Literal["max_tokens", "run_cancelled", "run_expired", "run_failed"]
IncompleteReason: TypeAlias = Literal["max_completion_tokens", "max_prompt_tokens"]
Format: TypeAlias = Literal["auto"] | AnyFormat
Tools: TypeAlias = Annotated[Sequence[RawTool], msgspec.Meta(max_length=MAX_TOOLS)]

TOOLS: Final = ("code_interpreter", "file_search", "function")
"""The types of tools. In the first version, ``file_search`` is called ``retrieval``."""
RETRIEVAL: Final = "retrieval"
SECONDS_OF_A_RUN: Final = 600
"""Seconds after which a run expires."""


class AssistantFields(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of an assistant that clients give. A null field takes its default; an absent one stays as it is."""

    model: Annotated[str, msgspec.Meta(min_length=1)] | msgspec.UnsetType = msgspec.UNSET
    name: Annotated[str, msgspec.Meta(max_length=256)] | msgspec.UnsetType | None = msgspec.UNSET
    description: Annotated[str, msgspec.Meta(max_length=512)] | msgspec.UnsetType | None = msgspec.UNSET
    instructions: Annotated[str, msgspec.Meta(max_length=256_000)] | msgspec.UnsetType | None = msgspec.UNSET
    tools: Tools | msgspec.UnsetType | None = msgspec.UNSET
    tool_resources: Mapping[str, Any] | msgspec.UnsetType | None = msgspec.UNSET
    file_ids: Sequence[str] | msgspec.UnsetType | None = msgspec.UNSET
    metadata: Metadata | msgspec.UnsetType | None = msgspec.UNSET
    temperature: Temperature | msgspec.UnsetType | None = msgspec.UNSET
    top_p: TopP | msgspec.UnsetType | None = msgspec.UNSET
    response_format: Format | msgspec.UnsetType | None = msgspec.UNSET
    reasoning_effort: str | msgspec.UnsetType | None = msgspec.UNSET


class AssistantObject(msgspec.Struct, frozen=True, kw_only=True):
    """An assistant: a model with instructions and tools."""

    id: str
    object: Literal["assistant"] = "assistant"
    created_at: int
    name: str | None = None
    description: str | None = None
    model: str
    instructions: str | None = None
    tools: Sequence[RawTool] = ()
    tool_resources: Mapping[str, Any] = {}
    metadata: Mapping[str, str] = {}
    temperature: float = 1.0
    top_p: float = 1.0
    response_format: Any = "auto"
    reasoning_effort: str | None = None

    async def changed(self, fields: AssistantFields) -> "AssistantObject":
        """The assistant with new fields. Raises RequestError for an invalid tool."""
        every = {name: getattr(fields, name) for name in fields.__struct_fields__}
        given = {name: value for name, value in every.items() if value is not msgspec.UNSET}
        tools, resources = given.pop("tools", None), given.pop("tool_resources", None)
        file_ids = given.pop("file_ids", None)
        if fields.tools is not msgspec.UNSET:
            given["tools"] = await known_tools(tools or ())
        if fields.tool_resources is not msgspec.UNSET:
            given["tool_resources"] = known_resources(resources or {})
        if file_ids is not None:
            given["tool_resources"] = {"code_interpreter": {"file_ids": file_ids}}
        if "response_format" in given:
            given["response_format"] = written_format(given["response_format"])
        for name, default in (("metadata", {}), ("temperature", 1.0), ("top_p", 1.0)):
            if name in given and given[name] is None:
                given[name] = default
        return msgspec.structs.replace(self, **given)


class ThreadObject(msgspec.Struct, frozen=True, kw_only=True):
    """A thread: a list of messages."""

    id: str
    object: Literal["thread"] = "thread"
    created_at: int
    metadata: Mapping[str, str] = {}
    tool_resources: Mapping[str, Any] = {}


class MessageIncomplete(msgspec.Struct, frozen=True):
    """The reason for the end of an incomplete message."""

    reason: MessageReason


class MessageObject(msgspec.Struct, frozen=True, kw_only=True):
    """A message of a thread."""

    id: str
    object: Literal["thread.message"] = "thread.message"
    created_at: int
    thread_id: str
    role: Literal["user", "assistant"]
    content: Sequence[Mapping[str, Any]]
    status: Literal["in_progress", "incomplete", "completed"] = "completed"
    assistant_id: str | None = None
    run_id: str | None = None
    attachments: Sequence[Mapping[str, Any]] = ()
    metadata: Mapping[str, str] = {}
    completed_at: int | None = None
    incomplete_at: int | None = None
    incomplete_details: MessageIncomplete | None = None


class RunUsage(msgspec.Struct, frozen=True):
    """The tokens of a run, or of a step."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, usages: Sequence[Usage]) -> "RunUsage":
        """The sum of the usage of some answers."""
        prompts, answers = sum(one.prompt_tokens for one in usages), sum(one.completion_tokens for one in usages)
        return cls(prompts, answers, prompts + answers)


class RunError(msgspec.Struct, frozen=True):
    """The error of a failed run."""

    code: str
    message: str


class RunIncomplete(msgspec.Struct, frozen=True):
    """The limit that ended a run."""

    reason: IncompleteReason


class SubmitOutputs(msgspec.Struct, frozen=True):
    """The calls whose outputs a run waits for."""

    tool_calls: Sequence[Mapping[str, Any]]


class RequiredAction(msgspec.Struct, frozen=True):
    """The action that a run waits for."""

    submit_tool_outputs: SubmitOutputs
    type: Literal["submit_tool_outputs"] = "submit_tool_outputs"


class RunObject(msgspec.Struct, frozen=True, kw_only=True):
    """A run: the answer of an assistant to a thread."""

    id: str
    object: Literal["thread.run"] = "thread.run"
    created_at: int
    assistant_id: str
    thread_id: str
    status: RunStatus = "queued"
    started_at: int | None = None
    expires_at: int | None = None
    cancelled_at: int | None = None
    failed_at: int | None = None
    completed_at: int | None = None
    required_action: RequiredAction | None = None
    last_error: RunError | None = None
    model: str
    instructions: str = ""
    tools: Sequence[RawTool] = ()
    metadata: Mapping[str, str] = {}
    temperature: float = 1.0
    top_p: float = 1.0
    max_prompt_tokens: int | None = None
    max_completion_tokens: int | None = None
    truncation_strategy: Mapping[str, Any]
    incomplete_details: RunIncomplete | None = None
    usage: RunUsage | None = None
    response_format: Any = "auto"
    tool_choice: Any = "auto"
    parallel_tool_calls: bool = True


class StepObject(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a run: a message, or calls of tools."""

    id: str
    object: Literal["thread.run.step"] = "thread.run.step"
    created_at: int
    assistant_id: str
    thread_id: str
    run_id: str
    type: Literal["message_creation", "tool_calls"]
    status: StepStatus = "in_progress"
    step_details: Mapping[str, Any]
    last_error: RunError | None = None
    cancelled_at: int | None = None
    completed_at: int | None = None
    expired_at: int | None = None
    failed_at: int | None = None
    metadata: Mapping[str, str] = {}
    usage: RunUsage | None = None


class TextPart(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """A text in a new message."""

    text: str


class ImagePart(msgspec.Struct, frozen=True, tag_field="type", tag="image_url"):
    """An image by its address. It is kept, and has no text for an answer."""

    image_url: Mapping[str, Any]


class ImageFilePart(msgspec.Struct, frozen=True, tag_field="type", tag="image_file"):
    """An image by its file. It is kept, and has no text for an answer."""

    image_file: Mapping[str, Any]


class NewMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message to add to a thread."""

    role: Literal["user", "assistant"]
    content: str | Annotated[Sequence[TextPart | ImagePart | ImageFilePart], msgspec.Meta(min_length=1)]
    attachments: Sequence[Mapping[str, Any]] | None = None
    file_ids: Sequence[str] | None = None
    metadata: Metadata | None = None

    def item(self, created_at: int) -> RawItem:
        """The message as an item of a conversation."""
        attachments = self.attachments or [{"file_id": one, "tools": []} for one in self.file_ids or ()]
        return {
            "type": MESSAGE,
            "role": self.role,
            "content": self.content if isinstance(self.content, str) else msgspec.to_builtins(self.content),
            "created_at": created_at,
            "attachments": attachments,
            "metadata": self.metadata or {},
        }


def message_of(item: RawItem, thread_id: str) -> MessageObject:
    """The message of an item."""
    fields = {name: item[name] for name in MessageObject.__struct_fields__ if name in item and name != "object"}
    incomplete = item.get("incomplete_details")
    return MessageObject(
        **{
            **fields,
            "thread_id": thread_id,
            "content": [_block(part) for part in item["content"]],
            "incomplete_details": MessageIncomplete(**incomplete) if incomplete else None,
        }
    )


def _block(part: Mapping[str, Any]) -> Mapping[str, Any]:
    if part["type"] in {"input_text", "output_text"}:
        return {"type": "text", "text": {"value": part["text"], "annotations": []}}
    return part


async def known_tools(tools: Sequence[RawTool]) -> Sequence[RawTool]:
    """Check the tools of an assistant or of a run. Raises RequestError."""
    for index, tool in enumerate(tools):
        kind, param = tool.get("type"), f"tools[{index}].type"
        if kind is None:
            raise missing(param)
        if kind not in {*TOOLS, RETRIEVAL}:
            text = f"Invalid value for '{param}': expected one of {', '.join(TOOLS)}."
            raise RequestError(400, text, param=param, code="invalid_value")
    await tools_of(functions_in(tools))
    return [{**tool, "type": "file_search"} if tool["type"] == RETRIEVAL else tool for tool in tools]


def functions_in(tools: Sequence[RawTool]) -> Sequence[RawTool]:
    """Tools as a response has them: a function without nesting."""
    return [{**(tool.get("function") or {}), "type": tool["type"]} for tool in tools]


def choice_in(choice: str | RawTool | None) -> Any:
    """The choice of a tool as a response has it: a function without nesting."""
    if isinstance(choice, dict) and choice.get("type") == "function":
        return {**(choice.get("function") or {}), "type": "function"}
    return choice


def known_resources(resources: Mapping[str, Any]) -> Mapping[str, Any]:
    """The resources of tools without the vector stores to create: Mimic has none."""
    return {
        name: {key: value for key, value in one.items() if key != "vector_stores"} if isinstance(one, dict) else one
        for name, one in resources.items()
    }


def written_format(given: Format | None) -> Any:
    """The form of an answer as an object shows it."""
    return "auto" if given is None else msgspec.to_builtins(given)
