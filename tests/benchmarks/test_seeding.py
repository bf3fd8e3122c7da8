"""The comparison of seeders runs, and all seeders do the same work."""

from pathlib import Path

from click.testing import CliRunner

from benchmarks import seeding

SAMPLE = Path(__file__).parents[2] / "seed" / "mimic_seed" / "sample.json"


def test_it_compares_seeders_that_leave_as_many_documents(mongodb_url: str) -> None:
    """The table has one line for each seeder, with its ratio to the plain one."""
    run = CliRunner().invoke(seeding.main, [str(SAMPLE), "--mongodb", mongodb_url, "--rounds", "1"])
    assert run.exit_code == 0, run.output
    table = [line.split("|") for line in run.stdout.splitlines() if line.startswith("|")]
    rows = {cells[1].strip(): cells[-2].strip() for cells in table[2:]}
    assert list(rows) == ["plain", "floor", "mimic --match last", "mimic --match nearest"]
    assert rows["plain"] == "1.00"
    assert all(float(ratio) > 0 for ratio in rows.values())


def test_its_documents_are_those_of_v3() -> None:
    """The documents equal those of v3, except for the fields for lookup."""
    documents = list(seeding.messages(str(SAMPLE)))
    assert len(documents) > 500
    assert documents[1]["prevMessageValue"] == documents[0]["value"]
    assert documents[0]["nextMessageValue"] == documents[1]["value"]
