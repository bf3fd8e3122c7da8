"""A replica set of three with killed and hanging members: answers continue, and a seeding is done or not."""

import time
from pathlib import Path

import pytest

from mimic.corpus.manifest import ExitCode
from mimic.corpus.stores import Driver
from mimic.corpus.stores.mongodb.timings import CATALOGUE_SECONDS, Timings
from tests.support.asking import QUESTIONS, Asking, ask_everything, corpus_of, seed_corpus, wrong
from tests.support.mongod import ReplicaSet
from tests.support.refusals import QUICK, refusals
from tests.support.servers import Seeding, Server, children
from tests.support.timing import at_most

# The driver may drop a socket whose connection was just closed, visible some tests later.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. .socket.socket:pytest.PytestUnraisableExceptionWarning"
)

DRIVERS = ("pymongo", pytest.param("motor", marks=pytest.mark.soak))
BROKEN_OFF = {("long completion", outcome) for outcome in ("503", "RemoteProtocolError")}
"""Errors of answers in several batches: the rest cannot be read from a lost member, or from another one."""

SHORT_GRACE = Timings(grace_seconds=1)
"""Long enough for answers under way; used only if a test seeds in its own process."""


@pytest.fixture
def url(replica_set: ReplicaSet) -> str:
    """The URL of an empty database, of a set with all members running.

    Members that a test has killed are started for the next test, and not after the last one.
    """
    replica_set.heal()
    with replica_set.client() as client:
        client.drop_database("mimic")
    return f"{replica_set.url}mimic?replicaSet=mimic"


def collections(replica_set: ReplicaSet) -> list[str]:
    """The collections of the database, without the ids of seedings."""
    with replica_set.client() as client:
        return sorted(name.partition("_")[0] for name in client["mimic"].list_collection_names())


def served(url: str, folder: Path, driver: Driver = "pymongo") -> Server:
    """A server of two workers."""
    return Server(folder, MIMIC_STORE=url, MIMIC_WORKERS="2", MIMIC_MONGO_DRIVER=driver)


def test_a_wrong_url_of_a_replica_set(replica_set: ReplicaSet) -> None:
    """The name of another set, and a single secondary asked to seed, are errors."""
    primary = replica_set.primary()
    secondary = next(one for one in replica_set.members if one is not primary)
    for text in refusals(f"{primary.url}/mimic?replicaSet=other&{QUICK}").values():
        assert "no usable member of the replica set that replicaSet names" in text, text
    found = refusals(f"{secondary.url}/mimic?directConnection=true&{QUICK}")
    assert (
        "This member of the replica set is not the primary. Remove directConnection=true, which uses this member only"
        in found["seed"]
    ), found


@pytest.mark.soak
@pytest.mark.parametrize("driver", ["pymongo", "motor"])
def test_answers_go_on_while_the_primary_hangs(
    replica_set: ReplicaSet, url: str, tmp_path: Path, driver: Driver
) -> None:
    """Requests to the hanging primary take 4 s longer, then another member answers them and all others."""
    seed_corpus(url, "old", tmp_path)
    with served(url, tmp_path, driver) as server, Asking(server.url, clients=4) as asking:
        time.sleep(1)
        frozen = time.monotonic()
        replica_set.primary().freeze()
        time.sleep(6)
    unlucky = wrong(asking.answers, "old")
    assert {(answer.question, answer.outcome) for answer in unlucky} <= BROKEN_OFF
    assert max(answer.answered - answer.asked for answer in asking.answers) < at_most(6)
    assert not wrong(asking.between(frozen + 5), "old")


def test_a_member_that_lags_does_not_answer(replica_set: ReplicaSet, url: str, tmp_path: Path) -> None:
    """After an answer of the new corpus, a lagging member alone gives neither the old one nor a part: it is a 503."""
    seed_corpus(url, "old", tmp_path)
    primary = replica_set.primary()
    other, lagging = (member for member in replica_set.members if member is not primary)
    with served(url, tmp_path) as server:
        assert not wrong(ask_everything(server.url), "old")
        with lagging.failing("rsSyncApplyStop"):
            seed_corpus(url, "new", tmp_path, SHORT_GRACE)
            time.sleep(CATALOGUE_SECONDS)
            with Asking(server.url, clients=4) as asking:  # both workers
                time.sleep(1)
            assert not wrong(asking.answers, "new")
            primary.kill()
            other.kill()
            time.sleep(CATALOGUE_SECONDS)
            assert {answer.outcome for answer in ask_everything(server.url)} == {"503"}
        replica_set.heal()
        assert not wrong(ask_everything(server.url), "new")


@pytest.mark.soak
def test_a_seeding_needs_no_more_than_a_majority(replica_set: ReplicaSet, url: str) -> None:
    """A hanging member delays neither the writes nor the indexes."""
    primary = replica_set.primary()
    next(member for member in replica_set.members if member is not primary).freeze()
    assert Seeding(url, corpus_of("new")).end() == (ExitCode.DONE, "")


@pytest.mark.parametrize(
    "share", [0.5, *(pytest.param(share, marks=pytest.mark.soak) for share in (0.0, 0.2, 0.8, 1.0))]
)
def test_a_seeding_whose_primary_is_killed(replica_set: ReplicaSet, url: str, tmp_path: Path, share: float) -> None:
    """The primary is killed at a random time under load.

    The seeding is done or reports an error; answers are all of one corpus, and never old after new.
    """
    seed_corpus(url, "old", tmp_path)
    with served(url, tmp_path) as server, Asking(server.url, clients=4) as asking:
        seeding = Seeding(url, corpus_of("new"))
        time.sleep(1.5)
        seeding.feed(share)
        time.sleep(0.2)
        replica_set.primary().kill()
        code, said = seeding.end()
        assert (code, said) == (ExitCode.DONE, "") or (code == ExitCode.STORE_UNREACHABLE and "MongoDB" in said)
        ended = time.monotonic()
        time.sleep(CATALOGUE_SECONDS + 1)
    name = "new" if code == ExitCode.DONE else "old"
    unlucky = wrong(asking.answers, "old", "new")
    assert {(answer.question, answer.outcome) for answer in unlucky if answer.outcome != "503"} <= BROKEN_OFF
    # The driver tries again, once; that may meet a member that is stepping down.
    assert sum((answer.question, answer.outcome) not in BROKEN_OFF for answer in unlucky) <= 4
    assert not wrong(asking.between(ended + CATALOGUE_SECONDS), name)
    if code != ExitCode.DONE:
        assert not wrong([a for a in asking.answers if a not in unlucky], "old")
        time.sleep(10)  # the lease
    replica_set.heal()
    code, said = Seeding(url, corpus_of("new")).end()
    assert (code, said) == (ExitCode.DONE, "")
    assert collections(replica_set) == ["index", "mimic", "v1", "v2", "v3"]


@pytest.mark.parametrize("driver", DRIVERS)
def test_answers_go_on_while_members_are_killed(
    replica_set: ReplicaSet, url: str, tmp_path: Path, driver: Driver
) -> None:
    """The primary is killed, then the next one, until there is none: all answers are right from the rest."""
    seed_corpus(url, "old", tmp_path)
    with served(url, tmp_path, driver) as server, Asking(server.url, clients=4) as asking:
        workers = children(server.process.pid)
        for _ in range(2):
            time.sleep(1)
            replica_set.primary().kill()
        time.sleep(4)
        assert children(server.process.pid) == workers
    assert {answer.question for answer in asking.answers} == set(QUESTIONS)
    unlucky = [(answer.question, answer.outcome) for answer in wrong(asking.answers, "old")]
    assert {one for one in unlucky if one[1] != "503"} <= BROKEN_OFF
    # The driver tries again, once; that may meet a member that is stepping down.
    assert sum(one not in BROKEN_OFF for one in unlucky) <= 4
    assert max(answer.answered - answer.asked for answer in asking.answers) < at_most(3)
