"""``/v1/moderations``: OpenAI's format for checks of texts and images."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from mimic.engine.base import Known
from mimic.engine.moderation import CATEGORIES, ModerationRequest, Verdict, Verdicts
from mimic.engine.overrides import Overrides
from mimic.errors import RequestError
from mimic.wire.json import decode
from mimic.wire.openai.base import Names, OpenAIWire, new_id, unknown_model

PATH: Final = "/v1/moderations"
DEFAULT_MODEL: Final = "omni-moderation-latest"
MODELS: Final = frozenset(
    {DEFAULT_MODEL, "omni-moderation-2024-09-26", "text-moderation-latest", "text-moderation-stable"}
)
"""The names that strict names allow."""
OF_IMAGES: Final = frozenset(
    {
        *("self-harm", "self-harm/instructions", "self-harm/intent"),
        *("sexual", "violence", "violence/graphic"),
    }
)
"""The categories that OpenAI checks images for."""


class ImageURL(msgspec.Struct, frozen=True):
    """An image; it is not looked at."""

    url: str


class TextInput(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """A text of one input."""

    text: str


class ImageInput(msgspec.Struct, frozen=True, tag_field="type", tag="image_url"):
    """An image of one input."""

    image_url: ImageURL


InputKind: TypeAlias = Literal["text", "image"]
ModerationInput: TypeAlias = str | Annotated[Sequence[str | TextInput | ImageInput], msgspec.Meta(min_length=1)]


class ModerationParameters(msgspec.Struct, frozen=True, kw_only=True):
    """A text, several texts, or one input in parts."""

    input: ModerationInput
    model: Annotated[str, msgspec.Meta(min_length=1)] | None = None


class ModerationResult(msgspec.Struct, frozen=True):
    """The result of one input: its categories, their scores, and the kinds of input that they apply to."""

    flagged: bool
    categories: Mapping[str, bool]
    category_scores: Mapping[str, float]
    category_applied_input_types: Mapping[str, Sequence[InputKind]]


class ModerationList(msgspec.Struct, frozen=True):
    """A result for each input."""

    id: str
    model: str
    results: Sequence[ModerationResult]


class OpenAIModerationRequest(ModerationRequest, frozen=True, kw_only=True):
    """A request to check texts. ``has_text`` and ``has_image`` are true for an input with that kind of parts."""

    has_text: bool = True
    has_image: bool = False


class ModerationsWire(OpenAIWire[OpenAIModerationRequest, Verdicts]):
    """OpenAI's moderations."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._decoder = msgspec.json.Decoder(ModerationParameters)

    async def read(self, body: bytes, query: bytes, overrides: Overrides, known: Known) -> OpenAIModerationRequest:
        data = decode(self._decoder, body)
        known.model = model = data.model or DEFAULT_MODEL
        if self._names.strict and model not in MODELS:
            raise unknown_model(model)
        if isinstance(data.input, str):
            return OpenAIModerationRequest(model=model, texts=[data.input])
        texts = [one for one in data.input if isinstance(one, str)]
        parts = [one for one in data.input if not isinstance(one, str)]
        if texts and parts:
            text = "Invalid type for 'input': expected all texts or all parts, but got a mixture."
            raise RequestError(400, text, param="input", code="invalid_type")
        return OpenAIModerationRequest(model=model, texts=texts) if texts else _of_parts(model, parts)

    def whole(self, request: OpenAIModerationRequest, result: Verdicts) -> bytes:
        results = [_result(verdict, request) for verdict in result.verdicts]
        return msgspec.json.encode(ModerationList(new_id("modr"), request.model, results))


def _of_parts(model: str, parts: Sequence[TextInput | ImageInput]) -> OpenAIModerationRequest:
    """The request for one input in parts."""
    texts = [part.text for part in parts if isinstance(part, TextInput)]
    return OpenAIModerationRequest(
        model=model, texts=["\n".join(texts)], has_text=bool(texts), has_image=len(texts) < len(parts)
    )


def _result(verdict: Verdict, request: OpenAIModerationRequest) -> ModerationResult:
    text: list[InputKind] = ["text"] if request.has_text else []
    image: list[InputKind] = ["image"] if request.has_image else []
    kinds = {category: text + image if category in OF_IMAGES else text for category in CATEGORIES}
    categories = {category: category in verdict.flagged for category in CATEGORIES}
    return ModerationResult(bool(verdict.flagged), categories, verdict.scores, kinds)
