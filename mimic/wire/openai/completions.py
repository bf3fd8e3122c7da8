"""``/v1/completions``: OpenAI's older format, in which a prompt is one message of the user's."""

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec

from mimic.engine.base import Answer, ChatMessage, Completion, FinishReason, Known, Prompt
from mimic.engine.overrides import Overrides
from mimic.errors import RequestError
from mimic.wire.base import EventPlan
from mimic.wire.json import decode
from mimic.wire.openai.base import (
    DONE,
    MAX_ANSWERS,
    CompletionOptions,
    Input,
    OpenAIRequest,
    OpenAIUsage,
    OpenAIWire,
    Sampled,
    Texts,
    created_now,
    inputs_of,
    new_id,
)
from mimic.wire.sse import MARKER, Template, TokenStream, frames, in_turn

PATH: Final = "/v1/completions"


class TextCompletionRequest(Sampled, frozen=True, kw_only=True):
    """One prompt or several, each a text or a list of tokens."""

    prompt: Texts
    echo: bool | None = None


class TextChoice(msgspec.Struct, frozen=True):
    """One of ``n`` answers to one of the prompts, or what a chunk adds to it."""

    index: int
    text: str
    finish_reason: FinishReason | None
    logprobs: None = None


class TextCompletion(msgspec.Struct, frozen=True, kw_only=True):
    """The answers, or a chunk of them; ``usage`` is there in chunks if it was asked for, null until the last."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: Sequence[TextChoice]
    usage: OpenAIUsage | msgspec.UnsetType | None = msgspec.UNSET


class CompletionsWire(OpenAIWire[OpenAIRequest, Completion]):
    """OpenAI's text completions."""

    def __init__(self, options: CompletionOptions) -> None:
        self._options = options
        self._decoder = msgspec.json.Decoder(TextCompletionRequest)

    async def read(self, body: bytes, query: bytes, overrides: Overrides, known: Known) -> OpenAIRequest:
        data = decode(self._decoder, body)
        known.model = data.model
        data.check()
        policy = overrides.policy(self._options.policy)
        known.version = version = self._options.names.version_of(data.model)
        return OpenAIRequest(
            model=data.model,
            version=version,
            prompts=_prompts(await inputs_of(data.prompt, "prompt"), data.n or 1),
            sampling=data.sampling(),
            limits=data.limits(),
            policy=policy,
            stream=bool(data.stream),
            include_usage=data.wants_usage(),
            echo=bool(data.echo),
        )

    def whole(self, request: OpenAIRequest, result: Completion) -> bytes:
        choices = [
            TextChoice(index, echo + one.text, one.finish_reason)
            for index, (echo, one) in enumerate(zip(_echoed(request, result), result.answers, strict=True))
        ]
        usage = OpenAIUsage.of(result.usage)
        return msgspec.json.encode(msgspec.structs.replace(_blank(request), choices=choices, usage=usage))

    def streams(self, request: OpenAIRequest) -> bool:
        return request.stream

    def events(self, request: OpenAIRequest, result: Completion) -> EventPlan:
        """The echoed prompts, a chunk a token, the ends, the usage."""
        usage = OpenAIUsage.of(result.usage) if request.include_usage else None
        blank = msgspec.structs.replace(_blank(request), usage=None if usage else msgspec.UNSET)
        opening = [_chunk(blank, index, echo) for index, echo in enumerate(_echoed(request, result)) if echo]
        ending = [msgspec.structs.replace(blank, usage=usage)] if usage else []
        tokens = result.usage.completion_tokens
        return EventPlan(frames(opening), _steps(blank, result.answers), frames(ending), DONE, tokens)


def _prompts(inputs: Sequence[Input], n: int) -> list[Prompt]:
    """The prompts. Raises RequestError where they want more answers than are allowed."""
    if len(inputs) * n > MAX_ANSWERS:
        raise RequestError(
            400,
            f"Invalid 'prompt': the array is too long. Expected at most {MAX_ANSWERS} answers, 'n' to each prompt.",
            param="prompt",
            code="array_above_max_length",
        )
    return [Prompt((ChatMessage("user", one.text),), one.tokens) for one in inputs]


def _echoed(request: OpenAIRequest, result: Completion) -> list[str]:
    """The text in front of each answer: its prompt where that was asked for."""
    return [
        (prompt.messages[0].text or "") if request.echo else ""
        for prompt, answers in zip(request.prompts, result.results, strict=True)
        for _ in answers.answers
    ]


def _steps(blank: TextCompletion, answers: Sequence[Answer]) -> Iterator[bytes]:
    streams = [
        TokenStream(
            Template.of(_chunk(blank, index, MARKER)),
            answer.tokens,
            frames([_chunk(blank, index, "", answer.finish_reason)]),
        )
        for index, answer in enumerate(answers)
    ]
    return in_turn(streams)


def _chunk(blank: TextCompletion, index: int, text: str, finish_reason: FinishReason | None = None) -> TextCompletion:
    return msgspec.structs.replace(blank, choices=(TextChoice(index, text, finish_reason),))


def _blank(request: OpenAIRequest) -> TextCompletion:
    return TextCompletion(id=new_id("cmpl"), created=created_now(), model=request.model, choices=())
