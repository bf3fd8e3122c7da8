"""The neutral form of a request and its completion, and the contract of an engine. Nothing is named after a vendor."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar, Final, Literal, TypeAlias

import msgspec

from mimic.corpus.calls import CorpusCall, call_message
from mimic.corpus.conversation import SENDERS, Choice, Message
from mimic.corpus.ladder import MatchPolicy, Rung
from mimic.corpus.schemas import Version
from mimic.corpus.stores.base import Batches
from mimic.engine.instances.schema import JsonSchema
from mimic.engine.overrides import ToolMode
from mimic.engine.sampling import Sampling
from mimic.tokens import count, encode_all

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls"]

RESULT_ROLES: Final = frozenset({"tool", "function"})
TOKENS_PER_MESSAGE: Final = 3
TOKENS_PER_NAME: Final = 1
TOKENS_OF_PRIMING: Final = 3
"""Tokens that a chat format adds to its texts (OpenAI's cookbook, "How to count tokens with tiktoken")."""

_SPEAKERS: Final = {role: senders[0] for role, senders in {**SENDERS, "developer": SENDERS["system"]}.items()}
"""A sender who speaks in each role of a chat; of any other role one of the same name."""


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    """A call of a tool. ``arguments`` is JSON, or the text that a custom tool takes, and ``tokens`` those of it."""

    id: str
    name: str
    arguments: str
    is_custom: bool = False
    tokens: Sequence[int] = ()

    def said(self) -> CorpusCall:
        """The call as the corpus has it."""
        try:
            arguments = msgspec.json.decode(self.arguments)
        except (ValueError, RecursionError):
            arguments = None
        return CorpusCall(self.name, arguments if isinstance(arguments, dict) else self.arguments)


class ChatMessage(msgspec.Struct, frozen=True, gc=False):
    """A message of a chat. ``text`` is None where it has no text, as an image alone or a call of a tool.

    A message with the role ``tool`` is the result of the call with the id ``call_id``.
    """

    role: str
    text: str | None
    name: str | None = None
    tool_calls: Sequence[ToolCall] = ()
    call_id: str | None = None

    @property
    def is_result(self) -> bool:
        """Whether it is the result of a tool."""
        return self.role in RESULT_ROLES


class Tool(msgspec.Struct, frozen=True):
    """A tool that the model may call: a function with parameters by a schema, or a custom one that takes a text."""

    name: str
    description: str = ""
    parameters: JsonSchema | None = None
    is_custom: bool = False
    source: str = ""


class ToolChoice(msgspec.Struct, frozen=True):
    """Whether a tool is to be called, and which ones may be; None: any of the request."""

    mode: Literal["none", "auto", "required"] = "auto"
    names: frozenset[str] | None = None


class AnswerFormat(msgspec.Struct, frozen=True):
    """The form of an answer: text, any JSON object, or JSON by a schema."""

    kind: Literal["text", "json_object", "json_schema"] = "text"
    schema: JsonSchema | None = None


TEXT: Final = AnswerFormat()


class Prompt(msgspec.Struct, frozen=True):
    """The messages that an answer is to follow.

    ``tokens`` counts a bare text, which no chat format surrounds; it is None for a chat.
    """

    messages: Sequence[ChatMessage]
    tokens: int | None = None

    def said(self) -> list[Message]:
        """The messages that have a text, and those that call tools, as the corpus has them."""
        said = []
        for one in self.messages:
            if one.text is not None:
                said.append(Message(_SPEAKERS.get(one.role, one.role), one.text))
            if one.tool_calls:
                said.append(call_message([call.said() for call in one.tool_calls]))
        return said


class Limits(msgspec.Struct, frozen=True):
    """The end of an answer: before the first of the ``stop`` texts, and after ``max_tokens`` of ``o200k_base``."""

    stop: Sequence[str] = ()
    max_tokens: int | None = None


class Known(msgspec.Struct):
    """What is known of a request as far as it was read, for metrics, journal and traces."""

    model: str | None = None
    version: Version | None = None


class CompletionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for completions: one prompt or more (a chat has one), and how to find, draw and end the answers."""

    usage: ClassVar[None] = None
    """The tokens that are known before there is an answer."""

    model: str
    version: Version
    prompts: Sequence[Prompt]
    sampling: Sampling = Sampling()
    limits: Limits = Limits()
    tools: Sequence[Tool] = ()
    tool_choice: ToolChoice = ToolChoice()
    parallel_tool_calls: bool = True
    tool_mode: ToolMode | None = None
    answer_format: AnswerFormat = TEXT
    policy: MatchPolicy = MatchPolicy()
    stream: bool = False
    ignored: Sequence[str] = ()
    """Fields that were left out, and that would have changed a model's answer."""


class Answer(msgspec.Struct, frozen=True):
    """One answer: its text, why it ends, where it was said, if anywhere, and the calls of tools in place of a text.

    ``tokens`` are those of the text, or of the arguments of all calls. ``said_calls`` are calls that the corpus has
    in the place of the text, for a request that has these tools.
    """

    text: str
    tokens: Sequence[int]
    finish_reason: FinishReason
    source: Choice | None
    tool_calls: Sequence[ToolCall] = ()
    said_calls: Sequence[CorpusCall] = ()


class Answers(msgspec.Struct, frozen=True):
    """The answers to one prompt, the rung that they were found on, and the score of what was found, up to 1.

    Answers that no corpus gave have neither.
    """

    rung: Rung | None
    score: float | None
    answers: Sequence[Answer]


class Usage(msgspec.Struct, frozen=True):
    """Tokens of ``o200k_base``, of the prompts and of the answers."""

    prompt_tokens: int
    completion_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """The tokens of both."""
        return self.prompt_tokens + self.completion_tokens


class Completion(msgspec.Struct, frozen=True):
    """The result of a request for completions: one result a prompt, and the usage."""

    is_large: ClassVar[bool] = False

    results: Sequence[Answers]
    usage: Usage

    @property
    def answers(self) -> list[Answer]:
        """The answers to the first prompt, then those to the next one."""
        return [answer for result in self.results for answer in result.answers]

    def emptied(self) -> "Completion":
        """The same with answers that say nothing."""
        replace = msgspec.structs.replace
        results = [
            replace(
                one,
                answers=[
                    replace(each, text="", tokens=(), finish_reason="stop", tool_calls=()) for each in one.answers
                ],
            )
            for one in self.results
        ]
        return Completion(results, Usage(self.usage.prompt_tokens))


class ContinuationsRequest(msgspec.Struct, frozen=True):
    """A request for every message that came next; at most ``limit``.

    With a ``policy`` messages match as in a chat, by role and down the ladder; without one, byte for byte.
    """

    usage: ClassVar[None] = None

    messages: Sequence[Message]
    version: Version
    limit: int | None = None
    policy: MatchPolicy | None = None


class Continuations(msgspec.Struct, frozen=True):
    """The messages that came next, in batches; the rung and the score where a ladder was asked for."""

    is_large: ClassVar[bool] = False
    usage: ClassVar[None] = None

    batches: Batches[Choice]
    rung: Rung | None = None
    score: float | None = None


class Engine(ABC):
    """Answers prompts. Engines form a chain: see :class:`mimic.engine.fallback.Chain`."""

    @abstractmethod
    async def answer(self, prompt: Prompt, request: CompletionRequest) -> Answers:
        """The answers to one prompt of the request. Raises Miss where this engine has none, and StoreError."""

    def answers(self, prompt: Prompt) -> bool:
        """Whether such a prompt is asked of this engine at all."""
        return True

    async def complete(self, request: CompletionRequest) -> Completion:
        """The answers to every prompt; equal prompts get equal answers. Raises what :meth:`answer` raises."""
        results: list[Answers]
        if len(request.prompts) == 1:
            results = [await self.answer(request.prompts[0], request)]
        else:
            found: dict[tuple[Message, ...], Answers] = {}
            results = []
            for prompt in request.prompts:
                key = tuple(prompt.said())
                if key not in found:
                    found[key] = await self.answer(prompt, request)
                results.append(found[key])
        prompt_tokens = completion_tokens = 0
        for prompt, one in zip(request.prompts, results, strict=True):
            prompt_tokens += await chat_tokens(prompt.messages) if prompt.tokens is None else prompt.tokens
            for answer in one.answers:
                completion_tokens += len(answer.tokens)
        if request.tools or request.answer_format.schema is not None:
            prompt_tokens += await definition_tokens(request)
        return Completion(results, Usage(prompt_tokens, completion_tokens))


async def chat_tokens(messages: Sequence[ChatMessage]) -> int:
    """The tokens of a chat's roles, names, texts and calls, and those that the chat format adds."""
    total, texts = TOKENS_OF_PRIMING, []
    for message in messages:
        total += TOKENS_PER_MESSAGE + _tokens_of_role(message.role)
        if message.text:
            texts.append(message.text)
        if message.name is not None:
            total += TOKENS_PER_NAME
            texts.append(message.name)
        if message.tool_calls:
            texts += [text for call in message.tool_calls for text in (call.name, call.arguments)]
    return total + sum(map(len, await encode_all(texts)))


async def definition_tokens(request: CompletionRequest) -> int:
    """The tokens of the JSON of a request's tools, and of the schema of its answer."""
    schema = request.answer_format.schema
    texts = [tool.source for tool in request.tools]
    if schema is not None:
        texts.append(msgspec.json.encode(schema.root).decode())
    return sum(map(len, await encode_all(texts)))


@lru_cache(maxsize=64)
def _tokens_of_role(role: str) -> int:
    return count(role)
