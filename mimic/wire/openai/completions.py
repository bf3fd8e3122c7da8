"""``POST /v1/completions``, OpenAI's older API: a prompt as one message of the user's."""

import time
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg

from mimic.corpus.conversation import Message
from mimic.corpus.corpus import Corpus
from mimic.engine.retrieval import Answer, FinishReason
from mimic.gateway.moods import Moody
from mimic.gateway.reach import reach_of
from mimic.gateway.throttle import spend
from mimic.server.errors import ApiError, documented
from mimic.server.observability.requests import Metrics
from mimic.settings import Settings
from mimic.wire.openai.answers import Usage, answer_all, event_stream, match_headers, new_id, whole_answer
from mimic.wire.openai.mishaps import emptied
from mimic.wire.openai.models import version_of
from mimic.wire.openai.requests import MOST_ANSWERS, Sampled, Texts, inputs_of
from mimic.wire.openai.timing import due_of
from mimic.wire.sse import MARKER, EventPlan, Template, TokenStream, frames, in_turn

EXAMPLE: Final = {"model": "mimic-v3", "prompt": "Write a haiku about the sea"}


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
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET


@post(
    "/completions",
    status_code=200,
    summary="Answer a prompt",
    tags=["OpenAI"],
    operation_class=Moody,
    description="As a chat of one message of the user's. Without `max_tokens` the answer is whole.",
    responses={
        200: ResponseSpec(
            TextCompletion, description="The answers; with `stream`, server-sent events.", generate_examples=False
        ),
        **documented(400, 401, 404, 413, 415, 429, 503),
    },
)
async def complete_prompt(
    data: Annotated[TextCompletionRequest, BodyKwarg(media_type="application/json", examples=[Example(value=EXAMPLE)])],
    request: Request[Any, Any, Any],
    corpus: NamedDependency[Corpus],
    settings: NamedDependency[Settings],
    metrics: NamedDependency[Metrics],
) -> Response[Any]:
    """The answers to the first prompt, then those to the next one."""
    request.state.model = data.model
    data.check()
    wants_usage, due, policy = data.wants_usage(), due_of(request, settings), reach_of(request, settings)
    version = request.state.version = version_of(data.model, settings)
    prompts = await inputs_of(data.prompt, "prompt")
    if len(prompts) * (data.n or 1) > MOST_ANSWERS:
        raise ApiError(
            400,
            f"Invalid 'prompt': the array is too long. Expected at most {MOST_ANSWERS} answers, 'n' to each prompt.",
            param="prompt",
            code="array_above_max_length",
        )
    chats = [(Message("human", prompt.text),) for prompt in prompts]
    found = emptied(await answer_all(chats, data, version, corpus, metrics, settings, policy), request)
    answers = [one for answers in found for one in answers.answers]
    usage = Usage.of(sum(prompt.tokens for prompt in prompts), answers)
    echoed = [prompt.text if data.echo else "" for prompt in prompts for _ in range(len(answers) // len(prompts))]
    spend(request, usage)
    headers = match_headers(found)
    blank = TextCompletion(id=new_id("cmpl"), created=int(time.time()), model=data.model, choices=())
    if data.stream:
        blank = msgspec.structs.replace(blank, usage=None if wants_usage else msgspec.UNSET)
        stream = script(blank, echoed, answers, usage if wants_usage else None)
        return await event_stream(stream, headers, request, due)
    choices = [
        TextChoice(index, echo + one.text, one.finish_reason)
        for index, (echo, one) in enumerate(zip(echoed, answers, strict=True))
    ]
    completion = msgspec.structs.replace(blank, choices=choices, usage=usage)
    return await whole_answer(completion, max(len(one.tokens) for one in answers), headers, request, due)


def script(blank: TextCompletion, echoed: Sequence[str], answers: Sequence[Answer], usage: Usage | None) -> EventPlan:
    """A stream, made from a chunk without choices: what is echoed, a chunk a token, the ends, the usage."""

    def chunk(index: int, text: str, finish_reason: FinishReason | None = None) -> TextCompletion:
        return msgspec.structs.replace(blank, choices=(TextChoice(index, text, finish_reason),))

    opening = [chunk(index, echo) for index, echo in enumerate(echoed) if echo]
    tracks = [
        TokenStream(Template.of(chunk(index, MARKER)), answer.tokens, frames([chunk(index, "", answer.finish_reason)]))
        for index, answer in enumerate(answers)
    ]
    ending = [msgspec.structs.replace(blank, usage=usage)] if usage else []
    return EventPlan(frames(opening), in_turn(tracks), frames(ending))
