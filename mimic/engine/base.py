"""The neutral form of a request and its completion, and the contract of an engine. No name is a vendor's."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar, Final, Literal, TypeAlias

import msgspec

from mimic.corpus.calls import CallChoice, CorpusCall, call_message
from mimic.corpus.conversation import SENDERS, Choice, Message
from mimic.corpus.ladder import MatchPolicy, Rung
from mimic.corpus.schemas import Version
from mimic.corpus.stores.base import Batches
from mimic.engine.instances.schema import JsonSchema
from mimic.engine.logprobs import Logprobs
from mimic.engine.overrides import ToolMode
from mimic.engine.sampling import Sampling
from mimic.tokens import count, cut, encode, encode_all, text_of

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls"]

RESULT_ROLES: Final = frozenset({"tool", "function"})
TOKENS_PER_MESSAGE: Final = 3
TOKENS_PER_NAME: Final = 1
TOKENS_OF_PRIMING: Final = 3
"""Tokens that a chat format adds to its texts (OpenAI's cookbook, "How to count tokens with tiktoken")."""

_SPEAKERS: Final = {role: senders[0] for role, senders in {**SENDERS, "developer": SENDERS["system"]}.items()}
"""A sender for each role of a chat. Any other role has a sender of the same name."""


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    """A call of a tool. ``arguments`` is JSON, or a text for a custom tool; ``tokens`` are its tokens."""

    id: str
    name: str
    arguments: str
    is_custom: bool = False
    tokens: Sequence[int] = ()

    def corpus_call(self) -> CorpusCall:
        """The call in the form of the corpus."""
        try:
            arguments = msgspec.json.decode(self.arguments)
        except (ValueError, RecursionError):
            arguments = None
        return CorpusCall(self.name, arguments if isinstance(arguments, dict) else self.arguments)

    def broken(self) -> "ToolCall":
        """The same call with the first half of its arguments, which is no JSON; a custom tool's call is unchanged."""
        if self.is_custom or not self.arguments:
            return self
        kept = cut(self.tokens, len(self.tokens) // 2) or encode(self.arguments[0])
        return msgspec.structs.replace(self, arguments=text_of(kept), tokens=kept)


class ChatMessage(msgspec.Struct, frozen=True, gc=False):
    """A message of a chat. ``text`` is None if it has no text, for example an image alone or a tool call.

    A message with the role ``tool`` is the result of the call with the id ``call_id``.
    """

    role: str
    text: str | None
    name: str | None = None
    tool_calls: Sequence[ToolCall] = ()
    call_id: str | None = None

    @property
    def is_result(self) -> bool:
        """True for the result of a tool."""
        return self.role in RESULT_ROLES


class Tool(msgspec.Struct, frozen=True):
    """A tool that the model may call: a function with a schema for its parameters, or a custom tool with a text.

    ``param`` is the path of the schema in the request, for errors.
    """

    name: str
    description: str = ""
    parameters: JsonSchema | None = None
    is_custom: bool = False
    source: str = ""
    param: str | None = None


class ToolChoice(msgspec.Struct, frozen=True):
    """The request's choice of tools. ``names`` limits the tools to call; None allows every tool of the request."""

    mode: Literal["none", "auto", "required"] = "auto"
    names: frozenset[str] | None = None


class AnswerFormat(msgspec.Struct, frozen=True):
    """The form of an answer: text, any JSON object, or JSON by a schema. ``param`` is the path of the schema."""

    kind: Literal["text", "json_object", "json_schema"] = "text"
    schema: JsonSchema | None = None
    param: str | None = None


TEXT: Final = AnswerFormat()


class Prompt(msgspec.Struct, frozen=True):
    """The messages to answer.

    ``tokens`` counts a bare text, without a chat format around it; it is None for a chat.
    """

    messages: Sequence[ChatMessage]
    tokens: int | None = None

    def corpus_messages(self) -> list[Message]:
        """The messages with a text or with tool calls, in the form of the corpus."""
        found = []
        for message in self.messages:
            if message.text is not None:
                found.append(Message(_SPEAKERS.get(message.role, message.role), message.text))
            if message.tool_calls:
                found.append(call_message([call.corpus_call() for call in message.tool_calls]))
        return found


class Limits(msgspec.Struct, frozen=True):
    """The limits of an answer: it ends before the first ``stop`` text, and after ``max_tokens`` of ``o200k_base``."""

    stop: Sequence[str] = ()
    max_tokens: int | None = None

    def after_reasoning(self, tokens: int) -> tuple["Limits", int]:
        """The limits that are left after some tokens of reasoning, and the reasoning that they allow."""
        if self.max_tokens is None:
            return self, tokens
        spent = min(tokens, self.max_tokens)
        return Limits(self.stop, self.max_tokens - spent), spent


class Known(msgspec.Struct):
    """The facts of a request that are known so far, for metrics, journal and traces.

    ``owner`` is the owner of the records that the request may read and write, on endpoints with records.
    """

    model: str | None = None
    version: Version | None = None
    owner: str = ""


class CompletionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for completions: its prompts (a chat has one), and the rules to find, draw and end the answers."""

    usage: ClassVar[None] = None
    """The usage that is known before the answer."""

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
    logprobs: int | None = None
    """Most likely tokens to report in the place of each token; None if the request wants no log probabilities."""
    reasoning: int = 0
    """Tokens of reasoning before each answer. They count as tokens of the answer."""
    ignored: Sequence[str] = ()
    """Ignored fields that would change a model's answer."""
    stored: bool = False
    """True if the answer is stored, on endpoints that can store it."""


class Answer(msgspec.Struct, frozen=True):
    """An answer: its text and tool calls after it; the reason for its end; its source in the corpus, if any.

    An answer of Mimic's own has either a text or calls. ``tokens`` are the tokens of the text, then those of the
    arguments of all calls. ``corpus_calls`` are tool calls that the corpus has in place of the text. ``logprobs`` has
    an item for each token, or is empty if each token is certain.
    """

    text: str
    tokens: Sequence[int]
    finish_reason: FinishReason
    source: Choice | None
    tool_calls: Sequence[ToolCall] = ()
    corpus_calls: CallChoice | None = None
    logprobs: Logprobs = ()

    @property
    def text_tokens(self) -> Sequence[int]:
        """The tokens of the text."""
        return self.tokens[: len(self.tokens) - sum(len(call.tokens) for call in self.tool_calls)]

    def with_broken_calls(self) -> "Answer":
        """The same answer with tool calls whose arguments are cut."""
        calls = [call.broken() for call in self.tool_calls]
        tokens = [*self.text_tokens, *(number for call in calls for number in call.tokens)]
        return msgspec.structs.replace(self, tool_calls=calls, tokens=tokens)


Origin: TypeAlias = Rung | Literal["recorded", "upstream"]
"""The origin of an answer: a rung of the corpus, a recording, or the real service."""


class Answers(msgspec.Struct, frozen=True):
    """The answers to one prompt, their origin, and the score of the match, up to 1.

    Answers that Mimic made have neither; recorded answers have no score. Log probabilities are partial if they leave
    rare answers out.
    """

    rung: Origin | None
    score: float | None
    answers: Sequence[Answer]
    is_partial: bool = False


class Usage(msgspec.Struct, frozen=True):
    """Tokens of ``o200k_base``, of the prompts and of the answers. Tokens of reasoning are a part of the latter."""

    prompt_tokens: int
    completion_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """The sum."""
        return self.prompt_tokens + self.completion_tokens


class Completion(msgspec.Struct, frozen=True):
    """The result of a request for completions: one result a prompt, and the usage."""

    is_large: ClassVar[bool] = False

    results: Sequence[Answers]
    usage: Usage

    @property
    def answers(self) -> list[Answer]:
        """The answers to all prompts, in the order of the prompts."""
        return [answer for result in self.results for answer in result.answers]

    def emptied(self) -> "Completion":
        """The same completion with empty answers."""
        replace = msgspec.structs.replace
        results = [
            replace(
                result,
                answers=[
                    replace(answer, text="", tokens=(), finish_reason="stop", tool_calls=(), logprobs=())
                    for answer in result.answers
                ],
            )
            for result in self.results
        ]
        return Completion(results, Usage(self.usage.prompt_tokens))

    def with_broken_calls(self) -> "Completion":
        """The same completion with arguments of tool calls that are no JSON; itself if no tool with JSON is called."""
        if not any(not call.is_custom for answer in self.answers for call in answer.tool_calls):
            return self
        replace = msgspec.structs.replace
        results = [
            replace(
                result,
                answers=[answer.with_broken_calls() if answer.tool_calls else answer for answer in result.answers],
            )
            for result in self.results
        ]
        tokens = sum(len(answer.tokens) for result in results for answer in result.answers)
        reasoning = self.usage.reasoning_tokens
        return replace(self, results=results, usage=Usage(self.usage.prompt_tokens, tokens + reasoning, reasoning))


class LargeCompletion(Completion, frozen=True):
    """A completion that takes long to encode, since it has log probabilities."""

    is_large: ClassVar[bool] = True


class ContinuationsRequest(msgspec.Struct, frozen=True):
    """A request for every message that came next, up to ``limit``.

    With a ``policy``, messages match as in a chat, by role and down the ladder. Without a policy, they match exactly.
    """

    usage: ClassVar[None] = None

    messages: Sequence[Message]
    version: Version
    limit: int | None = None
    policy: MatchPolicy | None = None


class Continuations(msgspec.Struct, frozen=True):
    """The messages that came next, in batches; rung and score if the request has a policy."""

    is_large: ClassVar[bool] = False
    usage: ClassVar[None] = None

    batches: Batches[Choice]
    rung: Rung | None = None
    score: float | None = None


class Engine(ABC):
    """The contract of an engine. Engines form a chain: see :class:`mimic.engine.fallback.Chain`."""

    @abstractmethod
    async def answer(self, prompt: Prompt, request: CompletionRequest) -> Answers:
        """Answer one prompt of the request. Raises Miss if this engine has no answer, and StoreError."""

    def answers(self, prompt: Prompt) -> bool:
        """Return False for prompts that a chain skips this engine for."""
        return True

    async def complete(self, request: CompletionRequest) -> Completion:
        """Answer every prompt; equal prompts get equal answers. Raises the errors of :meth:`answer`."""
        results: list[Answers]
        if len(request.prompts) == 1:
            results = [await self.answer(request.prompts[0], request)]
        else:
            found: dict[tuple[Message, ...], Answers] = {}
            results = []
            for prompt in request.prompts:
                key = tuple(prompt.corpus_messages())
                if key not in found:
                    found[key] = await self.answer(prompt, request)
                results.append(found[key])
        prompt_tokens = completion_tokens = reasoning_tokens = 0
        for prompt, result in zip(request.prompts, results, strict=True):
            prompt_tokens += await chat_tokens(prompt.messages) if prompt.tokens is None else prompt.tokens
            for answer in result.answers:
                completion_tokens += len(answer.tokens)
        if request.reasoning:
            reasoning_tokens = request.reasoning * sum(len(result.answers) for result in results)
            completion_tokens += reasoning_tokens
        if request.tools or request.answer_format.schema is not None:
            prompt_tokens += await definition_tokens(request)
        kind = Completion if request.logprobs is None else LargeCompletion
        return kind(results, Usage(prompt_tokens, completion_tokens, reasoning_tokens))


async def chat_tokens(messages: Sequence[ChatMessage]) -> int:
    """The number of tokens of a chat: roles, names, texts and calls, and the tokens that the chat format adds."""
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
    """The number of tokens in the JSON of a request's tools, and in the schema of its answer."""
    schema = request.answer_format.schema
    texts = [tool.source for tool in request.tools]
    if schema is not None:
        texts.append(msgspec.json.encode(schema.root).decode())
    return sum(map(len, await encode_all(texts)))


@lru_cache(maxsize=64)
def _tokens_of_role(role: str) -> int:
    return count(role)
