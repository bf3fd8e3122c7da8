"""The benchmark of calls runs, and limits the calls of a request."""

from pathlib import Path
from typing import Final

from tests.support.servers import run_mimic

SAMPLE: Final = Path(__file__).parents[2] / "seed" / "mimic_seed" / "sample.json"
MOST_CALLS: Final = {"completion v2": 54, "chat v2": 110, "stream v2": 130, "completion v3": 57, "chat v3": 118}
"""A tenth more than on Python 3.11, where a comprehension is a call; later versions need less."""


def test_a_request_takes_few_calls(tmp_path: Path) -> None:
    """A request stays below a limit of calls, which are most of its processor time."""
    store = f"sqlite:///{tmp_path}/corpus.db"
    assert run_mimic(("seed", SAMPLE, "--store", store, "--match", "last"), {}).returncode == 0
    options = ("--store", store, "--rounds", "1", "--prompts", "100")
    told = run_mimic((SAMPLE, *options), {}, module="benchmarks.calls")
    assert told.returncode == 0, told.stderr
    cells = [line.split("|") for line in told.stdout.splitlines()[2:]]
    calls = {name.strip(): float(number) for _, name, number, *_ in cells}
    assert calls.keys() >= MOST_CALLS.keys()
    assert {name: number for name, number in calls.items() if number > MOST_CALLS.get(name, number)} == {}
