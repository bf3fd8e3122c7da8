"""The project as a whole: its layers, its sample corpus, and its files, which agree with the code."""

import ast
import json
import re
from collections import Counter
from collections.abc import Iterable
from importlib.metadata import requires
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mimic.settings import VARIABLES, Settings
from mimic_seed.reader import DumpReader
from tests.conftest import LONG_FILES

ROOT = Path(__file__).parents[2]
PACKAGES = {"mimic": ROOT, "mimic_seed": ROOT / "seed"}
"""Our packages and their parent folders."""

FOLDERS = (
    *("mimic", "mimic.errors", "mimic.host_names", "mimic.spelling", "mimic.tokens", "mimic.corpus", "mimic_seed"),
    *("mimic.records",),
    *("mimic.engine", "mimic.wire", "mimic.gateway", "mimic.recordings", "mimic.stored", "mimic.jobs", "mimic.server"),
    *(
        "mimic.setting_values",
        "mimic.settings",
        "mimic.endpoint_table",
        "mimic.parts",
        "mimic.app",
        "mimic.cli",
        "mimic.__main__",
        "mimic.testing",
        "mimic.pytest_plugin",
    ),
)
"""Packages and modules from the lowest layer up: each may import from those before it."""


def modules() -> dict[str, Path]:
    """All modules of the two packages by dotted name."""
    found = [(folder, file) for package, folder in PACKAGES.items() for file in (folder / package).rglob("*.py")]
    return {
        ".".join(file.relative_to(folder).with_suffix("").parts).removesuffix(".__init__"): file
        for folder, file in found
    }


def imports_of(file: Path, names: set[str]) -> set[str]:
    """The modules of ours that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found & names


def test_the_wall_clock_decides_nothing() -> None:
    """The wall clock may be set back: it is used for display, and for the days that records live (``now``).

    Waits and leases use a monotonic clock.
    """
    asks = re.compile(r"\btime\.time(?:_ns)?\(|\b(?:datetime|date)\.(?:utc)?(?:now|today)\(|\btime\.(?:gm|local)time\(")
    found = {name: len(asks.findall(file.read_text())) for name, file in modules().items()}
    assert {name: count for name, count in found.items() if count} == {
        "mimic.server.observability.requests": 1,  # the time of a request
        "mimic.wire.openai.base": 1,  # created
        "mimic.records.off": 1,  # created
        "mimic.records.files.folder": 1,  # the age of contents without a record
        "mimic.recordings.budget": 1,  # the day of a budget
        "mimic.stored.response_state": 1,  # the state of a response, for all machines and servers
        "mimic.server.routes.seeding": 1,  # the start of this server's seeding
        "mimic.corpus.stores.base": 2,  # the start of a seeding, and the time of a seeded version
    }


def folder_of(module: str) -> str:
    """The package of a module among the layers."""
    return max((name for name in FOLDERS if f"{module}.".startswith(f"{name}.")), key=len)


def test_imports_go_downward_only() -> None:
    """Packages import lower ones only, and within one no two modules import each other."""
    found = modules()
    imported = {name: imports_of(file, set(found)) - {name} for name, file in found.items()}
    upward = [
        (name, other)
        for name, others in imported.items()
        for other in others
        if FOLDERS.index(folder_of(other)) > FOLDERS.index(folder_of(name))
    ]
    assert upward == []
    assert [(name, other) for name, others in imported.items() for other in others if name in imported[other]] == []
    of_seeder = {other for name, others in imported.items() if name.startswith("mimic_seed") for other in others}
    assert {folder_of(other) for other in of_seeder} <= {"mimic", "mimic.errors", "mimic.corpus", "mimic_seed"}
    users = {folder_of(name) for name, others in imported.items() if any(map(of_seed, others))} - {"mimic_seed"}
    assert users == {"mimic.cli"}


def test_the_design_page_shows_the_layers() -> None:
    """The map of ``docs/design/index.md`` lists the packages in the order of imports."""
    rows = re.findall(r"^\| (`mimic.*?) \|", (ROOT / "docs" / "design" / "index.md").read_text(), re.MULTILINE)
    shown = [name for row in rows for name in re.findall(r"`([\w.]+)`", row)]
    assert shown == [name for name in FOLDERS if name not in {"mimic", "mimic.__main__"}]


def test_public_classes_have_names_of_their_own() -> None:
    """Names of public classes are unique in all packages."""
    found = Counter(
        node.name
        for file in modules().values()
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, count in found.items() if count > 1] == []


def of_seed(module: str) -> bool:
    """Return True if a module is the seeder's."""
    return module.startswith("mimic_seed")


def test_the_environment_is_read_at_the_top_only() -> None:
    """Packages get options; only the roots read settings."""
    for name, file in modules().items():
        if FOLDERS.index(folder_of(name)) < FOLDERS.index("mimic.settings"):
            assert "mimic.settings" not in imports_of(file, {"mimic.settings"}), name


def test_domain_code_knows_no_http_and_no_driver() -> None:
    """Litestar stays in API and server, PyMongo in its store, sqlite3 in its store and the ledger, and so on."""
    allowed = {
        "litestar": ("mimic.app", "mimic.server"),
        "uvicorn": ("mimic.app", "mimic.server.http11.protocol", "mimic.server.workers"),
        "pymongo": (
            *("mimic.corpus.stores.mongodb", "mimic.records.mongodb", "mimic.records.files.mongodb"),
            "mimic.testing.processes",
        ),
        "sqlite3": ("mimic.corpus.stores.sqlite", "mimic.records", "mimic.gateway.ledger"),
        "tantivy": ("mimic.corpus.similar.index",),
        "onnxruntime": ("mimic.corpus.similar.embedding_model",),
        "tokenizers": ("mimic.corpus.similar.embedding_model",),
        "opentelemetry": ("mimic.server.observability.tracing",),
    }
    for name, file in modules().items():
        for library, places in allowed.items():
            imported = re.search(rf"^\s*(?:from|import) {library}\b", file.read_text(), re.MULTILINE)
            assert not imported or name.startswith(places), f"{name} imports {library}"


def test_tests_and_benchmarks_stand_apart() -> None:
    """A benchmark imports no test; a test imports only the benchmark that is its subject."""
    imported = re.compile(r"^\s*(?:from|import) (tests|benchmarks)\b", re.MULTILINE)
    for folder, allowed in (("benchmarks", {"benchmarks"}), ("tests", {"tests"})):
        for file in (ROOT / folder).rglob("*.py"):
            if file.parent != ROOT / "tests" / "benchmarks":
                assert set(imported.findall(file.read_text())) <= allowed, file


def test_every_test_has_its_folder() -> None:
    """No test lies beside the folders, shared code is no test, and the files of LONG_FILES exist."""
    assert set(LONG_FILES) <= {file.stem.removeprefix("test_") for file in (ROOT / "tests").rglob("test_*.py")}
    found = {file.parent.relative_to(ROOT / "tests").parts[:1] for file in (ROOT / "tests").rglob("test_*.py")}
    assert found == {
        (name,)
        for name in ("unit", "stores", "records", "http", "clients", "resilience", "page", "project", "benchmarks")
    }


def test_the_sample_corpus_has_the_traits_of_the_real_dump() -> None:
    """The corpus has at least 80 conversations and 500 messages, with all traits of the real dump."""
    sample = json.loads((ROOT / "seed" / "mimic_seed" / "sample.json").read_text())
    reader = DumpReader()
    read = reader.feed((ROOT / "seed" / "mimic_seed" / "sample.json").read_bytes()) + reader.close()
    assert len(read) == len(sample) >= 80
    talks = [element["conversations"] for element in sample]
    assert sum(map(len, talks)) >= 500
    assert len({str(element["id"]) for element in sample}) == len(sample)
    assert any(talk[0]["from"] == "gpt" for talk in talks)
    assert any(talk[0]["from"] == "system" for talk in talks)
    assert any("```" in message["value"] for talk in talks for message in talk)
    assert any(
        "\u4e00" <= character <= "\u9fff" for talk in talks for message in talk for character in message["value"]
    )
    assert any(message["value"] == "" for talk in talks for message in talk)
    assert any(a["from"] == b["from"] for talk in talks for a, b in pairwise(talk))
    assert any(re.search(r"_[1-9]$", str(element["id"])) for element in sample)
    followed = Counter((before["value"], after["value"]) for talk in talks for before, after in pairwise(talk))
    answers = Counter(question for question, _ in followed)
    assert answers["continue"] >= 20
    assert answers["Why is the sky blue?"] >= 3


def test_env_example_lists_exactly_the_settings() -> None:
    """The file has each setting with its default."""
    lines = [line for line in (ROOT / ".env.example").read_text().splitlines() if line and not line.startswith("# ")]
    listed = dict(line.removeprefix("#").split("=", 1) for line in lines)
    assert set(listed) == {name for name, _ in VARIABLES.values()}
    assert Settings.from_environment(listed) == Settings()


def test_the_compose_file_is_right() -> None:
    """MongoDB is a replica set of one with a volume and a health check; Mimic waits for it, on loopback."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    database, mimic, seed = (compose["services"][name] for name in ("mongodb", "mimic", "seed"))
    assert "--replSet" in database["command"]
    assert "rs.initiate" in str(database["healthcheck"]["test"])
    assert database["volumes"][0].split(":")[0] in compose["volumes"]
    assert mimic["depends_on"]["seed"]["condition"] == "service_completed_successfully"
    assert seed["depends_on"]["mongodb"]["condition"] == "service_healthy"
    assert "/ready" in str(mimic["healthcheck"]["test"])
    for service in (mimic, seed):
        settings = Settings.from_environment({name: str(value) for name, value in service["environment"].items()})
        assert settings.store.startswith("mongodb://mongodb:27017/mimic")
        assert service["read_only"] is True
        assert "/tmp" in service["tmpfs"]
        assert service["cap_drop"] == ["ALL"]
        assert "cap_add" not in service
        assert service["mem_limit"]
    for service in compose["services"].values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["pids_limit"] > 0
        assert not {"privileged", "network_mode", "pid", "ipc", "devices", "user"} & set(service)
        assert "docker.sock" not in str(service)
    assert "ports" not in database
    assert set(mimic["environment"]) <= {name for name, _ in VARIABLES.values()}
    assert mimic["ports"][0].startswith("127.0.0.1:")


def test_the_dockerfile_runs_without_root() -> None:
    """The image runs without root, from the lock file, and copies existing files."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    users = re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE)
    assert users
    assert users[-1] not in {"root", "0"}
    assert "requirements.lock" in dockerfile
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source


def test_the_lock_file_has_every_dependency() -> None:
    """Each dependency of pyproject.toml is pinned with its own dependencies, for all platforms."""
    tomllib = pytest.importorskip("tomllib")
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, groups = pyproject["project"], pyproject["dependency-groups"]
    pinned = {line.split("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line}
    sets = (project["dependencies"], *project["optional-dependencies"].values(), *groups.values())
    named = [requirement for some in sets for requirement in some]
    waiting = [Requirement(requirement) for requirement in named]
    needed: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        asked = (canonicalize_name(requirement.name), frozenset({"", *requirement.extras}))
        if asked not in needed and applies(requirement, {""}):
            needed.add(asked)
            name, extras = asked
            inner = map(Requirement, requires(name) or [])
            waiting += [Requirement(str(one).partition(";")[0]) for one in inner if applies(one, extras)]
    never_pinned = {"pip", "setuptools"}  # always installed before
    assert {name for name, _ in needed} <= pinned | never_pinned
    assert len(needed) > 100


def applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    """Return True if a requirement applies here with these extras."""
    return not requirement.marker or any(requirement.marker.evaluate({"extra": extra}) for extra in extras)
