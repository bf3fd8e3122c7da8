"""Chats, prompts and embeddings, as documentation of their endpoints, and the models."""

from typing import Annotated, Final

from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg, FromPath

from mimic.corpus.corpus import Corpus
from mimic.server.error_handlers import error_responses
from mimic.server.routes.docs import FaultyOperation, LimitedOperation
from mimic.server.routes.openai.shared import GUARDS
from mimic.wire.openai import chat, completions, embeddings
from mimic.wire.openai.base import EMBEDDING_MODEL, Names
from mimic.wire.openai.models import DeletedModel, Model, ModelList, deleted, model_named, models_of

MODEL_PATH: Final = "/v1/models/{model:path}"
CHAT_EXAMPLE: Final = {"model": "mimic-v3", "messages": [{"role": "user", "content": "Write a haiku about the sea"}]}
PROMPT_EXAMPLE: Final = {"model": "mimic-v3", "prompt": "Write a haiku about the sea"}
EMBEDDING_EXAMPLE: Final = {"model": EMBEDDING_MODEL, "input": "Why is the sky blue?", "dimensions": 8}


@post(
    chat.PATH,
    status_code=200,
    summary="Answer a chat",
    operation_class=FaultyOperation,
    description=(
        "Draws from the messages that follow the last two messages (mimic-v3) or the last message in the corpus. "
        "Other fields of OpenAI's API are accepted and ignored."
    ),
    responses={
        200: ResponseSpec(
            chat.ChatCompletion,
            description="The answers; with `stream`, server-sent events of `chat.completion.chunk` objects.",
            generate_examples=False,
        ),
        **error_responses(400, 401, 404, 413, 415, 429, 503),
    },
)
async def complete_chat(
    data: Annotated[
        chat.ChatCompletionRequest, BodyKwarg(media_type="application/json", examples=[Example(value=CHAT_EXAMPLE)])
    ],
) -> Response[None]:
    """Not called: the endpoint answers."""
    raise NotImplementedError


@post(
    completions.PATH,
    status_code=200,
    summary="Answer a prompt",
    operation_class=FaultyOperation,
    description="Answers like a chat with one user message. Without `max_tokens` the answer is complete.",
    responses={
        200: ResponseSpec(
            completions.TextCompletion,
            description="The answers; with `stream`, server-sent events.",
            generate_examples=False,
        ),
        **error_responses(400, 401, 404, 413, 415, 429, 503),
    },
)
async def complete_prompt(
    data: Annotated[
        completions.TextCompletionRequest,
        BodyKwarg(media_type="application/json", examples=[Example(value=PROMPT_EXAMPLE)]),
    ],
) -> Response[None]:
    """Not called: the endpoint answers."""
    raise NotImplementedError


@post(
    embeddings.PATH,
    status_code=200,
    summary="Embed texts",
    operation_class=LimitedOperation,
    description=(
        "A stand-in for an embedding model: the same text always gets the same vector of length 1, and texts that "
        "share words get similar vectors. The vectors do not represent meaning. With MIMIC_EMBEDDING_MODEL the vectors "
        "are those of that model, whatever the model name."
    ),
    responses={
        200: ResponseSpec(embeddings.EmbeddingList, description="The vectors.", generate_examples=False),
        **error_responses(400, 401, 404, 413, 415, 429, 503),
    },
)
async def embed_texts(
    data: Annotated[
        embeddings.EmbeddingRequest,
        BodyKwarg(media_type="application/json", examples=[Example(value=EMBEDDING_EXAMPLE)]),
    ],
) -> Response[None]:
    """Not called: the endpoint answers."""
    raise NotImplementedError


@get(
    "/v1/models",
    summary="List the models",
    guards=GUARDS,
    responses=error_responses(400, 401, 503),
)
async def list_models(corpus: NamedDependency[Corpus]) -> ModelList:
    """Return a model for each schema version, and a model for embeddings."""
    return ModelList(data=models_of(await corpus.contents()))


@get(
    MODEL_PATH,
    summary="Retrieve a model",
    guards=GUARDS,
    responses=error_responses(400, 401, 404, 503),
)
async def retrieve_model(model: FromPath[str], corpus: NamedDependency[Corpus], names: NamedDependency[Names]) -> Model:
    """Return a model for any valid name; with `MIMIC_STRICT_MODELS`, answer 404 for names that are not listed."""
    return model_named(_name_in(model), await corpus.contents(), names)


@delete(
    MODEL_PATH,
    status_code=200,
    summary="Delete a model",
    guards=GUARDS,
    description=(
        "Answers that a fine-tuned model (`ft:...`) is deleted, and changes nothing. Other models are a 403, or with "
        "`MIMIC_STRICT_MODELS` a 404 if they are not listed."
    ),
    responses=error_responses(400, 401, 403, 404, 503),
)
async def delete_model(
    model: FromPath[str], corpus: NamedDependency[Corpus], names: NamedDependency[Names]
) -> DeletedModel:
    """Accept the deletion of a fine-tuned model, for the same names as the route to retrieve a model."""
    return deleted(model_named(_name_in(model), await corpus.contents(), names).id)


def _name_in(path: str) -> str:
    """Return the name of a model in a path. A name such as org/model has slashes."""
    return path.removeprefix("/")
