"""The wheel in a project that has a ``seed`` module of its own."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
import tarfile
import venv
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from zipfile import ZipFile

import pytest

from mimic.testing import free_port
from mimic.testing.processes import listens
from tests.support.timing import wait_until

ROOT = Path(__file__).parents[2]
CONSOLE_SCRIPT = Path(sysconfig.get_path("scripts")) / "mimic"
SEED_SAMPLE = ("seed", "--sample", "--quiet", "--store", "sqlite:///corpus.db")
USERS_SEED = """
from pathlib import Path
Path(__file__).with_name("executed").touch()
raise SystemExit("the user's own")
"""


def build(kind: str, project: Path, folder: Path) -> Path:
    """Build a wheel or an sdist of a project by its own build backend."""
    program = f"import hatchling.build; print(hatchling.build.build_{kind}({str(folder)!r}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=project, check=True, capture_output=True, text=True)
    return folder / done.stdout.strip()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the sdist, as installers do."""
    folder = tmp_path_factory.mktemp("built")
    with tarfile.open(build("sdist", ROOT, folder)) as archive:
        archive.extractall(folder, filter="data")
    [source] = (path for path in folder.iterdir() if path.is_dir())
    return build("wheel", source, folder)


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    """The wheel, unpacked as by an installer."""
    unpacked = built.parent / "unpacked"
    with ZipFile(built) as archive:
        archive.extractall(unpacked)
    return unpacked


@pytest.fixture(params=["seed.py", "seed/__init__.py"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with a module or package called ``seed``, which ends every program that imports it."""
    module: Path = tmp_path / request.param
    module.parent.mkdir(exist_ok=True)
    module.write_text(USERS_SEED)
    return tmp_path


def environment(project: Path, wheel: Path) -> Mapping[str, str]:
    """Variables that put the project first on Python's path, and then the wheel."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(map(str, (project, wheel)))}


def run(project: Path, wheel: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command in the project's folder."""
    variables = environment(project, wheel)
    return subprocess.run(command, check=False, cwd=project, env=variables, capture_output=True, text=True)


def was_run(project: Path) -> bool:
    """Return True if the project's own ``seed`` was imported."""
    return any(project.rglob("executed"))


def test_the_wheel_brings_two_packages_and_no_other_module(wheel: Path) -> None:
    """Top-level names belong to all projects in an environment."""
    assert {path.name for path in wheel.iterdir() if path.suffix != ".dist-info"} == {"mimic", "mimic_seed"}
    for package in ("mimic", "mimic_seed"):
        assert (wheel / package / "py.typed").exists()
    assert (wheel / "mimic_seed" / "sample.json").exists()


@pytest.mark.parametrize("program", [(CONSOLE_SCRIPT,), (sys.executable, "-m", "mimic")], ids=["mimic", "python -m"])
def test_a_seeding_does_not_run_a_users_seed(wheel: Path, project: Path, program: tuple[str | Path, ...]) -> None:
    """The command and the module work with the user's folder before Mimic on the path."""
    done = run(project, wheel, *program, *SEED_SAMPLE)
    assert (done.returncode, done.stderr) == (0, "")
    assert (project / "corpus.db").exists()
    assert not was_run(project)


def test_the_name_seed_is_the_users(wheel: Path, project: Path) -> None:
    """``import seed`` gives the user's own, also after Mimic is imported."""
    done = run(project, wheel, sys.executable, "-c", "import mimic.cli, seed")
    assert done.stderr.strip() == "the user's own"
    assert was_run(project)


def test_the_fixture_does_not_run_a_users_seed(wheel: Path, project: Path) -> None:
    """The fixture seeds and serves in a process that inherits the path."""
    (project / "test_chat.py").write_text(
        dedent("""
            import mimic, os
            from urllib.request import urlopen

            def test_a_server(mimic_server):
                assert mimic.__file__.startswith(os.environ["PYTHONPATH"].split(os.pathsep)[1])
                with urlopen(mimic_server().url + "/ready") as answer:
                    assert answer.status == 200
        """)
    )
    without = [f"-pno:{name}" for name in ("cacheprovider", "faker", "hypothesispytest", "langsmith_plugin", "locust")]
    done = run(project, wheel, sys.executable, "-m", "pytest", *without, "-pno:schemathesis")
    assert "1 passed" in done.stdout, done.stdout
    assert not was_run(project)


def test_an_installed_wheel_answers(built: Path, tmp_path: Path) -> None:
    """In a new environment, both commands run, and a file is served and asked in one step each."""
    new = tmp_path / "environment"
    venv.create(new, symlinks=True, with_pip=False)
    place = {"base": str(new), "platbase": str(new)}
    packages = Path(sysconfig.get_path("purelib", "venv", place))
    # Dependencies of this environment, without its own Mimic, whose finder only this environment runs.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    into = ("--prefix", str(new), "--no-deps", "--no-index", "--no-compile", "--quiet", "--disable-pip-version-check")
    subprocess.run([sys.executable, "-m", "pip", "install", "--ignore-installed", *into, str(built)], check=True)
    programs = Path(sysconfig.get_path("scripts", "venv", place))
    said = [{"role": "user", "content": "Where is my order?"}, {"role": "assistant", "content": "It left."}]
    (tmp_path / "own.jsonl").write_text(json.dumps({"messages": said}))
    environment = {"PATH": os.environ["PATH"], "MIMIC_PORT": str(free_port())}
    where = [
        str(programs / "python"),
        "-P",
        "-c",
        "import mimic, mimic_seed; print(mimic.__file__, mimic_seed.__file__)",
    ]
    for path in subprocess.check_output(where, text=True, cwd=tmp_path, env=environment).split():
        assert Path(path).is_relative_to(new)
    serving = subprocess.Popen([programs / "mimic-chat", "serve", "own.jsonl"], cwd=tmp_path, env=environment)
    with serving:
        try:
            wait_until(lambda: listens(int(environment["MIMIC_PORT"])))
            asked: list[str | Path] = [programs / "mimic", "chat", "where is my order"]
            assert subprocess.check_output(asked, text=True, cwd=tmp_path, env=environment) == "It left.\n"
        finally:
            serving.terminate()
    assert serving.returncode in {0, -signal.SIGTERM}
