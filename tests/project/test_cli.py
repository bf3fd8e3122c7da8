"""The command line as users see it: output, exit codes, and the state after a kill."""

import asyncio
import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mimic import __version__
from mimic.cli.seed import NICENESS
from mimic.corpus.stores import open_store
from mimic.testing import free_port
from tests.support.corpora import SMALL, conversation, seed
from tests.support.servers import Server, has_ipv6, run_mimic, start_mimic


def mimic(
    *arguments: str | Path, stdin: bytes = b"", folder: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ``mimic`` as a user would, with warnings as errors."""
    run = run_mimic(arguments, environment, stdin=stdin, folder=folder)
    assert "Traceback" not in run.stderr, run.stderr
    return run


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    """A small dump."""
    file = tmp_path / "dump.json"
    file.write_text(json.dumps(SMALL))
    return file


def test_seed_prints_a_report(store_url: str, dump: Path) -> None:
    """Progress goes to standard error; a table of documents, times, sizes and memory goes to standard output."""
    run = mimic("seed", dump, "--store", store_url)
    assert run.returncode == 0
    assert "Seeded 7 conversations, 21 messages from dump.json" in run.stdout
    assert re.search(r"peak memory [\d.]+ MB", run.stdout)
    for version, documents in (("v1", 7), ("v2", 21), ("v3", 21)):
        assert re.search(rf"│ {version} +│ +{documents} │( +[\d.]+ │){{3}}( +[\d.]+ (k?B|bytes) │){{3}}", run.stdout)
    assert "Skipped" not in run.stdout
    assert "reading: 1.0 kB of 1.0 kB, 21 messages" in run.stderr
    assert "indexing:" in run.stderr


def test_skipped_conversations_are_counted_and_named(sqlite_url: str, tmp_path: Path) -> None:
    """Skipped conversations are counted by reason, the first few by position and id; strict stops at the first."""
    broken: list[Any] = [{"id": f"b{n}", "conversations": [{"from": "human"}]} for n in range(20)]
    file = tmp_path / "dump.json"
    file.write_text(json.dumps([*SMALL, *broken, 17]))
    run = mimic("seed", file, "--store", sqlite_url)
    assert run.returncode == 0
    assert "Skipped 21 conversations:\n  20 a message without `value`\n  1 not an object" in run.stdout
    assert "conversation 7 (id b0): message 0 has no `value`" in run.stdout
    assert "b9)" in run.stdout
    assert "b10)" not in run.stdout
    assert 'Understood are: {"conversations": [{"from", "value"}, ...]} or {"messages": ' in run.stdout
    strict = mimic("seed", file, "--store", sqlite_url, "--strict")
    assert strict.returncode == 1
    assert strict.stderr.splitlines()[-1] == f"Error: {file}: conversation 7 (id b0): message 0 has no `value`"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "byte 0: the input is empty"),
        ("[]", "the input holds no conversation; nothing was replaced"),
        ('{"conversations": 3}', "no conversation that can be seeded (1 `conversations` is not an array)"),
        ("[{", "byte 2: the input ends here"),
        ('{"a": 1}]', "line 1, byte 8: expected a JSON value"),
        ('{"id": 1}\n{"id": NaN}', "line 2, byte 17: expected a JSON value, found NaN"),
        (
            '{"dialog": []}',
            "(1 without messages, but with `dialog`); nothing was replaced. Understood are: ",
        ),
        ("<!doctype html>", "the file is a web page"),
        ("hello", "byte 0: expected '['"),
    ],
)
def test_bad_input_is_exit_code_1(sqlite_url: str, tmp_path: Path, content: str, message: str) -> None:
    """The message names the file, the byte and the expected input; the old corpus stays."""
    bad = tmp_path / "bad.json"
    bad.write_text(content)
    seed(sqlite_url, SMALL, tmp_path)
    before = (tmp_path / "corpus.db").read_bytes()
    run = mimic("seed", bad, "--store", sqlite_url)
    assert run.returncode == 1
    assert f"Error: {bad}: " in run.stderr
    assert message in run.stderr
    assert (tmp_path / "corpus.db").read_bytes() == before


def test_senders_that_no_chat_can_name_are_listed(sqlite_url: str, tmp_path: Path) -> None:
    """Senders without a role are listed with their messages; without any, nothing is printed."""
    file = tmp_path / "dump.json"
    odd = [conversation(str(n), ("USER", "hi"), (f"agent {n % 12}", "a"), ("Narrator", "b")) for n in range(24)]
    file.write_text(json.dumps(odd))
    run = mimic("seed", file, "--store", sqlite_url)
    assert (
        "Chats cannot find 48 messages, because their senders have no role in a chat: 'Narrator' 24, 'agent 0' 2,"
        in run.stdout
    )
    assert ", 'agent 8' 2, others 6. " in run.stdout
    file.write_text(json.dumps([*odd[:1], conversation("a", ("Human", "hi"), ("Bing", "hello"))]))
    assert "Chats cannot find" in mimic("seed", file, "--store", sqlite_url).stdout
    file.write_text(json.dumps([conversation("a", ("Human", "hi"), ("Bing", "hello"))]))
    assert "Chats cannot find" not in mimic("seed", file, "--store", sqlite_url).stdout


def test_ids_that_are_dropped_are_counted(sqlite_url: str, tmp_path: Path) -> None:
    """Unusable ids, such as those of databases, are counted, and the conversations are kept."""
    file = tmp_path / "dump.json"
    file.write_text(json.dumps([*SMALL, *({**one, "id": {"$oid": "5f"}, "tools": []} for one in SMALL), {"id": 7}]))
    run = mimic("seed", file, "--store", sqlite_url)
    assert "Seeded 14 conversations" in run.stdout
    assert "Kept 7 conversations without their ids" in run.stdout
    assert "Skipped 1 conversations" in run.stdout


@pytest.mark.parametrize("store", ["own.db", "./own", "folder/own.db", "{cwd}/own.db", "~/own.db", "--store=~/own.db"])
def test_a_store_may_be_a_path(tmp_path: Path, dump: Path, store: str) -> None:
    """A relative, absolute or home path names an SQLite file, by option and by setting."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "home").mkdir()
    option = store.format(cwd=tmp_path)
    options, setting = ([option], {}) if option.startswith("--store") else ([], {"MIMIC_STORE": option})
    environment = {"HOME": str(tmp_path / "home"), **setting}
    assert run_mimic(["seed", dump, "--quiet", *options], environment, folder=tmp_path).returncode == 0
    made = tmp_path / "home" if "~" in store else tmp_path / "folder" if "folder" in store else tmp_path
    assert any((made / name).exists() for name in ("own.db", "own"))


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_the_version_is_printed(option: str) -> None:
    """The long option and the short one print the version."""
    assert mimic(option).stdout == f"mimic, version {__version__}\n"


def test_standard_input_and_gzip(sqlite_url: str, dump: Path) -> None:
    """A pipe and a compressed pipe are read; a missing file is an error."""
    for data in (dump.read_bytes(), gzip.compress(dump.read_bytes())):
        run = mimic("seed", "-", "--store", sqlite_url, stdin=data)
        assert run.returncode == 0
        assert "21 messages from standard input" in run.stdout
    missing = mimic("seed", dump.parent / "missing.json", "--store", sqlite_url)
    assert missing.returncode == 1
    assert "missing.json: cannot be read: No such file or directory" in missing.stderr
    null = mimic("seed", "/dev/null", "--store", sqlite_url)
    assert null.returncode == 1
    assert "/dev/null: byte 0: the input is empty" in null.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seed"], "Give either FILE or --sample"),
        (["seed", "x.json", "--sample"], "Give either FILE or --sample"),
        (["seed", "x.json", "--versions", "v1,v9"], "'v9' is none of v1, v2, v3"),
        (["seed", "x.json", "--store", "postgres://x/y"], "--store: expected sqlite:///"),
        (["seed", "x.json", "--store", "sqlite:///:memory:"], "--store: expected sqlite:///"),
        (
            ["seed", "x.json", "--store", "mongodb://127.0.0.1:1"],
            "--store: not the URL of a MongoDB database",
        ),
        (["seed", "x.json", "--store", ""], "--store: it is empty"),
        (["serve", "--port", ""], "--port: it is empty"),
        (["serve", "--prot", "1"], "--port"),
        (["serve", "--port", "65536"], "--port: expected a whole number from 0 to 65535, not '65536'"),
        *(
            (["serve", "--store", store], "--store: expected sqlite:///")
            for store in (
                "nonsense",
                "mongodb",
                "mongo://x/y",
                "sqlite:/x.db",
                "sqlite://x.db",
                "localhost:27017/x",
                "x/",
            )
        ),
        (["serve", "--store", "mongodb://127.0.0.1:1"], "--store: not the URL of a MongoDB database"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], message: str) -> None:
    """A usage error names its reason."""
    run = mimic(*arguments)
    assert run.returncode == 2
    assert message in run.stderr


def test_an_unreachable_store_is_exit_code_3(dump: Path) -> None:
    """An unreachable MongoDB or folder is named without the password."""
    run = mimic("seed", dump, "--store", f"mongodb://user:pa55word@127.0.0.1:{free_port()}/mimic")
    assert run.returncode == 3
    assert "Error: MongoDB cannot be reached" in run.stderr
    assert "pa55word" not in run.stderr
    run = mimic("seed", dump, "--store", f"sqlite:///{dump.parent}/nowhere/corpus.db")
    assert run.returncode == 3
    assert "there is no folder" in run.stderr


def test_if_empty_seeds_once(store_url: str, dump: Path) -> None:
    """The second run has nothing to do, and says that."""
    assert "Seeded 7" in mimic("seed", dump, "--if-empty", "--store", store_url).stdout
    run = mimic("seed", dump, "--if-empty", "--store", store_url)
    assert (run.returncode, run.stdout) == (0, "")
    assert "Seeded already (v1, v2, v3)" in run.stderr


def test_a_missing_fast_parser_is_a_warning(sqlite_url: str, dump: Path) -> None:
    """The slow backend of ijson works, with a warning for the user."""
    run = mimic("seed", dump, "--store", sqlite_url, IJSON_BACKEND="python")
    assert run.returncode == 0
    assert run.stderr.startswith("Warning: ijson's C backend yajl2_c is missing")
    assert "21 messages" in run.stdout


def test_quiet_is_quiet(sqlite_url: str, dump: Path) -> None:
    """Without problems nothing is printed."""
    run = mimic("seed", dump, "--quiet", "--store", sqlite_url)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_settings_come_from_the_environment_and_from_a_file(tmp_path: Path, dump: Path) -> None:
    """An option wins over the environment, the environment over .env."""
    (tmp_path / ".env").write_text(f"MIMIC_STORE=sqlite:///{tmp_path}/file.db\nSEED_BATCH_SIZE=2\n")
    option = "--store", f"sqlite:///{tmp_path}/option.db"
    set_store = {"MIMIC_STORE": f"sqlite:///{tmp_path}/environment.db"}
    ways: list[tuple[str, Sequence[str], dict[str, str]]]
    ways = [("file", (), {}), ("environment", (), set_store), ("option", option, set_store)]
    for name, arguments, environment in ways:
        assert not (tmp_path / f"{name}.db").exists()
        run = run_mimic(["seed", dump, "--quiet", *arguments], environment, folder=tmp_path)
        assert run.returncode == 0, run.stderr
        assert (tmp_path / f"{name}.db").exists()


@pytest.mark.parametrize("place", ["environment", ".env"])
def test_a_misspelled_setting_is_an_error(tmp_path: Path, dump: Path, place: str) -> None:
    """A misspelled setting is an error: it could leave a server open."""
    (tmp_path / ".env").write_text("MIMIC_API_KEY=sk-one\n" if place == ".env" else "")
    misspelt = {"MIMIC_API_KEY": "sk-one"} if place == "environment" else {}
    command = [sys.executable, "-m", "mimic", "seed", str(dump), "--quiet", "--store", f"sqlite:///{tmp_path}/x.db"]
    others = {"MIMIC_TEST_MONGODB_URL": "x", "MIMC_PORT": "1", "mimic_match": "last", "SEED_OF_ANOTHER": "7"}
    environment = {"PATH": os.environ["PATH"], **others, **misspelt}
    intended = {"MIMIC_API_KEY": "MIMIC_API_KEYS"} if misspelt else {}
    done = subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert (
        f"Warning: MIMIC_API_KEY in {'the ' * (place != '.env')}{place} is not a setting; did you mean MIMIC_API_KEYS? "
        "The settings are MIMIC_ACCESS_LOG," in done.stderr
    )
    told = re.findall(r"Warning: (\w+) in the environment is not a setting; did you mean (\w+)\?", done.stderr)
    assert dict(told) == {"MIMC_PORT": "MIMIC_PORT", "mimic_match": "MIMIC_MATCH", **intended}
    assert "MIMIC_TEST" not in done.stderr
    assert "sk-one" not in done.stderr


def test_a_bad_setting_is_named(dump: Path) -> None:
    """The error has the name of the variable."""
    run = mimic("seed", dump, SEED_BATCH_SIZE="many")
    assert run.returncode == 2
    assert "SEED_BATCH_SIZE: expected a whole number from 1 to 100000, not 'many'" in run.stderr


def test_a_settings_file_that_is_no_text_is_named(tmp_path: Path, dump: Path) -> None:
    """A file in UTF-16, as some editors of Windows write it, is an error with its name."""
    (tmp_path / ".env").write_text("MIMIC_PORT=8001", encoding="utf-16")
    run = mimic("seed", dump, folder=tmp_path)
    assert run.returncode == 2
    assert "Error: .env cannot be read: 'utf-8' codec can't decode" in run.stderr


def test_a_taken_port_is_an_error(sqlite_url: str, tmp_path: Path) -> None:
    """The second server on a port ends with an error."""
    with Server(tmp_path, MIMIC_STORE=sqlite_url) as server:
        run = mimic("serve", "--port", str(server.port), "--store", sqlite_url)
        assert (run.returncode, run.stdout) == (1, "")
        assert run.stderr == f"Error: cannot listen on 127.0.0.1:{server.port}: Address already in use\n"
    run = mimic("serve", "--host", "no.such.host.invalid", "--store", sqlite_url)
    assert run.returncode == 1
    assert "cannot listen on no.such.host.invalid:8000: " in run.stderr
    run = mimic("serve", "--host", "127.0..1", "--store", sqlite_url)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == "Error: cannot listen on 127.0..1:8000: it is not a valid host name\n"


@pytest.mark.skipif(not has_ipv6(), reason="IPv6 is switched off here")
@pytest.mark.parametrize(
    ("host", "shown"), [("::1", "[::1]"), ("::", "[::1]"), ("0.0.0.0", "127.0.0.1"), ("localhost", "localhost")]
)
def test_the_address_is_shown_that_a_client_can_ask(sqlite_url: str, tmp_path: Path, host: str, shown: str) -> None:
    """An IPv6 address has brackets; port 0 shows the port chosen by the system."""
    for port in (free_port(), 0):
        receiver, sender = os.pipe()
        with os.fdopen(receiver) as out, os.fdopen(sender, "wb") as stdout, (tmp_path / "log").open("wb") as log:
            arguments = ["serve", "--host", host, "--store", sqlite_url, "--port", str(port)]
            server = start_mimic(arguments, {}, tmp_path, stdout, log)
            stdout.close()
            said = out.readline()
            server.kill()
            server.wait()
        found = re.match(rf"Mimic on http://{re.escape(shown)}:(\d+), with a page", said)
        assert found
        assert int(found[1]) == port or (port == 0 and int(found[1]) > 0)


@pytest.mark.parametrize("how", [">&-", "| true", "2>&1 | true", "| cat"])
def test_a_seeding_succeeds_without_a_reader_of_its_output(sqlite_url: str, tmp_path: Path, how: str) -> None:
    """The seeding succeeds with a closed standard output, a closed pipe, or an ASCII output."""
    dump = tmp_path / "dump.json"
    dump.write_text(json.dumps([*SMALL, {"id": "каза", "conversations": [{"from": "human"}]}]))
    command = f"set -o pipefail; {sys.executable} -m mimic seed {dump} --store {sqlite_url} {how}"
    environment = {"PATH": os.environ["PATH"], "PYTHONIOENCODING": "ascii"}
    run = subprocess.run(["bash", "-c", command], capture_output=True, env=environment, check=False, timeout=100)
    assert run.returncode == 0, run.stderr
    assert b"Traceback" not in run.stderr
    assert (tmp_path / "corpus.db").exists()
    if how == "| cat":
        assert rb"\u043a\u0430\u0437\u0430" in run.stdout


def test_the_second_seeder_is_exit_code_4(store_url: str, tmp_path: Path, dump: Path) -> None:
    """The second seeder names the first, which runs at lower priority and stops cleanly at SIGTERM."""
    first = subprocess.Popen(
        [sys.executable, "-m", "mimic", "seed", "-", "--store", store_url, "--quiet"], stdin=subprocess.PIPE
    )
    assert first.stdin
    first.stdin.write(b"[")
    first.stdin.flush()
    asyncio.run(claimed(store_url))
    run = mimic("seed", dump, "--store", store_url)
    assert run.returncode == 4
    assert re.search(rf"another seeding is running: held by process {first.pid} on \S+ since 20", run.stderr)
    assert os.getpriority(os.PRIO_PROCESS, first.pid) == min(os.getpriority(os.PRIO_PROCESS, 0) + NICENESS, 19)
    first.terminate()
    assert first.wait(timeout=10) == 130
    first.stdin.close()
    assert mimic("seed", dump, "--store", store_url).returncode == 0


async def claimed(url: str) -> None:
    """Wait until a seeder holds this store."""
    async with open_store(url) as store:
        while not (seeding := await store.seeding()) or seeding.state != "running":
            await asyncio.sleep(0.05)
