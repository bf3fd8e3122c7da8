"""Lines a second of batches, and the memory and time of a large upload, in one run.

    mimic seed --sample --store sqlite:///mimic.db
    python -m benchmarks.batches --store sqlite:///mimic.db --workers 2

The lines are chats. The memory is the largest growth of the server's process with one worker.
"""

import json
import time
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import click
import httpx

from mimic.testing.processes import ServerProcess

CHAT: Final = "/v1/chat/completions"
SAID: Final = "Write a haiku about the sea"
MEGABYTE: Final = 1024 * 1024
SECONDS_BETWEEN: Final = 0.05


@click.command()
@click.option("--store", required=True, help="URL of a store with the sample corpus.")
@click.option("--records", help="URL of the records (default: a file in a temporary folder).")
@click.option("--lines", default=10_000, show_default=True)
@click.option("--megabytes", default=500, show_default=True, help="Size of the upload.")
@click.option("--workers", default=1, show_default=True)
def measure(store: str, records: str | None, lines: int, megabytes: int, workers: int) -> None:
    """Print lines a second, and seconds and memory of an upload."""
    with TemporaryDirectory() as folder:
        url = records or f"sqlite:///{folder}/records.db"
        environment = {"MIMIC_STORE": store, "MIMIC_RECORDS": url, "MIMIC_WORKERS": str(workers)}
        with (
            ServerProcess(Path(folder), environment) as server,
            httpx.Client(base_url=server.url, timeout=600) as client,
        ):
            click.echo(f"{lines / _run_batch(client, lines):,.0f} lines/s")
            before = _peak(server.process.pid)
            seconds = _upload(client, bytes(megabytes * MEGABYTE))
            grown = (_peak(server.process.pid) - before) / MEGABYTE
            click.echo(f"{megabytes} MB in {seconds:.1f} s, {grown:.0f} MB of memory more")


def _run_batch(client: httpx.Client, lines: int) -> float:
    """Run a batch. Returns the seconds from its creation to its end."""
    body = {"model": "m", "messages": [{"role": "user", "content": SAID}]}
    texts = [json.dumps({"custom_id": str(n), "method": "POST", "url": CHAT, "body": body}) for n in range(lines)]
    file = _post_file(client, "\n".join(texts).encode(), "batch")
    started = time.perf_counter()
    request = {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"}
    batch = client.post("/v1/batches", json=request).raise_for_status().json()
    while batch["status"] not in {"completed", "failed"}:
        time.sleep(SECONDS_BETWEEN)
        batch = client.get(f"/v1/batches/{batch['id']}").json()
    if batch["request_counts"]["completed"] != lines:
        raise click.ClickException(f"the batch is not complete: {batch}")
    return time.perf_counter() - started


def _upload(client: httpx.Client, data: bytes) -> float:
    started = time.perf_counter()
    _post_file(client, data, "user_data")
    return time.perf_counter() - started


def _post_file(client: httpx.Client, data: bytes, purpose: str) -> str:
    sent = client.post("/v1/files", files={"file": ("a", BytesIO(data))}, data={"purpose": purpose})
    found: dict[str, Any] = sent.raise_for_status().json()
    return str(found["id"])


def _peak(pid: int) -> int:
    """The largest memory of a process so far, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    measure()
