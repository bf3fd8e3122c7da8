"""The OpenAPI document against a real server: Schemathesis sends valid and invalid requests.

Every answer must be in the document.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.corpora import SMALL, conversation, seed
from tests.support.servers import Server

KEY = "the secret"
ROOT = Path(__file__).parents[2]
CONFIGURATION = """
[[operations]]
include-name = "POST /v1/completions"
# That n answers to each of several prompts are 128 at most is not in the schema: it cannot multiply.
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 404, 429, "5xx"]

[[operations]]
include-name = "POST /v1/chat/completions"
# Nor that a JSON schema within the request has to be one, that tools have different names, and a choice names one.
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 404, 429, "5xx"]

[[operations]]
include-name = "POST /v1/responses"
# Nor that a previous response and the items that are referred to exist.
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 404, 429, "5xx"]

[[operations]]
include-name = "POST /v1/responses/input_tokens"
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 404, 429, "5xx"]

[[operations]]
include-name = "POST /v1/responses/compact"
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 404, 429, "5xx"]

[[operations]]
include-name = "GET /v1/chat/completions"
# Nor that the object before a page is in the list.
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 404, "5xx"]

[[operations]]
include-name = "GET /v1/conversations/{conversation_id}/items"
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 404, "5xx"]

[[operations]]
include-name = "POST /v1/conversations"
# Nor the fields of items.
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 404, "5xx"]

[[operations]]
include-name = "POST /v1/conversations/{conversation_id}/items"
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 404, 429, "5xx"]

[[operations]]
include-name = "POST /v1/moderations"
# Nor that an input has texts or parts, and no mixture.
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 404, 429, "5xx"]

[[operations]]
include-name = "POST /v1/uploads/{upload_id}/parts"
# Everything in a form is a text, also a boolean.
checks.negative_data_rejection.expected-statuses = ["2xx", 400, 401, 404, 413, 415, "5xx"]
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 404, 413, "5xx"]

[[operations]]
include-path-regex = "^/v1/(files|batches|uploads)"
# Nor that a file has two fields for its expiry or none, that it fits, and that input, parts and cursors exist.
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 404, 413, "5xx"]

[[operations]]
include-name = "POST /v1/threads"
# Nor that the body may be absent.
checks.negative_data_rejection.expected-statuses = ["2xx", 400, 401, 404, 413, 415, "5xx"]
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, "5xx"]

[[operations]]
include-path-regex = "^/v1/(assistants|threads)"
# Nor that a thread and a cursor exist, that tools are valid, and that the version of the API is v1 or v2.
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 404, 429, "5xx"]

[[operations]]
include-name = "POST /v1/webhook_endpoints"
# Nor that a URL is https, and has a public address.
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, "5xx"]

[[operations]]
include-name = "POST /v1/webhook_endpoints/{webhook_endpoint_id}"
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 404, "5xx"]

[[operations]]
include-name = "GET /v1/webhook_endpoints"
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, "5xx"]

[[operations]]
include-name = "GET /mimic/webhook_deliveries"
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, "5xx"]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with all optional routes switched on."""
    folder = tmp_path_factory.mktemp("schema")
    url = f"sqlite:///{folder}/corpus.db"
    haiku = conversation("haiku", ("human", "Write a haiku about the sea"), ("gpt", "Waves."), ("human", "Thanks"))
    seed(url, [*SMALL, haiku], folder)
    dump = str(folder / "dump.json")
    with Server(
        folder, MIMIC_STORE=url, MIMIC_API_KEYS=KEY, SEED_SECRET=KEY, SEED_FILE=dump, MIMIC_JOURNAL="100"
    ) as server:
        yield server


def cases(server: Server, folder: Path, most: int, hooks: str = "") -> int:
    """Run Schemathesis with a limit of cases per operation and phase; return the number of cases.

    ``hooks`` is a module with hooks of Schemathesis. Fails if an answer is wrong.
    """
    (folder / "schemathesis.toml").write_text(CONFIGURATION)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml"]
    command += ["run", f"{server.url}/schema/openapi.json", "--no-color", "--checks", "all", "--continue-on-failure"]
    command += ["--max-examples", str(most), "--generation-deterministic"]
    # Injected faults are not the subject.
    command += ["--header", f"Authorization: Bearer {KEY}", "--header", "x-mimic-fault: none"]
    # Without NO_PROXY, each request looks for proxies in the whole environment.
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}
    environment |= {"SCHEMATHESIS_HOOKS": hooks} if hooks else {}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    generated = re.search(r"([\d,]+) generated", ended.stdout)
    assert generated
    assert "Traceback" not in server.log()
    return int(generated[1].replace(",", ""))


@pytest.mark.timeout(300)
def test_every_answer_is_as_documented(server: Server, tmp_path: Path) -> None:
    """Thousands of cases, the same each time, have documented answers."""
    assert cases(server, tmp_path, 1, "tests.support.sampled_cases") > 2500


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_every_one_of_thousands_of_answers_is_as_documented(server: Server, tmp_path: Path) -> None:
    """All cases have documented answers."""
    assert cases(server, tmp_path, 300) > 5000
