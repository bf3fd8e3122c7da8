"""``GET /v1/models``, and what a model's name stands for."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath

from mimic.corpus.corpus import Corpus
from mimic.corpus.schemas import VERSIONS, Version
from mimic.server.errors import ApiError, documented
from mimic.settings import Settings

CHAT_MODELS: Final[Mapping[str, Version]] = {f"mimic-{version}": version for version in VERSIONS}
EMBEDDING_MODEL: Final = "mimic-embedding"


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model; ``created`` is when its version of the corpus was seeded, in seconds since 1970, or 0."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "mimic"


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """Every model that Mimic has by a name of its own."""

    object: Literal["list"] = "list"
    data: Sequence[Model]


@get("/models", summary="The models", tags=["OpenAI"], responses=documented(401, 503))
async def list_models(corpus: NamedDependency[Corpus]) -> ModelList:
    """One per schema version, and one for embeddings."""
    return ModelList(data=await _models(corpus))


@get("/models/{model:path}", summary="One model", tags=["OpenAI"], responses=documented(401, 404, 503))
async def retrieve_model(model: FromPath[str], corpus: NamedDependency[Corpus]) -> Model:
    """404 for any that is not listed, also where its name is accepted in requests."""
    asked = model.removeprefix("/")  # a path, since names as org/model have a slash
    for found in await _models(corpus):
        if found.id == asked:
            return found
    raise unknown_model(asked)


def version_of(model: str, settings: Settings) -> Version:
    """The schema version that a model's name stands for. Raises ApiError where names are strict, and it is unknown."""
    if settings.strict_models and model not in CHAT_MODELS:
        raise unknown_model(model)
    return CHAT_MODELS.get(model, settings.version)


def unknown_model(model: str) -> ApiError:
    """The error for a model that does not exist."""
    return ApiError(404, f"The model `{model}` does not exist", param="model", code="model_not_found")


async def _models(corpus: Corpus) -> list[Model]:
    seeded = await corpus.store.seeded()
    models = [
        Model(id=name, created=int(seeded[version].seeded_at.timestamp()) if version in seeded else 0)
        for name, version in CHAT_MODELS.items()
    ]
    return [*models, Model(id=EMBEDDING_MODEL, created=0)]
