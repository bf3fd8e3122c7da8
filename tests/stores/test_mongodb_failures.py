"""Failures of a MongoDB URL or server: errors with the likely cause, a remedy, and no password."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pymongo
import pytest
from structlog.testing import capture_logs

from mimic.corpus.stores import Driver, open_store
from mimic.records import open_records
from mimic.records.base import Draft, RecordOptions
from mimic.testing import free_port
from tests.support.corpora import SMALL, ask, seed
from tests.support.fake_mongod import fake_mongod
from tests.support.mongod import Mongod, skip_without_mongod
from tests.support.refusals import ENCODED, PASSWORD, QUICK, refusals
from tests.support.servers import Server, seed_command
from tests.support.stores import NO_GRACE

pytestmark = [
    # The drivers may drop a socket whose connection was just refused or closed.
    pytest.mark.filterwarnings("ignore:Exception ignored in. .socket.socket:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. .ssl:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A mongod with users: root of admin, a reader of the database mimic, and a writer with its user in mimic."""
    skip_without_mongod()
    mongod = Mongod(tmp_path_factory.mktemp("guarded"), "--auth")
    mongod.start()
    with pymongo.MongoClient[dict[str, Any]](mongod.url) as client:
        client.admin.command("createUser", "root", pwd=PASSWORD, roles=["root"])
    with pymongo.MongoClient[dict[str, Any]](mongod.url, username="root", password=PASSWORD) as client:
        roles = [{"role": "read", "db": "mimic"}]
        client.admin.command("createUser", "reader", pwd=PASSWORD, roles=roles)
        client.mimic.command("createUser", "writer", pwd=PASSWORD, roles=["readWrite"])
    yield mongod
    mongod.kill()


@pytest.mark.anyio
async def test_records_of_a_user_who_may_only_read_are_in_a_temporary_file(guarded: Mongod) -> None:
    """With one warning; the database gets no collection, and another user's records are in it."""
    at = f"127.0.0.1:{guarded.port}/mimic"
    with capture_logs() as logs:
        url = f"mongodb://reader:{ENCODED}@{at}?authSource=admin"
        async with open_records("", url, RecordOptions()) as records:
            assert await records.get("a", "1", None) is None
            await records.put_all([Draft(kind="a", id="1"), Draft(kind="a", id="2")])
            assert len((await records.page("a", "")).records) == 2
    assert [entry["reason"] for entry in logs] == ["the database of the corpus is not writable"]
    async with open_records("", f"mongodb://writer:{ENCODED}@{at}", RecordOptions()) as records:
        assert await records.get("a", "1", None) is None
        await records.put(Draft(kind="a", id="1"))
    async with open_records("", f"mongodb://writer:{ENCODED}@{at}", RecordOptions()) as records:
        assert await records.get("a", "1", None)


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mongod, Path]]:
    """A mongod with TLS, and the certificate of its authority, which is trusted by this test only."""
    skip_without_mongod()
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("encrypted")
    key, certificate, both = (folder / name for name in ("key.pem", "certificate.pem", "both.pem"))
    made = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    (folder / "data").mkdir()
    mongod = Mongod(folder / "data", "--tlsMode", "requireTLS", "--tlsCertificateKeyFile", str(both))
    mongod.url = f"mongodb://localhost:{mongod.port}/?tls=true&tlsCAFile={certificate}"
    mongod.start()
    yield mongod, certificate
    mongod.kill()


DRIVERS: Final[tuple[Driver, ...]] = ("pymongo", "motor")


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_user_of_another_database(guarded: Mongod, driver: Driver) -> None:
    """The most frequent mistake: the right user and password, looked up in the URL's database."""
    found = refusals(f"mongodb://root:{ENCODED}@127.0.0.1:{guarded.port}/mimic", driver)
    assert set(found) == {"read", "seed"}
    for text in found.values():
        assert text.startswith(
            "MongoDB refused the user and password. The URL has no authSource, so the user 'root' was"
        )
        assert "looked up in the database 'mimic'" in text
        assert "add ?authSource=admin to MIMIC_STORE" in text
        assert text.endswith("(Authentication failed.)")


def test_rights_in_a_guarded_server(guarded: Mongod) -> None:
    """A wrong password, no user, and a user who may only read are errors."""
    host = f"127.0.0.1:{guarded.port}/mimic"
    for text in refusals(f"mongodb://root:w0rds3cr3t@{host}?authSource=admin").values():
        assert "check the user 'root' of the database 'admin' and the password" in text.lower().replace("mongodb", "")
        assert "add ?authSource" not in text
    for text in refusals(f"mongodb://{host}").values():
        assert text.startswith("MongoDB requires a user and password. Name them in MIMIC_STORE")
    found = refusals(f"mongodb://reader:{ENCODED}@{host}?authSource=admin")
    assert set(found) == {"seed"}
    assert "give the user 'reader' the role `readWrite` on the database 'mimic'" in found["seed"].replace(
        "Give", "give"
    )
    assert found["seed"].endswith("(not authorized on mimic to execute command { update ... })")
    assert not refusals(f"mongodb://root:{ENCODED}@{host}?authSource=admin")


def test_rights_that_are_enough(guarded: Mongod, tmp_path: Path) -> None:
    """`readWrite` is enough to seed twice, which removes the first corpus; `read` is enough to serve."""
    host = f"127.0.0.1:{guarded.port}/mimic"
    for _ in range(2):
        seed(f"mongodb://writer:{ENCODED}@{host}", SMALL, tmp_path, timings=NO_GRACE)

    async def asked() -> list[tuple[str, str]]:
        async with open_store(f"mongodb://reader:{ENCODED}@{host}?authSource=admin") as store:
            await store.check()
            return await ask(store, [("gpt", "and so on")], "v3")

    assert asyncio.run(asked()) == [("human", "continue")]


def test_encrypted_connections(encrypted: tuple[Mongod, Path], guarded: Mongod) -> None:
    """Missing TLS, unexpected TLS, and a certificate that is untrusted or of another name are errors."""
    mongod, certificate = encrypted
    url = f"localhost:{mongod.port}/mimic?{QUICK}"
    assert not refusals(f"mongodb://{url}&tls=true&tlsCAFile={certificate}")
    for wrong, told in (
        (f"mongodb://{url}", "The connection was closed at once. The server may require TLS: then add ?tls=true"),
        (f"mongodb://{url}&tls=true", "the server's TLS certificate is not trusted. Name its authority in ?tlsCAFile="),
        (
            f"mongodb://127.0.0.1:{mongod.port}/mimic?{QUICK}&tls=true&tlsCAFile={certificate}",
            "the server's TLS certificate is not trusted",
        ),
        (
            f"mongodb://root:{ENCODED}@127.0.0.1:{guarded.port}/mimic?authSource=admin&tls=true&{QUICK}",
            "the TLS connection failed. The server may not support TLS",
        ),
    ):
        found = refusals(wrong)
        assert set(found) == {"read", "seed"}
        for text in found.values():
            assert told.lower() in text.lower(), text


@pytest.mark.parametrize(
    ("hosts", "told"),
    [
        ("127.0.0.1:{free}", "nothing listens at that host and port. Start MongoDB, or check host and port"),
        ("no-such-host.invalid", "the name of the host is not known. Check the host in MIMIC_STORE"),
        ("127.0.0.1:{free},127.0.0.1:{free}", "nothing listens at that host and port"),
    ],
)
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_server_that_is_not_there(hosts: str, told: str, driver: Driver) -> None:
    """The error has the system's own words, without the state of the driver."""
    found = refusals(f"mongodb://u:{ENCODED}@{hosts.format(free=free_port())}/mimic?{QUICK}", driver)
    assert set(found) == {"read", "seed"}
    for text in found.values():
        assert text.startswith(f"MongoDB cannot be reached, or did not answer in time: {told}"), text
        assert "Errno" in text
        assert "Topology" not in text
        assert "configured timeouts" not in text


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_name_without_srv_record(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing SRV record, and a driver that cannot look it up, are no errors of the URL's form."""
    url = f"mongodb+srv://u:{ENCODED}@no-such-host.invalid/mimic?connectTimeoutMS=500"
    for text in refusals(url, driver).values():
        assert text.startswith("The SRV record of the mongodb+srv:// URL was not found. Check the host"), text
    monkeypatch.setitem(sys.modules, "dns", None)
    for text in refusals(url, driver).values():
        assert text.startswith("A mongodb+srv:// URL cannot be looked up. Install dnspython"), text


def test_another_program_that_listens(tmp_path: Path) -> None:
    """An HTTP server, as with a wrong port, is reported."""
    with Server(tmp_path, MIMIC_STORE=f"sqlite:///{tmp_path}/corpus.db") as server:
        for text in refusals(f"mongodb://127.0.0.1:{server.port}/mimic?{QUICK}").values():
            assert (
                "the server at that host and port is not MongoDB" in text or "the connection was closed at once" in text
            ), text


def test_servers_that_are_too_old() -> None:
    """The driver, and Mimic's collections (MongoDB 6.0), have their minimum versions."""
    with fake_mongod({"maxWireVersion": 6}) as port:
        for text in refusals(f"mongodb://127.0.0.1:{port}/mimic?{QUICK}").values():
            assert "Mimic needs MongoDB 6.0 or later" in text, text
            assert "wire version" in text
    with fake_mongod({"maxWireVersion": 13}, buildInfo={"version": "5.0.9"}, find=no_documents()) as port:
        found = refusals(f"mongodb://127.0.0.1:{port}/mimic?{QUICK}")
        assert found == {"seed": "the MongoDB server is too old: Mimic needs 6.0 or later, and this is 5.0.9"}


def no_documents() -> dict[str, Any]:
    """An empty answer to a query."""
    return {"cursor": {"id": 0, "ns": "mimic.mimic", "firstBatch": []}}


def test_members_that_are_known_by_other_names() -> None:
    """A replica set in containers has other names from outside."""
    hello = {"setName": "rs", "hosts": ["mongo-in-a-container:27017"], "me": "mongo-in-a-container:27017"}
    with fake_mongod(hello) as port:
        for text in refusals(f"mongodb://127.0.0.1:{port}/mimic?{QUICK}").values():
            assert "the members of the replica set have names that are not known here" in text, text
            assert "mongo-in-a-container" in text
            assert "directConnection=true" in text


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mongodb://u:s3cr3t@127.0.0.1", "it names no database; expected mongodb://"),
        ("mongodb://u:s3cr3t@127.0.0.1/?authSource=admin", "it names no database; expected mongodb://"),
        ("mongodb://u:s3cr3t@127.0.0.1/my db", 'Bad database name "my db"'),
        ("mongodb://127.0.0.1/mimic.v2", "the name of its database has a dot"),
        (f"mongodb://127.0.0.1/{'x' * 64}", "longer than 63 bytes"),
        ("mongodb://127.0.0.1/a*b", "a character that MongoDB does not allow"),
        ("mongodb://u:s3cr3t@w0rd@127.0.0.1/mimic", "user and password must be percent-encoded (@ is %40"),
        ("mongodb://u:s3cr3t/w0rd@127.0.0.1/mimic", "user and password must be percent-encoded"),
        ("mongodb://u:s3cr3t:w0rd@127.0.0.1/mimic", "user and password must be percent-encoded"),
        ("mongodb://u:s3cr3t?w0rd@127.0.0.1/mimic", "user and password must be percent-encoded"),
        ("mongodb://u:s3cr3t%w0rd@127.0.0.1/mimic", "user and password must be percent-encoded"),
        ("mongodb+srv://u:s3cr3t@w0rd@host.invalid/mimic", "user and password must be percent-encoded"),
        ("mongodb+srv://u:s3cr3t@host.invalid:27017/mimic", "takes one host name, without a port"),
        ("mongodb://u:s3cr3t@127.0.0.1/mimic?authsourse=admin", "Unknown option: authsourse"),
        ("mongodb://u:s3cr3t@127.0.0.1/mimic?tls=maybe", "tls must be 'true' or 'false'"),
        ("mongodb://u:s3cr3t@127.0.0.1:port/mimic", "Port"),
        ("mongodb://u:s3cr3t@a,b/mimic?directConnection=true", "multiple hosts with directConnection=true"),
        (
            "mongodb://u:s3cr3t@127.0.0.1/mimic?tls=true&tlsCAFile=/no/such.pem",
            "No such file or directory: '/no/such.pem'",
        ),
    ],
)
def test_an_invalid_url(url: str, told: str) -> None:
    """The error says what is wrong, without any part of the password."""
    found = refusals(url)
    assert set(found) == {"read", "seed"}
    for text in found.values():
        assert text.startswith("MIMIC_STORE: not the URL of a MongoDB database: ")
        assert told in text


def test_every_interface_reports_it(guarded: Mongod, tmp_path: Path) -> None:
    """`mimic seed` reports it with its exit code, a server at its start, and `/ready` without internal names."""
    url = f"mongodb://root:{ENCODED}@127.0.0.1:{guarded.port}/mimic"
    dump = tmp_path / "dump.json"
    dump.write_text('[{"id": "a", "conversations": [{"from": "human", "value": "hi"}]}]')
    run = subprocess.run(
        seed_command(str(dump), "--store", url), capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert run.returncode == 3
    assert run.stderr.startswith("Error: MongoDB refused the user and password. The URL has no authSource")
    with Server(tmp_path, MIMIC_STORE=url) as server:
        assert "The URL has no authSource" in server.log()
        answer = httpx.get(f"{server.url}/ready")
        assert answer.status_code == 503
        message = answer.json()["error"]["message"]
        assert "cannot be used at the moment: MongoDB refused the user and password. The log says more" in message
        log = server.log()
        assert log.count("The URL has no authSource") == 2
    for text in (run.stderr, log, answer.text):
        assert PASSWORD not in text
        assert ENCODED not in text
    assert "root" not in answer.text
