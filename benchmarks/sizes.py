"""Cost against size: the same benchmark with dumps of several sizes, the smallest first.

    make bench-sizes STORE=mongodb
    python -m benchmarks.sizes --store mongodb --sizes 10MB,100MB,673MB

The times of v2 and v3 should not depend on the size. Ends with exit code 1 if an answer was wrong.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.run import DATA, known_versions, made, measure, say
from benchmarks.support.outcomes import Sizes
from benchmarks.support.report import RESULTS, write_sizes


@click.command()
@click.option("--store", default="sqlite", show_default=True, help="sqlite, mongodb (one is started) or mongodb://...")
@click.option("--sizes", default="10MB,100MB,673MB", show_default=True, help="Sizes of the generated dumps.")
@click.option("--versions", type=known_versions, default="v1,v2,v3", show_default=True)
@click.option("--duration", default=10, show_default=True, help="Seconds of load, for each version and route.")
@click.option("--users", default=16, show_default=True, help="Concurrent users.")
@click.option("--data", default=DATA, type=click.Path(path_type=Path), help="The folder of dumps and of stores.")
@click.option("--results", default=RESULTS, type=click.Path(path_type=Path), help="The folder to write to.")
def main(store: str, sizes: str, versions: Sequence[str], duration: int, users: int, data: Path, results: Path) -> None:
    """Compare sizes, and write the results."""
    found = []
    for size in sizes.split(","):
        say(f"--- {size} ---")
        found.append(measure(store, made(size, data), versions, duration, users, data))
    click.echo(write_sizes(Sizes(found), results))
    sys.exit(1 if any(result.wrong for result in found) else 0)


if __name__ == "__main__":
    main()
