"""A sentence-embedding model: a vector of length 1 for each text. The dot product of two is the cosine of their angle.

The model is a folder with ``model.onnx`` and ``tokenizer.json``. This module needs the packages of the extra
``meaning``, so it is imported only if ``MIMIC_EMBEDDING_MODEL`` is set.
"""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any, Final, TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from mimic.corpus.similar.model_folder import MODEL_FILE, TOKENIZER_FILE
from mimic.errors import UnusableModel

Matrix: TypeAlias = NDArray[np.float32]

MAX_TOKENS: Final = 256
"""Tokens of a text that count, the special ones included: the model leaves out the rest."""
MAX_CHARACTERS: Final = 2_000
"""Characters of a text that are encoded: more are hardly ever within the limit of tokens."""
THREADS: Final = min(4, os.cpu_count() or 1)
"""Threads that compute one vector."""
POOLED: Final = "sentence_embedding"
"""Output of models that pool themselves."""


class EmbeddingModel:
    """The model of a folder, loaded at the first vector. One session serves the whole process.

    Each method raises UnusableModel if a file cannot be loaded, or if the model has other inputs than a text encoder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mimic-embedding")

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of ``model.onnx``. Blocks at the first use."""
        try:
            with (self._folder / MODEL_FILE).open("rb") as file:
                digest = sha256()
                while piece := file.read(1 << 20):
                    digest.update(piece)
        except OSError as exc:
            raise _unusable(exc) from exc
        return digest.hexdigest()

    @property
    def size(self) -> int:
        """The number of dimensions. Blocks at the first use."""
        return len(self.vector("size"))

    def vector(self, text: str) -> Matrix:
        """The vector of a text. Blocks.

        Texts are computed one by one: in a batch, padding and the common scales of int8 models change the vectors.
        """
        tokenizer, session = self._loaded
        encoded = tokenizer.encode(text[:MAX_CHARACTERS])
        given = {
            "input_ids": encoded.ids,
            "attention_mask": encoded.attention_mask,
            "token_type_ids": encoded.type_ids,
        }
        inputs = {one.name: np.array([given[one.name]], np.int64) for one in session.get_inputs()}
        names = [one.name for one in session.get_outputs()]
        output: Any = session.run([POOLED if POOLED in names else names[0]], inputs)[0]
        pooled = output if output.ndim == 2 else mean_pooled(output, inputs["attention_mask"])  # noqa: PLR2004
        vector: Matrix = normalized_rows(np.asarray(pooled, np.float32))[0]
        return vector

    async def embed(self, text: str) -> Matrix:
        """The vector of a text, computed in the thread of the model. Texts of several requests take turns."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.vector, text)

    @property
    def _loaded(self) -> tuple[Tokenizer, Any]:
        with self._lock:  # the seeder uses other threads than that of the model
            return self._load_once

    @cached_property
    def _load_once(self) -> tuple[Tokenizer, Any]:
        try:
            tokenizer = Tokenizer.from_file(str(self._folder / TOKENIZER_FILE))
            session = onnxruntime.InferenceSession(
                str(self._folder / MODEL_FILE), _options(), providers=["CPUExecutionProvider"]
            )
        except Exception as exc:  # both libraries raise bare Exception
            raise _unusable(exc) from exc
        names = {one.name for one in session.get_inputs()}
        if not {"input_ids"} <= names <= {"input_ids", "attention_mask", "token_type_ids"}:
            text = f"{MODEL_FILE} is no text encoder: its inputs are {', '.join(sorted(names))}"
            raise UnusableModel(text, public=text)
        tokenizer.enable_truncation(MAX_TOKENS)
        tokenizer.no_padding()
        return tokenizer, session


def mean_pooled(hidden: NDArray[Any], mask: Sequence[Sequence[int]] | NDArray[Any]) -> Matrix:
    """The mean of the hidden states (texts, tokens, dimensions) of the tokens that the mask (texts, tokens) keeps."""
    weights = np.asarray(mask, np.float32)[:, :, None]
    sums = (np.asarray(hidden, np.float32) * weights).sum(axis=1)
    return np.asarray(sums / np.maximum(weights.sum(axis=1), 1), np.float32)


def normalized_rows(vectors: Matrix) -> Matrix:
    """The vectors (rows) with length 1; a vector of zeros stays as it is."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(lengths == 0, 1, lengths), np.float32)


def _options() -> Any:
    """A bounded number of threads, which do not spin while they wait."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _unusable(exc: Exception) -> UnusableModel:
    public = f"{MODEL_FILE} or {TOKENIZER_FILE} of MIMIC_EMBEDDING_MODEL cannot be loaded"
    return UnusableModel(f"{public}: {exc}", public=public)
