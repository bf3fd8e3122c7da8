"""A damaged or inaccessible SQLite corpus: servers, seeders and clients get errors."""

import json
import os
import random
import re
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import httpx
import pytest

from mimic.corpus.layout import LAYOUT
from mimic.corpus.schemas import VERSIONS, Version
from mimic.corpus.stores.sqlite.replacement import PAGE_BYTES
from mimic.corpus.stores.sqlite.store import SECONDS_TO_BELIEVE
from tests.support.corpora import SMALL, reference, seed, twin
from tests.support.servers import Server, run_mimic

OLD: Final = twin("old", 300)
NEW: Final = twin("new", 10)
QUESTIONS: Final = [(version, text) for version in VERSIONS for text in ("question 7", "continue")]
ALIKE: Final = "QUESTION 7!?"
HELLO: Final = {"messages": [{"from": "human", "value": "hello"}]}
CUT_OFF: Final = 0
"""The status of an answer that breaks off."""

Damage = Callable[[Path], object]


def cut(size: int) -> Damage:
    """Cut a file to the given bytes; a negative number counts from its end."""
    return lambda path: os.truncate(path, size if size >= 0 else path.stat().st_size + size)


def halve(path: Path) -> None:
    """Cut off a file in the middle."""
    os.truncate(path, path.stat().st_size // 2)


def overwrite(path: Path, start: int = 0, size: int | None = None) -> None:
    """Overwrite a part of a file, which keeps its length."""
    length = path.stat().st_size - start if size is None else size
    with path.open("r+b") as file:
        file.seek(start)
        file.write(random.Random(7).randbytes(length))


def make_folder(path: Path) -> None:
    """Put a folder in the place of a file."""
    path.unlink()
    path.mkdir()


def execute(*statements: str) -> Damage:
    """Run a statement on the database."""

    def run(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)

    return run


def other_database(path: Path) -> None:
    """Another application's database."""
    path.unlink()
    execute("CREATE TABLE accounts (owner TEXT)", "PRAGMA application_id = 7")(path)


DAMAGED: Final = "is damaged or not a Mimic corpus"
FOREIGN: Final = "is not a Mimic corpus and was not replaced"
DAMAGES: Final[Mapping[str, tuple[Damage, str, str | None]]] = {
    "cut off at 0": (cut(0), "is empty: seed again", None),
    "cut off at 50": (cut(50), "not a Mimic corpus", FOREIGN),
    "cut off at 100": (cut(100), DAMAGED, None),
    "cut off at 8192": (cut(8192), DAMAGED, None),
    "cut off in the middle": (halve, DAMAGED, None),
    "cut off before the last byte": (cut(-1), "is damaged", None),
    "garbage": (overwrite, DAMAGED, FOREIGN),
    "garbage behind the header": (lambda path: overwrite(path, 100), DAMAGED, None),
    "a folder": (make_folder, "corpus.db is a folder and not a file", "corpus.db is a folder and not a file"),
    "a layout too old": (execute("PRAGMA user_version = 1"), "has layout 1 of an earlier Mimic", None),
    "a newer layout": (execute(f"PRAGMA user_version = {LAYOUT + 1}"), "of a newer Mimic, this Mimic reads", None),
    "a catalogue of nonsense": (execute("UPDATE corpus SET seeded = 'x'"), "is damaged (its catalogue says", None),
    "a schema of nonsense": (
        execute(
            "PRAGMA writable_schema = ON",
            "UPDATE sqlite_master SET name = CAST(X'B0' AS TEXT), sql = 'nonsense' WHERE name = 'v2'",
        ),
        "is damaged",
        None,
    ),
    "another's database": (other_database, "is not a Mimic corpus", FOREIGN),
}
"""Damages of the file, the error for each, and the reason if it is not replaced."""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an undamaged corpus."""
    folder = tmp_path_factory.mktemp("good")
    seed(f"sqlite:///{folder}/corpus.db", OLD, folder)
    (folder / "new.json").write_text(json.dumps(NEW))
    return folder


@pytest.fixture
def path(good: Path, tmp_path: Path) -> Path:
    """A copy of the corpus to be damaged."""
    shutil.copytree(good, tmp_path, dirs_exist_ok=True)
    return tmp_path / "corpus.db"


def seeding(path: Path, *before: str) -> str:
    """Run ``mimic seed``; return its error if the store cannot be used, else nothing."""
    arguments = ("seed", "--quiet", path.with_name("new.json"))
    run = run_mimic(arguments, {"MIMIC_STORE": f"sqlite:///{path}"}, before=before)
    assert run.returncode == (3 if run.stderr else 0), run.stderr
    assert re.fullmatch(r"(Error: .*\n)?", run.stderr), run.stderr
    return run.stderr


def asked(client: httpx.Client, version: Version, text: str, **query: str) -> str:
    """Ask for a completion; return the name of the corpus with exactly this answer, or the code of the error."""
    body = {"messages": [{"from": "human", "value": text}]}
    answer = client.post("/conversation/completion", params={"version": version, **query}, json=body)
    if answer.status_code != 200:
        assert answer.status_code == 503, answer.text
        assert str(answer.json()).count("/") == 0  # no path
        return str(answer.json()["error"]["code"])
    given = [(choice["from"], choice["value"]) for choice in answer.json()["choices"]]
    asked_for = "question 7" if text == ALIKE else text
    [name] = [
        name for name, dump in (("old", OLD), ("new", NEW)) if given == reference(dump, [("human", asked_for)], version)
    ]
    return name


def not_ready(client: httpx.Client) -> str:
    """The reason why a server is not ready; asserts that it names no folder."""
    answer = client.get("/ready")
    assert answer.status_code == 503
    message = str(answer.json()["error"]["message"])
    assert "/" not in message
    assert message.endswith(". The log says more under the request id.")
    return message


def everything_asked(client: httpx.Client) -> set[str]:
    """The results of each question, asked once."""
    return {asked(client, version, text) for version, text in QUESTIONS}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_an_error_and_can_be_replaced(path: Path, name: str) -> None:
    """The server starts, reports the reason, and answers after a seeding; a foreign file stays."""
    damage, told, why_not_replaced = DAMAGES[name]
    damage(path)
    before = path.read_bytes() if path.is_file() else b""
    with Server(path.parent, MIMIC_STORE=f"sqlite:///{path}") as server, httpx.Client(base_url=server.url) as client:
        assert "the server cannot answer all requests yet" in server.log()
        assert told in server.log()
        assert everything_asked(client) <= {"store_unusable", "store_unavailable"}
        assert client.get("/health").status_code == 200
        unready = not_ready(client)
        assert "corpus.db" in unready
        assert unready in client.post("/conversation/completion", json=HELLO).text
        for route in ("/corpus", "/corpus/v1/conversations/0", "/corpus/search?q=words", "/v1/models"):
            assert client.get(route).status_code == 503, route
        error = seeding(path)
        if why_not_replaced:
            assert why_not_replaced in error
            assert path.is_dir() or path.read_bytes() == before
        else:
            assert error == ""
            time.sleep(SECONDS_TO_BELIEVE)
            assert everything_asked(client) == {"new"}
    assert "Traceback" not in server.log()


def test_a_file_damaged_under_a_server_gives_no_wrong_answer(path: Path, good: Path) -> None:
    """Damaged during requests, answers are right or an error of the store; once repaired, it answers again."""
    with Server(path.parent, MIMIC_STORE=f"sqlite:///{path}") as server, httpx.Client(base_url=server.url) as client:
        for name, (damage, _, _) in DAMAGES.items():
            if path.is_dir():
                path.rmdir()
            shutil.copy(good / path.name, path)
            time.sleep(SECONDS_TO_BELIEVE)
            assert everything_asked(client) == {"old"}, name
            damage(path)
            assert everything_asked(client) <= {"old", "store_unusable", "store_unavailable"}, name
            time.sleep(SECONDS_TO_BELIEVE)
            assert everything_asked(client) <= {"store_unusable", "store_unavailable"}, name
    assert "Traceback" not in server.log()


@pytest.mark.parametrize("rounds", [15, pytest.param(45, marks=pytest.mark.soak)])
def test_damage_in_the_middle_of_the_file_is_no_bug(path: Path, good: Path, rounds: int) -> None:
    """Pages of random bytes or zeros, and changed bytes, are errors of the store once they are found."""
    chance = random.Random(1)
    pages = path.stat().st_size // PAGE_BYTES
    statuses: Counter[int] = Counter()
    with Server(path.parent, MIMIC_STORE=f"sqlite:///{path}") as server, httpx.Client(base_url=server.url) as client:
        for number in range(rounds):
            data = bytearray((good / path.name).read_bytes())
            for _ in range(chance.randrange(1, 8)):
                start = chance.randrange(pages) * PAGE_BYTES
                if number % 3:
                    damaged = chance.randbytes(PAGE_BYTES) if number % 3 == 1 else bytes(PAGE_BYTES)
                    data[start : start + PAGE_BYTES] = damaged
                else:
                    for _ in range(100):
                        data[chance.randrange(len(data))] = chance.randrange(256)
            with path.open("r+b") as file:
                file.write(data)
            time.sleep(SECONDS_TO_BELIEVE)
            statuses.update(statuses_of(client))
    assert "Traceback" not in server.log()
    assert set(statuses) <= {CUT_OFF, 200, 404, 503}
    assert statuses[503] > 2 * rounds


def statuses_of(client: httpx.Client) -> list[int]:
    """The statuses of all kinds of requests; an answer that breaks off has one, too."""
    found = []
    for version, text in QUESTIONS:
        body = {"messages": [{"from": "human", "value": text}]}
        for query in ("", "&match=nearest", "&limit=200"):
            try:
                found.append(client.post(f"/conversation/completion?version={version}{query}", json=body).status_code)
            except httpx.RemoteProtocolError:
                found.append(CUT_OFF)
        chat = {"model": f"mimic-{version}", "messages": [{"role": "user", "content": text}]}
        found.append(client.post("/v1/chat/completions", json={**chat, "stream": True}).status_code)
        found.append(client.get(f"/corpus/{version}/conversations/7").status_code)
    return [*found, client.get("/corpus").status_code, client.get("/corpus/search?q=words").status_code]


def test_an_answer_that_meets_damage_on_its_way_is_cut_off(path: Path) -> None:
    """The answer has no regular end on any route, and the log has the reason."""
    data = bytearray(path.read_bytes())
    for found in re.finditer(b"old more 299", data):
        start = found.start() // PAGE_BYTES * PAGE_BYTES
        data[start : start + PAGE_BYTES] = bytes(PAGE_BYTES)
    path.write_bytes(data)
    body = {"messages": [{"from": "human", "value": "continue"}]}
    with Server(path.parent, MIMIC_STORE=f"sqlite:///{path}") as server, httpx.Client(base_url=server.url) as client:
        for query in ("version=v2", "version=v3", "version=v2&limit=1000"):
            with pytest.raises(httpx.RemoteProtocolError, match="peer closed connection"):
                client.post(f"/conversation/completion?{query}", json=body)
        assert 'status="503"} 3.0' in client.get("/metrics").text  # as they are counted
        log = [json.loads(line) for line in server.log().splitlines()]
    assert [line.get("error") for line in log if line["event"] == "store failed in an answer"] == [
        f"{path} {DAMAGED} (database disk image is malformed): restore it, or seed again"
    ] * 3
    assert "Traceback" not in server.log()


def test_a_conversation_that_is_no_json_is_an_error(path: Path) -> None:
    """A v1 document, which holds JSON, is damaged."""
    execute("UPDATE v1 SET conversations = '[' WHERE position = 7")(path)
    with Server(path.parent, MIMIC_STORE=f"sqlite:///{path}") as server:
        answer = httpx.get(f"{server.url}/corpus/v1/conversations/7")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unusable")
    assert "Traceback" not in server.log()


def test_a_damaged_record_is_ignored(path: Path) -> None:
    """A damaged record of the last seeding stops nothing: seeding works, over HTTP as well."""
    path.with_name("corpus.db.seeding").write_bytes(b"\0\0")
    dump = path.with_name("dump.json")
    dump.write_text(json.dumps(SMALL))
    settings = {"SEED_SECRET": "secret", "SEED_FILE": str(dump)}
    with Server(path.parent, MIMIC_STORE=f"sqlite:///{path}", **settings) as server:
        url, headers = f"{server.url}/conversation/seed", {"authorization": "Bearer secret"}
        assert httpx.get(url, headers=headers).json() == {"state": "never"}
        assert httpx.post(url, json={"secret": "secret"}).status_code == 202
        while (answer := httpx.get(url, headers=headers).json())["state"] == "running":
            time.sleep(0.05)
        assert answer["state"] == "done"
    assert "Traceback" not in server.log()


def of_index(damage: Damage, suffix: str = "") -> Damage:
    """Damage the files of an index, or those of one kind."""

    def run(folder: Path) -> None:
        for file in folder.iterdir():
            if file.name.endswith(suffix) and file.stat().st_size:
                damage(file)

    return run


def make_file(folder: Path) -> None:
    """Replace a folder with a file."""
    shutil.rmtree(folder)
    folder.touch()


INDEX_DAMAGES: Final[Mapping[str, Damage]] = {
    "missing": shutil.rmtree,
    "empty": of_index(Path.unlink),
    "a file": make_file,
    "garbage": of_index(overwrite),
    "files of no bytes": of_index(cut(0)),
    "files cut off in the middle": of_index(halve),
    "files cut off before the last byte": of_index(cut(-1)),
    **{
        f"{suffix} {name}": of_index(damage, suffix)
        for suffix in ("meta.json", ".term", ".idx", ".fast", ".store", ".fieldnorm", ".pos")
        for name, damage in (("missing", Path.unlink), ("garbage", overwrite), ("cut off", halve))
    },
}


def test_a_damaged_index_is_an_error_and_the_rest_answers(path: Path) -> None:
    """Exact matches are answered, and similar ones are an error of the store, until the next seeding."""
    with Server(path.parent, MIMIC_STORE=f"sqlite:///{path}") as server, httpx.Client(base_url=server.url) as client:
        for name, damage in INDEX_DAMAGES.items():
            seed(f"sqlite:///{path}", OLD, path.parent)
            [folder] = path.parent.glob("corpus.db.index-*")
            damage(folder)
            time.sleep(SECONDS_TO_BELIEVE)
            assert everything_asked(client) == {"old"}, name
            told = asked(client, "v3", ALIKE, match="nearest")
            assert told in {"store_unusable", "store_unavailable"}, name
            assert client.get("/corpus/search?q=words").json()["error"]["code"] == told, name
            assert "index" in not_ready(client), name
            if folder.is_file():
                folder.unlink()
        seed(f"sqlite:///{path}", OLD, path.parent)
        assert client.get("/ready").status_code == 200
    assert "Traceback" not in server.log()


def test_an_index_damaged_under_a_server_is_an_error(path: Path) -> None:
    """An open index is damaged in place. A removed file stays readable for processes that have it open."""
    with Server(path.parent, MIMIC_STORE=f"sqlite:///{path}") as server, httpx.Client(base_url=server.url) as client:
        for damage in (Path.unlink, overwrite):
            for suffix in (".term", ".idx", ".fast"):
                seed(f"sqlite:///{path}", OLD, path.parent)
                time.sleep(SECONDS_TO_BELIEVE)
                assert asked(client, "v3", ALIKE, match="nearest") == "old"
                [folder] = path.parent.glob("corpus.db.index-*")
                of_index(damage, suffix)(folder)
                told = asked(client, "v3", ALIKE, match="nearest")
                assert told == ("old" if damage == Path.unlink else "store_unusable"), suffix
                if told == "old":
                    assert client.get("/ready").status_code == 200
                else:
                    assert "the index of the corpus is damaged" in not_ready(client)
                assert everything_asked(client) == {"old"}
    assert "Traceback" not in server.log()


def test_a_corpus_copied_without_its_index_is_not_ready(path: Path) -> None:
    """Exact matches are answered; the error names the missing index, and a copy of it is enough."""
    [folder] = path.parent.glob("corpus.db.index-*")
    kept = folder.rename(path.parent / "kept")
    with Server(path.parent, MIMIC_STORE=f"sqlite:///{path}") as server, httpx.Client(base_url=server.url) as client:
        assert f"the folder {folder} is missing" in server.log()
        reason = not_ready(client)
        assert f"the folder {folder.name} is missing: copy it to the corpus that it belongs to" in reason
        chat = {"model": "m", "messages": [{"role": "user", "content": ALIKE}]}
        assert client.post("/v1/chat/completions", json=chat).json()["error"]["message"] == reason
        assert everything_asked(client) == {"old"}
        kept.rename(folder)
        assert client.get("/ready").json() == {"versions": list(VERSIONS), "status": "ready"}
        assert client.post("/v1/chat/completions", json=chat).status_code == 200


def test_the_index_of_another_corpus_is_not_taken_for_this_ones(path: Path, tmp_path: Path) -> None:
    """Another corpus's index would lead to wrong messages. Chats limited to exact matches miss nothing."""
    [folder] = path.parent.glob("corpus.db.index-*")
    other = tmp_path / "other"
    other.mkdir()
    seed(f"sqlite:///{other}/corpus.db", NEW, other)
    shutil.rmtree(folder)
    [foreign] = other.glob("corpus.db.index-*")
    foreign.rename(folder)
    settings = {"MIMIC_STORE": f"sqlite:///{path}"}
    with Server(path.parent, **settings) as server, httpx.Client(base_url=server.url) as client:
        assert "the index of the corpus holds 30 messages instead of 900" in not_ready(client)
        assert asked(client, "v3", ALIKE, match="nearest") == "store_unusable"
    with Server(path.parent, **settings, MIMIC_MATCH="last") as server:
        assert httpx.get(f"{server.url}/ready").status_code == 200


def test_a_rung_that_the_settings_name_has_to_be_seeded(path: Path) -> None:
    """Readiness includes the rungs that the settings need."""
    seeding = run_mimic(["seed", "--match", "last", path.with_name("new.json")], {"MIMIC_STORE": f"sqlite:///{path}"})
    assert seeding.returncode == 0, seeding.stderr
    for match, status in (("", 200), ("nearest", 503)):
        with Server(path.parent, MIMIC_STORE=f"sqlite:///{path}", MIMIC_MATCH=match) as server:
            answer = httpx.get(f"{server.url}/ready")
            assert answer.status_code == status, match
            assert status == 200 or answer.json()["error"]["code"] == "rung_not_seeded"


@pytest.fixture
def bound() -> Sequence[str]:
    """A prefix for commands that makes permissions count for root as well."""
    if os.geteuid():
        return ()
    if not (setpriv := shutil.which("setpriv")):
        pytest.skip("nothing here binds root to permissions")
    return (setpriv, "--bounding-set=-dac_override,-dac_read_search")


def test_an_unreadable_file_is_an_error(path: Path, bound: Sequence[str]) -> None:
    """An unreadable file fails for all requests, an unreadable index folder for those that need it."""
    [folder] = path.parent.glob("corpus.db.index-*")
    path.chmod(0)
    with Server(path.parent, *bound, MIMIC_STORE=f"sqlite:///{path}") as server:
        assert f'"reason": "cannot use {path}: Permission denied"' in server.log()
        with httpx.Client(base_url=server.url) as client:
            assert everything_asked(client) == {"store_unavailable"}
            assert "corpus.db: Permission denied" in seeding(path, *bound)
            path.chmod(0o644)
            folder.chmod(0)
            assert everything_asked(client) == {"old"}
            assert asked(client, "v3", ALIKE, match="nearest") == "store_unavailable"
            folder.chmod(0o755)
            assert asked(client, "v3", ALIKE, match="nearest") == "old"
    assert "Traceback" not in server.log()


def test_a_read_only_file_is_served_and_not_replaced(path: Path, bound: Sequence[str]) -> None:
    """A read-only file is served, and replaced if its folder is writable."""
    folder = path.parent
    [index] = folder.glob("corpus.db.index-*")
    for file in (path, *index.iterdir()):
        file.chmod(0o444)
    index.chmod(0o555)
    logs = folder / "logs"
    logs.mkdir()
    with Server(logs, *bound, MIMIC_STORE=f"sqlite:///{path}") as server, httpx.Client(base_url=server.url) as client:
        folder.chmod(0o555)
        assert everything_asked(client) == {"old"}
        assert asked(client, "v3", ALIKE, match="nearest") == "old"
        assert "Permission denied" in seeding(path, *bound)
        assert (index / ".tantivy-writer.lock").exists()  # left by the seeder
        path.with_name("corpus.db.lock").unlink()
        folder.chmod(0o555)
        assert "corpus.db.lock: Permission denied" in seeding(path, *bound)
        for writable in (folder, index):
            writable.chmod(0o755)
        assert seeding(path, *bound) == ""
        time.sleep(SECONDS_TO_BELIEVE)
        assert everything_asked(client) == {"new"}
    assert "Traceback" not in server.log()
