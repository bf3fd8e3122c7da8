"""``/v1/responses/compact``: one item that stands for the last items of a long input."""

from typing import Any, ClassVar, Literal

import msgspec

from mimic.engine.base import CompletionRequest, Known, Usage, chat_tokens
from mimic.engine.overrides import Overrides
from mimic.records.base import new_id
from mimic.wire.json import decode
from mimic.wire.openai.base import Names, OpenAIWire, created_now
from mimic.wire.openai.parts import missing
from mimic.wire.openai.responses.answer import ResponseUsage, item_id
from mimic.wire.openai.responses.history import History
from mimic.wire.openai.responses.items import COMPACTION, compacted
from mimic.wire.openai.responses.request import InputFields
from mimic.wire.openai.responses.wire import InputReader


class Compaction(msgspec.Struct, frozen=True):
    """The content of a compaction, and the tokens of the input that it stands for."""

    is_large: ClassVar[bool] = False

    content: str
    usage: Usage


class CompactRequest(CompletionRequest, frozen=True, kw_only=True):
    """A request for a compaction, with its content."""

    content: str


class CompactedResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The answer: a list with the item."""

    id: str
    object: Literal["response.compaction"] = "response.compaction"
    created_at: int
    output: list[dict[str, Any]]
    usage: ResponseUsage


class CompactWire(OpenAIWire[CompactRequest, Compaction]):
    """Compactions of inputs."""

    def __init__(self, names: Names, history: History) -> None:
        self._names = names
        self._input = InputReader(history)
        self._decoder = msgspec.json.Decoder(InputFields)

    async def read(self, body: bytes, query: bytes, overrides: Overrides, known: Known) -> CompactRequest:
        data = decode(self._decoder, body)
        if data.model is None:
            raise missing("model")
        known.model = model = data.model
        version = self._names.version_of(model)
        given = await self._input.read(data, known.owner)
        content = compacted([*given.past.items, *given.items])
        return CompactRequest(model=model, version=version, prompts=(given.prompt,), content=content)

    def whole(self, request: CompactRequest, result: Compaction) -> bytes:
        response_id = new_id("resp")
        item = {"type": COMPACTION, "id": item_id(response_id, "cmp", 0), "encrypted_content": result.content}
        usage = ResponseUsage.of(result.usage)
        answer = CompactedResponse(id=response_id, created_at=created_now(), output=[item], usage=usage)
        return msgspec.json.encode(answer)


async def compact(request: CompactRequest) -> Compaction:
    """Count the tokens of an input, and return its compaction."""
    return Compaction(request.content, Usage(await chat_tokens(request.prompts[0].messages)))
