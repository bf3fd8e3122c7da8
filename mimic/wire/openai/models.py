"""``/v1/models``: OpenAI's list of models."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from mimic.corpus.manifest import Seeded
from mimic.corpus.schemas import Version
from mimic.errors import RequestError
from mimic.spelling import shown
from mimic.wire.openai.base import CHAT_MODELS, EMBEDDING_MODEL, Names, unknown_model

FINE_TUNED: Final = "ft:"
"""The beginning of the names of fine-tuned models."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model. ``created`` is the time when its version was seeded, in seconds since 1970, or 0."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "mimic"


class DeletedModel(msgspec.Struct, frozen=True):
    """The answer to a deletion."""

    id: str
    object: Literal["model"] = "model"
    deleted: bool = True


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """All models of Mimic."""

    object: Literal["list"] = "list"
    data: Sequence[Model]


def models_of(contents: Mapping[Version, Seeded]) -> list[Model]:
    """A model for each schema version, seeded or not, and a model for embeddings."""
    models = [
        Model(id=name, created=int(contents[version].seeded_at.timestamp()) if version in contents else 0)
        for name, version in CHAT_MODELS.items()
    ]
    return [*models, Model(id=EMBEDDING_MODEL, created=0)]


def model_named(name: str, contents: Mapping[Version, Seeded], names: Names) -> Model:
    """The model that answers requests with this name. With strict names, raises RequestError, 404, if it is unknown."""
    own = {model.id: model for model in models_of(contents)}
    if name in own:
        return own[name]
    if names.strict:
        raise unknown_model(name)
    return msgspec.structs.replace(own[f"mimic-{names.version}"], id=name)


def deleted(name: str) -> DeletedModel:
    """The answer to the deletion of a model. Raises RequestError (403), unless the name is of a fine-tuned model.

    OpenAI lets the owner of a fine-tuned model delete it, and refuses the deletion of other models.
    """
    if name.startswith(FINE_TUNED):
        return DeletedModel(name)
    text = (
        f"You have insufficient permissions for this operation: the model `{shown(name)}` is not yours. "
        f"Only fine-tuned models, whose names begin with `{FINE_TUNED}`, can be deleted."
    )
    raise RequestError(403, text, param="model")
