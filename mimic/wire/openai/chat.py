"""``POST /v1/chat/completions``."""

import time
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg

from mimic.corpus.conversation import SENDERS, Message
from mimic.corpus.corpus import Corpus
from mimic.corpus.ladder import MatchPolicy
from mimic.engine.retrieval import Answer, Answers, FinishReason, Limits
from mimic.gateway.delivery import EVENTS, Reply
from mimic.gateway.moods import Moody
from mimic.gateway.reach import reach_of
from mimic.gateway.throttle import spend
from mimic.server.errors import ApiError, documented
from mimic.server.fastpath import Plain
from mimic.server.observability.requests import Metrics
from mimic.settings import Settings
from mimic.tokens import count, encode_all
from mimic.wire.openai.answers import (
    STREAM_HEADERS,
    Usage,
    answer_all,
    event_stream,
    match_headers,
    new_id,
    whole_answer,
)
from mimic.wire.openai.mishaps import emptied
from mimic.wire.openai.models import version_of
from mimic.wire.openai.requests import Sampled
from mimic.wire.openai.timing import due_of
from mimic.wire.sse import MARKER, TOKENS_AT_ONCE, EventPlan, Template, TokenStream, frames, in_turn, paced

PATH: Final = "/chat/completions"
EXAMPLE: Final = {"model": "mimic-v3", "messages": [{"role": "user", "content": "Write a haiku about the sea"}]}

TOKENS_PER_MESSAGE: Final = 3
TOKENS_PER_NAME: Final = 1
TOKENS_OF_PRIMING: Final = 3
"""What OpenAI's chat format adds to the texts (its cookbook, "How to count tokens with tiktoken")."""

TokenLimit: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
MAY_BE_SILENT: Final = frozenset({"assistant", "function"})

Role: TypeAlias = Literal["developer", "system", "user", "assistant", "tool", "function"]


class Part(msgspec.Struct, frozen=True):
    """A part of a message. Those of other types than ``text`` are accepted and left out."""

    type: Literal["text", "image_url", "input_audio", "file", "refusal"]
    text: str | None = None


class ChatMessage(msgspec.Struct, frozen=True):
    """A message of the chat. An assistant's may have no content, where it called tools."""

    role: Role
    content: str | Sequence[Part] | msgspec.UnsetType | None = msgspec.UNSET
    name: str | None = None

    @property
    def text(self) -> str | None:
        """The content, or its text parts joined; None where there is none, as with an image alone."""
        if isinstance(self.content, str):
            return self.content
        if not self.content:
            return None
        texts = [part.text or "" for part in self.content if part.type == "text"]
        return "".join(texts) if texts else None


class ChatCompletionRequest(Sampled, frozen=True, kw_only=True):
    """The chat so far, and how to draw the answer from all that came next in the corpus."""

    messages: Annotated[Sequence[ChatMessage], msgspec.Meta(min_length=1)]
    max_tokens: TokenLimit | None = None
    max_completion_tokens: TokenLimit | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None

    def limits(self) -> Limits:
        """Where to end; the newer name of the limit wins."""
        limits = super().limits()
        if self.max_completion_tokens is None:
            return limits
        return msgspec.structs.replace(limits, max_tokens=self.max_completion_tokens)


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
    usage: Usage
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
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET
    service_tier: Literal["default"] = "default"


@post(
    PATH,
    status_code=200,
    summary="Answer a chat",
    tags=["OpenAI"],
    operation_class=Moody,
    description=(
        "Draws from what really came next in the corpus, after the last two messages (mimic-v3) or the last one. "
        "Fields of OpenAI's that are not listed are accepted and ignored."
    ),
    responses={
        200: ResponseSpec(
            ChatCompletion,
            description="The answers; with `stream`, server-sent events of `chat.completion.chunk` objects.",
            generate_examples=False,
        ),
        **documented(400, 401, 404, 413, 415, 429, 503),
    },
)
async def complete_chat(
    data: Annotated[ChatCompletionRequest, BodyKwarg(media_type="application/json", examples=[Example(value=EXAMPLE)])],
    request: Request[Any, Any, Any],
    corpus: NamedDependency[Corpus],
    settings: NamedDependency[Settings],
    metrics: NamedDependency[Metrics],
) -> Response[Any]:
    """The answer is found before the first byte is sent, so whatever goes wrong is an error answer."""
    request.state.model = data.model
    data.check()
    due, policy = due_of(request, settings), reach_of(request, settings)
    version = request.state.version = version_of(data.model, settings)
    found = await answer_all([tuple(said(data.messages))], data, version, corpus, metrics, settings, policy)
    answered = await Answered.of(data, *emptied(found, request))
    spend(request, answered.usage)
    headers = match_headers([answered.found])
    if data.stream:
        return await event_stream(answered.script(), headers, request, due)
    tokens = max(len(one.tokens) for one in answered.found.answers)
    return await whole_answer(answered.completion(), tokens, headers, request, due)


def plain(corpus: Corpus, settings: Settings, metrics: Metrics) -> Plain[ChatCompletionRequest]:
    """The same where nobody is made to wait."""
    policy = MatchPolicy(settings.match, settings.min_score)

    async def answer(data: ChatCompletionRequest, query: bytes, state: dict[str, Any]) -> Reply:
        state["model"] = data.model
        data.check()
        version = state["version"] = version_of(data.model, settings)
        found = await answer_all([tuple(said(data.messages))], data, version, corpus, metrics, settings, policy)
        answered = await Answered.of(data, *found)
        state["usage"] = answered.usage
        headers = match_headers(found)
        if not data.stream:
            return Reply(msgspec.json.encode(answered.completion()), headers)
        is_short = answered.usage.completion_tokens <= TOKENS_AT_ONCE
        script = answered.script()
        body = script.whole() if is_short else paced(script, None)
        return Reply(body, {**STREAM_HEADERS, **headers}, EVENTS)

    return Plain(ChatCompletionRequest, answer)


class Answered(msgspec.Struct, frozen=True):
    """An answered chat, and the shapes in which it may be sent."""

    data: ChatCompletionRequest
    found: Answers
    usage: Usage
    id: str
    created: int

    @classmethod
    async def of(cls, data: ChatCompletionRequest, found: Answers) -> "Answered":
        """Count the tokens, and give it a name."""
        usage = Usage.of(await prompt_tokens(data.messages), found.answers)
        return cls(data, found, usage, new_id("chatcmpl"), int(time.time()))

    def completion(self) -> ChatCompletion:
        """The answers, whole."""
        choices = [
            ChatChoice(index, AnswerMessage(one.text), one.finish_reason)
            for index, one in enumerate(self.found.answers)
        ]
        return ChatCompletion(
            id=self.id, created=self.created, model=self.data.model, choices=choices, usage=self.usage
        )

    def script(self) -> EventPlan:
        """The answers as a stream."""
        usage = self.usage if self.data.wants_usage() else None
        blank = ChatCompletionChunk(
            id=self.id,
            created=self.created,
            model=self.data.model,
            choices=(),
            usage=None if usage else msgspec.UNSET,
        )
        return script(blank, self.found.answers, usage)


def said(messages: Sequence[ChatMessage]) -> list[Message]:
    """The chat as the corpus has it: what has no text was not said. Raises ApiError where a message has no content."""
    for index, message in enumerate(messages):
        check_content(message, f"messages[{index}].content")
    return [Message(_sender(message.role), message.text) for message in messages if message.text is not None]


def check_content(message: ChatMessage, path: str) -> None:
    """Raises ApiError where content or a text is missing: only who called tools, or is one, may have said nothing."""
    content = message.content
    if content is None and message.role not in MAY_BE_SILENT:
        text = f"Invalid type for '{path}': expected a string or an array, but got null instead."
        raise ApiError(400, text, param=path, code="invalid_type")
    missing = [path] if content is msgspec.UNSET and message.role not in MAY_BE_SILENT else []
    if content and not isinstance(content, str):
        missing += [f"{path}[{n}].text" for n, part in enumerate(content) if part.type == "text" and part.text is None]
    if missing:
        text = f"Missing required parameter: '{missing[0]}'."
        raise ApiError(400, text, param=missing[0], code="missing_required_parameter")


async def prompt_tokens(messages: Sequence[ChatMessage]) -> int:
    """The tokens of a chat's roles, names and texts, and what the chat format adds."""
    named = [message.name for message in messages if message.name is not None]
    texts = [message.text or "" for message in messages]
    format_tokens = TOKENS_OF_PRIMING + TOKENS_PER_MESSAGE * len(messages) + TOKENS_PER_NAME * len(named)
    role_tokens = sum(tokens_of_role(message.role) for message in messages)
    return format_tokens + role_tokens + sum(map(len, await encode_all(texts + named)))


@cache
def tokens_of_role(role: Role) -> int:
    """The tokens of a role's name."""
    return count(role)


def script(blank: ChatCompletionChunk, answers: Sequence[Answer], usage: Usage | None) -> EventPlan:
    """A stream, made from a chunk without choices: the roles, a chunk a token, the ends, the usage."""

    def chunk(index: int, delta: Delta, finish_reason: FinishReason | None = None) -> ChatCompletionChunk:
        return msgspec.structs.replace(blank, choices=(ChunkChoice(index, delta, None, finish_reason),))

    opening = [chunk(index, Delta(role="assistant", content="")) for index in range(len(answers))]
    tracks = [
        TokenStream(
            Template.of(chunk(index, Delta(content=MARKER))),
            answer.tokens,
            frames([chunk(index, Delta(), answer.finish_reason)]),
        )
        for index, answer in enumerate(answers)
    ]
    ending = [msgspec.structs.replace(blank, usage=usage)] if usage else []
    return EventPlan(frames(opening), in_turn(tracks), frames(ending))


def _sender(role: Role) -> str:
    """A sender who speaks in a role of the API's."""
    return SENDERS.get("system" if role == "developer" else role, (role,))[0]
