"""``/v1/completions``: OpenAI's older format. A prompt is one user message."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec.structs import replace

from mimic.engine.base import Answer, ChatMessage, Completion, FinishReason, Prompt
from mimic.engine.logprobs import Logprobs, certain
from mimic.errors import RequestError
from mimic.tokens import encode
from mimic.wire.openai.base import Input, OpenAIUsage, Texts, created_now, encoding_of, inputs_of, new_id
from mimic.wire.openai.ignored import OF_PROMPTS, IgnoredFields
from mimic.wire.openai.logprobs import Offsets, TextLogprobs, logprobs_in, text_logprobs
from mimic.wire.openai.sampled import MAX_ANSWERS, OpenAIRequest, Sampled, SampledWire, UsageField, choice_in_json

PATH: Final = "/v1/completions"


class TextCompletionRequest(Sampled, frozen=True, kw_only=True):
    """A prompt or several, each a text or a list of tokens; null is an empty prompt."""

    prompt: Texts | None
    echo: bool | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=5)] | None = None
    best_of: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    suffix: str | None = None

    @property
    def is_echoed(self) -> bool:
        """True if each answer begins with its prompt."""
        return bool(self.echo)

    def most_likely(self) -> int | None:
        return self.logprobs


class TextChoice(msgspec.Struct, frozen=True):
    """An answer to one of the prompts, or the addition of a chunk to it."""

    index: int
    text: str
    finish_reason: Literal["stop", "length"] | None
    logprobs: TextLogprobs | None = None


class TextCompletion(msgspec.Struct, frozen=True, kw_only=True):
    """The answers, or a chunk of them. In chunks ``usage`` is present if requested, and null before the last one."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: Sequence[TextChoice]
    usage: OpenAIUsage | msgspec.UnsetType | None = msgspec.UNSET


class CompletionsWire(SampledWire[TextCompletionRequest, TextCompletion]):
    """OpenAI's text completions."""

    kind = TextCompletionRequest
    left_out = IgnoredFields(OF_PROMPTS)

    async def prompts(self, data: TextCompletionRequest) -> Sequence[Prompt]:
        given = "" if data.prompt is None else data.prompt
        return _prompts(await inputs_of(given, "prompt", encoding_of(data.model)), data.n or 1)

    def whole(self, request: OpenAIRequest, result: Completion) -> bytes:
        choices = [
            TextChoice(index, echo + answer.text, _reason(answer.finish_reason))
            for index, (echo, answer) in enumerate(zip(_echoes(request, result), result.answers, strict=True))
        ]
        if request.logprobs is not None:
            choices = [
                replace(choice, logprobs=_logprobs(choice.index, answer, request))
                for choice, answer in zip(choices, result.answers, strict=True)
            ]
        blank = self.blank(request, OpenAIUsage.of(result.usage))
        return msgspec.json.encode(msgspec.structs.replace(blank, choices=choices))

    def blank(self, request: OpenAIRequest, usage: UsageField) -> TextCompletion:
        return TextCompletion(id=new_id("cmpl"), created=created_now(), model=request.model, choices=(), usage=usage)

    def choice(self, index: int, text: str | None, finish_reason: FinishReason | None = None) -> TextChoice:
        return TextChoice(index, text or "", finish_reason and _reason(finish_reason))

    def opening(self, request: OpenAIRequest, result: Completion) -> Iterable[bytes]:
        """The echoed prompts."""
        choices = [self.choice(index, echo) for index, echo in enumerate(_echoes(request, result)) if echo]
        if request.logprobs is not None:
            choices = [
                replace(choice, logprobs=text_logprobs(_echoed(choice.index, request), Offsets())) for choice in choices
            ]
        return map(choice_in_json, choices)

    def logprobs(self, index: int, answer: Answer, request: OpenAIRequest) -> Iterable[TextLogprobs]:
        offsets = Offsets()
        for one in _echoed(index, request):
            offsets.place(one.token)
        return (text_logprobs((one,), offsets) for one in logprobs_in(answer, request.logprobs))


def _prompts(inputs: Sequence[Input], n: int) -> list[Prompt]:
    """The prompts. Raises RequestError if they need too many answers."""
    if len(inputs) * n > MAX_ANSWERS:
        raise RequestError(
            400,
            f"Invalid 'prompt': the array is too long. Expected at most {MAX_ANSWERS} answers, 'n' to each prompt.",
            param="prompt",
            code="array_above_max_length",
        )
    return [Prompt((ChatMessage("user", text.text),), text.tokens) for text in inputs]


def _echoes(request: OpenAIRequest, result: Completion) -> list[str]:
    """The text before each answer: its prompt if ``echo`` is set."""
    return [
        (prompt.messages[0].text or "") if request.echo else ""
        for prompt, answers in zip(request.prompts, result.results, strict=True)
        for _ in answers.answers
    ]


def _logprobs(index: int, answer: Answer, request: OpenAIRequest) -> TextLogprobs:
    """The log probabilities of a whole answer, and of the echo before it."""
    return text_logprobs([*_echoed(index, request), *logprobs_in(answer, request.logprobs)], Offsets())


def _echoed(index: int, request: OpenAIRequest) -> Logprobs:
    """The log probabilities of the echo before an answer: the tokens of its prompt are certain."""
    if not request.echo:
        return ()
    text = request.prompts[index // request.sampling.n].messages[0].text or ""
    return certain(encode(text), request.logprobs or 0)


def _reason(reason: FinishReason) -> Literal["stop", "length"]:
    """The finish reason of an answer; a prompt has no tools."""
    return "length" if reason == "length" else "stop"
