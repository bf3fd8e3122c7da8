"""Observability of the server: metrics, traces and logs."""

from typing import Final

METRICS_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable of prometheus_client for the metrics folder of worker processes. Not a setting of Mimic."""
