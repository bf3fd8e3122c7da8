"""Vectors of an embedding model: pooling, bytes, the file of a corpus, and broken files."""

from pathlib import Path
from typing import Any

import pytest

from mimic.corpus.conversation import Coordinates
from mimic.corpus.similar.model_folder import model_folder
from mimic.errors import SettingError, StoreFull, UnusableModel, UnusableStore
from mimic.settings import Settings
from tests.support.model import make_model_folder

np = pytest.importorskip("numpy")
pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")

from mimic.corpus.similar.embedding_model import EmbeddingModel, mean_pooled, normalized_rows  # noqa: E402 - after the skips
from mimic.corpus.similar.vectors import VectorIndex, VectorWriter, quantized, written_error  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model."""
    return make_model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(folder: Path) -> EmbeddingModel:
    """A real model."""
    return EmbeddingModel(folder)


def drawn(rows: int, size: int = 384) -> Any:
    """Vectors of length 1, the same in each run."""
    return normalized_rows(np.random.default_rng(1).normal(size=(rows, size)).astype(np.float32))


def test_pooling_is_the_mean_of_the_tokens_that_count() -> None:
    """Pooling equals a plain computation, token by token; a row without tokens is zero."""
    hidden = np.random.default_rng(2).normal(size=(3, 5, 4))
    mask = [[1, 1, 1, 0, 0], [1, 0, 1, 0, 1], [0, 0, 0, 0, 0]]
    for text, pooled in enumerate(mean_pooled(hidden, mask)):
        counted = [token for token, counts in enumerate(mask[text]) if counts]
        for dimension, value in enumerate(pooled):
            values = [float(hidden[text][token][dimension]) for token in counted]
            assert value == pytest.approx(sum(values) / max(len(values), 1), abs=1e-6)
    assert np.linalg.norm(normalized_rows(drawn(4) * 7), axis=1) == pytest.approx(1)
    assert normalized_rows(np.zeros((1, 4), np.float32)).tolist() == [[0, 0, 0, 0]]


def test_a_byte_for_each_dimension_changes_a_cosine_by_less_than_a_hundredth() -> None:
    """The greatest error among all pairs of 200 vectors; a vector of zeros stays zero."""
    vectors = drawn(200)
    values, scales = quantized(vectors)
    restored = values.astype(np.float32) * scales[:, None]
    assert np.abs(restored @ vectors.T - vectors @ vectors.T).max() < 0.005
    assert quantized(np.zeros((1, 4), np.float32))[0].tolist() == [[0, 0, 0, 0]]


def test_the_nearest_rows_of_a_file_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search is exact over all blocks, and the file may be removed."""
    monkeypatch.setattr("mimic.corpus.similar.vectors.ROWS_AT_A_TIME", 7)
    vectors = drawn(50)
    places = [Coordinates(3 * row, row, row % 4) for row in range(50)]
    with VectorWriter(tmp_path, 50, 384) as writer:
        for start in range(0, 50, 20):
            writer.add(places[start : start + 20], list(vectors[start : start + 20]))
    index = VectorIndex(tmp_path, 50)
    (tmp_path / "vectors.npy").unlink()
    for row in range(50):
        found = index.nearest(vectors[row], 5)
        assert found[0][1] == places[row]
        assert found[0][0] == pytest.approx(1, abs=0.01)
        best = np.sort(vectors @ vectors[row])[::-1][:5]
        assert [cosine for cosine, _ in found] == pytest.approx(best.tolist(), abs=0.01)
    assert len(index.nearest(vectors[0], 1000)) == 50


def test_a_file_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    """A missing, truncated or foreign file, and another number of rows: the error says what to do."""
    with pytest.raises(UnusableStore, match="seed again"):
        VectorIndex(tmp_path, 1)
    with VectorWriter(tmp_path, 2, 8) as writer:
        writer.add([Coordinates(0, 0, 0), Coordinates(1, 0, 1)], list(drawn(2, 8)))
    with pytest.raises(UnusableStore, match="not the 3 that were seeded"):
        VectorIndex(tmp_path, 3)
    file = tmp_path / "vectors.npy"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UnusableStore, match="missing or damaged"):
        VectorIndex(tmp_path, 2)
    np.save(file, np.zeros(2))
    with pytest.raises(UnusableStore, match="not the 2"):
        VectorIndex(tmp_path, 2)


def test_no_space_is_an_error_of_its_own(tmp_path: Path) -> None:
    """A full disk is a StoreFull."""
    assert isinstance(written_error(OSError(28, "No space left on device")), StoreFull)
    with pytest.raises(Exception, match="the vectors cannot be written"):
        VectorWriter(tmp_path / "missing", 1, 1)
    with pytest.raises(StoreFull), VectorWriter(full(tmp_path), 100, 384) as writer:
        writer.add([Coordinates(0, 0, 0)] * 100, list(drawn(100)))


def full(folder: Path) -> Path:
    """A folder whose file of vectors is on a full disk."""
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    (folder / "vectors.npy").symlink_to("/dev/full")
    return folder


def test_a_text_has_one_vector(model: EmbeddingModel) -> None:
    """The same text has the same vector of length 1, whatever was computed before; a paraphrase is near."""
    first = model.vector("How can I lose weight fast?")
    model.vector("word " * 1000)
    assert model.vector("How can I lose weight fast?").tolist() == first.tolist()
    assert (len(first), model.size) == (384, 384)
    assert float(np.linalg.norm(first)) == pytest.approx(1, abs=1e-5)
    near, far = model.vector("What helps to get slim quickly?"), model.vector("Write a sorting function in C")
    assert first @ near > 0.5
    assert first @ far < 0.2


def test_only_the_first_tokens_count(model: EmbeddingModel) -> None:
    """A text ends after 256 tokens; an empty text has a vector, too."""
    long = "apple " * 254
    assert model.vector(f"{long} pear {long}").tolist() == model.vector(f"{long} plum").tolist()
    assert float(np.linalg.norm(model.vector(""))) == pytest.approx(1, abs=1e-5)


def test_a_broken_model_is_an_error(tmp_path: Path, folder: Path) -> None:
    """Files that cannot be loaded: the text for clients names no folder."""
    (tmp_path / "model.onnx").write_bytes(b"no model")
    (tmp_path / "tokenizer.json").symlink_to((folder / "tokenizer.json").resolve())
    with pytest.raises(UnusableModel, match="cannot be loaded") as caught:
        EmbeddingModel(tmp_path).vector("hi")
    assert str(tmp_path) not in caught.value.public
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(UnusableModel, match="cannot be loaded"):
        _ = EmbeddingModel(tmp_path).fingerprint


def test_the_setting_names_what_is_missing(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or a package that is missing is an error at the start."""
    assert Settings.from_environment({"MIMIC_EMBEDDING_MODEL": str(folder)}).embedding_model == folder
    with pytest.raises(SettingError, match=r"^MIMIC_EMBEDDING_MODEL: .*model.onnx is no file"):
        Settings.from_environment({"MIMIC_EMBEDDING_MODEL": str(tmp_path)})
    monkeypatch.setattr(
        "mimic.corpus.similar.model_folder.find_spec", lambda name: None if name == "tokenizers" else name
    )
    with pytest.raises(ValueError, match=r"tokenizers is not installed: pip install 'mimic-chat\[meaning\]'"):
        model_folder(str(folder))
    assert Settings().open_model() is None
