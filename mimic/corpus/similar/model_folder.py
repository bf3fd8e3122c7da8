"""The files and packages of an embedding model, checked without importing the packages: a server starts quickly."""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

MODEL_FILE: Final = "model.onnx"
TOKENIZER_FILE: Final = "tokenizer.json"
PACKAGES: Final = ("onnxruntime", "tokenizers", "numpy")
"""The packages of the extra ``meaning``, and one that they bring."""


def model_folder(text: str) -> Path:
    """The folder of a model. Raises ValueError if a file of it or a package is missing."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ValueError(f"the package {missing[0]} is not installed: pip install 'mimic-chat[meaning]'")
    folder = Path(text)
    for name in (MODEL_FILE, TOKENIZER_FILE):
        if not (folder / name).is_file():
            raise ValueError(
                f"expected a folder with {MODEL_FILE} and {TOKENIZER_FILE}, but {folder / name} is no file"
            )
    return folder
