"""What is seen of the server from outside: metrics, traces, the log."""

from typing import Final

METRICS_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which worker processes know where their metrics are: prometheus_client's, and no setting of ours."""
