"""Observation of the lines of batches: their answers count in the metrics, and their requests do not."""

from collections.abc import Sequence

from mimic.gateway.ledger import Changes
from mimic.server.observability.metrics import AnswerCounts, Metrics


class LineObserver(AnswerCounts):
    """The observer of a line. The journal has no lines: a batch would push out everything else."""

    is_recorded = False

    def __init__(self, metrics: Metrics, request_id: str) -> None:
        self.metrics = metrics
        self.request_id = request_id

    def record(self, changes: Changes) -> None:
        """Do nothing: the journal has no lines."""

    def unrecord(self) -> None:
        """Do nothing: the journal has no lines."""

    def ignored(self, fields: Sequence[str]) -> None:
        """Do nothing: a log of each line is too long to read."""

    def close(self) -> None:
        """Do nothing: the batch has its own counts."""
