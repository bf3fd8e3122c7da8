"""README, guide, and security policy: every block in them runs as it is printed, and every link leads somewhere."""

import json
import re
from pathlib import Path
from typing import Final

import httpx
import pytest

from mimic.server.routes.native import EXAMPLE
from mimic.settings import VARIABLES
from tests.support.corpora import Dump
from tests.support.documents import LANGUAGES, ROOT, SAMPLE, Reader, blocks_of, is_shown
from tests.support.model import make_model_folder
from tests.support.servers import SharedServers

GUIDE = ROOT / "docs" / "guide"
CLIENTS = GUIDE / "clients.md"
"""The page whose blocks run in tests/clients, with the packages that they need."""
DOCUMENTS = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted(GUIDE.glob("*.md"))]
STARTING = ("README.md", "getting-started.md")
"""Documents that start the server on port 8000 themselves. The others need one that runs."""
MONGODB = "mongodb://127.0.0.1:27017/mimic"
MODEL: Final = "models/all-MiniLM-L6-v2"
"""The folder of an embedding model that documents name."""
CORPUS: Dump = json.loads(SAMPLE.read_text())

of_each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.name)


@pytest.mark.parametrize(
    "document", [one for one in DOCUMENTS if blocks_of(one) and one != CLIENTS], ids=lambda file: file.name
)
def test_the_blocks_run(document: Path, tmp_path: Path, serve: SharedServers, request: pytest.FixtureRequest) -> None:
    """In order, in one shell, which no block blocks; outputs are as they are shown."""
    replaced = {}
    if any(MONGODB in block.text for block in blocks_of(document)):
        replaced[MONGODB] = request.getfixturevalue("mongodb_url")
    if MODEL in document.read_text():
        make_model_folder(tmp_path / MODEL)
    if document.name in STARTING:
        reader = Reader(tmp_path, replaced=replaced)
    else:
        reader = Reader(tmp_path, serve(CORPUS).port, replaced=replaced, MIMIC_STORE=serve.store(CORPUS))
    with reader:
        reader.follow(document)


def test_the_readme_is_short() -> None:
    """At most 150 lines."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@of_each_document
def test_the_languages_of_blocks_are_known(document: Path) -> None:
    """A block in another language would not run."""
    assert {block.language for block in blocks_of(document)} <= LANGUAGES


@of_each_document
def test_links_lead_somewhere(document: Path) -> None:
    """Relative links name a file, and after ``#`` one of its headings."""
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        file = document.parent / name if name else document
        assert file.exists(), target
        if anchor:
            assert anchor in anchors_of(file), target


def anchors_of(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@of_each_document
def test_named_commands_exist(document: Path) -> None:
    """Settings, targets of make, and benchmarks that are named in a sentence or a table are real ones."""
    text = document.read_text()
    named = set(re.findall(r"\b(?:MIMIC|SEED)_[A-Z_]+\b", text)) - {"MIMIC_TEST_MONGODB_URL"}
    assert named <= {name for name, _ in VARIABLES.values()}
    targets = set(re.findall(r"(?:`|^)make ([a-z][a-z-]+)", text, re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text()
    assert targets <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for name in re.findall(r"python -m (benchmarks\.[\w.]*\w)", text):
        assert (ROOT / name.replace(".", "/")).with_suffix(".py").exists(), name


def test_the_example_of_the_api_is_documented(serve: SharedServers) -> None:
    """The guide shows the request of ``mimic serve``; that of the OpenAPI document is answered, too."""
    [shown] = re.findall(r"/conversation/completion -H.*\n +-d '(\{.*\})'", (GUIDE / "matching.md").read_text())
    assert json.loads(shown) == EXAMPLE
    url = serve(CORPUS).url
    paths = httpx.get(f"{url}/schema/openapi.json").json()["paths"]
    body = paths["/conversation/completion"]["post"]["requestBody"]["content"]["application/json"]
    [example] = body["schema"]["examples"]
    assert httpx.post(f"{url}/conversation/completion", json=example).status_code == 200


def test_shown_outputs_are_compared() -> None:
    """Any text may stand for dots, white space counts in no JSON, and everything else must be equal."""
    assert is_shown("a ... d\n", "a b\nc d", "text")
    assert is_shown('{"a": [1,\n 2]}', '{"a":[1,2]}', "json")
    assert not is_shown("a b", "a b c", "text")
    assert not is_shown('{"a": ...}', '{"b":1}', "json")


def test_a_reader_notices(tmp_path: Path) -> None:
    """A failing command in the middle of a block, and an output that is not the one shown, are errors."""
    document = tmp_path / "document.md"
    folder = tmp_path / "reader"
    folder.mkdir()
    with Reader(folder) as reader:
        document.write_text("```sh\necho one\n```\n\n```text\none\n```\n")
        reader.follow(document)
        document.write_text("```sh\necho one\n```\n\n```text\ntwo\n```\n")
        with pytest.raises(AssertionError, match=r"document\.md:5: it prints"):
            reader.follow(document)
        document.write_text("1. In a list:\n\n   ```sh\n   false\n   echo two\n   ```\n")
        with pytest.raises(AssertionError, match=r"document\.md:3: a command failed"):
            reader.follow(document)


def test_the_security_policy_is_found() -> None:
    """The README links to it, the distribution holds it, and it names settings."""
    assert "(SECURITY.md)" in (ROOT / "README.md").read_text()
    assert '"SECURITY.md"' in (ROOT / "pyproject.toml").read_text()
    assert len(set(re.findall(r"`((?:MIMIC|SEED)_[A-Z_]+)", (ROOT / "SECURITY.md").read_text()))) > 5
