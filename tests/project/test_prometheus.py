"""The dashboard and the alerts of docs: their metrics exist, and a real Prometheus answers and fires."""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from mimic.testing import free_port
from tests.support.corpora import SMALL, seed
from tests.support.mongod import Mongod
from tests.support.servers import Server

ROOT = Path(__file__).parents[2]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "docs" / "grafana-dashboard.json").read_text())
ALERTS = ROOT / "docs" / "prometheus-alerts.yml"
ALERT_TESTS = ROOT / "tests" / "project" / "prometheus-alerts.test.yml"
RULES: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
SECONDS_TO_FIRE = 240
"""Timeout for an alert. On an idle machine the first ones take 10 s."""
VARIABLES = {"$job": "mimic", "$instance": ".*", "$route": ".*", "$__rate_interval": "10s"}
SECONDS_TO_START = 30

CHAT: dict[str, Any] = {"model": "mimic-v3", "messages": [{"role": "user", "content": "hi"}]}
MISS = {"messages": [{"from": "human", "value": "never said"}]}

needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")) and not os.environ.get("CI"),
    reason="no prometheus and promtool on the PATH",
)


def queries() -> dict[str, str]:
    """All expressions of the dashboard, with variables filled in, by the title of the panel."""
    found = {}
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            found[f"{panel['title']} {target['refId']}"] = expression
    return found


def load(url: str) -> None:
    """Send requests of every counted kind."""
    with httpx.Client(base_url=url, timeout=30) as client:
        for headers in ({}, {}, {"x-mimic-fault": "status=429"}):
            client.post("/v1/chat/completions", json=CHAT, headers=headers)
        client.post("/conversation/completion", json=MISS)
        client.get("/nowhere")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a store with the small corpus."""
    folder = tmp_path_factory.mktemp("prometheus")
    seed(f"sqlite:///{folder}/corpus.db", SMALL, folder)
    return f"sqlite:///{folder}/corpus.db"


def asked(expression: str) -> list[tuple[str, set[str]]]:
    """The metrics of an expression, each with the labels that select it."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    found = re.findall(r"\b((?:mimic|process)_[a-z_]+|up)\b(?:\{([^}]*)\})?", bare)
    return [(name, set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", matchers))) for name, matchers in found]


def grouped(expression: str) -> set[str]:
    """The labels by which an expression groups."""
    return {
        label for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression) for label in re.split(r",\s*", labels)
    }


def test_their_metrics_are_served(corpus: str, tmp_path: Path) -> None:
    """Each metric and label of dashboard, alerts and their tests is served."""
    with Server(tmp_path, MIMIC_STORE=corpus, MIMIC_WORKERS="2") as server:
        load(server.url)
        served: dict[str, set[str]] = {"up": {"job", "instance"}}
        for family in text_string_to_metric_families(httpx.get(f"{server.url}/metrics").text):
            for sample in family.samples:
                served.setdefault(sample.name, {"job", "instance"}).update(sample.labels)
    variables = [one["definition"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"]
    tests = yaml.safe_load(ALERT_TESTS.read_text())["tests"]
    series = [one["series"] for test in tests for one in test["input_series"]]
    expressions = [*queries().values(), *(rule["expr"] for rule in RULES)]
    for expression in [*expressions, *variables, *series]:
        found = asked(expression)
        assert found, expression
        for name, labels in found:
            assert name in served, expression
            assert labels <= served[name], expression
        assert grouped(expression) <= set().union(*(served[name] for name, _ in found)), expression
    assert {
        name for name in served if name.startswith("mimic_") and not name.endswith(("_bucket", "_sum", "_count"))
    } <= {name for expression in expressions for name, _ in asked(expression)} | {
        "mimic_corpus_conversations",
        "mimic_corpus_documents",
        "mimic_seeding_started_timestamp_seconds",
    }


def test_alerts_and_panels_are_complete() -> None:
    """Each alert has a severity, a summary and a test; panels have unique titles and do not overlap."""
    tested = {
        one["alertname"] for test in yaml.safe_load(ALERT_TESTS.read_text())["tests"] for one in test["alert_rule_test"]
    }
    assert {rule["alert"] for rule in RULES} == tested
    for rule in RULES:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"]
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, panel["title"]
        cells |= own
    assert len({panel["title"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@needs_prometheus
def test_promtool_has_no_objection() -> None:
    """The tool promtool accepts the rules and their tests over time."""
    for command in (("check", "rules", ALERTS), ("test", "rules", ALERT_TESTS)):
        done = subprocess.run(("promtool", *command), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


class Prometheus:
    """A real Prometheus that scrapes servers every two seconds, with shortened times in the rules of docs."""

    def __init__(self, folder: Path, targets: Mapping[str, int]) -> None:
        rules = re.sub(r"\[(?:5|15)m\]", "[10s]", re.sub(r"for: \d+m", "for: 1s", ALERTS.read_text()))
        rules = rules.replace(
            "last_over_time(process_start_time_seconds[10s])", "last_over_time(process_start_time_seconds[5m])"
        )
        (folder / "rules.yml").write_text(rules)
        static = [{"targets": [f"127.0.0.1:{port}"], "labels": {"instance": name}} for name, port in targets.items()]
        every = {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"}
        job = {"job_name": "mimic", "static_configs": static}
        (folder / "prometheus.yml").write_text(
            yaml.safe_dump({"global": every, "rule_files": ["rules.yml"], "scrape_configs": [job]})
        )
        self.fired: set[str] = set()
        self._folder = folder
        self._port = free_port()

    def __enter__(self) -> Self:
        options = (f"--storage.tsdb.path={self._folder / 'data'}", f"--web.listen-address=127.0.0.1:{self._port}")
        command = ("prometheus", f"--config.file={self._folder / 'prometheus.yml'}", *options)
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)
        until = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < until and self._process.poll() is None:
            try:
                if httpx.get(f"http://127.0.0.1:{self._port}/-/ready").status_code == 200:
                    return self
            except httpx.TransportError:
                time.sleep(0.1)
        pytest.fail((self._folder / "log").read_text())

    def __exit__(self, *exc: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """The current value of an expression."""
        answer = httpx.get(
            f"http://127.0.0.1:{self._port}/api/v1/query", params={"query": expression}, timeout=20
        ).json()
        assert answer["status"] == "success", (expression, answer)
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def firing(self) -> set[tuple[str, str]]:
        """The firing alerts, with their instances."""
        found = self.ask('ALERTS{alertstate="firing"}')
        return {(one["metric"]["alertname"], one["metric"]["instance"]) for one in found}

    def wait_for(self, *alerts: tuple[str, str]) -> None:
        """Wait until all of these fire."""
        _wait(lambda: set(alerts) - self.firing())
        self.fired.update(name for name, _ in alerts)

    def workers(self, instance: str) -> set[int]:
        """The processes of a server, from its metrics."""
        return {int(one["metric"]["pid"]) for one in self.ask(f'process_open_fds{{instance="{instance}"}}')}


@pytest.fixture
def running(corpus: str, mongod: Mongod, tmp_path: Path) -> Iterator[dict[str, Server]]:
    """Servers that are healthy, that lose their store, and that are slow after a failed seeding.

    One has no corpus, and an upstream that does not answer.
    """
    seed(f"{mongod.url}/mimic", SMALL, tmp_path)
    seed(f"sqlite:///{tmp_path}/slow.db", SMALL, tmp_path)
    record = tmp_path / "slow.db.seeding"
    record.write_text(record.read_text().replace('"state":"done"', '"state":"failed"'))
    settings = {
        "fine": {"MIMIC_STORE": corpus, "MIMIC_WORKERS": "2"},
        "away": {"MIMIC_STORE": f"{mongod.url}/mimic"},
        "empty": {"MIMIC_STORE": f"sqlite:///{tmp_path}/empty.db", "MIMIC_UPSTREAM": f"http://127.0.0.1:{free_port()}"}
        | {"MIMIC_ON_MISS": "upstream"},
        "slow": {"MIMIC_STORE": f"sqlite:///{tmp_path}/slow.db", "MIMIC_TTFT_MS": "1500"},
    }
    with ExitStack() as stack:
        yield {name: stack.enter_context(Server(tmp_path, **some)) for name, some in settings.items()}


@needs_prometheus
@pytest.mark.timeout(900)
def test_a_real_prometheus_answers_and_fires(running: dict[str, Server], mongod: Mongod, tmp_path: Path) -> None:
    """Every panel has data; a healthy server fires no alert, and each failure fires its own."""
    over = threading.Event()

    def repeat(ask: Callable[[], object]) -> None:
        while not over.wait(0.3):
            with suppress(httpx.TransportError):  # of a killed process, or of one that waits for its store
                ask()

    chat = ("/v1/chat/completions", CHAT)
    asked = {"slow": chat, "empty": chat, "away": ("/conversation/completion", MISS)}
    asks: list[Callable[[], object]] = [partial(load, running["fine"].url)]
    asks += [partial(httpx.post, f"{running[one].url}{path}", json=body) for one, (path, body) in asked.items()]
    targets = {**{name: server.port for name, server in running.items()}, "dead": free_port()}
    with ThreadPoolExecutor(len(asks)) as threads, Prometheus(tmp_path, targets) as prometheus, ExitStack() as stack:
        stack.callback(over.set)
        for ask in asks:
            threads.submit(repeat, ask)
        _wait(lambda: [title for title, query in queries().items() if not prometheus.ask(query)])
        prometheus.wait_for(("MimicDown", "dead"), ("MimicNotSeeded", "empty"), ("MimicMisses", "away"))
        prometheus.wait_for(("MimicSeedingFailed", "slow"), ("MimicSlow", "slow"), ("MimicUpstreamAway", "empty"))
        assert {one for one in prometheus.firing() if one[1] in {"fine", "away"}} == {("MimicMisses", "away")}
        mongod.kill()
        for _ in range(2):
            before = prometheus.workers("fine")
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            _wait(lambda before=before: len(prometheus.workers("fine") - before) != len(before))
        prometheus.wait_for(("MimicStoreAway", "away"), ("MimicErrors", "away"), ("MimicWorkersDie", "fine"))
        assert prometheus.fired == {rule["alert"] for rule in RULES}


def _wait(missing: Any) -> None:
    until = time.monotonic() + SECONDS_TO_FIRE
    while found := missing():
        assert time.monotonic() < until, found
        time.sleep(0.5)
