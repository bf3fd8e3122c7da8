"""``mimic.server.observability.metrics``: a single process and several give the same metrics."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from mimic.server.observability import METRICS_FOLDER, metrics
from mimic.server.observability.metrics import COUNTERS, FAULTS, REQUESTS, SECONDS, Metrics


def counted(counts: "metrics._Own | metrics._Shared", registry: CollectorRegistry) -> dict[object, float]:
    """The samples of some counts, by name and labels."""
    counts.count(REQUESTS, ("POST", "/v1/chat/completions", 200))
    counts.count(REQUESTS, ("POST", "/v1/chat/completions", 200), 2)
    counts.count(REQUESTS, ("GET", 'a "quoted" route', 404))
    counts.count(FAULTS, ("status",))
    for seconds in (0.0, SECONDS[0], SECONDS[0] + 1e-9, 0.3, 11.0):
        counts.observe(("/v1/chat/completions", "v2"), seconds)
    counts.observe(("/health", ""), 0.002)
    families = list(text_string_to_metric_families(generate_latest(registry).decode()))
    assert {family.name for family in families} == {*COUNTERS, "mimic_request_seconds"}
    assert all(family.documentation for family in families)
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def test_plain_numbers_have_the_format_of_the_library() -> None:
    """Names, labels, buckets and values are equal."""
    own, shared = CollectorRegistry(), CollectorRegistry()
    found = counted(metrics._Own(own), own)
    assert found == counted(metrics._Shared(shared), shared)
    assert (
        found[
            "mimic_requests_total", frozenset({"method": "GET", "route": 'a "quoted" route', "status": "404"}.items())
        ]
        == 1
    )


def test_counts_of_several_processes_are_in_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A single process keeps its counts in memory."""
    assert isinstance(Metrics().count.__self__, metrics._Own)  # type: ignore[attr-defined] # it is a method
    monkeypatch.setenv(METRICS_FOLDER, str(tmp_path))
    assert isinstance(Metrics().count.__self__, metrics._Shared)  # type: ignore[attr-defined] # likewise


def test_a_process_that_starts_breaks_no_metrics(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The file of its counts is empty for a moment."""
    monkeypatch.setenv(METRICS_FOLDER, str(tmp_path))
    (tmp_path / f"counter_{2**22 + 1}.db").touch()
    assert Metrics().text() == b""  # no file has values
